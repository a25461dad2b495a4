use std::time::Duration;

use claviger_domain::{
    clock::MICROS_PER_HOUR,
    grant::AuthFailure,
    id::NodeId,
    key::{KeyStatus, RevocationReason},
    limit::Bucket,
    notice::Notice,
    ports::jobs::{JobClaim, JobStore},
    rotation::HoldReason,
};
use futures_util::future::join_all;

use super::*;
use crate::{
    children::NewChild,
    fake::House,
    grants::VerifyError,
    keys::{Expiry, LimitsPatch, NewKey},
    lock::lock,
    scheduler::Turn,
    wrapping::WrappingState,
};

const HOUR: Duration = Duration::from_secs(3_600);

async fn house_with_key() -> (House, KeyRecord, Token) {
    let house = House::new().await;
    let limits = LimitsPatch { rpm: Some(Some(7)), ..LimitsPatch::default() };
    let new = NewKey { name: "app".to_owned(), limits, ..NewKey::default() };
    let (key, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
    (house, key, token)
}

async fn start(house: &House, key: &KeyRecord) -> Started {
    house.services.rotations.start(&key.id, &NewRotation::default(), &Caller::system()).await.unwrap()
}

async fn open(house: &House, started: &Started) -> Token {
    let out = house.services.wrappings.unwrap(started.token.expose(), &Caller::system()).await.unwrap();
    assert_eq!(out.id, started.successor.id);
    Token::parse(Brand::DEFAULT, out.key.expose()).unwrap()
}

fn used(house: &House, key: &KeyId) {
    let mut state = lock(&house.store.state);
    state.used.entry(key.clone()).or_default().2 += 1;
    state.last_used.insert(key.clone(), house.clock.now());
}

async fn turn(house: &House) -> usize {
    house.services.rotations.advance_all(None).await.unwrap()
}

async fn state(house: &House, started: &Started) -> RotationState {
    house.services.rotations.rotation(&started.rotation.id).await.unwrap().state
}

fn notices(house: &House) -> Vec<&'static str> {
    lock(&house.store.state).notices.notices.iter().map(|n| n.notice.kind()).collect()
}

async fn told(house: &House, token: &Token) -> String {
    let live = house.services.grants.verify(token).await.unwrap();
    let lines = live.told().into_iter().flat_map(|t| t.headers()).map(|(n, v)| format!("{n}: {v}\n"));
    lines.collect()
}

