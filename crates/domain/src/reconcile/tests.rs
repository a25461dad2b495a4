use super::*;
use crate::{
    id::UpstreamId,
    ledger::sample,
    money::PicoUsd,
    price::TokenRates,
    secret::SecretBytes,
    upstream::{CredentialPurpose, CredentialRecord, ServiceState},
};

const DAY: i64 = 20_000;
const NOON: i64 = MICROS_PER_DAY / 2;

struct Table;

impl Prices for Table {
    fn quote(&self, call: &PricedCall<'_>) -> Quote {
        let rates = TokenRates {
            input: 4_000_000,
            cache_write_5m: 5_000_000,
            cache_write_1h: 8_000_000,
            cache_read: 200_000,
            output: 20_000_000,
        };
        let model = call.model.strip_suffix("-20251101").unwrap_or(call.model).to_owned();
        Quote { assumed: model == "mystery", model, from: None, rates }
    }
    fn web_search(&self) -> i128 {
        10_000_000_000
    }
    fn version(&self) -> String {
        "test".to_owned()
    }
}

fn tokens(input: u64, output: u64) -> UsageCounts {
    UsageCounts { input_tokens: input, output_tokens: output, ..UsageCounts::default() }
}

fn at(day: i64, micros: i64) -> Timestamp {
    Timestamp::from_micros(day * MICROS_PER_DAY + micros)
}

fn row(moment: Timestamp, usage: UsageCounts) -> LedgerRow {
    let cost = Table.quote(&PricedCall { model: "m", prompt: 0, fast: false, us: false, at: moment });
    LedgerRow {
        batch: None,
        at: moment,
        model: "m".to_owned(),
        flags: RowFlags(0),
        usage,
        cost: PicoUsd::new(cost.rates.price(&usage)).unwrap(),
        ..sample::row(1)
    }
}

fn billed(key: &str, day: i64, usage: UsageCounts) -> BilledPart {
    let lane = Lane { model: "m".to_owned(), batch: false, fast: false, us: false };
    BilledPart { api_key: Some(key.to_owned()), day, lane, usage }
}

/// Our key is `apikey_1`, sealed as `cred_1`; `apikey_2` is somebody's.
fn judged(rows: &[LedgerRow], billed: &[BilledPart], now: Timestamp) -> Reconciliation {
    let key = |id: &str, hint: &str| ProviderApiKey {
        id: id.to_owned(),
        name: id.to_owned(),
        status: "active".to_owned(),
        hint: hint.to_owned(),
    };
    let keys = [key("apikey_1", "sk-ant-one...eeee"), key("apikey_2", "sk-ant-two...oooo")];
    let record = CredentialRecord {
        id: CredentialId::parse("cred_1").unwrap(),
        upstream: UpstreamId::parse("up_1").unwrap(),
        purpose: CredentialPurpose::Traffic,
        workspace: None,
        name: "apikey_1".to_owned(),
        sealed: Vec::new(),
        hint: "sk-ant-…eeee".to_owned(),
        state: ServiceState::Active,
        created_at: at(0, 0),
        version: 1,
    };
    let secret = SecretBytes::new(b"sk-ant-one-0123456789-eeee".to_vec());
    let sealed = [SealedKey { record: &record, secret: Some(&secret) }];
    let mut ledgers = Ledgers::default();
    rows.iter().for_each(|row| ledgers.add(row, &Table));
    let cost = |part: &BilledPart| {
        let quote = Table.quote(&PricedCall { model: "m", prompt: 0, fast: false, us: false, at: now });
        let tokens = quote.rates.price(&part.usage);
        CostPart { day: part.day, cost: if part.lane.batch { tokens / 2 } else { tokens }, is_metered: true }
    };
    let costs: Vec<CostPart> = billed.iter().map(cost).collect();
    let sides = Sides {
        keys: &keys,
        billed,
        costs: &costs,
        ledgers: &ledgers,
        sealed: &sealed,
        days: (DAY, DAY + 2),
        now,
    };
    reconcile(&sides, &Table)
}

fn verdicts(result: &Reconciliation) -> Vec<(i64, Verdict, UsageCounts)> {
    let mut all: Vec<_> = result.findings.iter().map(|f| (f.day - DAY, f.verdict, f.excess)).collect();
    all.sort_by_key(|(day, verdict, _)| (*day, *verdict));
    all
}

