//! On their way: unbuffered, kept alive, repeated only before the first byte.

use std::time::Duration;

use super::{Ended, Listener};
use crate::{
    house::{Claviger, Sim},
    wire::{self, post, say, say_streamed},
};

#[test]
fn events_arrive_when_they_are_sent() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=5; gap=200; no-thinking]]");
    assert!(stream.head.header("content-type").unwrap().starts_with("text/event-stream"));
    let mut arrived = Vec::new();
    let end = loop {
        match stream.event() {
            Ok((name, _, at)) if name == "content_block_delta" => arrived.push(at),
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!((arrived.len(), end), (5, Ended::Clean));
    let span = *arrived.last().unwrap() - arrived[0];
    assert!(span >= Duration::from_millis(600), "five deltas within {span:?}: they were held together");
}

#[test]
fn a_stream_is_passed_on_byte_for_byte() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let prompt =
        "[[sim: deltas=30; unicode; odd-events; crlf; split=7; thinking; pings=4; model=claude-sonnet-5]]";
    let body = say_streamed(prompt).to_string();
    let through = wire::ask(node.gateway(), &post("/v1/messages", &key.key, &body));
    let direct = wire::ask(sim.address(), &post("/v1/messages", crate::house::PROVIDER_KEY, &body));
    assert!(through.clean && direct.clean);
    assert_eq!(without_ids(&through.text()), without_ids(&direct.text()));
}

/// Ids are minted anew for each request.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("msg_") {
        out.push_str(&rest[..at]);
        rest = rest[at + 4..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    }
    out + rest
}

#[test]
fn silence_is_filled_with_pings() {
    let sim = Sim::start();
    let node = Claviger::configured(&sim, "[stream]\nping_after = \"1s\"\n");
    let key = node.key(&[]);
    let mut stream = Listener::open(&node, &key, "[[sim: deltas=4; stall=3; stall-ms=3500]]");
    let (names, end) = stream.rest();
    assert_eq!(end, Ended::Clean);
    let pings = names.iter().filter(|n| *n == "ping").count();
    assert!((2..=6).contains(&pings), "{names:?}");
    assert_eq!(names.last().map(String::as_str), Some("message_stop"));
    assert!(stream.text.contains("event: ping\ndata: {\"type\": \"ping\"}\n\n"));
}

#[test]
fn what_fails_before_the_first_byte_is_tried_again() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    for fault in ["status=529; first=1; token=a", "status=500; first=2; token=b", "hangup; first=1; token=c"]
    {
        let answer = wire::message(node.gateway(), &key.key, &say(&format!("[[sim: {fault}]]")));
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
    }
    let mut stream = Listener::open(&node, &key, "[[sim: status=529; first=1; token=d]]");
    assert_eq!(stream.rest().1, Ended::Clean);
    let tries: Vec<_> = sim.log().iter().map(|l| l["status"].as_u64().unwrap()).collect();
    assert_eq!(tries, [529, 200, 500, 500, 200, 0, 200, 529, 200]);
    let rows = node.json(&["usage", "--key", &key.id]);
    // A refusal is no call, however often it was tried; a call that left and was never answered may have been billed.
    assert_eq!((&rows[0]["requests"], &rows[0]["estimated"]), (&5.into(), &1.into()), "{rows}");
}

#[test]
fn what_upstream_says_not_to_retry_is_passed_on_at_once() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    for (fault, status) in [
        ("status=529; should-retry=false; first=1; token=a", 529),
        ("status=429; retry-after=60; first=1; token=b", 429),
        ("status=400; first=1; token=c", 400),
    ] {
        let answer = wire::message(node.gateway(), &key.key, &say(&format!("[[sim: {fault}]]")));
        assert_eq!(answer.status, status, "{fault}: {}", answer.text());
    }
    assert_eq!(sim.log().len(), 3);
}

#[test]
fn an_upstream_that_is_away_is_told_and_recovers() {
    let sim = Sim::start();
    let proxy = claviger_testkit::FaultProxy::start(sim.address());
    let node = Claviger::started();
    node.connect_to(&format!("http://{}", proxy.address()));
    let key = node.key(&[]);
    assert_eq!(wire::message(node.gateway(), &key.key, &say("one")).status, 200);
    proxy.set(claviger_testkit::Fault::Refuse);
    proxy.cut();
    let answer = wire::message(node.gateway(), &key.key, &say("two"));
    assert!([502, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
    assert_eq!(answer.error().0, "api_error");
    assert_eq!(wire::fetch(node.gateway(), "/readyz").status, 200, "it is not this node that fails");
    proxy.set(claviger_testkit::Fault::None);
    claviger_testkit::eventually("an answer again", Duration::from_secs(60), || {
        let answer = wire::message(node.gateway(), &key.key, &say("three"));
        (answer.status == 200).then_some(())
    });
}
