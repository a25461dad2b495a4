//! Clients that are slow, loud or confused. Others are served meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::Guarded;
use crate::wire::{self, Wire, post, say};

/// Sends a byte now and then until the other side has enough; how long that took, and what it said.
fn drip(wire: &mut Wire, start: &str, byte: &str) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    wire.send(start);
    wire.patience(Duration::from_millis(500));
    let mut said = Vec::new();
    while begun.elapsed() < Duration::from_secs(60) && wire.try_send(byte).is_ok() {
        let rest = wire.rest();
        let closed = !rest.is_empty() || begun.elapsed() > Duration::from_secs(60);
        said.extend(rest);
        if closed {
            break;
        }
    }
    (begun.elapsed(), said)
}

#[test]
fn slow_clients_are_given_up_and_hold_nobody_up() {
    let guarded = Guarded::start();
    let address = guarded.node.gateway();
    let key = guarded.key.key.clone();
    let slow_head = thread::spawn(move || {
        let mut wire = Wire::to(address);
        drip(&mut wire, "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-slow: ", "a")
    });
    let slow_body = thread::spawn(move || {
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {key}\r\ncontent-length: 9000\r\n\r\n{{"
        );
        let mut wire = Wire::to(address);
        drip(&mut wire, &head, " ")
    });
    let silent = thread::spawn(move || {
        let mut wire = Wire::to(address);
        wire.send("GET / HT");
        let begun = Instant::now();
        wire.rest();
        begun.elapsed()
    });
    let answer = wire::message(address, &guarded.key.key, &say("hello"));
    assert_eq!(answer.status, 200);

    let (took, said) = slow_head.join().unwrap();
    assert!(took < Duration::from_secs(30), "a slow head was suffered for {took:?}");
    assert!(!String::from_utf8_lossy(&said).starts_with("HTTP/1.1 200"));
    let (took, said) = slow_body.join().unwrap();
    assert!(took < Duration::from_secs(55), "a slow body was suffered for {took:?}");
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    let took = silent.join().unwrap();
    assert!(took < Duration::from_secs(29), "a silent client was suffered for {took:?}");
    assert_eq!(guarded.sim.log().len(), 1, "only the quick client's request went on");
}

#[test]
fn heads_have_a_bound() {
    let guarded = Guarded::start();
    let many: String = (0..2_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let one = format!("x-long: {}\r\n", "y".repeat(200_000));
    let path = format!("/v1/messages?{}", "a".repeat(100_000));
    for (name, path, headers) in
        [("many", "/v1/messages", many), ("long", "/v1/messages", one), ("path", &path, String::new())]
    {
        let mut wire = Wire::to(guarded.node.gateway());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\n{headers}content-length: 2\r\n\r\n{{}}",
            guarded.key.key
        );
        // It may close before all of it was sent.
        drop(wire.try_send(request));
        if let Ok(answer) = wire.try_answer(false) {
            assert!([400, 414, 431].contains(&answer.status), "{name}: {}", answer.status);
        }
    }
    guarded.nothing_was_spent();
}

#[test]
fn garbage_is_never_taken_for_a_request() {
    let guarded = Guarded::start();
    let key = &guarded.key.key;
    let body = say("hello").to_string();
    let smuggled = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {key}\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        body.len()
    );
    let two_lengths = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {key}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x"
    );
    let folded = format!("GET /v1/models HTTP/1.1\r\nhost: h\r\nx-api-key:\r\n {key}\r\n\r\n");
    let cases: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello there\r\n\r\n",
        b"POST\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
        smuggled.as_bytes(),
        two_lengths.as_bytes(),
        folded.as_bytes(),
    ];
    for case in cases {
        let mut wire = Wire::to(guarded.node.gateway());
        wire.patience(Duration::from_secs(2));
        drop(wire.try_send(case));
        if let Ok(answer) = wire.try_answer(false) {
            assert!(answer.status >= 400, "{}: {}", String::from_utf8_lossy(case), answer.status);
        }
    }
    guarded.nothing_was_spent();
}

#[test]
fn garbage_behind_a_request_does_not_harm_it() {
    let guarded = Guarded::start();
    let good = post("/v1/messages", &guarded.key.key, &say("hello").to_string());
    let mut wire = Wire::to(guarded.node.gateway());
    wire.send([good.as_slice(), b"garbage garbage\r\n\r\n"].concat());
    assert_eq!(wire.answer().status, 200);
    wire.patience(Duration::from_secs(5));
    if let Ok(answer) = wire.try_answer(false) {
        assert_eq!(answer.status, 400);
    }
    // Two good ones in one packet are two answers, in order.
    let mut wire = Wire::to(guarded.node.gateway());
    let models = wire::get("/v1/models", &guarded.key.key);
    wire.send([good.as_slice(), &models].concat());
    assert_eq!(wire.answer().json()["type"], "message");
    assert!(wire.answer().json()["data"].is_array());
    assert_eq!(guarded.sim.log().len(), 3);
}

#[test]
fn probes_are_answered_without_a_key() {
    let guarded = Guarded::start();
    for path in ["/", "/api/hello"] {
        let mut wire = Wire::to(guarded.node.gateway());
        wire.send(format!("HEAD {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let answer = wire.answer_to_head();
        assert!(answer.status < 500 && answer.status != 401, "HEAD {path}: {}", answer.status);
        // The connection is as good as before.
        wire.send(wire::get("/readyz", ""));
        assert_eq!(wire.answer().status, 200, "after HEAD {path}");
    }
    guarded.nothing_was_spent();
}

#[test]
fn paths_that_are_not_offered_say_so() {
    let guarded = Guarded::start();
    let key = &guarded.key.key;
    for (path, status) in [
        ("/v1/organizations/me", 501),
        ("/v1/oauth/token", 501),
        ("/v1/agents", 501),
        ("/v1/../v1/organizations/me", 501),
        ("/v1/%6frganizations/me", 501),
    ] {
        let answer = guarded.ask(&post(path, key, "{}"));
        let refused = answer.status == status || [400, 404].contains(&answer.status);
        assert!(refused, "{path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{path}");
    }
    assert_eq!(guarded.ask(&wire::get("/v1/organizations/me", key)).error().0, "not_supported");
    let elsewhere = guarded.ask(&wire::get("/no/such/path", key));
    assert!([404, 501].contains(&elsewhere.status), "{}", elsewhere.text());
    guarded.nothing_was_spent();
}
