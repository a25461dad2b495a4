//! Answers that say too much, too little or nothing of themselves, and requests that promise more than they bring.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use claviger_claude_wire::price::PriceTable;
use claviger_domain::ledger::{Outcome, RowFlags};
use claviger_gateway::GatewayConfig;
use claviger_testkit::{Answer, RawServer, eventually};

use super::{COST, DELTA, END, JSON, SSE_HEAD, START, chunk, settled};
use crate::house::{House, Wish, body};

#[test]
fn a_stream_that_breaks_before_it_told_its_usage_is_billed_for_its_input() {
    let upstream = RawServer::start(|_| Answer::bytes(SSE_HEAD).then(chunk(": hello\n\n")).close());
    let house = House::before(&upstream.url());
    house.send(&house.message(true)).until("event: error");
    let row = settled(&house);
    assert!(row.usage.input_tokens > 0 && row.cost.as_pico() > 0, "{row:?}");
}

#[test]
fn a_message_that_never_tells_its_usage_is_not_free() {
    let silent = JSON.replace("\"usage\"", "\"used\"");
    let upstream = RawServer::start(move |_| Answer::ok("application/json", &silent));
    let house = House::before(&upstream.url());
    house.send(&house.message(false)).until("used");
    let row = settled(&house);
    assert!(row.usage.input_tokens > 0 && row.usage.output_tokens > 0 && row.cost.as_pico() > 0, "{row:?}");
    assert!(row.outcome == Outcome::Completed && row.flags.has(RowFlags::ESTIMATED), "{row:?}");

    let text = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"0123456789abcdef\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let upstream = RawServer::start(move |_| Answer::bytes(SSE_HEAD).then(chunk(text) + "0\r\n\r\n"));
    let house = House::before(&upstream.url());
    house.send(&house.message(true)).until("message_stop");
    let row = settled(&house);
    assert!(row.usage.input_tokens > 0 && row.cost.as_pico() > 0, "{row:?}");
    assert_eq!((row.outcome, row.usage.output_tokens), (Outcome::Completed, 4), "{row:?}");
}

#[test]
fn a_stream_that_comes_compressed_unasked_costs_what_it_says() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(format!("{START}{DELTA}{END}").as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let upstream = RawServer::start(move |_| Answer::bytes(head.clone()).then(packed.clone()));
    let house = House::before(&upstream.url());
    house.send(&house.message(true)).until("\r\n\r\n");
    let row = settled(&house);
    assert_eq!((row.usage.input_tokens, row.usage.output_tokens), (10, 4), "{row:?}");
    assert_eq!((row.cost.as_pico(), row.flags.has(RowFlags::ESTIMATED)), (COST, false), "{row:?}");
}

#[test]
fn a_switch_of_protocols_is_never_relayed() {
    let upstream = RawServer::start(|_| {
        Answer::bytes("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    });
    let house = House::before(&upstream.url());
    let answer = house.send(&house.message(false)).until("\"request_id\"");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains(r#"{"type":"error","error":{"type":"api_error""#), "{answer}");
    let row = settled(&house);
    assert_eq!((row.outcome, row.attempts), (Outcome::Unknown, 1), "{row:?}");
}

#[test]
fn a_length_beside_chunks_means_nothing() {
    let upstream = RawServer::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
        Answer::bytes(head).then(chunk(JSON) + "0\r\n\r\n")
    });
    let house = House::before(&upstream.url());
    let answer = house.send(&house.message(false)).until("\r\n0\r\n\r\n");
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.contains(JSON), "{answer}");
}

#[test]
fn a_chunked_answer_that_breaks_before_its_first_piece_never_ends_cleanly() {
    let upstream = RawServer::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        Answer::bytes(head).close()
    });
    let house = House::before(&upstream.url());
    let (answer, _) = house.send(&house.message(false)).rest();
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(settled(&house).outcome, Outcome::UpstreamCut);
}

#[test]
fn a_stream_with_a_length_that_ends_early_is_never_whole() {
    let upstream = RawServer::start(|_| Answer::ok("text/event-stream", START));
    let house = House::before(&upstream.url());
    let (answer, _) = house.send(&house.message(true)).rest();
    assert!(!answer.ends_with(START), "{answer}");
}

#[test]
fn an_answer_that_does_not_say_what_it_is_is_billed() {
    for kind in ["content-type: Application/JSON\r\n", ""] {
        let answer = format!("HTTP/1.1 200 OK\r\n{kind}content-length: {}\r\n\r\n{JSON}", JSON.len());
        let upstream = RawServer::start(move |_| Answer::bytes(answer.clone()));
        let house = House::before(&upstream.url());
        house.send(&house.message(false)).until(JSON);
        assert_eq!(settled(&house).usage.output_tokens, 4, "{kind:?}");
    }
}

#[test]
fn announcing_large_bodies_holds_up_nobody() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", JSON));
    let mut config = GatewayConfig::default();
    config.body.memory = 1 << 20;
    let house = House::with(&upstream.url(), Wish { config, ..Wish::default() });
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\ncontent-length: 700000\r\n\r\n{{",
        house.key
    );
    let mut slow: Vec<_> = (0..4).map(|_| house.send(&head)).collect();
    let said: String = slow.iter_mut().map(|c| c.within(Duration::from_millis(200))).collect();
    assert_eq!(said, "");
    house.send(&house.message(false)).until(JSON);
}

#[test]
fn a_call_lost_on_a_kept_connection_is_charged_before_it_is_sent_again() {
    let calls = AtomicUsize::new(0);
    let upstream = RawServer::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Answer::default().close(),
        _ => Answer::ok("application/json", JSON),
    });
    let house = House::before(&upstream.url());
    house.send(&house.message(false)).until(JSON);
    house.send(&house.message(false)).until(JSON);
    let requests = upstream.take(3);
    assert_eq!(requests[0].connection, requests[1].connection, "the second call was to reuse the connection");
    let rows = eventually("three rows", Duration::from_secs(10), || {
        Some(house.store.rows()).filter(|rows| rows.len() == 3)
    });
    let outcomes: Vec<_> = rows.iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed, Outcome::Unknown, Outcome::Completed]);
    let lost = &rows[1];
    let length = body(false).len() as u64;
    let worst = PriceTable::builtin().worst_case("claude-opus-5-5", length, Some(9), lost.at.as_micros());
    assert_eq!(i128::from(lost.cost.as_pico()), worst, "{lost:?}");
    assert!(lost.flags.has(RowFlags::ESTIMATED) && lost.request_id == rows[2].request_id, "{rows:?}");
}

#[test]
fn a_body_that_trickles_is_told_so_and_costs_nothing() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", JSON));
    let mut config = GatewayConfig::default();
    config.body.pace.idle = Duration::from_millis(300);
    let house = House::with(&upstream.url(), Wish { config, ..Wish::default() });
    for path in ["/v1/messages", "/v1/messages/batches", "/v1/files"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\ncontent-length: 70000\r\n\r\n{{",
            house.key
        );
        let mut slow = house.send(&head);
        let mut said = String::new();
        // Never silent for as long as it may be, and far below the least rate.
        for _ in 0..100 {
            slow.0.write_all(b" ").unwrap();
            said = slow.within(Duration::from_millis(50));
            if !said.is_empty() {
                break;
            }
        }
        said += &slow.rest().0;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("connection: close"), "{path}: {said}");
        assert!(said.contains(r#"{"type":"error","error":{"type":"timeout_error""#), "{path}: {said}");
    }
    assert!(house.store.rows().iter().all(|row| row.cost.as_pico() == 0));
}