#[tokio::test]
async fn a_rotation_goes_from_its_start_to_the_old_keys_end() {
    let (house, key, token) = house_with_key().await;
    assert_eq!(told(&house, &token).await, "");
    let started = start(&house, &key).await;
    let successor = &started.successor;
    assert_eq!((&successor.rotated_from, &successor.lineage), (&Some(key.id.clone()), &key.lineage));
    assert_eq!((&successor.policy, &successor.name), (&key.policy, &key.name));
    assert_eq!(turn(&house).await, 0, "it waits");
    insta::assert_snapshot!(told(&house, &token).await, @"x-claviger-rotation: successor available; deadline=2026-03-09T12:00:00Z");

    let new = open(&house, &started).await;
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Delivered));
    house.clock.advance(HOUR);
    house.services.grants.verify(&new).await.unwrap();
    used(&house, &successor.id);
    used(&house, &key.id);
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Overlapping));

    house.clock.advance(HOUR * 23);
    used(&house, &key.id);
    house.clock.advance(HOUR * 23);
    assert_eq!(turn(&house).await, 0, "the old key was used within the day");
    house.clock.advance(HOUR * 2);
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Retiring));
    insta::assert_snapshot!(told(&house, &token).await.replace(successor.id.as_str(), "[successor]"), @r"
    x-claviger-deprecation: warned; successor=[successor]; revoked-at=2026-03-07T13:00:00Z
    deprecation: @1772629200
    sunset: Sat, 07 Mar 2026 13:00:00 GMT
    ");
    assert_eq!(told(&house, &new).await, "");

    house.clock.advance(HOUR);
    assert_eq!(turn(&house).await, 1, "lower limits");
    let live = house.services.grants.verify(&token).await.unwrap();
    let room = house
        .services
        .admission
        .admit(&live, Bucket::Work, house.clock.now())
        .unwrap()
        .headrooms
        .requests
        .unwrap();
    assert_eq!(room.limit, 3, "half of 7");
    house.clock.advance(HOUR * 23);
    assert_eq!(turn(&house).await, 1, "the final warning");
    house.clock.advance(HOUR * 24);
    assert_eq!(turn(&house).await, 1, "refused");
    let refused = house.services.grants.verify(&token).await.unwrap_err();
    assert_eq!(refused, VerifyError::Auth(AuthFailure::Deprecated));
    house.clock.advance(HOUR * 24);
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Finished));
    let refused = house.services.grants.verify(&token).await.unwrap_err();
    assert_eq!(refused, VerifyError::Auth(AuthFailure::Revoked));
    house.services.grants.verify(&new).await.unwrap();
    let (old, _) = house.services.keys.show(&key.id).await.unwrap();
    assert_eq!(old.revocation.unwrap().reason, RevocationReason::Rotation);
    assert_eq!(turn(&house).await, 0);

    let steps: Vec<String> = house.actions().into_iter().filter(|a| a.starts_with("rotation.")).collect();
    insta::assert_snapshot!(steps.join(" "), @"rotation.deliver rotation.activate rotation.retire rotation.deprecate rotation.deprecate rotation.deprecate rotation.finish");
    insta::assert_snapshot!(notices(&house).join(" "), @"rotation.started rotation.delivered rotation.activated rotation.retiring key.deprecated key.deprecated key.deprecated key.deprecated rotation.completed key.revoked");
}

#[tokio::test]
async fn after_a_downtime_each_rung_is_taken_in_order_and_told() {
    let (house, key, _) = house_with_key().await;
    let started = start(&house, &key).await;
    used(&house, &started.successor.id);
    assert_eq!(turn(&house).await, 1, "used");
    house.clock.advance(HOUR * 24 * 7);
    assert_eq!(turn(&house).await, 1, "the overlap is over");
    house.clock.advance(HOUR * 500);
    assert_eq!(turn(&house).await, 4);
    assert_eq!(state(&house, &started).await, RotationState::Finished);
    assert_eq!(notices(&house).iter().filter(|n| **n == "key.deprecated").count(), 4);
}

#[tokio::test]
async fn a_second_open_rotation_is_refused_of_either_key() {
    let (house, key, _) = house_with_key().await;
    let started = start(&house, &key).await;
    for id in [&key.id, &started.successor.id] {
        let again = house.services.rotations.start(id, &NewRotation::default(), &Caller::system()).await;
        let error = again.err().unwrap();
        assert!(matches!(error, ServiceError::Conflict { what: "rotation", .. }), "{error}");
    }
    assert_eq!(lock(&house.store.state).keys.len(), 2, "nothing is half made");
}

#[tokio::test]
async fn of_many_who_start_at_once_one_does() {
    let (house, key, _) = house_with_key().await;
    let new = NewRotation::default();
    let caller = Caller::system();
    let started = join_all((0..8).map(|_| house.services.rotations.start(&key.id, &new, &caller))).await;
    assert_eq!(started.iter().filter(|s| s.is_ok()).count(), 1);
    assert_eq!(lock(&house.store.state).keys.len(), 2);
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let (house, key, _) = house_with_key().await;
    let (rotations, caller) = (&house.services.rotations, Caller::system());
    let said = async |id: &KeyId, new: NewRotation| {
        rotations.start(id, &new, &caller).await.err().unwrap().to_string()
    };
    let long = NewRotation { overlap_secs: Some(91 * 86_400), ..NewRotation::default() };
    insta::assert_snapshot!(said(&key.id, long).await, @"overlap_secs: the overlap would end after the key itself expires: ask for at most 7776000 seconds");
    let ttl = NewRotation { wrap_ttl_secs: Some(8 * 86_400), ..NewRotation::default() };
    insta::assert_snapshot!(said(&key.id, ttl).await, @"wrap_ttl_secs: a delivery waits between 1 second and 7 days");
    let reason = NewRotation { reason: "a\nb".to_owned(), ..NewRotation::default() };
    assert!(said(&key.id, reason).await.starts_with("reason: "));
    house.services.keys.suspend(&key.id, &caller).await.unwrap();
    assert!(said(&key.id, NewRotation::default()).await.contains("suspended"));
    let unknown = KeyId::parse("key_0123456789").unwrap();
    assert_eq!(said(&unknown, NewRotation::default()).await, "no key `key_0123456789`");
    assert_eq!(lock(&house.store.state).keys.len(), 1);
}

