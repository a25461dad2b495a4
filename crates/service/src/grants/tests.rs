use std::time::Duration;

use claviger_domain::{
    clock::MICROS_PER_SEC,
    key::RevocationReason,
    limit::{Bucket, LimitKind},
    token::{Brand, KeyClass},
};
use claviger_testkit::SeededEntropy;
use futures_util::{FutureExt, future::join_all};

use super::*;
use crate::{
    Caller, Settings,
    fake::House,
    keys::{KeyPatch, LimitsPatch, NewKey},
};

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

async fn house_with_key() -> (House, Token, KeyRecord) {
    let house = House::new().await;
    let (key, token, _) = house.services.keys.create(named("k"), &Caller::system()).await.unwrap();
    (house, token, key)
}

/// Lets all tasks run until each waits for something.
async fn settled() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn stranger(seed: u64) -> Token {
    Token::generate(Brand::DEFAULT, KeyClass::Live, &SeededEntropy::new(seed)).unwrap()
}

async fn refused(house: &House, token: &Token) -> VerifyError {
    house.services.grants.verify(token).await.unwrap_err()
}

#[tokio::test]
async fn a_known_key_is_verified_without_a_store_and_without_waiting() {
    let (house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    assert_eq!(live.grant.key.id, key.id);
    let asked = house.store.lookups();
    house.store.set_down(true);
    let again = house.services.grants.verify(&token).now_or_never().expect("nothing is awaited").unwrap();
    assert!(Arc::ptr_eq(&again.runtime, &live.runtime));
    assert_eq!(house.store.lookups(), asked);
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_id_are_told_apart_inside_only() {
    let (house, token, _) = house_with_key().await;
    house.services.grants.verify(&token).await.unwrap();
    assert_eq!(refused(&house, &stranger(3)).await, AuthFailure::Unknown.into());
    let mut text = *token.expose();
    text[25] = if text[25] == b'a' { b'b' } else { b'a' };
    // A well-formed token with the known id and another secret: its checksum is made anew.
    let forged = claviger_domain::token::base62::encode_u32(crc32fast::hash(&text[..46]));
    text[46..].copy_from_slice(&forged);
    let forged = Token::parse(Brand::DEFAULT, &text).unwrap();
    assert_eq!(refused(&house, &forged).await, AuthFailure::WrongSecret.into());
}

#[tokio::test]
async fn a_local_revocation_holds_before_the_caller_is_told() {
    let (house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    let caller = Caller::system();
    house.services.keys.revoke(&key.id, RevocationReason::UserRequest, true, &caller).await.unwrap();
    house.store.set_down(true);
    assert_eq!(refused(&house, &token).await, AuthFailure::Revoked.into());
    assert!(live.runtime.is_cut());
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_never_revives_a_revoked_key() {
    let (house, token, key) = house_with_key().await;
    let gate = house.store.slow_down();
    let grants = house.services.grants.clone();
    let slow = house.deps.tracker.spawn({
        let token = token.clone();
        async move { grants.verify(&token).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(house.store.lookups(), 1, "the old record was read and hangs");
    let caller = Caller::system();
    house.services.keys.revoke(&key.id, RevocationReason::Compromised, true, &caller).await.unwrap();
    gate.add_permits(10);
    assert_eq!(slow.await.unwrap().unwrap_err(), AuthFailure::Revoked.into());
    assert_eq!(house.store.lookups(), 2, "what was overtaken is read again");
    assert_eq!(refused(&house, &token).await, AuthFailure::Revoked.into());
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_never_revives_a_key_that_another_node_revoked() {
    let (mut house, token, key) = house_with_key().await;
    house.poll().await;
    let gate = house.store.slow_down();
    let grants = house.services.grants.clone();
    let slow = house.deps.tracker.spawn({
        let token = token.clone();
        async move { grants.verify(&token).await.map(drop) }
    });
    tokio::task::yield_now().await;
    revoke_elsewhere(&house, &key).await;
    // This node has never held the key: the feed leaves a tombstone and reads nothing.
    house.poll().await;
    gate.add_permits(10);
    assert_eq!(slow.await.unwrap().unwrap_err(), AuthFailure::Revoked.into());
}

/// As another node would: the store changes, and this node's tables hear of it by the feed alone.
async fn revoke_elsewhere(house: &House, key: &KeyRecord) {
    use claviger_domain::{
        audit::{Actor, AuditEvent},
        key::transition::{KeyVerb, decide},
        ports::Change,
    };
    let now = house.clock.now();
    let present = house.store.key(&key.id).await.unwrap().unwrap();
    let verb = KeyVerb::Revoke { reason: RevocationReason::Compromised, immediate: true };
    let revoked = decide(&present, &verb, now).unwrap();
    let event = AuditEvent::new(now, Actor::System, "key.revoke", key.id.as_str());
    house.store.apply(vec![Change::UpdateKey(Box::new(revoked))], event).await.unwrap();
}

#[tokio::test]
async fn a_revocation_elsewhere_is_followed_by_the_next_poll_and_cuts_calls() {
    let (mut house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    let mut signal = live.runtime.cut_signal();
    assert_eq!((&mut signal).now_or_never(), None);
    revoke_elsewhere(&house, &key).await;
    assert!(house.services.grants.verify(&token).await.is_ok(), "within the bound it may still pass");
    house.poll().await;
    assert_eq!(refused(&house, &token).await, AuthFailure::Revoked.into());
    assert_eq!(signal.now_or_never(), Some(()));
}

#[tokio::test]
async fn a_stale_view_asks_the_store_for_each_request_or_says_503() {
    let (mut house, token, key) = house_with_key().await;
    house.services.grants.verify(&token).await.unwrap();
    house.clock.advance(Duration::from_millis(10_001));
    let asked = house.store.lookups();
    house.services.grants.verify(&token).await.unwrap();
    house.services.grants.verify(&token).await.unwrap();
    assert_eq!(house.store.lookups(), asked + 2);
    revoke_elsewhere(&house, &key).await;
    assert_eq!(refused(&house, &token).await, AuthFailure::Revoked.into());
    house.store.set_down(true);
    assert_eq!(refused(&house, &token).await, VerifyError::Unavailable);
    house.store.set_down(false);
    house.poll().await;
    let asked = house.store.lookups();
    assert_eq!(refused(&house, &token).await, AuthFailure::Revoked.into());
    assert_eq!(house.store.lookups(), asked);
}

#[tokio::test]
async fn a_view_is_as_old_as_the_sending_of_its_poll_and_a_failed_poll_does_not_renew_it() {
    let mut house = House::new().await;
    house.clock.advance(Duration::from_secs(4));
    assert_eq!(house.services.grants.view_age_us(), 4_000_000);
    house.store.set_down(true);
    assert!(house.background.jobs.feed.poll().await.is_err());
    assert_eq!(house.services.grants.view_age_us(), 4_000_000);
    house.store.set_down(false);
    house.poll().await;
    assert_eq!(house.services.grants.view_age_us(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_64_unknown_ids_are_looked_up_at_once() {
    let (house, token, _) = house_with_key().await;
    house.services.grants.verify(&token).await.unwrap();
    let gate = house.store.slow_down();
    let grants = house.services.grants.clone();
    let asked = house.store.lookups();
    let flood: Vec<_> = (0..100)
        .map(|n| {
            let grants = grants.clone();
            house.deps.tracker.spawn(async move { grants.verify(&stranger(n)).await.unwrap_err() })
        })
        .collect();
    settled().await;
    assert_eq!(house.store.lookups() - asked, 64);
    assert!(house.services.grants.verify(&token).await.is_ok(), "known keys go on");
    gate.add_permits(1_000);
    let ends: Vec<_> = join_all(flood).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ends.iter().filter(|e| **e == VerifyError::Busy).count(), 36);
    assert_eq!(ends.iter().filter(|e| **e == VerifyError::Auth(AuthFailure::Unknown)).count(), 64);
}

#[tokio::test]
async fn an_unknown_id_is_asked_about_once_a_second_and_once_for_all() {
    let house = House::new().await;
    let token = stranger(1);
    let many = join_all((0..20).map(|_| house.services.grants.verify(&token))).await;
    assert!(many.into_iter().all(|r| r.is_err()));
    assert_eq!(house.store.lookups(), 1);
    house.clock.advance(Duration::from_millis(1_001));
    assert_eq!(refused(&house, &token).await, AuthFailure::Unknown.into());
    assert_eq!(house.store.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_is_given_up_is_taken_over_by_the_next() {
    let (house, token, _) = house_with_key().await;
    let gate = house.store.slow_down();
    let grants = house.services.grants.clone();
    let verify = |grants: Grants, token: Token| async move { grants.verify(&token).await.map(drop) };
    let first = house.deps.tracker.spawn(verify(grants.clone(), token.clone()));
    tokio::task::yield_now().await;
    let second = house.deps.tracker.spawn(verify(grants, token));
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_makes_a_look_up_503_after_2_seconds() {
    let (house, token, _) = house_with_key().await;
    let _gate = house.store.slow_down();
    let begun = tokio::time::Instant::now();
    assert_eq!(refused(&house, &token).await, VerifyError::Unavailable);
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn suspension_refuses_new_calls_only_and_can_be_taken_back() {
    let (house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    house.services.keys.suspend(&key.id, &Caller::system()).await.unwrap();
    assert_eq!(refused(&house, &token).await, AuthFailure::Suspended.into());
    assert!(!live.runtime.is_cut());
    house.services.keys.resume(&key.id, &Caller::system()).await.unwrap();
    assert!(house.services.grants.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_normal_revocation_lets_calls_finish_within_30_seconds_and_cuts_then() {
    let (house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    let caller = Caller::system();
    house.services.keys.revoke(&key.id, RevocationReason::Rotation, false, &caller).await.unwrap();
    house.clock.advance(Duration::from_micros(29_999_999));
    house.services.grants.cut_due();
    assert!(!live.runtime.is_cut());
    house.clock.advance(Duration::from_micros(1));
    house.services.grants.cut_due();
    assert!(live.runtime.is_cut());
}

#[tokio::test]
async fn a_second_immediate_revocation_cuts_what_the_first_let_finish() {
    let (house, token, key) = house_with_key().await;
    let live = house.services.grants.verify(&token).await.unwrap();
    let (keys, caller) = (&house.services.keys, Caller::system());
    keys.revoke(&key.id, RevocationReason::Rotation, false, &caller).await.unwrap();
    let (shown, _) = keys.revoke(&key.id, RevocationReason::Compromised, true, &caller).await.unwrap();
    assert!(live.runtime.is_cut());
    assert_eq!(shown.revocation.unwrap().reason, RevocationReason::Compromised);
    let records = house.actions().len();
    keys.revoke(&key.id, RevocationReason::Compromised, true, &caller).await.unwrap();
    assert_eq!(house.actions().len(), records, "once more changes nothing");
}

#[tokio::test]
async fn keys_of_an_archived_workspace_stop_before_the_caller_is_told() {
    let (house, token, key) = house_with_key().await;
    house.services.grants.verify(&token).await.unwrap();
    house.services.tenants.archive_workspace(&key.workspace, &Caller::system()).await.unwrap();
    assert_eq!(refused(&house, &token).await, AuthFailure::WorkspaceArchived.into());
}

#[tokio::test]
async fn limit_state_survives_reloads_and_day_counts_survive_starts() {
    let (mut house, token, key) = house_with_key().await;
    let limits = LimitsPatch { rpd: Some(Some(10)), rpm: Some(None), ..LimitsPatch::default() };
    let patch = KeyPatch { limits, max_uses: Some(Some(1_000)), ..KeyPatch::default() };
    house.services.keys.update(&key.id, patch, None, &Caller::system()).await.unwrap();
    let first = house.services.grants.verify(&token).await.unwrap();
    house.services.admission.admit(&first, Bucket::Work, house.clock.now()).unwrap();
    let patch = KeyPatch { name: Some("other".to_owned()), ..KeyPatch::default() };
    house.services.keys.update(&key.id, patch, None, &Caller::system()).await.unwrap();
    house.poll().await;
    let reloaded = house.services.grants.verify(&token).await.unwrap();
    assert_eq!(reloaded.grant.key.name, "other");
    let admitted = house.services.admission.admit(&reloaded, Bucket::Work, house.clock.now()).unwrap();
    assert_eq!(admitted.headrooms.requests.unwrap().remaining, 8);

    lock_used(&house, &key, (9, 4, 999));
    let next = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    let live = next.services.grants.verify(&token).await.unwrap();
    let admission = &next.services.admission;
    let admitted = admission.admit(&live, Bucket::Work, next.clock.now()).unwrap();
    assert_eq!(admitted.headrooms.requests.unwrap().remaining, 0);
    let refused = admission.admit(&live, Bucket::Look, next.clock.now()).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::TotalUses);
    admitted.unsent();
    let refused = admission.admit(&live, Bucket::Work, next.clock.now()).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::RequestsPerDay);
}

fn lock_used(house: &House, key: &KeyRecord, used: (u64, u64, u64)) {
    crate::lock::lock(&house.store.state).used.insert(key.id.clone(), used);
}

#[tokio::test]
async fn a_key_that_is_pushed_out_of_the_table_keeps_its_limits() {
    let house = House::with(Settings { grants: 1, ..Settings::default() }).await;
    let caller = Caller::system();
    let limits = LimitsPatch { rps: Some(Some(1)), ..LimitsPatch::default() };
    let new = NewKey { limits, ..named("first") };
    let (_, token, _) = house.services.keys.create(new, &caller).await.unwrap();
    let live = house.services.grants.verify(&token).await.unwrap();
    let now = house.clock.now();
    while house.services.admission.admit(&live, Bucket::Work, now).is_ok() {}
    drop(live);
    for name in ["second", "third", "fourth"] {
        let (_, other, _) = house.services.keys.create(named(name), &caller).await.unwrap();
        house.services.grants.verify(&other).await.unwrap();
    }
    let live = house.services.grants.verify(&token).await.unwrap();
    assert!(house.services.admission.admit(&live, Bucket::Work, now).is_err(), "still exhausted");
}

#[tokio::test]
async fn an_expired_key_is_refused_from_its_last_microsecond_on() {
    let house = House::new().await;
    let expires = crate::keys::Expiry::AfterSecs(5);
    let new = NewKey { expires, ..named("short") };
    let (_, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
    house.clock.advance(Duration::from_micros(5 * MICROS_PER_SEC as u64 - 1));
    assert!(house.services.grants.verify(&token).await.is_ok());
    house.clock.advance(Duration::from_micros(1));
    assert_eq!(refused(&house, &token).await, AuthFailure::Expired.into());
}