const NONE: UsageCounts = UsageCounts {
    input_tokens: 0,
    cache_write_5m_tokens: 0,
    cache_write_1h_tokens: 0,
    cache_read_tokens: 0,
    output_tokens: 0,
    web_search_requests: 0,
};

fn later() -> Timestamp {
    at(DAY + 9, 0)
}

#[test]
fn equal_books_hold_no_finding() {
    let result =
        judged(&[row(at(DAY, NOON), tokens(5, 7))], &[billed("apikey_1", DAY, tokens(5, 7))], later());
    assert_eq!(verdicts(&result), [(0, Verdict::Equal, NONE)]);
    assert_eq!((result.leaked(), result.unexplained()), (0, 0));
}

#[test]
fn a_call_past_us_is_found_to_the_token_and_the_pico_dollar() {
    let rows = [row(at(DAY, NOON), tokens(5, 7))];
    let result = judged(&rows, &[billed("apikey_1", DAY, tokens(105, 8))], later());
    assert_eq!(verdicts(&result), [(0, Verdict::Leak, tokens(100, 1))]);
    assert_eq!((result.leaked(), result.unexplained()), (420_000_000, 0));
    // Also with a key that nobody sealed.
    let parts = [billed("apikey_1", DAY, tokens(5, 7)), billed("apikey_2", DAY + 1, tokens(0, 3))];
    let result = judged(&rows, &parts, later());
    assert_eq!(verdicts(&result), [(0, Verdict::Equal, NONE), (1, Verdict::Leak, tokens(0, 3))]);
    let leak = &result.findings[0];
    assert_eq!((leak.verdict, leak.credentials.len(), leak.excess_cost), (Verdict::Leak, 0, 60_000_000));
}

#[test]
fn a_call_over_midnight_may_stand_on_either_day_and_no_other_may() {
    let bill = [billed("apikey_1", DAY + 1, tokens(5, 7))];
    let late = row(at(DAY, MICROS_PER_DAY - 1_000), tokens(5, 7));
    let result = judged(&[late], &bill, later());
    assert_eq!(verdicts(&result), [(0, Verdict::Border, NONE), (1, Verdict::Border, NONE)]);
    assert_eq!(result.days.values().map(AccountDay::rest).collect::<Vec<_>>(), [0, 0]);
    let early = row(at(DAY + 1, SKEW_MICROS - 1), tokens(5, 7));
    let result = judged(&[early], &[billed("apikey_1", DAY, tokens(5, 7))], later());
    assert_eq!(verdicts(&result), [(0, Verdict::Border, NONE), (1, Verdict::Border, NONE)]);
    // At noon it cannot have been billed on another day: it was another call.
    let result = judged(&[row(at(DAY, NOON), tokens(5, 7))], &bill, later());
    assert_eq!(verdicts(&result), [(0, Verdict::Short, NONE), (1, Verdict::Leak, tokens(5, 7))]);
}

#[test]
fn a_leak_does_not_hide_behind_a_call_at_midnight() {
    let late = row(at(DAY, MICROS_PER_DAY - 1_000), tokens(5, 7));
    let result = judged(&[late], &[billed("apikey_1", DAY + 1, tokens(6, 7))], later());
    assert_eq!(verdicts(&result), [(0, Verdict::Border, NONE), (1, Verdict::Leak, tokens(1, 0))]);
    assert_eq!((result.leaked(), result.unexplained()), (4_000_000, 0));
}

#[test]
fn an_item_of_a_batch_may_be_billed_a_day_away() {
    let item = LedgerRow { flags: RowFlags::BATCH, ..row(at(DAY, NOON), tokens(10, 0)) };
    let item = LedgerRow { cost: PicoUsd::new(20_000_000).unwrap(), ..item };
    let mut part = billed("apikey_1", DAY + 1, tokens(10, 0));
    part.lane.batch = true;
    let result = judged(&[item], &[part], later());
    assert_eq!(verdicts(&result), [(0, Verdict::Border, NONE), (1, Verdict::Border, NONE)]);
    assert_eq!((result.leaked(), result.unexplained()), (0, 0));
}