#[tokio::test]
async fn a_successor_takes_no_second_place_under_the_owners_limit() {
    let (house, key, _) = house_with_key().await;
    for n in 0..4 {
        let new = NewKey { name: format!("k{n}"), ..NewKey::default() };
        house.services.keys.create(new, &Caller::system()).await.unwrap();
    }
    let full =
        house.services.keys.create(NewKey { name: "x".into(), ..NewKey::default() }, &Caller::system()).await;
    assert!(full.is_err(), "five is the limit");
    start(&house, &key).await;
}

#[tokio::test]
async fn a_cancelled_rotation_leaves_the_old_key_as_it_was() {
    let (house, key, token) = house_with_key().await;
    let (rotations, caller) = (&house.services.rotations, Caller::system());
    let started = start(&house, &key).await;
    assert!(told(&house, &token).await.contains("successor available"));
    let ended = rotations.cancel(&started.rotation.id, &caller).await.unwrap();
    assert_eq!(ended.state, RotationState::Cancelled);
    assert_eq!(told(&house, &token).await, "");
    let gone = house.services.wrappings.unwrap(started.token.expose(), &caller).await.err().unwrap();
    assert!(matches!(gone, ServiceError::Gone { .. }), "{gone}");
    let (_, standing) =
        house.services.wrappings.show(&house.store_wrapping(&started.successor.id)).await.unwrap();
    assert_eq!(standing, WrappingState::Withdrawn);
    let again = rotations.cancel(&started.rotation.id, &caller).await.unwrap_err();
    assert!(again.to_string().contains("cannot be cancelled"), "{again}");
    start(&house, &key).await;
}

#[tokio::test]
async fn a_rollback_forgets_the_ladder_and_kills_the_successor() {
    let (house, key, token) = house_with_key().await;
    let started = start(&house, &key).await;
    let new = open(&house, &started).await;
    used(&house, &started.successor.id);
    turn(&house).await;
    house.clock.advance(HOUR * 24 * 8);
    turn(&house).await;
    house.clock.advance(HOUR * 2);
    turn(&house).await;
    assert!(told(&house, &token).await.starts_with("x-claviger-deprecation: limited"));
    let cancelled = house.services.rotations.cancel(&started.rotation.id, &Caller::system()).await;
    assert!(cancelled.is_err(), "it is too late for that");
    house.services.rotations.roll_back(&started.rotation.id, &Caller::system()).await.unwrap();
    assert_eq!(told(&house, &token).await, "");
    assert_eq!(house.services.grants.verify(&new).await.unwrap_err(), AuthFailure::Revoked.into());
    let (old, _) = house.services.keys.show(&key.id).await.unwrap();
    assert_eq!(old.status(house.clock.now()), KeyStatus::Active);
}

#[tokio::test]
async fn nothing_leads_back_to_a_compromised_key() {
    let (house, key, _) = house_with_key().await;
    let started = start(&house, &key).await;
    let caller = Caller::system();
    house.services.keys.revoke(&key.id, RevocationReason::Compromised, true, &caller).await.unwrap();
    let back = house.services.rotations.roll_back(&started.rotation.id, &caller).await.unwrap_err();
    assert!(back.to_string().contains("compromised"), "{back}");
    turn(&house).await;
    assert_eq!(state(&house, &started).await, RotationState::Finished);
    let again = house.services.rotations.start(&key.id, &NewRotation::default(), &caller).await;
    assert!(again.err().unwrap().to_string().contains("compromised"));
}

