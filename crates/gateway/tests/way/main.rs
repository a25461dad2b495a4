//! The way of a request through a gateway in this process, with a store that waits or fails when it is told to.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where something unexpected happens")]

mod access_tokens;
mod broken_answers;
mod budgets;
mod counter;
mod heads;
mod house;
mod http2;
mod lists;
mod lost_batches;
mod nonces;
mod ports;
mod recall;
mod reservations;
mod signed;

use std::time::Duration;

use claviger_domain::{
    key::OnDisconnect,
    ledger::{Outcome, RowFlags},
};
use claviger_gateway::GatewayConfig;
use claviger_testkit::{Answer, RawServer, eventually};
use house::{House, Wish, body, post};
use ports::Commits;

const JSON: &str = r#"{"id":"msg_1","type":"message","model":"claude-opus-5-5","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":4}}"#;
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-opus-5-5\",\"content\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n";
const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"12345678\"}}\n\n";
const END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const SSE_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// 4 dollars a million in, 20 out.
const COST: i64 = 10 * 4_000_000 + 4 * 20_000_000;

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn json_upstream() -> RawServer {
    RawServer::start(|_| Answer::ok("application/json", JSON))
}

fn json_head() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", JSON.len())
}

/// A stream that stays open for a while after its first delta.
fn slow_stream(pause: Duration) -> RawServer {
    RawServer::start(move |_| {
        Answer::bytes(SSE_HEAD).then(chunk(START) + &chunk(DELTA)).pause(pause).then(chunk(END) + "0\r\n\r\n")
    })
}

fn settled(house: &House) -> claviger_domain::ledger::LedgerRow {
    eventually("a row", Duration::from_secs(10), || house.store.rows().into_iter().next())
}

#[test]
fn an_answer_is_relayed_and_billed_and_the_upstream_never_sees_the_callers_key() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    let answer = house.send(&house.message(false)).until(JSON);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-request-id: mine\r\n"), "{answer}");
    assert!(answer.contains("anthropic-ratelimit-requests-limit: 60\r\n"), "{answer}");
    let sent = upstream.take(1).remove(0);
    assert_eq!(sent.target(), "/v1/messages?beta=true");
    assert_eq!(sent.header("x-api-key"), [b"sk-ant-api03-provider-0"]);
    let seen = String::from_utf8_lossy(&sent.head);
    assert!(!seen.contains(&house.key), "{seen}");
    let row = settled(&house);
    assert_eq!((row.outcome, row.status, row.cost.as_pico()), (Outcome::Completed, 200, COST));
    assert_eq!(house.store.open_intents(), 0);
}

#[test]
fn the_last_bytes_wait_for_the_record() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    house.store.set_commits(Commits::Wait);
    let mut connection = house.send(&house.message(false));
    let early = connection.within(Duration::from_millis(300));
    assert!(!early.contains(JSON), "{early}");
    house.store.set_commits(Commits::Work);
    assert!((early + &connection.until("}}")).contains(JSON));
}

#[test]
fn the_event_that_ends_a_stream_waits_for_the_record() {
    let upstream = slow_stream(Duration::from_millis(200));
    let house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(true));
    let first = connection.until("12345678");
    assert!(first.contains("message_start"));
    house.store.set_commits(Commits::Wait);
    let more = connection.within(Duration::from_millis(600));
    assert!(more.contains("message_delta") && !more.contains("message_stop"), "{more}");
    house.store.set_commits(Commits::Work);
    connection.until("0\r\n\r\n");
    let row = settled(&house);
    assert_eq!((row.outcome, row.cost.as_pico()), (Outcome::Completed, COST));
    assert!(row.flags.has(RowFlags::STREAM) && !row.flags.has(RowFlags::ESTIMATED));
}

#[test]
fn an_answer_that_cannot_be_recorded_never_ends_cleanly() {
    let upstream = slow_stream(Duration::from_millis(200));
    let house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(true));
    connection.until("12345678");
    house.store.set_commits(Commits::Fail);
    let (rest, _) = connection.rest();
    assert!(!rest.contains("message_stop") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    house.store.set_commits(Commits::Work);
    assert_eq!(settled(&house).outcome, Outcome::Completed);
}

#[test]
fn a_whole_answer_whose_record_cannot_be_kept_is_refused_before_anything_left() {
    let upstream =
        RawServer::start(|_| Answer::bytes("").pause(Duration::from_millis(300)).then(json_head() + JSON));
    let house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(false));
    // By now its intent is durable.
    eventually("an intent", Duration::from_secs(5), || (house.store.open_intents() > 0).then_some(()));
    house.store.set_commits(Commits::Fail);
    let answer = connection.until("\"request_id\"");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    house.store.set_commits(Commits::Work);
    assert_eq!(settled(&house).outcome, Outcome::Completed);
}

#[test]
fn the_head_does_not_wait_for_a_body_that_is_late() {
    let upstream =
        RawServer::start(|_| Answer::bytes(json_head()).pause(Duration::from_millis(600)).then(JSON));
    let house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(false));
    let early = connection.within(Duration::from_millis(400));
    assert!(early.starts_with("HTTP/1.1 200 OK\r\n") && early.ends_with("\r\n\r\n"), "{early}");
    connection.until(JSON);
}

#[test]
fn streams_of_a_revoked_key_are_cut_with_an_event_at_a_border() {
    let upstream = slow_stream(Duration::from_secs(20));
    let house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(true));
    connection.until("12345678");
    house.revoke_now();
    let rest = connection.until("0\r\n\r\n");
    assert!(rest.contains("event: error\ndata: {\"type\":\"error\""), "{rest}");
    let row = settled(&house);
    let named = format!(",\"request_id\":\"{}\"}}\n\n", row.request_id);
    assert!(rest.contains(&named), "the id that the head of the answer has: {rest}");
    assert_eq!((row.outcome, row.usage.output_tokens), (Outcome::Cut, 2));
    assert!(row.flags.has(RowFlags::ESTIMATED));
    let refused = house.send(&house.message(false)).until("request_id\":\"req_");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}

