//! Keys that do not work: whatever the reason, a stranger reads the same.

use std::time::Duration;

use claviger_testkit::eventually;
use serde_json::Value;

use super::Guarded;
use crate::wire::{self, Answer, post, post_with, say};

/// Well-formed, with a right checksum, and never issued.
const UNKNOWN: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

fn with_headers(guarded: &Guarded, headers: &[(&str, &str)]) -> Answer {
    guarded.ask(&post_with("/v1/messages", headers, &say("hello").to_string()))
}

/// The same key with another secret and a right checksum would need our checksum code: a flipped digit is mistyped.
fn mistyped(key: &str) -> String {
    let mut digits = key.as_bytes().to_vec();
    digits[30] = if digits[30] == b'x' { b'y' } else { b'x' };
    String::from_utf8(digits).unwrap()
}

/// An answer without what must differ: the request's id and the time.
fn anonymous(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let id = answer.request_id().to_owned();
    let headers = answer.headers.iter().filter(|(n, _)| n != "date").cloned();
    let headers = headers.map(|(n, v)| (n, v.replace(&id, "ID"))).collect();
    (answer.status, answer.text().replace(&id, "ID"), headers)
}

#[test]
fn every_key_that_does_not_work_gets_the_same_answer() {
    let guarded = Guarded::start();
    let node = &guarded.node;
    let [expired, suspended, revoked, pending] = [
        node.key(&["--expires-in", "1s"]),
        node.key(&[]),
        node.key(&[]),
        node.key(&["--not-before", "2999-01-01T00:00:00Z", "--expires-in", "never"]),
    ];
    assert_eq!(node.json(&["key", "suspend", &suspended.id])["status"], "suspended");
    node.json(&["key", "revoke", &revoked.id, "--reason", "COMPROMISED"]);
    eventually("the key to expire", Duration::from_secs(20), || {
        (node.json(&["key", "show", &expired.id])["status"] == "expired").then_some(())
    });

    let good = &guarded.key.key;
    let bearer = |key: &str| format!("Bearer {key}");
    let mistyped = mistyped(good);
    let cut = &good[..51];
    let long = format!("{good}0");
    let (good_bearer, basic) = (bearer(good), format!("Basic {good}"));
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("none", vec![]),
        ("empty", vec![("x-api-key", "")]),
        ("malformed", vec![("x-api-key", "hunter2")]),
        ("a provider's", vec![("x-api-key", crate::house::PROVIDER_KEY)]),
        ("mistyped", vec![("x-api-key", &mistyped)]),
        ("cut off", vec![("x-api-key", cut)]),
        ("too long", vec![("x-api-key", &long)]),
        ("unknown", vec![("x-api-key", UNKNOWN)]),
        ("expired", vec![("x-api-key", &expired.key)]),
        ("suspended", vec![("x-api-key", &suspended.key)]),
        ("revoked", vec![("x-api-key", &revoked.key)]),
        ("pending", vec![("x-api-key", &pending.key)]),
        ("another scheme", vec![("authorization", &basic)]),
        ("two different ones", vec![("authorization", &good_bearer), ("x-api-key", UNKNOWN)]),
        ("twice different", vec![("x-api-key", good), ("x-api-key", UNKNOWN)]),
    ];
    let first = with_headers(&guarded, &[]);
    assert_eq!((first.status, first.header("x-should-retry")), (401, Some("false")));
    assert_eq!(first.error().0, "authentication_error");
    for (name, headers) in &cases {
        let answer = with_headers(&guarded, headers);
        assert_eq!(anonymous(&answer), anonymous(&first), "{name}");
    }
    told_to_the_operator(&guarded, &expired.id);
    node.json(&["key", "resume", &suspended.id]);
    assert_eq!(wire::message(node.gateway(), &suspended.key, &say("back")).status, 200);
}

/// The true reasons are in the metrics, and in the audit log with their counts.
fn told_to_the_operator(guarded: &Guarded, expired: &str) {
    let metrics = wire::fetch(guarded.node.control(), "/metrics").text();
    for reason in ["malformed", "unknown", "expired", "suspended", "revoked", "conflicting", "missing"] {
        assert!(metrics.contains(&format!("\"{reason}\"")), "no `{reason}` in the metrics");
    }
    let recorded = eventually("refusals in the audit log", Duration::from_secs(30), || {
        let list = guarded.node.json(&["audit", "list", "--limit", "1000"]);
        let text = list.to_string();
        (text.contains("\"expired\"") && text.contains("\"unknown\"")).then_some(list)
    });
    let about = |r: &&Value| r.to_string().contains(expired) && r.to_string().contains("\"expired\"");
    let records = recorded.as_array().unwrap();
    assert!(records.iter().any(|r| about(&r)), "{recorded:#}");
    assert!(!recorded.to_string().contains(&guarded.key.key[19..]), "a secret in the audit log");
}

#[test]
fn a_flood_of_bad_keys_is_no_flood_of_records() {
    let guarded = Guarded::start();
    // Reading the log is recorded, too.
    let written = |list: &serde_json::Value| {
        list.as_array().unwrap().iter().filter(|record| record["action"] != "audit.list").count()
    };
    let before = written(&guarded.node.json(&["audit", "list", "--limit", "1000"]));
    let mut wire = wire::Wire::to(guarded.node.gateway());
    for _ in 0..300 {
        wire.send(post("/v1/messages", UNKNOWN, "{}"));
        assert_eq!(wire.answer().status, 401);
    }
    let list = eventually("the flood's record", Duration::from_secs(30), || {
        let list = guarded.node.json(&["audit", "list", "--limit", "1000"]);
        list.to_string().contains("\"unknown\"").then_some(list)
    });
    let after = written(&list);
    assert!(after - before < 20, "{} records of 300 refusals", after - before);
}

#[test]
fn one_key_in_both_headers_is_one_key() {
    let guarded = Guarded::start();
    let key = &guarded.key.key;
    let bearer = format!("Bearer {key}");
    for headers in [
        vec![("x-api-key", key.as_str())],
        vec![("authorization", bearer.as_str())],
        vec![("authorization", bearer.as_str()), ("x-api-key", key.as_str())],
    ] {
        let answer = with_headers(&guarded, &headers);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for line in guarded.sim.log() {
        assert!(!line.to_string().contains(&key[9..]), "the upstream saw the client's key: {line}");
    }
}

#[test]
fn a_key_in_the_query_or_another_header_is_no_key() {
    let guarded = Guarded::start();
    let key = &guarded.key.key;
    let body = say("hello").to_string();
    let asked = [
        post_with(&format!("/v1/messages?x-api-key={key}"), &[], &body),
        post_with("/v1/messages", &[("x-api-keys", key)], &body),
        post_with("/v1/messages", &[("cookie", &format!("x-api-key={key}"))], &body),
    ];
    for request in asked {
        assert_eq!(guarded.ask(&request).status, 401);
    }
    guarded.nothing_was_spent();
    let logged = guarded.node.process().errors().join("\n");
    assert!(!logged.contains(&key[9..]), "a key in the logs");
}
