use super::*;
use crate::ledger::{UsageCounts, sample};
use proptest::prelude::*;

fn row() -> LedgerRow {
    LedgerRow {
        batch: None,
        model: "m".to_owned(),
        usage: UsageCounts { input_tokens: 100, output_tokens: 50, ..UsageCounts::default() },
        first_byte_us: 500_000,
        duration_us: 1_000_000,
        ..sample::row(1)
    }
}

fn heading() -> Heading {
    Heading { from: "a".to_owned(), until: "b".to_owned(), kept_from: None, by: "model", minutes: 10 }
}

fn report(rows: impl IntoIterator<Item = LedgerRow>) -> PerformanceReport {
    let mut book = PerformanceBook::default();
    rows.into_iter().for_each(|row| book.add(&row, &row.model));
    book.finish(heading(), Vec::new())
}

fn rules(rows: impl IntoIterator<Item = LedgerRow>) -> Vec<Rule> {
    report(rows).advice.into_iter().map(|advice| advice.rule).collect()
}

/// So many calls, so many of them of the second kind.
fn mixed(count: usize, some: usize, changed: impl Fn(LedgerRow) -> LedgerRow) -> Vec<LedgerRow> {
    (0..count).map(|n| if n < some { changed(row()) } else { row() }).collect()
}

proptest! {
    /// A percentile is never too low, and at most a 64th too high.
    #[test]
    fn percentiles_are_those_of_the_sorted_list(
        mut all in prop::collection::vec(prop_oneof![0_i64..100, 0_i64..10_000_000, 0_i64..4_000_000_000_000], 1..300),
        per_mille in prop::sample::select(vec![500_u64, 950, 990, 1_000]),
    ) {
        let mut durations = Durations::default();
        all.iter().for_each(|micros| durations.add(*micros));
        all.sort_unstable();
        let rank = (all.len() as u64 * per_mille).div_ceil(1_000).max(1);
        let exact = all[usize::try_from(rank).unwrap() - 1].cast_unsigned();
        let told = durations.percentile_us(per_mille);
        prop_assert!(exact <= told && told <= exact + exact / 64, "{exact} {told}");
        let sum: i128 = all.iter().map(|micros| i128::from(*micros)).sum();
        prop_assert_eq!(i128::from(durations.mean_us()), sum / all.len() as i128);
    }
}

#[test]
fn the_buckets_of_the_whole_range_are_in_order() {
    let ends = [0, 63, 64, 127, 128, 129, 1 << 20, (1 << 20) + 5, u64::MAX / 2, u64::MAX];
    for micros in ends {
        let end = upper(bucket(micros));
        assert!(micros <= end && end - micros <= micros / 64, "{micros} {end}");
    }
    assert!(Durations::default().percentile_us(990) == 0 && Durations::default().mean_us() == 0);
}

#[test]
fn figures_are_counted_from_the_rows() {
    let failed = LedgerRow { status: 529, outcome: Outcome::UpstreamError, attempts: 3, ..row() };
    let gone = LedgerRow { outcome: Outcome::ClientGone, ..row() };
    let recalled = LedgerRow { flags: RowFlags::RECALLED, duration_us: 9, first_byte_us: 9, ..row() };
    let read = UsageCounts { input_tokens: 100, cache_read_tokens: 300, ..UsageCounts::default() };
    let cached = LedgerRow { usage: read, duration_us: 3_000_000, flags: RowFlags(0), ..row() };
    let total = report([row(), failed, gone, recalled, cached]).total;
    assert_eq!((total.requests, total.rpm, total.errors, total.error_rate), (5, 0.5, 1, 0.2));
    assert_eq!(total.errors_by_outcome, BTreeMap::from([("upstream_error", 1)]));
    assert_eq!((total.retried, total.extra_attempts), (1, 2));
    assert_eq!((total.latency.mean_ms, total.first_byte.mean_ms), (1_500.0, 500.0));
    assert_eq!(total.tokens_per_second, Some(100.0));
    assert_eq!((total.prompt_cache_hit_rate, total.response_cache_hit_rate), (0.375, 0.2));
}

#[test]
fn what_is_no_call_to_a_model_is_not_counted() {
    let others = [
        LedgerRow { endpoint: Endpoint::Models, ..row() },
        LedgerRow { outcome: Outcome::Refused, ..row() },
        LedgerRow { flags: RowFlags::SIMULATED, ..row() },
    ];
    assert_eq!(report(others).total.requests, 0);
}

