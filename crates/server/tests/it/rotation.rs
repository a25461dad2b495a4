//! Rotating a key, as its operator, its holder and whoever still uses the old one see it. The gateway's wall clock is
//! moved by faketime.

mod ground;
mod kills;
mod steps;
mod story;

use claviger_testkit::eventually;
use serde_json::{Value, json};

use self::ground::{Ground, STEP, on_both};
use crate::{
    house::Key,
    streams::Listener,
    wire::{self, Answer, post_with, say},
};

on_both!(
    a_key_is_replaced_step_by_step_and_its_callers_hear_of_it,
    a_wrapped_key_opens_once_and_a_second_time_is_an_incident,
    a_rotation_is_cancelled_or_rolled_back_while_the_old_key_lives,
    a_successor_that_nobody_took_is_delivered_anew_and_the_old_key_kept_until_then,
);

fn told(answer: &Answer) -> [Option<&str>; 4] {
    ["x-claviger-rotation", "x-claviger-deprecation", "deprecation", "sunset"].map(|name| answer.header(name))
}

fn unwrap_at_the_gateway(ground: &Ground, token: &str) -> Answer {
    let body = json!({ "token": token }).to_string();
    let headers = [("content-type", "application/json")];
    wire::ask(ground.node.gateway(), &post_with("/v1/claviger/unwrap", &headers, &body))
}

fn a_key_is_replaced_step_by_step_and_its_callers_hear_of_it(mut ground: Ground) {
    let old = ground.node.key(&["--rpm", "8", "--expires-in", "200d"]);
    let quiet = ground.ask(&old);
    assert_eq!((quiet.status, told(&quiet)), (200, [None; 4]));
    let begun = ground.node.json(&["key", "rotate", &old.id, "--overlap", "1d", "--reason", "drill"]);
    let text = |field: &str| begun[field].as_str().expect(field).to_owned();
    let (rotation, token) = (text("rotation"), text("wrapping_token"));
    assert!(rotation.starts_with("rot_") && token.starts_with("cvg_wrap_"), "{begun}");
    let hint = ground.ask(&old);
    assert!(told(&hint)[0].unwrap().starts_with("successor available; deadline="), "{:?}", hint.headers);
    let again = ground.node.cli(&["key", "rotate", &old.id]);
    assert_eq!(again.code, 4, "{}", again.stdout);
    assert!(again.stderr.contains("open already"), "{}", again.stderr);

    let opened = unwrap_at_the_gateway(&ground, &token);
    assert_eq!(opened.status, 200, "{}", opened.text());
    let opened: Value = serde_json::from_str(&opened.text()).unwrap();
    let new = Key { id: text("successor"), key: opened["key"].as_str().unwrap().to_owned() };
    assert_eq!(opened["id"], new.id.as_str());
    ground.until(&rotation, "delivered");
    ground.restart();
    let first = ground.ask(&new);
    assert_eq!((first.status, told(&first)), (200, [None; 4]));
    let status = ground.until(&rotation, "overlapping");
    assert_eq!(status["since_start"], json!({"old_requests": 1, "new_requests": 1, "share_old": 0.5}));
    assert_eq!(
        (&status["share_old"], &status["remaining"][0]["client_ip"]),
        (&json!(0.5), &json!("127.0.0.1"))
    );
    assert!(status["last_use_old"].is_string() && status["deadline"].is_string(), "{status}");

    ground.pass_hours(25);
    ground.until(&rotation, "retiring");
    let warned = ground.ask(&old);
    let [none, stage, since, sunset] = told(&warned);
    assert_eq!((warned.status, none), (200, None));
    let expected = format!("warned; successor={}; revoked-at=", new.id);
    assert!(stage.unwrap().starts_with(&expected), "{stage:?}");
    assert!(since.unwrap().starts_with('@') && sunset.unwrap().ends_with(" GMT"), "{since:?} {sunset:?}");
    drop(Listener::open(&ground.node, &old, "hello"));
    ground.pass_hours(2);
    ground.until_stage(&rotation, "limited");
    let limited = ground.ask(&old);
    assert_eq!(limited.header("anthropic-ratelimit-requests-limit"), Some("4"), "half of 8");
    ground.restart();
    ground.pass_hours(23);
    ground.until_stage(&rotation, "final_warning");
    ground.pass_hours(24);
    ground.until_stage(&rotation, "refused");
    let refused = ground.ask(&old);
    let stranger = wire::message(ground.node.gateway(), &old.key.replace("live", "test"), &say("hello"));
    assert_eq!((refused.status, refused.error()), (401, stranger.error()));
    assert_eq!(told(&refused), [None; 4], "a stranger hears nothing");
    ground.pass_hours(24);
    let ended = ground.until(&rotation, "finished");
    assert!(ended["ended_at"].is_string());
    let shown = ground.node.json(&["key", "show", &old.id]);
    assert_eq!((&shown["status"], &shown["revocation_reason"]), (&json!("revoked"), &json!("ROTATION")));
    assert_eq!((ground.ask(&old).status, ground.ask(&new).status), (401, 200));
    ground.each_step_was_told_once(&old);
    assert_eq!(ground.node.cli(&["audit", "verify"]).code, 0);
}