#[tokio::test]
async fn a_successor_that_dies_leaves_the_old_key_alone() {
    let (house, key, token) = house_with_key().await;
    let started = start(&house, &key).await;
    let caller = Caller::system();
    let reason = RevocationReason::UserRequest;
    house.services.keys.revoke(&started.successor.id, reason, false, &caller).await.unwrap();
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Cancelled));
    assert_eq!(told(&house, &token).await, "");
}

#[tokio::test]
async fn a_node_that_was_overtaken_decides_anew() {
    let (house, key, _) = house_with_key().await;
    let started = start(&house, &key).await;
    open(&house, &started).await;
    let rotation = house.services.rotations.rotation(&started.rotation.id).await.unwrap();
    let other = House::on(Arc::clone(&house.store), crate::Settings::default(), 99).await;
    assert_eq!(turn(&other).await, 1);
    assert_eq!(house.services.rotations.advance(rotation, None).await.unwrap(), 0, "what it read is old");
    assert_eq!(notices(&house).iter().filter(|n| **n == "rotation.delivered").count(), 1);
}

#[tokio::test]
async fn the_old_keys_children_count_as_its_use_and_die_with_it() {
    let (house, key, token) = house_with_key().await;
    let holder = house.services.grants.verify(&token).await.unwrap();
    let (child, child_token) =
        house.services.children.mint(&holder, Default::default(), &Caller::system()).await.unwrap();
    let started = start(&house, &key).await;
    open(&house, &started).await;
    used(&house, &started.successor.id);
    turn(&house).await;
    assert!(
        told(&house, &child_token).await.contains("successor available"),
        "callers of children hear it, too"
    );
    house.clock.advance(HOUR * 23);
    used(&house, &child.id);
    house.clock.advance(HOUR * 2);
    assert_eq!(turn(&house).await, 0, "a child of the old key was used");
    let standing = house.services.rotations.standing(&started.rotation.id).await.unwrap();
    assert_eq!(standing.since_start, Share { old: 1, new: 1 });
    assert_eq!(standing.last_use_old.unwrap(), house.clock.now().plus_micros(-2 * MICROS_PER_HOUR));
    assert_eq!(standing.since_start.of_old(), Some(0.5));
}

#[tokio::test]
async fn the_end_of_the_ladder_is_the_end_of_a_key_like_any_other() {
    let (house, key, token) = house_with_key().await;
    let holder = house.services.grants.verify(&token).await.unwrap();
    let (child, child_token) = house
        .services
        .children
        .mint(&holder, NewChild { ttl_secs: Some(86_400), ..NewChild::default() }, &Caller::system())
        .await
        .unwrap();
    let started = start(&house, &key).await;
    used(&house, &started.successor.id);
    turn(&house).await;
    // The daily run of a long lease: its child lives as long as the ladder.
    {
        let mut state = lock(&house.store.state);
        let row = state.keys.iter_mut().find(|k| k.id == child.id).unwrap();
        row.expires_at = None;
    }
    house.clock.advance(HOUR * 24 * 7);
    turn(&house).await;
    house.clock.advance(HOUR * 72);
    turn(&house).await;
    assert_eq!(state(&house, &started).await, RotationState::Finished);
    assert_eq!(house.services.grants.verify(&child_token).await.unwrap_err(), AuthFailure::Revoked.into());
    {
        let state = lock(&house.store.state);
        let child = state.keys.iter().find(|k| k.id == child.id).unwrap();
        assert_eq!(child.revocation.unwrap().reason, RevocationReason::Rotation);
        let finish = state.audit.iter().find(|r| r.event.action == "rotation.finish").unwrap();
        assert_eq!(finish.event.details["children"], serde_json::json!([child.id.as_str()]));
        let told = state.notices.notices.iter().find(|n| n.notice.kind() == "key.revoked").unwrap();
        let Notice::Revocation { affected, reason, .. } = &told.notice else { panic!("{told:?}") };
        assert_eq!(
            (affected[0].clone(), *reason),
            (format!("child key {}", child.id), RevocationReason::Rotation)
        );
    }
    assert_eq!(house.services.certificates.complete().await.unwrap(), 1, "of the key, not of its child");
    let certificate = house.services.certificates.of_key(&key.id).await.unwrap().unwrap();
    assert!(certificate.body.contains(&format!("child key {}", child.id)), "{}", certificate.body);
}