#[test]
fn more_groups_than_can_be_told_apart_are_told_together() {
    let rows = (0..MOST_GROUPS + 9).map(|n| LedgerRow { model: format!("model-{n:04}"), ..row() });
    let report = report(rows);
    assert_eq!((report.groups.len(), report.total.requests), (MOST_GROUPS + 1, 209));
    assert_eq!((report.groups[0].group.as_str(), report.groups[0].requests), (OTHERS, 9));
}

#[test]
fn nothing_is_said_of_good_figures_nor_of_too_few_calls() {
    assert_eq!(rules(mixed(100, 0, |row| row)), []);
    let bad = |row| LedgerRow { outcome: Outcome::Unreachable, duration_us: 9_000_000, ..row };
    assert_eq!(rules(mixed(19, 19, bad)), []);
}

#[test]
fn errors_above_a_twentieth_are_advised_on_and_no_fewer() {
    let failed = |row| LedgerRow { outcome: Outcome::Unreachable, ..row };
    assert_eq!(rules(mixed(100, 5, failed)), []);
    assert_eq!(rules(mixed(100, 6, failed)), [Rule::HighErrorRate]);
    let gone = |row| LedgerRow { outcome: Outcome::ClientGone, ..row };
    assert_eq!(rules(mixed(100, 50, gone)), [], "a client that goes away is no error of ours");
    let text = &report(mixed(100, 6, failed)).advice[0].text;
    assert!(text.contains("6.0 %") && text.contains("lost connections"), "{text}");
}

#[test]
fn a_mean_above_two_seconds_is_advised_on_and_no_lower() {
    let taking = |micros| move |row| LedgerRow { duration_us: micros, ..row };
    assert_eq!(rules(mixed(50, 50, taking(2_000_000))), []);
    assert_eq!(rules(mixed(50, 50, taking(2_001_000))), [Rule::HighLatency]);
    let late = |row| LedgerRow { first_byte_us: 2_000_000, duration_us: 2_500_000, ..row };
    assert!(report(mixed(50, 50, late)).advice[0].text.contains("before the first byte"));
    assert!(report(mixed(50, 50, taking(2_500_000))).advice[0].text.contains("the answer itself"));
}

#[test]
fn a_low_hit_rate_is_advised_on_where_prompts_are_long() {
    let reading = |input, read| {
        move |row| {
            let usage =
                UsageCounts { input_tokens: input, cache_read_tokens: read, ..UsageCounts::default() };
            LedgerRow { usage, ..row }
        }
    };
    assert_eq!(rules(mixed(50, 50, reading(7_100, 2_900))), [Rule::LowPromptCacheHitRate]);
    assert_eq!(rules(mixed(50, 50, reading(7_000, 3_000))), []);
    assert_eq!(rules(mixed(50, 50, reading(1_999, 0))), [], "too short to be cached");
}

#[test]
fn many_retries_are_advised_on() {
    let again = |row| LedgerRow { attempts: 2, ..row };
    assert_eq!(rules(mixed(100, 5, again)), []);
    assert_eq!(rules(mixed(100, 6, again)), [Rule::ManyRetries]);
}

#[test]
fn a_long_tail_is_advised_on() {
    let slow = |row| LedgerRow { duration_us: 30_000_000, ..row };
    assert_eq!(rules(mixed(200, 1, slow)), []);
    assert_eq!(rules(mixed(200, 3, slow)), [Rule::LongTail]);
}

#[test]
fn a_stage_of_ours_that_is_slow_is_advised_on_and_one_that_waits_for_others_is_not() {
    let stage = |name: &str, count, mean_ms| StageTime { stage: name.to_owned(), count, mean_ms };
    let said = |stages: Vec<StageTime>| {
        let report = PerformanceBook::default().finish(heading(), stages);
        report.advice.into_iter().map(|a| (a.rule, a.about)).collect::<Vec<_>>()
    };
    assert_eq!(said(vec![stage("admit", 20, 10.1)]), [(Rule::SlowStage, "admit".to_owned())]);
    assert_eq!(
        said(vec![stage("admit", 20, 10.0), stage("admit", 19, 99.0), stage("forward", 99, 900.0)]),
        []
    );
}

#[test]
fn what_the_report_looks_like() {
    let failed = |row| LedgerRow { model: "a|b <i>".to_owned(), outcome: Outcome::Unreachable, ..row };
    let mut report = report(mixed(40, 20, failed));
    report.stages = vec![StageTime { stage: "admit".to_owned(), count: 7, mean_ms: 0.25 }];
    report.kept_from = Some("2026-11-01T00:00:00Z".to_owned());
    let json = serde_json::to_string_pretty(&report).unwrap();
    insta::assert_snapshot!(format!("{}\n=====\n{}\n=====\n{json}", report.markdown(), report.html()));
}