fn a_wrapped_key_opens_once_and_a_second_time_is_an_incident(ground: Ground) {
    let node = &ground.node;
    let made = node.json(&["key", "create", "--name", "wrapped", "--wrapped", "--wrap-ttl", "2h"]);
    assert!(made.get("key").is_none(), "the key is in nobody's hands yet");
    let token = made["wrapping_token"].as_str().unwrap();
    let out: Value = {
        let done = node.cli_with_input(&["unwrap", "-", "--json"], &format!("{token}\n"));
        assert_eq!(done.code, 0, "{}", done.stderr);
        serde_json::from_str(&done.stdout).unwrap()
    };
    assert_eq!(out["id"], made["id"]);
    let key =
        Key { id: out["id"].as_str().unwrap().to_owned(), key: out["key"].as_str().unwrap().to_owned() };
    assert_eq!(ground.ask(&key).status, 200);
    let again = node.cli(&["unwrap", token]);
    assert_eq!(again.code, 4, "{}", again.stdout);
    assert!(again.stderr.contains("opened before, at 20"), "{}", again.stderr);
    let again = unwrap_at_the_gateway(&ground, token);
    assert_eq!((again.status, again.header("x-should-retry")), (409, Some("false")));
    let notices = node.json(&["notice", "list"]);
    let incidents = notices.as_array().unwrap().iter().filter(|n| n["kind"] == "incident.opened").count();
    assert_eq!(incidents, 1, "one a minute: {notices}");

    let lapsing = node.json(&["key", "create", "--name", "lapsing", "--wrapped", "--wrap-ttl", "1s"]);
    ground.pass_hours(1);
    let token = lapsing["wrapping_token"].as_str().unwrap();
    assert_eq!(unwrap_at_the_gateway(&ground, token).status, 410);
    assert_eq!(unwrap_at_the_gateway(&ground, "cvg_wrap_x").status, 400);
    let unknown = node.json(&["key", "create", "--name", "other", "--wrapped"]);
    node.json(&["key", "revoke", unknown["id"].as_str().unwrap()]);
    assert_eq!(unwrap_at_the_gateway(&ground, unknown["wrapping_token"].as_str().unwrap()).status, 410);
}