#[tokio::test]
async fn an_old_key_is_not_retired_while_nobody_has_the_successor() {
    let (house, key, token) = house_with_key().await;
    house.clock.advance(HOUR * 24 * 20);
    let started = start(&house, &key).await;
    house.clock.advance(HOUR * 24 * 7);
    assert_eq!(turn(&house).await, 1, "it is held");
    house.clock.advance(HOUR * 24 * 60);
    assert_eq!(turn(&house).await, 0, "once");
    house.services.grants.verify(&token).await.unwrap();
    let standing = house.services.rotations.standing(&started.rotation.id).await.unwrap();
    let hold = standing.rotation.hold.unwrap();
    assert_eq!((hold.why, hold.since), (HoldReason::Undelivered, started.rotation.deadline()));
    assert_eq!(notices(&house), ["rotation.started", "rotation.held"]);
    assert_eq!(house.actions().iter().filter(|a| *a == "rotation.hold").count(), 1);
    house.clock.advance(HOUR * 24 * 5);
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Finished));
    let (successor, _) = house.services.keys.show(&started.successor.id).await.unwrap();
    assert_eq!(successor.status(house.clock.now()), KeyStatus::Active);
}

#[tokio::test]
async fn a_successor_whose_delivery_lapsed_is_delivered_anew_and_what_was_before_opens_nothing() {
    let (house, key, token) = house_with_key().await;
    let (rotations, wrappings, caller) =
        (&house.services.rotations, &house.services.wrappings, Caller::system());
    let started = start(&house, &key).await;
    house.clock.advance(HOUR * 24 * 8);
    wrappings.sweep(None).await.unwrap();
    turn(&house).await;
    let second = rotations.redeliver(&started.rotation.id, Some(3_600), &caller).await.unwrap();
    assert_eq!(second.successor.id, started.successor.id);
    let week_and_day =
        second.successor.expires_at.unwrap().micros_since(started.successor.expires_at.unwrap());
    assert_eq!(week_and_day, 8 * 24 * MICROS_PER_HOUR, "its life begins with its delivery");
    assert_eq!((second.rotation.state, second.rotation.hold), (RotationState::Created, None));
    assert!(wrappings.unwrap(started.token.expose(), &caller).await.is_err());
    assert!(told(&house, &token).await.contains("deadline=2026-03-17"), "the overlap begins anew");
    let lost = open(&house, &second).await;
    assert_eq!((turn(&house).await, state(&house, &started).await), (1, RotationState::Delivered));
    house.services.grants.verify(&lost).await.unwrap();
    let third = rotations.redeliver(&started.rotation.id, None, &caller).await.unwrap();
    let refused = house.services.grants.verify(&lost).await.unwrap_err();
    assert_eq!(refused, VerifyError::Auth(AuthFailure::WrongSecret), "its secret is another one now");
    let again = wrappings.unwrap(second.token.expose(), &caller).await.err().unwrap();
    assert!(matches!(again, ServiceError::Conflict { what: "delivery", .. }), "an incident still: {again}");
    let new = open(&house, &third).await;
    house.services.grants.verify(&new).await.unwrap();
    used(&house, &started.successor.id);
    let late = rotations.redeliver(&started.rotation.id, None, &caller).await.err().unwrap();
    assert!(late.to_string().contains("in use"), "{late}");
    turn(&house).await;
    assert_eq!(state(&house, &started).await, RotationState::Overlapping);
    let count = house.actions().iter().filter(|a| *a == "rotation.redeliver").count();
    assert_eq!(count, 2);
    assert_eq!(lock(&house.store.state).keys.len(), 2, "no third key");
}

