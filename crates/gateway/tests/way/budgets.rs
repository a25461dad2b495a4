//! Ceilings on money, on a request's way.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use claviger_domain::{
    budget::{BudgetMode, BudgetSubject, Period, Standing},
    estimate::{Content, Terms},
    key::OnDisconnect,
    ledger::{Outcome, RowFlags},
    money::PicoUsd,
};
use claviger_service::{Caller, budgets::BudgetWish};
use claviger_testkit::{Answer, RawServer, eventually};

use super::{COST, DELTA, END, JSON, SSE_HEAD, START, chunk, json_upstream, settled};
use crate::{
    house::{House, Wish, post},
    ports::Commits,
};

fn set(house: &House, limit_pico: i64, hard: bool) {
    set_in(house, limit_pico, hard, BudgetMode::Strict);
}

fn set_in(house: &House, limit_pico: i64, hard: bool, mode: BudgetMode) {
    let wish = BudgetWish {
        subject: BudgetSubject::Key(house.key_id.clone()),
        period: Period::Day,
        zone: None,
        limit: PicoUsd::new(i128::from(limit_pico)).unwrap(),
        hard,
        mode,
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

/// gateways.md, 3.6 and 3.14: where the store was away, others let calls pass uncounted.
#[test]
fn a_call_whose_reservation_cannot_be_kept_is_never_sent() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, 100_000 * COST, true);
    house.store.set_commits(Commits::Fail);
    let answer = house.send(&house.message(false)).until("request_id");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(upstream.requests().is_empty());
    house.store.set_commits(Commits::Work);
    eventually("an answer once it can be kept", Duration::from_secs(20), || {
        let head = house.send(&house.message(false)).until("\r\n\r\n");
        head.starts_with("HTTP/1.1 200 ").then_some(())
    });
    assert_eq!(upstream.requests().len(), 1);
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

/// What the input of the stream costs, and each of its output tokens.
const INPUT: i64 = 10 * 4_000_000;
const OUTPUT: i64 = 20_000_000;

/// A stream of 64 characters, and of as many after a pause, which has used four tokens in the end.
fn long_stream() -> RawServer {
    RawServer::start(move |_| {
        let deltas = chunk(&DELTA.repeat(8));
        let (pause, end) = (Duration::from_millis(400), chunk(END) + "0\r\n\r\n");
        Answer::bytes(SSE_HEAD).then(chunk(START) + &deltas).pause(pause).then(deltas).pause(pause).then(end)
    })
}

#[test]
fn a_stream_is_ended_with_an_event_when_nothing_is_left_of_an_expected_budget() {
    let upstream = long_stream();
    let house = House::before(&upstream.url());
    set_in(&house, 5 * OUTPUT, true, BudgetMode::Expected);
    let answer = house.send(&house.message(true)).until("0\r\n\r\n");
    assert!(answer.contains("event: error\ndata: {\"type\":\"error\""), "{answer}");
    assert!(
        answer.contains("billing_error") && answer.contains("your key's budget of $0.0001 per day"),
        "{answer}"
    );
    assert_eq!(answer.matches("12345678").count(), 8, "what had come before it has passed");
    let row = settled(&house);
    let named = format!(",\"request_id\":\"{}\"}}\n\n", row.request_id);
    assert!(answer.contains(&named), "it says which request: {answer}");
    assert_eq!((row.outcome, row.detail.as_str(), row.usage.output_tokens), (Outcome::Cut, "budget", 16));
    assert_eq!(row.cost.as_pico(), INPUT + 16 * OUTPUT);
    assert!(row.flags.has(RowFlags::ESTIMATED));
    let standing = standing(&house);
    assert_eq!((standing.reserved, standing.left), (0, 0));
    assert_eq!(standing.overshoot_bound, i128::from(INPUT + 11 * OUTPUT));
    let refused = house.send(&house.message(true)).until("request_id");
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("it will cost at least $"), "{refused}");
}

#[test]
fn a_stream_that_is_ended_is_read_to_its_end_where_the_key_says_drain() {
    let upstream = long_stream();
    let mut wish = Wish::default();
    wish.key.on_disconnect = OnDisconnect::Drain;
    let house = House::with(&upstream.url(), wish);
    set_in(&house, 5 * OUTPUT, true, BudgetMode::Expected);
    let answer = house.send(&house.message(true)).until("0\r\n\r\n");
    assert!(answer.contains("billing_error"), "{answer}");
    assert!(house.store.rows().is_empty(), "the client need not wait for it");
    let row = settled(&house);
    assert_eq!((row.outcome, row.detail.as_str()), (Outcome::Cut, "budget"));
    assert_eq!((row.cost.as_pico(), row.flags.has(RowFlags::ESTIMATED)), (COST, false));
    assert_eq!((standing(&house).reserved, standing(&house).settled), (0, i128::from(COST)));
}

#[test]
fn a_stream_under_a_strict_budget_is_never_ended_for_it() {
    let upstream = long_stream();
    let house = House::before(&upstream.url());
    set_in(&house, 100_000_000_000_000, true, BudgetMode::Strict);
    let answer = house.send(&house.message(true)).until("0\r\n\r\n");
    assert!(answer.contains("message_stop") && !answer.contains("billing_error"), "{answer}");
    assert_eq!(settled(&house).outcome, Outcome::Completed);
}

