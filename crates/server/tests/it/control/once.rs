//! `Idempotency-Key`.

use serde_json::json;

use super::{JSON, Said, ask};
use crate::house::Claviger;

fn once(node: &Claviger, path: &str, key: &str, body: &str) -> Said {
    ask(node, "POST", path, &[JSON, ("idempotency-key", key)], body)
}

fn names(node: &Claviger, list: &[&str], name: &str) -> usize {
    node.json(list).as_array().unwrap().iter().filter(|row| row["name"] == name).count()
}

#[test]
fn a_repetition_gets_the_same_answer_and_another_request_is_refused() {
    let node = Claviger::started();
    let first = once(&node, "/owners", "k1", r#"{"name":"ann"}"#);
    let again = once(&node, "/owners", "k1", r#"{"name":"ann"}"#);
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        (None, Some("true"))
    );
    once(&node, "/owners", "k1", r#"{"name":"bob"}"#).is_problem(422, "idempotency_key_reused");
    once(&node, "/workspaces", "k1", r#"{"name":"ann"}"#).is_problem(422, "idempotency_key_reused");
    once(&node, "/owners", "", r#"{"name":"cid"}"#).is_problem(400, "invalid");
    once(&node, "/owners", "k2", r#"{"name":"ann"}"#).is_problem(409, "conflict");
    assert_eq!(
        once(&node, "/owners", "k2", r#"{"name":"dora"}"#).status,
        201,
        "a refused one leaves nothing"
    );
    assert_eq!(names(&node, &["owner", "list"], "ann"), 1);
}

#[test]
fn a_repetition_after_a_kill_makes_no_second_key_and_shows_no_secret() {
    let mut node = Claviger::started();
    let body = json!({"name": "app", "test": true}).to_string();
    let first = once(&node, "/keys", "k", &body);
    assert_eq!(first.status, 201, "{}", first.body);
    node.kill();
    node.start();
    let again = once(&node, "/keys", "k", &body);
    again.is_problem(409, "already_done");
    assert_eq!(again.body["made"], first.body["id"]);
    assert!(!again.body.to_string().contains(first.body["key"].as_str().unwrap()));
    assert_eq!(names(&node, &["key", "list"], "app"), 1);
    let events = node.json(&["audit", "list", "--limit", "1000"]);
    let made = events.as_array().unwrap().iter().find(|e| e["target"] == first.body["id"]).unwrap();
    assert_eq!(made["details"]["idempotency_key"], "k");
}

#[test]
fn many_at_once_make_one() {
    let node = Claviger::started();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || once(&node, "/owners", "race", r#"{"name":"eve"}"#).status;
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.contains(&201), "{statuses:?}");
    assert!(statuses.iter().all(|s| [201, 409].contains(s)), "{statuses:?}");
    assert_eq!(names(&node, &["owner", "list"], "eve"), 1);
}