#[tokio::test]
async fn a_rotation_whose_old_key_died_is_not_cancelled_but_delivered() {
    let (house, key, _) = house_with_key().await;
    let (rotations, caller) = (&house.services.rotations, Caller::system());
    let started = start(&house, &key).await;
    house.services.keys.revoke(&key.id, RevocationReason::Compromised, true, &caller).await.unwrap();
    let refused = rotations.cancel(&started.rotation.id, &caller).await.unwrap_err();
    assert!(refused.to_string().contains("the old key is revoked"), "{refused}");
    turn(&house).await;
    assert_eq!(state(&house, &started).await, RotationState::Finished);
    let anew = rotations.redeliver(&started.rotation.id, None, &caller).await.unwrap();
    assert_eq!(anew.rotation.state, RotationState::Finished);
    house.services.grants.verify(&open(&house, &anew).await).await.unwrap();
}

fn job(house: &House) -> Option<claviger_domain::ports::jobs::JobRecord> {
    lock(&house.store.state).notices.jobs.iter().find(|job| job.name == "rotations").cloned()
}

#[tokio::test]
async fn one_runner_takes_the_steps_and_writes_nothing_while_there_are_none() {
    let (house, key, _) = house_with_key().await;
    let other = House::on(Arc::clone(&house.store), crate::Settings::default(), 99).await;
    house.services.scheduler.tick().await.unwrap();
    let started = start(&house, &key).await;
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(10));
        house.services.scheduler.tick().await.unwrap();
    }
    assert_eq!(job(&house).unwrap().fencing, 0, "no lease was taken for nothing");
    open(&house, &started).await;
    let (one, two) = tokio::join!(house.services.scheduler.tick(), other.services.scheduler.tick());
    one.unwrap();
    two.unwrap();
    assert_eq!(state(&house, &started).await, RotationState::Delivered);
    assert_eq!(job(&house).unwrap().fencing, 1);
    assert_eq!(notices(&house).iter().filter(|n| **n == "rotation.delivered").count(), 1);
    // A week without anybody, then the ladder in one go.
    used(&house, &started.successor.id);
    house.clock.advance(Duration::from_secs(10));
    house.services.scheduler.tick().await.unwrap();
    house.clock.advance(HOUR * 24 * 8);
    other.services.scheduler.tick().await.unwrap();
    house.clock.advance(HOUR * 24 * 8);
    other.services.scheduler.tick().await.unwrap();
    assert_eq!(state(&house, &started).await, RotationState::Finished);
}

#[tokio::test]
async fn whoever_lost_the_lease_writes_no_step() {
    let (house, key, _) = house_with_key().await;
    house.services.scheduler.tick().await.unwrap();
    let started = start(&house, &key).await;
    open(&house, &started).await;
    house.clock.advance(Duration::from_secs(10));
    let seen = job(&house).unwrap();
    let claim = JobClaim {
        slot: house.clock.now(),
        owner: NodeId::generate(&claviger_testkit::SeededEntropy::new(5)).unwrap(),
        until: house.clock.now().plus_micros(15_000_000),
        next_run_at: seen.next_run_at,
        now: house.clock.now(),
        seen,
    };
    let lease = house.store.claim_job(&claim).await.unwrap().unwrap();
    // It hangs; another runner takes over when its lease has lapsed, and is done before it goes on.
    house.clock.advance(Duration::from_secs(14));
    house.services.scheduler.tick().await.unwrap();
    assert_eq!(state(&house, &started).await, RotationState::Created, "the lease may still be held");
    house.clock.advance(Duration::from_secs(1));
    house.services.scheduler.tick().await.unwrap();
    assert_eq!(state(&house, &started).await, RotationState::Delivered);
    used(&house, &started.successor.id);
    let turn = Turn { lease, now: house.clock.now() };
    assert_eq!(house.services.rotations.advance_all(Some(&turn)).await.unwrap(), 0);
    assert_eq!(state(&house, &started).await, RotationState::Delivered);
}

