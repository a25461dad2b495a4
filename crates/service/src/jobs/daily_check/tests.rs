use std::time::Duration;

use claviger_domain::ports::notices::NoticeFilter;

use crate::{
    Caller,
    fake::House,
    keys::{Expiry, NewKey},
    lock::lock,
    policies::PolicyPatch,
};
use claviger_domain::{
    key::{KeyRecord, KeyState, RevocationReason},
    notice::Notice,
};

const DAY: Duration = Duration::from_secs(86_400);

async fn make(house: &House, name: &str, days: u64) -> KeyRecord {
    let new =
        NewKey { name: name.to_owned(), expires: Expiry::AfterSecs(days * 86_400), ..NewKey::default() };
    house.services.keys.create(new, &Caller::system()).await.unwrap().0
}

async fn check(house: &House) {
    // Every run has a slot of its own.
    house.clock.advance(Duration::from_secs(1));
    house.services.scheduler.run_now("daily_check", &Caller::system()).await.unwrap();
}

/// Kinds and what tells them apart, oldest first.
async fn raised(house: &House) -> Vec<String> {
    let all = house.services.notices.list(&NoticeFilter::default()).await.unwrap();
    let word = |notice: &Notice| match notice {
        Notice::KeyExpiring { days, .. } => Some(format!("expiring {days}")),
        Notice::PolicyBreach { rule, .. } => Some(format!("breach {rule}")),
        Notice::UnusedRevoked { .. } => Some("unused".to_owned()),
        Notice::Rotation { .. }
        | Notice::Deprecation { .. }
        | Notice::Revocation { .. }
        | Notice::Incident { .. }
        | Notice::SigningRotation { .. }
        | Notice::SigningOld { .. }
        | Notice::WeeklyReport { .. }
        | Notice::Budget { .. }
        | Notice::Reconciled { .. }
        | Notice::Trial { .. } => None,
    };
    all.iter().rev().filter_map(|(record, _)| word(&record.notice)).collect()
}

#[tokio::test]
async fn owners_are_warned_at_each_threshold_once() {
    let house = House::new().await;
    make(&house, "ci", 20).await;
    for _ in 0..25 {
        check(&house).await;
        // A second look on the same day, as after a crash, says nothing new.
        check(&house).await;
        house.clock.advance(DAY);
    }
    assert_eq!(raised(&house).await, ["expiring 14", "expiring 7", "expiring 3", "expiring 1"]);
}

#[tokio::test]
async fn of_the_thresholds_that_were_slept_through_only_the_nearest_is_told() {
    let house = House::new().await;
    make(&house, "ci", 20).await;
    check(&house).await;
    house.clock.advance(18 * DAY);
    check(&house).await;
    assert_eq!(raised(&house).await, ["expiring 3"]);
}

#[tokio::test]
async fn at_nine_every_day_the_check_runs_by_itself_and_once() {
    let house = House::new().await;
    make(&house, "ci", 14).await;
    house.services.scheduler.tick().await.unwrap();
    assert_eq!(raised(&house).await, Vec::<String>::new(), "it is noon");
    house.clock.advance(Duration::from_secs(21 * 3_600 + 60));
    house.services.scheduler.tick().await.unwrap();
    house.services.scheduler.tick().await.unwrap();
    assert_eq!(raised(&house).await, ["expiring 14"]);
    let audit = lock(&house.store.state).audit.len();
    house.services.scheduler.tick().await.unwrap();
    assert_eq!(lock(&house.store.state).audit.len(), audit);
}

#[tokio::test]
async fn a_key_that_nobody_uses_is_revoked_and_one_whose_line_is_used_is_not() {
    let house = House::new().await;
    let (unused, used) = (make(&house, "unused", 400).await, make(&house, "used", 400).await);
    let heir = make(&house, "heir", 400).await;
    {
        let mut state = lock(&house.store.state);
        let heir = state.keys.iter_mut().find(|k| k.id == heir.id).unwrap();
        heir.lineage.clone_from(&used.lineage);
    }
    house.clock.advance(179 * DAY);
    {
        let mut state = lock(&house.store.state);
        let now = house.clock.clone();
        state.used.insert(used.id.clone(), (1, 0, 1));
        state.last_used.insert(used.id.clone(), claviger_domain::clock::Clock::now(&now));
    }
    check(&house).await;
    house.clock.advance(2 * DAY);
    check(&house).await;
    check(&house).await;
    let state_of = async |id| house.services.keys.show(id).await.unwrap().0;
    let dead = state_of(&unused.id).await;
    assert_eq!(dead.state, KeyState::Revoked);
    assert_eq!(dead.revocation.unwrap().reason, RevocationReason::SecurityPolicy);
    assert_eq!(state_of(&used.id).await.state, KeyState::Active);
    assert_eq!(state_of(&heir.id).await.state, KeyState::Active, "its predecessor is used");
    let unused_notices = raised(&house).await.iter().filter(|word| *word == "unused").count();
    assert_eq!(unused_notices, 1);
}

#[tokio::test]
async fn what_breaks_a_policy_is_said_once() {
    let house = House::new().await;
    make(&house, "open", 400).await;
    let patch = PolicyPatch { require_ip: Some(true), ..PolicyPatch::default() };
    house.services.policies.set(None, &patch, None, &Caller::system()).await.unwrap();
    check(&house).await;
    check(&house).await;
    assert_eq!(raised(&house).await, ["breach require_ip"]);
    house.clock.advance(91 * DAY);
    check(&house).await;
    check(&house).await;
    assert_eq!(raised(&house).await, ["breach require_ip", "breach rotation_days"]);
}

#[tokio::test]
async fn only_keys_that_live_are_read() {
    let house = House::new().await;
    let (dead, short) = (make(&house, "dead", 30).await, make(&house, "short", 1).await);
    let living = make(&house, "living", 30).await;
    let endless = NewKey { name: "endless".to_owned(), expires: Expiry::Never, ..NewKey::default() };
    house.services.keys.create(endless, &Caller::system()).await.unwrap();
    let reason = RevocationReason::UserRequest;
    house.services.keys.revoke(&dead.id, reason, false, &Caller::system()).await.unwrap();
    house.clock.advance(DAY * 2);
    let said = house.services.scheduler.run_now("daily_check", &Caller::system()).await.unwrap();
    assert!(said.starts_with("2 keys,"), "{said}");
    assert_ne!(short.id, living.id);
}
