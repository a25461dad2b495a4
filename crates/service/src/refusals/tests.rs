use std::{net::IpAddr, time::Duration};

use claviger_domain::{address::counting_block, clock::Clock};

use super::*;
use crate::{fake::House, lock::lock};

fn from(n: u32) -> RefusalSubject {
    RefusalSubject::Block(counting_block(IpAddr::from(n.to_be_bytes())))
}

fn recorded(house: &House) -> Vec<(String, String, u64)> {
    let state = lock(&house.store.state);
    let refused = state.audit.iter().filter(|r| r.event.action == "auth.refused");
    let count = |e: &AuditEvent| e.details["count"].as_u64().unwrap();
    refused.map(|r| (r.event.outcome.clone(), r.event.target.clone(), count(&r.event))).collect()
}

#[tokio::test]
async fn refusals_are_recorded_once_per_reason_subject_and_ten_seconds() {
    let house = House::new().await;
    let refusals = &house.services.refusals;
    let begun = house.clock.now();
    for _ in 0..500 {
        refusals.count("unknown", from(1), begun);
    }
    refusals.count("malformed", from(1), begun);
    house.clock.advance(Duration::from_secs(9));
    refusals.flush(house.clock.now(), false).await;
    assert_eq!(recorded(&house), []);
    house.clock.advance(Duration::from_secs(1));
    refusals.flush(house.clock.now(), false).await;
    refusals.flush(house.clock.now(), false).await;
    let mut found = recorded(&house);
    found.sort();
    let at = "0.0.0.1/32".to_owned();
    assert_eq!(found, [("malformed".to_owned(), at.clone(), 1), ("unknown".to_owned(), at, 500)]);
}

#[tokio::test]
async fn a_flood_from_many_addresses_becomes_few_records_that_count_everything() {
    let house = House::new().await;
    let refusals = &house.services.refusals;
    for n in 0..10_000 {
        refusals.count("unknown", from(n), house.clock.now());
    }
    refusals.flush(house.clock.now(), true).await;
    let found = recorded(&house);
    assert_eq!(found.len(), RECORDS_A_FLUSH + 1);
    assert_eq!(found.iter().map(|(_, _, n)| n).sum::<u64>(), 10_000);
    assert!(found.iter().any(|(reason, target, _)| reason == "unknown" && target == "other"));
}

#[tokio::test]
async fn what_cannot_be_written_is_counted_on() {
    let house = House::new().await;
    let refusals = &house.services.refusals;
    refusals.count("unknown", from(1), house.clock.now());
    house.store.set_down(true);
    refusals.flush(house.clock.now(), true).await;
    house.store.set_down(false);
    refusals.count("unknown", from(1), house.clock.now());
    refusals.flush(house.clock.now(), true).await;
    assert_eq!(recorded(&house).iter().map(|(_, _, n)| n).sum::<u64>(), 2);
}