#[test]
fn what_is_not_billed_is_pending_while_the_day_is_open_and_short_afterwards() {
    let rows = [row(at(DAY, NOON), tokens(5, 7))];
    let closes = at(DAY + 1, DELAY_MICROS);
    let open = judged(&rows, &[], closes.plus_micros(-1));
    assert_eq!(verdicts(&open), [(0, Verdict::Pending, NONE)]);
    assert_eq!((open.leaked(), open.unexplained()), (0, 0));
    let closed = judged(&rows, &[], closes);
    assert_eq!(verdicts(&closed), [(0, Verdict::Short, NONE)]);
    // What is billed and not booked is a leak on an open day, too.
    let leak = judged(&[], &[billed("apikey_1", DAY, tokens(1, 0))], at(DAY, NOON));
    assert_eq!(verdicts(&leak), [(0, Verdict::Leak, tokens(1, 0))]);
}

#[test]
fn an_estimate_explains_output_and_nothing_else() {
    let cut = LedgerRow { flags: RowFlags::ESTIMATED, ..row(at(DAY, NOON), tokens(5, 7)) };
    let more = judged(std::slice::from_ref(&cut), &[billed("apikey_1", DAY, tokens(5, 9))], later());
    assert_eq!(verdicts(&more), [(0, Verdict::Estimated, tokens(0, 2))]);
    assert_eq!((more.leaked(), more.unexplained()), (0, 0));
    let less = judged(std::slice::from_ref(&cut), &[billed("apikey_1", DAY, tokens(5, 1))], later());
    assert_eq!(verdicts(&less), [(0, Verdict::Estimated, NONE)]);
    let leak = judged(&[cut], &[billed("apikey_1", DAY, tokens(6, 9))], later());
    assert_eq!(verdicts(&leak), [(0, Verdict::Leak, tokens(1, 2))]);
}

#[test]
fn a_reservation_explains_no_more_than_it_holds() {
    let lost = LedgerRow {
        outcome: Outcome::Unknown,
        cost: PicoUsd::new(100_000_000).unwrap(),
        ..row(at(DAY, NOON), NONE)
    };
    let within = judged(std::slice::from_ref(&lost), &[billed("apikey_1", DAY, tokens(5, 4))], later());
    assert_eq!(verdicts(&within), [(0, Verdict::Unknown, tokens(5, 4))]);
    assert_eq!((within.leaked(), within.unexplained()), (0, 0));
    let beyond = judged(std::slice::from_ref(&lost), &[billed("apikey_1", DAY, tokens(5, 5))], later());
    assert_eq!(verdicts(&beyond), [(0, Verdict::Leak, tokens(5, 5))]);
    let unbilled = judged(&[lost], &[], later());
    assert_eq!(verdicts(&unbilled), [(0, Verdict::Unknown, NONE)]);
    assert_eq!(unbilled.unexplained(), 0);
}

#[test]
fn what_was_free_refused_or_recalled_is_not_expected_on_the_bill() {
    let free = LedgerRow { cost: PicoUsd::ZERO, ..row(at(DAY, NOON), tokens(5, 7)) };
    let refused = LedgerRow { outcome: Outcome::Refused, ..row(at(DAY, NOON), tokens(5, 7)) };
    let recalled = LedgerRow { flags: RowFlags::RECALLED, ..row(at(DAY, NOON), tokens(5, 7)) };
    assert_eq!(verdicts(&judged(&[free, refused, recalled], &[], later())), []);
}

#[test]
fn models_are_the_same_under_both_of_their_names_and_unknown_ones_are_a_guess() {
    let mut part = billed("apikey_1", DAY, tokens(5, 7));
    part.lane.model = "m-20251101".to_owned();
    assert_eq!(
        verdicts(&judged(&[row(at(DAY, NOON), tokens(5, 7))], &[part.clone()], later())),
        [(0, Verdict::Equal, NONE)]
    );
    part.lane.model = "mystery".to_owned();
    let result = judged(&[], &[part], later());
    assert!(result.findings[0].is_guess && result.findings[0].lane.model == "mystery");
}

#[test]
fn a_price_that_is_not_ours_shows_in_what_is_left() {
    let rows = [LedgerRow { cost: PicoUsd::new(1).unwrap(), ..row(at(DAY, NOON), tokens(5, 7)) }];
    let result = judged(&rows, &[billed("apikey_1", DAY, tokens(5, 7))], later());
    assert_eq!((result.leaked(), result.unexplained()), (0, 160_000_000 - 1));
}
