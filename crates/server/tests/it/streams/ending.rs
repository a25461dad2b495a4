//! How they end: with their own last event, with an error, or torn off; never with a clean lie.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Ended, Listener, PATIENCE};
use crate::{
    house::{Claviger, STOP, Sim},
    wire::{self, say},
};

/// A stream that takes about four seconds.
const LONG: &str = "[[sim: deltas=40; gap=100]]";

#[test]
fn a_stream_that_upstream_cuts_never_ends_cleanly() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    for fault in ["cut=4; gap=20", "cut-bytes=900", "end=5", "cut=1"] {
        let mut stream = Listener::open(&node, &key, &format!("[[sim: {fault}; deltas=20]]"));
        let (names, end) = stream.rest();
        assert!(!names.contains(&"message_stop".to_owned()), "{fault}: {names:?}");
        let told = names.last().map(String::as_str) == Some("error");
        assert!(told || end == Ended::Aborted, "{fault}: a clean end after {names:?}");
    }
    let rows = node.json(&["usage", "--key", &key.id]);
    assert_eq!(rows[0]["requests"], 4, "{rows}");
    assert!(rows[0]["estimated"].as_u64().unwrap() >= 1, "what was cut is estimated, and marked so: {rows}");
}

#[test]
fn an_answer_with_a_length_that_upstream_cuts_is_torn_off() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let answer = wire::message(node.gateway(), &key.key, &say("[[sim: cut-bytes=300; deltas=50]]"));
    assert!(!answer.clean || answer.status >= 500, "{} {}", answer.status, answer.text());
}

#[test]
fn upstreams_own_error_event_is_passed_on() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: error=5; error-type=overloaded_error]]");
    let error = stream.until("error").0;
    assert_eq!(error["error"]["type"], "overloaded_error");
}

fn ending_after_leaving(policy: &str) -> (Value, Value) {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--on-disconnect", policy]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=20; gap=50]]");
    stream.until("content_block_delta");
    stream.wire.leave();
    let line = sim.ending_of("/v1/messages");
    let rows = claviger_testkit::eventually("the row", PATIENCE, || {
        let rows = node.json(&["usage", "--key", &key.id]);
        (rows[0]["requests"] == 1).then_some(rows)
    });
    (line, rows[0].clone())
}

#[test]
fn a_client_that_leaves_cancels_the_call() {
    let (line, row) = ending_after_leaving("cancel");
    assert_eq!(line["ending"], "gone", "{line}");
    assert_eq!(row["estimated"], 1, "{row}");
    assert!(row["output_tokens"].as_u64().unwrap() > 0, "what was made is billed: {row}");
}

#[test]
fn a_client_that_leaves_lets_the_call_drain_when_its_key_says_so() {
    let (line, row) = ending_after_leaving("drain");
    assert_eq!(line["ending"], "completed", "{line}");
    assert_eq!(row["estimated"], 0, "{row}");
    assert_eq!(row["output_tokens"], line["inference"]["usage"]["output_tokens"], "{row}");
}

#[test]
fn a_key_revoked_now_loses_its_streams() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=200; gap=100]]");
    stream.until("content_block_delta");
    let start = Instant::now();
    node.json(&["key", "revoke", &key.id, "--reason", "COMPROMISED", "--now"]);
    let (names, end) = stream.rest();
    assert!(start.elapsed() < Duration::from_secs(10), "cut after {:?}", start.elapsed());
    let told = names.last().map(String::as_str) == Some("error");
    assert!(told || end == Ended::Aborted, "{names:?}");
    assert!(!names.contains(&"message_stop".to_owned()));
    assert_eq!(wire::message(node.gateway(), &key.key, &say("again")).status, 401);
    assert_eq!(sim.ending_of("/v1/messages")["ending"], "gone", "upstream was told as well");
}

#[test]
fn a_key_revoked_in_order_finishes_its_streams_and_begins_no_new_ones() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, LONG);
    stream.until("content_block_delta");
    let view = node.json(&["key", "revoke", &key.id, "--reason", "USER_REQUEST"]);
    assert_eq!((&view["status"], &view["revocation_reason"]), (&json!("revoked"), &json!("USER_REQUEST")));
    assert_eq!(wire::message(node.gateway(), &key.key, &say("again")).status, 401);
    let (names, end) = stream.rest();
    assert_eq!((names.last().map(String::as_str), end), (Some("message_stop"), Ended::Clean));
}

#[test]
fn a_stop_lets_streams_finish_and_takes_no_new_calls() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &["--drain-timeout", "30s"]);
    let key = node.key(&[]);
    let address = node.gateway();
    let mut stream = Listener::open(&node, &key, LONG);
    stream.until("content_block_delta");
    node.process().signal(Signal::TERM);
    claviger_testkit::eventually("new connections to be refused", PATIENCE, || {
        let refused = match wire::Wire::try_to(address) {
            Err(_) => true,
            Ok(mut wire) => {
                // Whoever slipped in gets an answer that is no 200, or none.
                wire.patience(Duration::from_secs(2));
                let sent = wire.try_send(wire::post("/v1/messages", &key.key, &say("late").to_string()));
                sent.and_then(|()| wire.try_answer(false)).map_or(true, |a| a.status != 200)
            }
        };
        refused.then_some(())
    });
    let (names, end) = stream.rest();
    assert_eq!((names.last().map(String::as_str), end), (Some("message_stop"), Ended::Clean));
    assert!(node.stop().success());
}

#[test]
fn connections_that_lie_idle_hold_no_stop_up() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &["--drain-timeout", "30s"]);
    let key = node.key(&[]);
    let mut idle: Vec<_> = (0..4).map(|_| wire::Wire::to(node.gateway())).collect();
    for wire in &mut idle[2..] {
        wire.send(wire::post("/v1/messages", &key.key, &say("hello").to_string()));
        assert_eq!(wire.answer().status, 200);
    }
    let start = Instant::now();
    assert!(node.stop().success());
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

#[test]
fn a_stop_cuts_what_does_not_finish_in_time() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &["--drain-timeout", "1s"]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=400; gap=100]]");
    stream.until("content_block_delta");
    let start = Instant::now();
    node.process().signal(Signal::TERM);
    let (names, end) = stream.rest();
    let told = names.last().map(String::as_str) == Some("error");
    assert!(told || end == Ended::Aborted, "{names:?}");
    assert!(node.stop().success());
    assert!(start.elapsed() < STOP / 2, "it took {:?}", start.elapsed());
    node.start();
    let rows = node.json(&["usage", "--key", &key.id]);
    assert_eq!(rows[0]["requests"], 1, "what was cut is in the ledger: {rows}");
}
