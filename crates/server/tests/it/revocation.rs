//! Keys that end, and what proves it.

use std::time::Duration;

use claviger_testkit::eventually;
use serde_json::Value;

use crate::{
    house::{Claviger, Key, Sim},
    streams::{Ended, Listener},
    wire::{self, say},
};

const SOON: Duration = Duration::from_secs(15);

fn revoke(node: &Claviger, key: &Key, more: &[&str]) -> Value {
    node.json(&[&["key", "revoke", &key.id], more].concat())
}

#[test]
fn a_certificate_is_verified_offline_and_a_changed_byte_is_found() {
    let mut node = Claviger::started();
    let key = node.key(&[]);
    let answer = revoke(&node, &key, &["--reason", "USER_REQUEST", "--wait"]);
    assert!(answer["seq"].as_i64().unwrap() > 0, "{answer}");
    assert_eq!(
        (&answer["status"], &answer["certificate"]["key_id"]),
        (&"revoked".into(), &key.id.as_str().into())
    );
    let running = node.cli(&["certificate", "public-key"]).stdout;
    let shown = node.json(&["certificate", "show", &key.id]);
    assert_eq!(shown, answer["certificate"]);
    assert_eq!(node.json(&["certificate", "list"]).as_array().unwrap().len(), 1);
    assert!(node.stop().success());

    let stopped = node.cli(&["certificate", "public-key"]);
    assert_eq!((stopped.code, &stopped.stdout), (0, &running), "{}", stopped.stderr);
    assert!(running.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{running}");
    let public = node.write("public.pem", &running).display().to_string();
    let whole = answer.to_string();
    let verify = |name: &str, text: &str| {
        let file = node.write(name, text).display().to_string();
        node.cli(&["certificate", "verify", &file, "--public-key", &public, "--json"])
    };
    let done = verify("answer.json", &whole);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let verified: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&verified["valid"], &verified["reason"]), (&true.into(), &"USER_REQUEST".into()));
    assert_eq!(verify("certificate.json", &shown.to_string()).code, 0);
    let piped = ["certificate", "verify", "-", "--public-key", &public];
    assert_eq!(node.cli_with_input(&piped, &whole).code, 0);

    let changed = shown.to_string().replace("USER_REQUEST", "USER_REQUESU");
    let done = verify("changed.json", &changed);
    assert_eq!(done.code, 1, "{}", done.stdout);
    let other = Claviger::started();
    let foreign = other.write("other.pem", &other.cli(&["certificate", "public-key"]).stdout);
    let file = node.folder().join("certificate.json").display().to_string();
    let done = node.cli(&["certificate", "verify", &file, "--public-key", &foreign.display().to_string()]);
    assert_eq!(done.code, 1, "{}", done.stdout);
}

#[test]
fn a_second_revocation_changes_nothing_and_answers_the_same() {
    let node = Claviger::started();
    let key = node.key(&[]);
    let first = revoke(&node, &key, &[]);
    let again = revoke(&node, &key, &["--reason", "EXPIRED"]);
    assert_eq!((&again["seq"], &again["certificate"]), (&first["seq"], &first["certificate"]));
    assert_eq!(again["revocation_reason"], "USER_REQUEST");
}

#[test]
fn a_compromised_keys_streams_are_cut_before_the_command_returns() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=400; gap=100]]");
    stream.until("content_block_delta");
    let answer = revoke(&node, &key, &["--reason", "COMPROMISED", "--wait"]);
    assert_eq!((&answer["calls_in_flight"], &answer["certificate"]["immediate"]), (&0.into(), &true.into()));
    let (names, end) = stream.rest();
    let told = names.last().map(String::as_str) == Some("error");
    assert!(told || end == Ended::Aborted, "{names:?}");
    let refused = wire::message(node.gateway(), &key.key, &say("hello"));
    assert_eq!(refused.status, 401, "{}", refused.text());
    let services = answer["certificate"]["affected_services"].to_string();
    assert!(services.contains("127.0.0.1") || services == "[]", "{services}");
}

#[test]
fn a_call_in_flight_ends_by_itself_and_wait_waits_for_it() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=20; gap=100]]");
    stream.until("content_block_delta");
    let answer = revoke(&node, &key, &["--wait"]);
    assert_eq!(answer["calls_in_flight"], 0);
    let (names, _) = stream.rest();
    assert_eq!(names.last().map(String::as_str), Some("message_stop"), "{names:?}");
}

/// Kills the node while keys are being revoked: each that is revoked has its one certificate after the restart.
#[test]
fn what_a_kill_leaves_without_a_certificate_is_certified_at_the_next_start() {
    let mut node = Claviger::started();
    node.json(&["policy", "set", "--max-keys", "100"]);
    let keys: Vec<Key> = (0..12).map(|_| node.key(&[])).collect();
    std::thread::scope(|scope| {
        let node = &node;
        for key in &keys {
            scope.spawn(move || drop(node.cli(&["key", "revoke", &key.id])));
        }
        eventually("a revocation", SOON, || {
            let listed = node.cli(&["key", "list", "--json"]).stdout;
            listed.contains("\"revoked\"").then_some(())
        });
        node.process().signal(rustix::process::Signal::KILL);
    });
    node.kill();
    node.start();
    let revoked = |node: &Claviger| {
        let listed = node.json(&["key", "list"]);
        listed.as_array().unwrap().iter().filter(|key| key["status"] == "revoked").count()
    };
    eventually("all certificates", SOON, || {
        let certified = node.json(&["certificate", "list"]).as_array().unwrap().len();
        (certified == revoked(&node) && certified > 0).then_some(())
    });
    for key in &keys {
        revoke(&node, key, &[]);
    }
    let certificates = node.json(&["certificate", "list"]);
    let of: std::collections::HashSet<String> =
        certificates.as_array().unwrap().iter().map(|c| c["key"].to_string()).collect();
    assert_eq!((certificates.as_array().unwrap().len(), of.len()), (12, 12));
    assert_eq!(node.cli(&["audit", "verify"]).code, 0);
}