fn a_successor_that_nobody_took_is_delivered_anew_and_the_old_key_kept_until_then(ground: Ground) {
    let node = &ground.node;
    let old = node.key(&["--expires-in", "90d"]);
    let begun = node.json(&["key", "rotate", &old.id, "--overlap", "1d", "--wrap-ttl", "1h"]);
    let rotation = begun["rotation"].as_str().unwrap().to_owned();
    ground.pass_hours(24 * 30);
    let held = eventually("a hold", STEP, || Some(ground.status(&rotation)).filter(|s| !s["hold"].is_null()));
    assert_eq!((&held["state"], &held["hold"]), (&json!("created"), &json!("undelivered")));
    assert!(held["hold_reason"].as_str().unwrap().contains("rotation redeliver"), "{held}");
    assert_eq!(ground.ask(&old).status, 200, "it is not walked out");
    let notices = node.json(&["notice", "list"]);
    let told = notices.as_array().unwrap().iter().filter(|n| n["kind"] == "rotation.held").count();
    assert_eq!(told, 1, "{notices}");

    let anew = node.json(&["rotation", "redeliver", &rotation]);
    assert_eq!((&anew["rotation"], &anew["successor"]), (&begun["rotation"], &begun["successor"]));
    assert_eq!(node.cli(&["unwrap", begun["wrapping_token"].as_str().unwrap()]).code, 4);
    let out = node.json(&["unwrap", anew["wrapping_token"].as_str().unwrap()]);
    let new = Key { id: String::new(), key: out["key"].as_str().unwrap().to_owned() };
    assert_eq!((ground.ask(&new).status, ground.ask(&old).status), (200, 200));
    assert!(ground.until(&rotation, "overlapping")["hold"].is_null());
    let late = node.cli(&["rotation", "redeliver", &rotation]);
    assert_eq!(late.code, 4, "{}", late.stdout);
    ground.pass_hours(26);
    ground.until(&rotation, "retiring");
    assert_eq!(node.cli(&["audit", "verify"]).code, 0);
}

fn a_rotation_is_cancelled_or_rolled_back_while_the_old_key_lives(ground: Ground) {
    let node = &ground.node;
    let old = node.key(&[]);
    let begun = node.json(&["key", "rotate", &old.id]);
    let rotation = begun["rotation"].as_str().unwrap();
    let cancelled = node.json(&["rotation", "cancel", rotation]);
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(told(&ground.ask(&old)), [None; 4]);
    assert_eq!(node.cli(&["unwrap", begun["wrapping_token"].as_str().unwrap()]).code, 4);

    let begun = node.json(&["key", "rotate", &old.id]);
    let rotation = begun["rotation"].as_str().unwrap().to_owned();
    let out = node.json(&["unwrap", begun["wrapping_token"].as_str().unwrap()]);
    let new = Key { id: String::new(), key: out["key"].as_str().unwrap().to_owned() };
    assert_eq!(ground.ask(&new).status, 200);
    ground.until(&rotation, "overlapping");
    assert_eq!(node.cli(&["rotation", "cancel", &rotation]).code, 4, "it is too late for that");
    assert_eq!(node.json(&["rotation", "rollback", &rotation])["state"], "rolled_back");
    assert_eq!((ground.ask(&new).status, ground.ask(&old).status), (401, 200));
    assert_eq!(node.json(&["rotation", "list", "--key", &old.id]).as_array().unwrap().len(), 2);
    assert_eq!(node.json(&["rotation", "list", "--open"]).as_array().unwrap().len(), 0);

    let begun = node.json(&["key", "rotate", &old.id]);
    node.json(&["key", "revoke", &old.id, "--reason", "COMPROMISED"]);
    let back = node.cli(&["rotation", "rollback", begun["rotation"].as_str().unwrap()]);
    assert_eq!(back.code, 4, "{}", back.stdout);
    assert!(back.stderr.contains("compromised"), "{}", back.stderr);
}

#[test]
fn a_rotation_is_shown_by_the_id_of_either_of_its_keys() {
    let node = crate::house::Claviger::started();
    let made = node.json(&["key", "create", "--name", "turned", "--test"]);
    let key = made["id"].as_str().expect("an id");
    assert_eq!(node.cli(&["rotation", "status", key]).code, 4, "there is none yet");
    let begun = node.json(&["key", "rotate", key]);
    for id in [&begun["rotation"], &begun["successor"], &made["id"]] {
        let status = node.json(&["rotation", "status", id.as_str().expect("an id")]);
        assert_eq!((&status["id"], &status["old"]), (&begun["rotation"], &made["id"]), "{id}");
    }
}