#[test]
fn an_answer_that_is_no_stream_is_booked_at_what_it_costs_and_the_next_one_refused() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set_in(&house, COST - 1, true, BudgetMode::Expected);
    let answer = house.send(&house.message(false)).until(JSON);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    settled(&house);
    assert_eq!((standing(&house).settled, standing(&house).overshoot_bound), (i128::from(COST), 1));
    let refused = house.send(&house.message(false)).until("request_id");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_expected_budget_holds_back_what_calls_before_have_cost() {
    let calls = AtomicUsize::new(0);
    let upstream = RawServer::start(move |_| {
        let answer = Answer::ok("application/json", JSON);
        match calls.fetch_add(1, Ordering::Relaxed) {
            0..12 => answer,
            _ => Answer::bytes("").pause(Duration::from_secs(1)).then(answer_text()),
        }
    });
    let house = House::before(&upstream.url());
    set_in(&house, 100_000_000_000_000, true, BudgetMode::Expected);
    for call in 1..=12 {
        house.send(&house.message(false)).until(JSON);
        eventually("its row", Duration::from_secs(10), || (house.store.rows().len() == call).then_some(()));
    }
    let mut last = house.send(&house.message(false));
    let held = eventually("what is held", Duration::from_secs(10), || {
        Some(standing(&house).reserved).filter(|held| *held > 0)
    });
    let cost = i128::from(COST);
    assert!((cost..cost * 13 / 10).contains(&held), "{held}");
    last.until(JSON);
}

fn answer_text() -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{JSON}",
        JSON.len()
    )
}

#[test]
fn counts_of_tokens_teach_what_prompts_take() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", r#"{"input_tokens":50}"#));
    let house = House::before(&upstream.url());
    let content = Content { units: [70, 0, 0, 0, 0, 0] };
    let terms = Terms { input_pico: 1, output_pico: 0, max_output: 0, worst: PicoUsd::MAX };
    let ask = || house.services.budgets.ask(&house.key_id, "claude-opus-5-5", &content, &terms).least;
    let before = ask();
    let request = house.message(false).replace("/v1/messages?", "/v1/messages/count_tokens?");
    let count = |times| (0..times).for_each(|_| drop(house.send(&request).until("input_tokens")));
    count(9);
    assert_eq!(ask(), before, "no budget asks what calls will likely cost");
    set_in(&house, 100_000_000_000_000, true, BudgetMode::Expected);
    count(9);
    eventually("a lesson", Duration::from_secs(10), || (ask() > before).then_some(()));
}

#[test]
fn what_was_spent_refuses_nobody_once_the_next_period_has_begun() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    set(&house, COST, true);
    let refused = house.send(&house.message(false)).until("request_id");
    let most = refused.split("it can cost up to $").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let most = PicoUsd::from_usd(most).unwrap().as_pico();
    // Enough for one call, and a pico-dollar less than enough for two.
    set(&house, most + COST - 1, true);
    let status = || house.send(&house.message(false)).until("\r\n\r\n")[9..12].to_owned();
    assert_eq!(status(), "200");
    eventually("what it cost", Duration::from_secs(20), || {
        (standing(&house).settled == i128::from(COST)).then_some(())
    });
    assert_eq!((status(), status()), ("429".to_owned(), "429".to_owned()));
    house.clock.advance(Duration::from_secs(86_400));
    assert_eq!((standing(&house).settled, standing(&house).reserved), (0, 0));
    assert_eq!(status(), "200");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn answers_under_a_hard_budget_say_how_much_of_it_is_spent() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    let head = || house.send(&house.message(false)).until("\r\n\r\n");
    set(&house, 1_000_000 * COST, false);
    assert!(!head().contains("-unified-"), "a soft one refuses nobody");
    eventually("what it cost", Duration::from_secs(20), || {
        (standing(&house).settled == i128::from(COST)).then_some(())
    });
    set(&house, 1_000_000 * COST, true);
    let begun = head();
    for part in [
        "anthropic-ratelimit-unified-status: allowed\r\n",
        "anthropic-ratelimit-unified-representative-claim: overage\r\n",
        "anthropic-ratelimit-unified-overage-status: allowed\r\n",
        "anthropic-ratelimit-unified-overage-utilization: 0.00\r\n",
        "anthropic-ratelimit-unified-overage-period: daily\r\n",
        "anthropic-ratelimit-unified-reset: ",
    ] {
        assert!(begun.contains(part), "{part}: {begun}");
    }
    assert!(!begun.contains("surpassed"), "{begun}");
    // As much again is spent as makes four fifths, and then all but a hundredth.
    let spend = |percent: i128| {
        let held = standing(&house);
        let limit = i128::from(held.record.limit.as_pico());
        let party = house.control.block_on(house.services.keys.show(&house.key_id)).unwrap().0;
        let party = claviger_domain::ledger::Party {
            key: party.id,
            workspace: party.workspace,
            owner: party.owner,
            class: party.class,
        };
        let cost = PicoUsd::new(limit * percent / 100 - held.settled).unwrap();
        let ask = claviger_domain::budget::Ask::at_most(cost);
        let now = claviger_domain::clock::Clock::now(&house.clock);
        house.services.budgets.reserve(&party, None, ask, now).unwrap().unwrap().settle(cost);
    };
    spend(80);
    let warned = head();
    for part in [
        "anthropic-ratelimit-unified-status: allowed_warning\r\n",
        "anthropic-ratelimit-unified-surpassed-threshold: 0.75\r\n",
        "anthropic-ratelimit-unified-overage-utilization: 0.80\r\n",
    ] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    spend(96);
    let warned = head();
    assert!(warned.contains("anthropic-ratelimit-unified-surpassed-threshold: 0.95\r\n"), "{warned}");
}