/// Random events, crashes (nothing is remembered but what is stored) and clocks that jump: no key is lost, doubled or
/// revived.
#[tokio::test]
async fn whatever_happens_one_key_of_the_line_works_until_somebody_ends_it() {
    for seed in 0..60_u64 {
        let (house, key, _) = house_with_key().await;
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut current = start(&house, &key).await;
        let mut dead: Vec<KeyId> = Vec::new();
        for _ in 0..40 {
            let (rotations, caller) = (&house.services.rotations, Caller::system());
            let id = current.rotation.id.clone();
            match next(11) {
                9 => {
                    if let Ok(started) = rotations.redeliver(&id, None, &caller).await {
                        current.token = started.token;
                    }
                }
                10 => {
                    let successor = &current.successor.id;
                    let (keys, caller) = (&house.services.keys, Caller::system());
                    if next(2) == 0 {
                        drop(keys.suspend(successor, &caller).await);
                    } else {
                        drop(keys.resume(successor, &caller).await);
                    }
                }
                0 => drop(house.services.wrappings.unwrap(current.token.expose(), &caller).await),
                1 => used(&house, &current.successor.id),
                2 => used(&house, &current.rotation.old),
                3 => drop(rotations.cancel(&id, &caller).await),
                4 => drop(rotations.roll_back(&id, &caller).await),
                5 => house.clock.advance(HOUR * u32::try_from(next(80)).unwrap()),
                6 => {
                    let back = i64::try_from(next(30)).unwrap() * MICROS_PER_HOUR;
                    house.clock.set_wall(house.clock.now().plus_micros(-back));
                }
                _ => {
                    let other =
                        House::on(Arc::clone(&house.store), crate::Settings::default(), next(1 << 40)).await;
                    let (a, b) =
                        tokio::join!(rotations.advance_all(None), other.services.rotations.advance_all(None));
                    a.unwrap();
                    b.unwrap();
                }
            }
            let (survivor, is_over) = {
                let state = lock(&house.store.state);
                let line: Vec<&KeyRecord> = state.keys.iter().filter(|k| k.lineage == key.lineage).collect();
                let living =
                    line.iter().filter(|k| matches!(k.state, KeyState::Active | KeyState::Suspended)).count();
                assert!((1..=2).contains(&living), "seed {seed}: {living} live");
                let rotation = state.lifecycle.rotations.iter().find(|r| r.id == id).unwrap();
                assert!(rotation.state.is_open() || living == 1, "seed {seed}: {:?}", rotation.state);
                assert_eq!(rotation.state.is_open(), rotation.ended_at.is_none());
                for gone in &dead {
                    let still = line.iter().find(|k| k.id == *gone).unwrap();
                    assert_eq!(still.state, KeyState::Revoked, "seed {seed}: revived");
                }
                dead = line.iter().filter(|k| k.state == KeyState::Revoked).map(|k| k.id.clone()).collect();
                let survivor =
                    line.iter().find(|k| k.state != KeyState::Revoked).map(|k| k.id.clone()).unwrap();
                (survivor, !rotation.state.is_open())
            };
            if is_over {
                drop(house.services.keys.resume(&survivor, &Caller::system()).await);
                let patch = crate::keys::KeyPatch { expires: Some(Expiry::Never), ..Default::default() };
                house.services.keys.update(&survivor, patch, None, &Caller::system()).await.unwrap();
                let (old, _) = house.services.keys.show(&survivor).await.unwrap();
                current = start(&house, &old).await;
            }
        }
    }
}

impl House {
    /// The id of a key's delivery.
    fn store_wrapping(&self, key: &KeyId) -> claviger_domain::id::WrappingId {
        let state = lock(&self.store.state);
        state.lifecycle.wrappings.iter().find(|w| w.key == *key).unwrap().id.clone()
    }
}
