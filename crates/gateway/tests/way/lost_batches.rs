//! Batches that were made, and whose answer nobody read to its end: nobody knows their id, nobody will read their
//! results, and the provider bills them all the same.

use std::time::Duration;

use claviger_claude_wire::price::PriceTable;
use claviger_domain::ledger::{LedgerRow, Outcome, RowFlags};
use claviger_testkit::{Answer, RawServer};

use super::settled;
use crate::house::House;

const PARAMS: &str =
    r#"{"model":"claude-opus-5-5","max_tokens":900,"messages":[{"role":"user","content":"hi"}]}"#;
const BATCH: &str = r#"{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}"#;

fn create(house: &House) -> String {
    let body = format!(r#"{{"requests":[{{"custom_id":"a","params":{PARAMS}}}]}}"#);
    let (key, length) = (&house.key, body.len());
    format!(
        "POST /v1/messages/batches HTTP/1.1\r\nHost: gw\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn is_charged_at_its_reservation(row: &LedgerRow) {
    let worst = PriceTable::builtin().worst_case(
        "claude-opus-5-5",
        PARAMS.len() as u64,
        Some(900),
        row.at.as_micros(),
    );
    assert_eq!((row.outcome, i128::from(row.cost.as_pico())), (Outcome::Unknown, (worst + 1) / 2), "{row:?}");
    assert!(row.flags.has(RowFlags::ESTIMATED) && row.flags.has(RowFlags::BATCH), "{row:?}");
}

#[test]
fn a_batch_whose_answer_is_cut_is_charged_at_its_reservation() {
    let half = &BATCH[..20];
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{half}",
        BATCH.len()
    );
    let upstream = RawServer::start(move |_| Answer::bytes(&head).close());
    let house = House::before(&upstream.url());
    let answer = house.send(&create(&house)).until("request_id");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    is_charged_at_its_reservation(&settled(&house));
}

#[test]
fn a_batch_that_is_never_answered_is_charged_at_its_reservation_and_not_sent_again() {
    let upstream = RawServer::start(|_| Answer::default().close());
    let house = House::before(&upstream.url());
    let answer = house.send(&create(&house)).until("request_id");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    is_charged_at_its_reservation(&settled(&house));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_batch_whose_client_goes_away_before_the_answer_is_charged_at_its_reservation() {
    let upstream = RawServer::start(|_| Answer::default().pause(Duration::from_secs(5)));
    let house = House::before(&upstream.url());
    let connection = house.send(&create(&house));
    let _ = upstream.take(1);
    drop(connection);
    is_charged_at_its_reservation(&settled(&house));
}

#[test]
fn a_batch_whose_answer_names_no_id_is_passed_on_and_charged_at_its_reservation() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", r#"{"type":"message_batch"}"#));
    let house = House::before(&upstream.url());
    let answer = house.send(&create(&house)).until(r#"{"type":"message_batch"}"#);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    is_charged_at_its_reservation(&settled(&house));
}

#[test]
fn a_batch_that_is_answered_costs_nothing_yet() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", BATCH));
    let house = House::before(&upstream.url());
    house.send(&create(&house)).until(BATCH);
    let row = settled(&house);
    assert_eq!((row.outcome, row.cost.as_pico()), (Outcome::Completed, 0), "{row:?}");
}
