use super::*;
use crate::{
    ledger::{Recalled, sample},
    money::PicoUsd,
    price::TokenRates,
};
use proptest::prelude::*;

/// $4 in, $20 out, $5 and $8 to write, $0.20 to read, a million tokens; a search for a cent.
struct Table;

const RATES: TokenRates = TokenRates {
    input: 4_000_000,
    cache_write_5m: 5_000_000,
    cache_write_1h: 8_000_000,
    cache_read: 200_000,
    output: 20_000_000,
};

impl Prices for Table {
    fn quote(&self, call: &PricedCall<'_>) -> Quote {
        Quote { model: call.model.to_owned(), from: None, rates: RATES, assumed: false }
    }
    fn web_search(&self) -> i128 {
        10_000_000_000
    }
    fn version(&self) -> String {
        "test".to_owned()
    }
}

fn row(usage: UsageCounts, flags: RowFlags, cost: i128) -> LedgerRow {
    LedgerRow { batch: None, flags, usage, cost: PicoUsd::new(cost).unwrap(), ..sample::row(1) }
}

/// Booked as the gateway books it.
fn booked(usage: UsageCounts, flags: RowFlags) -> LedgerRow {
    let tokens = RATES.price(&usage);
    let cost = if flags.has(RowFlags::BATCH) { tokens / 2 } else { tokens };
    row(usage, flags, cost + 10_000_000_000 * i128::from(usage.web_search_requests))
}

fn report(rows: &[LedgerRow]) -> Savings {
    let mut book = SavingsBook::default();
    rows.iter().for_each(|row| book.add(row, &row.model, &Table));
    book.finish()
}

const PLAIN: RowFlags = RowFlags(0);

#[test]
fn reads_save_and_writes_cost() {
    let write = booked(UsageCounts { cache_write_5m_tokens: 1_000_000, ..UsageCounts::default() }, PLAIN);
    let read = booked(UsageCounts { cache_read_tokens: 1_000_000, ..UsageCounts::default() }, PLAIN);
    let report = report(&[write, read.clone(), read]);
    assert_eq!(report.total.cost, 5_400_000_000_000);
    assert_eq!(report.total.cache_writes_extra, 1_000_000_000_000);
    assert_eq!(report.total.cache_reads, 7_600_000_000_000);
    assert_eq!(report.total.would_have_cost(), 12_000_000_000_000);
    assert_eq!((report.unpaid_count, report.total.unexplained), (0, 0));
}

#[test]
fn a_cache_write_that_never_paid_back_is_a_loss_that_is_named() {
    let write = booked(
        UsageCounts { cache_write_1h_tokens: 500_000, cache_read_tokens: 100_000, ..UsageCounts::default() },
        PLAIN,
    );
    let report = report(&[write]);
    assert_eq!(report.total.prompt_cache(), 380_000_000_000 - 2_000_000_000_000);
    assert_eq!(
        report.unpaid,
        [Unpaid {
            key: "key_0123456789".to_owned(),
            model: "claude-opus-5-5".to_owned(),
            write_5m_tokens: 0,
            write_1h_tokens: 500_000,
            read_tokens: 100_000,
            lost: 1_620_000_000_000,
        }]
    );
}

#[test]
fn a_batch_saves_half_of_its_tokens_and_nothing_of_its_searches() {
    let usage = UsageCounts { input_tokens: 1_000_000, web_search_requests: 3, ..UsageCounts::default() };
    let report = report(&[booked(usage, RowFlags::BATCH)]);
    assert_eq!((report.total.batch, report.total.batch_items), (2_000_000_000_000, 1));
    assert_eq!(report.total.would_have_cost(), 4_030_000_000_000);
}

#[test]
fn an_answer_from_the_response_cache_saves_what_it_had_cost() {
    let usage = UsageCounts { cache_read_tokens: 1_000_000, output_tokens: 10, ..UsageCounts::default() };
    let report = report(&[row(usage, RowFlags::RECALLED, 0)]);
    assert_eq!((report.total.recalled, report.total.response_cache), (1, 200_200_000_000));
    assert_eq!((report.total.cache_reads, report.total.cost), (0, 0));
    // A row that names the call says what that had cost, and has no usage of its own.
    let hit = row(UsageCounts::default(), RowFlags::RECALLED, 0);
    let whose = Recalled { call: hit.request_id.clone(), saved: PicoUsd::new(77).unwrap() };
    let report = self::report(&[LedgerRow { recalled: Some(whose), ..hit }]);
    assert_eq!((report.total.recalled, report.total.response_cache), (1, 77));
}

