//! Notices, channels, jobs and reports, as operators meet them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use claviger_testkit::{Answer, RawRequest, RawServer, eventually};
use serde_json::Value;

use crate::house::Claviger;

const SOON: Duration = Duration::from_secs(20);

/// A receiver that can be broken for good.
fn receiver(gone: &Arc<AtomicBool>) -> RawServer {
    let gone = Arc::clone(gone);
    RawServer::start(move |_| {
        let status = if gone.load(Ordering::SeqCst) { "410 Gone" } else { "200 OK" };
        Answer::bytes(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
    })
}

fn header<'a>(request: &'a RawRequest, name: &str) -> &'a str {
    std::str::from_utf8(request.header(name)[0]).unwrap()
}

fn verified(request: &RawRequest, secret: &str) -> Value {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, at) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &request.body].concat();
    let signature = header(request, "webhook-signature").strip_prefix("v1,").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).unwrap();
    serde_json::from_slice(&request.body).unwrap()
}

fn add(node: &Claviger, server: &RawServer) -> String {
    let url = server.url();
    let added = node.json(&["channel", "add", "webhook", "hook", &url, "--allow-private"]);
    added["secret"].as_str().unwrap().to_owned()
}

#[test]
fn an_expiry_is_told_to_a_webhook_once_and_signed() {
    let (node, gone) = (Claviger::started(), Arc::default());
    let server = receiver(&gone);
    let secret = add(&node, &server);
    let tried = node.json(&["channel", "test", "hook"]);
    assert_eq!(tried["ok"], true, "{tried}");
    assert_eq!(verified(&server.take(1)[0], &secret)["type"], "channel.trial");
    let key = node.json(&["key", "create", "--name", "ci", "--expires-in", "2d"]);
    for _ in 0..2 {
        node.json(&["job", "run", "daily_check"]);
    }
    let told = verified(&server.take(1)[0], &secret);
    assert_eq!((&told["type"], &told["data"]["key_id"]), (&"key.expiring".into(), &key["id"]));
    let listed = node.json(&["notice", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "said once: {listed}");
    eventually("the delivery is noted", SOON, || {
        let listed = node.json(&["notice", "list"]);
        (listed[0]["deliveries"][0]["state"] == "delivered").then_some(())
    });
    let text = std::fs::read(node.data().join("claviger.db")).unwrap();
    let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    assert!(!text.windows(bytes.len()).any(|part| part == bytes), "the secret is sealed");
}

#[test]
fn what_cannot_be_delivered_is_listed_and_called_back_over_a_restart() {
    let (mut node, gone) = (Claviger::started(), Arc::new(AtomicBool::new(true)));
    let server = receiver(&gone);
    add(&node, &server);
    node.json(&["key", "create", "--name", "ci", "--expires-in", "1d"]);
    node.json(&["job", "run", "daily_check"]);
    let dead = eventually("a dead notice", SOON, || {
        let dead = node.json(&["notice", "list", "--dead"]);
        dead[0]["id"].as_str().map(str::to_owned)
    });
    node.stop();
    gone.store(false, Ordering::SeqCst);
    node.start();
    let again = node.json(&["notice", "retry", &dead]);
    assert_eq!(again["deliveries"][0]["state"], "pending");
    let requests = server.take(2);
    assert_eq!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
    eventually("nothing is dead any more", SOON, || {
        node.json(&["notice", "list", "--dead"]).as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn jobs_are_listed_and_the_weekly_report_comes_in_three_forms() {
    let node = Claviger::configured_alone("[jobs]\ntime_zone = \"Asia/Shanghai\"\n");
    let jobs = node.json(&["job", "list"]);
    let schedule = |name: &str| {
        let job = jobs.as_array().unwrap().iter().find(|j| j["name"] == name).cloned().unwrap();
        job["schedule"].as_str().unwrap().to_owned()
    };
    assert_eq!(schedule("daily_check"), "0 9 * * * Asia/Shanghai");
    assert_eq!(schedule("weekly_report"), "0 9 * * 1 Asia/Shanghai");
    let daily = jobs.as_array().unwrap().iter().find(|j| j["name"] == "daily_check").cloned().unwrap();
    assert!(daily["next_run_at"].as_str().unwrap().contains("T01:00:00"), "{daily}");
    node.json(&["key", "create", "--name", "ci"]);
    node.json(&["job", "run", "weekly_report"]);
    assert_eq!(node.json(&["report", "weekly"])["live"], 2);
    assert!(node.cli(&["report", "weekly"]).stdout.starts_with("# Weekly rotation report"));
    assert!(node.cli(&["report", "weekly", "--format", "html"]).stdout.starts_with("<!doctype html>"));
}

#[test]
fn channels_that_cannot_be_are_refused_and_leave_nothing() {
    let node = Claviger::started();
    for (arguments, said) in [
        (vec!["webhook", "a", "https://10.0.0.1/"], "--allow-private"),
        (vec!["webhook", "a", "http://hooks.example/"], "https"),
        (vec!["smtp", "a", "--host", "mail.example", "--from", "a@b.c"], "recipients"),
        (
            vec![
                "smtp",
                "a",
                "--host",
                "mail.example",
                "--from",
                "a@b.c",
                "--to",
                "d@e.f",
                "--security",
                "plain",
            ],
            "this machine",
        ),
    ] {
        let done = node.cli(&[&["channel", "add"], &arguments[..]].concat());
        assert_eq!(done.code, 4, "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(said), "{arguments:?}: {}", done.stderr);
    }
    assert_eq!(node.json(&["channel", "list"]), Value::Array(Vec::new()));
}