#[test]
fn a_client_that_goes_away_cancels_the_call_unless_its_key_says_drain() {
    for (policy, outcome, output) in
        [(OnDisconnect::Cancel, Outcome::ClientGone, 2), (OnDisconnect::Drain, Outcome::ClientGone, 4)]
    {
        let upstream = slow_stream(Duration::from_millis(300));
        let mut wish = Wish::default();
        wish.key.on_disconnect = policy;
        let house = House::with(&upstream.url(), wish);
        let mut connection = house.send(&house.message(true));
        connection.until("12345678");
        drop(connection);
        let row = settled(&house);
        assert_eq!((row.outcome, row.usage.output_tokens), (outcome, output), "{policy:?}");
        assert_eq!(row.flags.has(RowFlags::ESTIMATED), policy == OnDisconnect::Cancel);
    }
}

#[test]
fn a_refused_provider_key_is_passed_over() {
    let upstream = RawServer::start(|request| {
        if request.header("x-api-key") == [b"sk-ant-api03-provider-0"] {
            Answer::bytes("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        } else {
            Answer::ok("application/json", JSON)
        }
    });
    let house = House::with(&upstream.url(), Wish { credentials: 2, ..Wish::default() });
    for _ in 0..4 {
        let answer = house.send(&house.message(false)).until("}}");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn silent_streams_are_pinged_between_events_only() {
    let half = &DELTA[..40];
    let rest = DELTA[40..].to_owned();
    let first = chunk(START) + &chunk(half);
    let upstream = RawServer::start(move |_| {
        Answer::bytes(SSE_HEAD)
            .then(chunk(START))
            .pause(Duration::from_millis(400))
            .then(&first)
            .pause(Duration::from_millis(400))
            .then(chunk(&rest) + &chunk(END) + "0\r\n\r\n")
    });
    let mut wish = Wish::default();
    wish.config.stream.ping_after = Duration::from_millis(100);
    let house = House::with(&upstream.url(), wish);
    let all = house.send(&house.message(true)).until("0\r\n\r\n");
    let pings = all.matches("event: ping").count();
    assert!((2..=4).contains(&pings), "{all}");
    let inside = all.find(half).unwrap();
    let end = all.find("event: message_delta").unwrap();
    assert!(!all[inside..end].contains("event: ping"), "{all}");
}

#[test]
fn a_stream_can_be_opened_before_the_upstream_answers() {
    let upstream = RawServer::start(|_| {
        Answer::default()
            .pause(Duration::from_millis(400))
            .then("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 68\r\n\r\n")
            .then(r#"{"type":"error","error":{"type":"invalid_request_error","message":""}}"#.get(..68).unwrap())
    });
    let mut config = GatewayConfig::default();
    config.stream.early_keepalive = true;
    config.stream.ping_after = Duration::from_millis(100);
    let house = House::with(&upstream.url(), Wish { config, ..Wish::default() });
    let answer = house.send(&house.message(true)).until("0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("event: ping"), "{answer}");
    assert!(answer.contains("event: error\ndata: {"), "{answer}");
}

#[test]
fn at_a_stop_calls_in_flight_finish_and_the_rest_is_cut() {
    let upstream = slow_stream(Duration::from_millis(500));
    let mut house = House::before(&upstream.url());
    let mut connection = house.send(&house.message(true));
    connection.until("12345678");
    house.tell_to_stop();
    assert!(connection.rest().0.contains("message_stop"));
    house.stop();

    let upstream = slow_stream(Duration::from_secs(20));
    let wish = Wish { drain: Duration::from_millis(200), ..Wish::default() };
    let mut house = House::with(&upstream.url(), wish);
    let mut connection = house.send(&house.message(true));
    connection.until("12345678");
    house.tell_to_stop();
    let (rest, _) = connection.rest();
    assert!(rest.contains("event: error"), "{rest}");
    house.stop();
}

#[test]
fn test_keys_are_answered_by_the_simulator_unpriced() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    let answer = house.send(&post(&house.test_key, &body(false))).until("}}");
    assert!(answer.contains("x-claviger-simulated: true"), "{answer}");
    let row = settled(&house);
    assert!(row.flags.has(RowFlags::SIMULATED));
    assert_eq!((row.cost.as_pico(), row.usage.input_tokens), (0, 9));
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_live_key_without_a_credential_is_told_what_to_do() {
    let house = House::with("http://127.0.0.1:9", Wish { credentials: 0, ..Wish::default() });
    let answer = house.send(&house.message(false)).until("}");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("claviger credential add"), "{answer}");
    assert!(house.store.rows().is_empty());
}

#[test]
fn an_unreachable_upstream_costs_nothing_and_is_recorded() {
    let port = claviger_testkit::free_port();
    let house = House::before(&format!("http://127.0.0.1:{port}"));
    let mut connection = house.send(&house.message(false));
    let answer = connection.until("request_id");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    let row = settled(&house);
    assert_eq!((row.outcome, row.cost.as_pico(), row.attempts), (Outcome::Unreachable, 0, 3));
}

#[test]
fn metrics_have_the_names_that_dashboards_use() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    house.send(&house.message(false)).until("}}");
    let text = house.gateway.metrics_text();
    for name in [
        "claude_api_requests_total{method=\"POST\",status=\"200\",model=\"claude-opus-5-5\"} 1",
        "claviger_feed_view_age_seconds",
        "claviger_recorder_rows_total",
    ] {
        assert!(text.contains(name), "{name}\n{text}");
    }
}