#[test]
fn nothing_is_claimed_for_what_cannot_be_worked_out_again() {
    let usage = UsageCounts { cache_read_tokens: 1_000, ..UsageCounts::default() };
    let report = report(&[row(usage, PLAIN, 77)]);
    assert_eq!((report.total.unexplained, report.total.unexplained_cost), (1, 77));
    assert_eq!((report.total.total(), report.total.cost), (0, 77));
}

#[test]
fn what_was_refused_or_simulated_is_not_counted() {
    let usage = UsageCounts { cache_read_tokens: 1_000, ..UsageCounts::default() };
    let refused = LedgerRow { outcome: Outcome::Refused, ..booked(usage, PLAIN) };
    assert_eq!(report(&[refused, row(usage, RowFlags::SIMULATED, 0)]), Savings::default());
}

proptest! {
    /// The parts add up: by themselves and uncached, the calls would have cost exactly so much more.
    #[test]
    fn what_it_would_have_cost_less_what_was_saved_is_what_it_cost(
        rows in prop::collection::vec((prop::array::uniform6(0_u64..1_000_000), any::<bool>()), 0..20)
    ) {
        let usage = |n: [u64; 6]| UsageCounts {
            input_tokens: n[0],
            cache_write_5m_tokens: n[1],
            cache_write_1h_tokens: n[2],
            cache_read_tokens: n[3],
            output_tokens: n[4],
            web_search_requests: n[5] % 9,
        };
        let rows: Vec<LedgerRow> = rows
            .into_iter()
            .map(|(n, is_batch)| booked(usage(n), if is_batch { RowFlags::BATCH } else { PLAIN }))
            .collect();
        let alone: i128 = rows
            .iter()
            .map(|r| RATES.price_uncached(&r.usage) + 10_000_000_000 * i128::from(r.usage.web_search_requests))
            .sum();
        let total = report(&rows).total;
        prop_assert_eq!(total.would_have_cost(), alone);
        prop_assert_eq!(total.cost, rows.iter().map(|r| i128::from(r.cost.as_pico())).sum::<i128>());
        prop_assert_eq!(total.unexplained, 0);
    }
}

#[test]
fn what_is_worked_out_of_rows_before_they_go_says_what_they_would_have_said() {
    let read = UsageCounts { cache_read_tokens: 7_000, input_tokens: 3, ..UsageCounts::default() };
    let write = UsageCounts { cache_write_1h_tokens: 900_000, ..UsageCounts::default() };
    let later =
        |row: LedgerRow, days: i64| LedgerRow { at: row.at.plus_micros(days * 86_400_000_000), ..row };
    let hit = row(UsageCounts::default(), RowFlags::RECALLED, 0);
    let whose = Recalled { call: hit.request_id.clone(), saved: PicoUsd::new(77).unwrap() };
    let rows = [
        booked(read, PLAIN),
        booked(read, RowFlags::BATCH),
        later(booked(write, PLAIN), 1),
        later(LedgerRow { recalled: Some(whose), ..hit }, 1),
        later(row(read, PLAIN, 77), 2),
        later(row(read, RowFlags::SIMULATED, 0), 2),
    ];
    let mut days = SavedDays::default();
    rows.iter().for_each(|row| days.add(row, &Table));
    let kept: Vec<SavedDay> = days
        .finish()
        .map(|day| {
            let text = serde_json::to_string(&day.savings).unwrap();
            SavedDay { savings: serde_json::from_str(&text).unwrap(), ..day }
        })
        .collect();
    assert_eq!(kept.len(), 3);
    let mut book = SavingsBook::default();
    kept.iter().for_each(|day| book.add_day(day, &day.model));
    assert_eq!(book.finish(), report(&rows));
}
