//! What a call is reserved at, seen where it is charged so: nobody answers it.

use claviger_claude_wire::price::PriceTable;
use claviger_domain::ledger::LedgerRow;
use claviger_testkit::{Answer, RawServer};

use super::settled;
use crate::house::House;

/// What is booked for a call that is read and never answered.
fn lost(path: &str, body: &str) -> LedgerRow {
    let upstream = RawServer::start(|_| Answer::bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    let house = House::before(&upstream.url());
    let (key, length) = (&house.key, body.len());
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: gw\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n");
    house.send(&(head + body)).until("request_id");
    settled(&house)
}

fn params(more: &str) -> String {
    format!(
        r#"{{"model":"claude-haiku-5-5","max_tokens":90,{more}"messages":[{{"role":"user","content":"hi"}}]}}"#
    )
}

const DEAR: [&str; 3] = [
    r#""fallbacks":[{"model":"claude-sonnet-5"},{"model":"claude-opus-5"}],"#,
    r#""tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-5"}],"#,
    r#""tools":[{"name":"t","input_schema":{"model":"claude-opus-4-1"},"model":"claude-opus-5"}],"#,
];

#[test]
fn a_call_is_reserved_at_the_dearest_model_that_may_answer_it() {
    let prices = PriceTable::builtin();
    for more in DEAR {
        let body = params(more);
        let row = lost("/v1/messages", &body);
        let worst = prices.worst_case("claude-opus-5", body.len() as u64, Some(90), row.at.as_micros());
        assert_eq!(i128::from(row.cost.as_pico()), worst, "{more}");
    }
    let body = params(r#""fallbacks":"default","#);
    let row = lost("/v1/messages", &body);
    let worst = prices.worst_case("a model nobody knows", body.len() as u64, Some(90), row.at.as_micros());
    assert_eq!(i128::from(row.cost.as_pico()), worst);
}

#[test]
fn a_batch_is_reserved_at_the_dearest_model_of_each_request() {
    let prices = PriceTable::builtin();
    let (one, two) = (params(DEAR[0]), params(""));
    let body =
        format!(r#"{{"requests":[{{"custom_id":"a","params":{one}}},{{"custom_id":"b","params":{two}}}]}}"#);
    let row = lost("/v1/messages/batches", &body);
    let worst =
        |model, params: &str| prices.worst_case(model, params.len() as u64, Some(90), row.at.as_micros());
    let both = worst("claude-opus-5", &one) + worst("claude-haiku-5-5", &two);
    assert_eq!(i128::from(row.cost.as_pico()), (both + 1) / 2);
}
