use claviger_domain::{
    audit::{Actor, AuditEvent, Digest},
    id::NodeId,
    ledger::{Group, LedgerRow},
    money::PicoUsd,
};
use claviger_storage::{Database, Durability, Options};
use proptest::prelude::*;

use super::*;
use crate::fake::{intent, row};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

async fn house(rows: Vec<LedgerRow>) -> (tempfile::TempDir, Usage) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claviger.db").to_string_lossy().into_owned();
    let options = Options { durability: Durability::Process, ..Options::default() };
    let db = Database::open(&path, options).await.unwrap();
    let chain = NodeId::parse("node_1").unwrap();
    let now = rows.iter().map(|row| row.at).max().unwrap_or_default();
    db.open_chain(&chain, AuditEvent::new(now, Actor::System, "audit.chain.open", "")).await.unwrap();
    let group = Group {
        chain,
        number: 1,
        at: now,
        previous: Digest::EMPTY,
        intents: Vec::new(),
        rows,
        released: Vec::new(),
        resources: Vec::new(),
    };
    db.commit_group(&group).await.unwrap();
    (folder, Usage::new(Arc::new(db)))
}

fn costing(n: u64, moment: &str, pico: i128) -> LedgerRow {
    let row = row(&intent(n));
    LedgerRow { at: at(moment), cost: PicoUsd::new(pico).unwrap(), ..row }
}

async fn told(usage: &Usage, period: Period, zone: &str, query: UsageQuery) -> Vec<(String, u64, String)> {
    let grouping = Grouping::Per(Calendar::new(period, zone).unwrap());
    let rows = usage.report(Some(&grouping), query).await.unwrap();
    rows.into_iter().map(|row| (row.group, row.requests, row.cost_pusd)).collect()
}

fn line(name: &str, requests: u64, pico: u64) -> (String, u64, String) {
    (name.to_owned(), requests, pico.to_string())
}

#[tokio::test]
async fn periods_begin_at_midnight_of_the_zone() {
    let (_folder, usage) = house(vec![
        costing(1, "2026-10-31T15:59:59.999999Z", 1),
        costing(2, "2026-10-31T16:00:00Z", 20),
        costing(3, "2026-11-01T15:59:00Z", 300),
        costing(4, "2026-11-01T16:00:00Z", 4_000),
    ])
    .await;
    let all = UsageQuery::default;
    assert_eq!(
        told(&usage, Period::Day, "Asia/Shanghai", all()).await,
        [line("2026-10-31", 1, 1), line("2026-11-01", 2, 320), line("2026-11-02", 1, 4_000)]
    );
    assert_eq!(
        told(&usage, Period::Day, "UTC", all()).await,
        [line("2026-10-31", 2, 21), line("2026-11-01", 2, 4_300)]
    );
    assert_eq!(
        told(&usage, Period::Month, "Asia/Shanghai", all()).await,
        [line("2026-10", 1, 1), line("2026-11", 3, 4_320)]
    );
    assert_eq!(told(&usage, Period::Week, "UTC", all()).await, [line("2026-W44", 4, 4_321)]);
    assert_eq!(
        told(&usage, Period::Week, "Asia/Shanghai", all()).await,
        [line("2026-W44", 3, 321), line("2026-W45", 1, 4_000)]
    );
    let cut = UsageQuery {
        from: Some(at("2026-11-01T00:00:00Z")),
        until: Some(at("2026-11-01T16:00:00Z")),
        ..all()
    };
    assert_eq!(told(&usage, Period::Month, "Asia/Shanghai", cut).await, [line("2026-11", 1, 300)]);
}

#[test]
fn too_many_periods_are_refused_and_not_cut_off() {
    let days = |n: i64| (0..n).map(|d| Timestamp::from_micros(d * MICROS_PER_DAY));
    let calendar = Calendar::new(Period::Day, "Europe/Berlin").unwrap();
    assert_eq!(windows(&calendar, days(900)).unwrap().len(), 901);
    assert!(matches!(windows(&calendar, days(1_200)), Err(ServiceError::Invalid { field: "since", .. })));
}

proptest! {
    /// Every moment of the days that were asked for lies in exactly one period.
    #[test]
    fn periods_cover_their_days_without_gap_and_overlap(
        first in 0_i64..20_000,
        count in 1_i64..70,
        zone in prop::sample::select(vec!["Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati"]),
        period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
    ) {
        let calendar = Calendar::new(period, zone).unwrap();
        let days = (first..first + count).map(|d| Timestamp::from_micros(d * MICROS_PER_DAY));
        let windows: Vec<Window> = windows(&calendar, days).unwrap().into_iter().collect();
        prop_assert!(windows[0].contains(Timestamp::from_micros(first * MICROS_PER_DAY)));
        prop_assert!(windows[windows.len() - 1].contains(Timestamp::from_micros((first + count) * MICROS_PER_DAY - 1)));
        for two in windows.windows(2) {
            prop_assert_eq!(two[0].end, Some(two[1].start));
        }
    }
}
