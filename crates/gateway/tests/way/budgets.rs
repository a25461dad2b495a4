//! Ceilings on money, on a request's way.

use claviger_domain::{
    budget::{BudgetMode, BudgetSubject, Period, Standing},
    money::PicoUsd,
};
use claviger_service::{Caller, budgets::BudgetWish};
use claviger_testkit::{Answer, RawServer};

use super::{COST, JSON, json_upstream, settled};
use crate::house::{House, post};

fn set(house: &House, limit_pico: i64, hard: bool) {
    let wish = BudgetWish {
        subject: BudgetSubject::Key(house.key_id.clone()),
        period: Period::Day,
        zone: None,
        limit: PicoUsd::new(i128::from(limit_pico)).unwrap(),
        hard,
        mode: BudgetMode::Strict,
    };
    house.control.block_on(house.services.budgets.set(wish, None, &Caller::system())).unwrap();
}

fn standing(house: &House) -> Standing {
    house.services.budgets.standings(None).remove(0)
}

#[test]
fn a_call_that_could_pass_a_hard_budget_is_refused_and_never_sent() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, COST, true);
    let answer = house.send(&house.message(false)).until("request_id");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    for part in [
        "x-should-retry: false\r\n",
        "anthropic-ratelimit-unified-status: rejected\r\n",
        "anthropic-ratelimit-unified-overage-period: daily\r\n",
        "retry-after: ",
        "billing_error",
        "your key's budget of $0.00012 per day",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!((standing(&house).settled, standing(&house).reserved), (0, 0));
}

#[test]
fn what_a_call_has_cost_is_settled_and_the_rest_is_given_back() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, 100_000_000_000_000, true);
    let answer = house.send(&house.message(false)).until(JSON);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let row = settled(&house);
    assert_eq!((row.cost.as_pico(), row.charges.len()), (COST, 1));
    let standing = standing(&house);
    assert_eq!((standing.settled, standing.reserved), (i128::from(COST), 0));
}

#[test]
fn a_soft_budget_lets_everything_pass_and_counts_it() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, 1, false);
    let answer = house.send(&house.message(false)).until(JSON);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    settled(&house);
    assert_eq!(standing(&house).settled, i128::from(COST));
}

#[test]
fn a_call_that_is_never_answered_is_charged_at_what_was_held_back() {
    let upstream = RawServer::start(|_| Answer::bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    let house = House::before(&upstream.url());
    set(&house, 100_000_000_000_000, true);
    house.send(&house.message(false)).until("request_id");
    let row = settled(&house);
    assert!(row.cost.as_pico() > COST);
    let standing = standing(&house);
    assert_eq!((standing.settled, standing.reserved), (i128::from(row.cost.as_pico()), 0));
}

#[test]
fn what_has_no_bound_is_refused_under_a_hard_budget_and_named() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, 100_000_000_000_000, true);
    let body = r#"{"model":"claude-opus-5-5","max_tokens":9,"messages":[],"tools":[{"type":"web_search_20260209","name":"web_search"}]}"#;
    let answer = house.send(&post(&house.key, body)).until("request_id");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("max_uses"), "{answer}");
    assert!(upstream.requests().is_empty());
}
