//! All or nothing, the binding limit, and what survives a change of policy.

use proptest::prelude::*;

use super::*;
use crate::clock::{MICROS_PER_DAY, MICROS_PER_SEC};

const START: Timestamp = Timestamp::from_micros(20_000 * MICROS_PER_DAY);
const NONE: Limits = Limits::NONE;

const fn rules(limits: &Limits, max_uses: Option<u64>) -> Rules<'_> {
    Rules { subject: LimitSubject::Key, limits, max_uses }
}

fn admit(set: &mut LimitState, limits: &Limits, now: Timestamp) -> Result<Option<Headroom>, Exceeded> {
    set.admit(&rules(limits, None), Bucket::Work, now)
}

#[test]
fn a_key_without_limits_is_always_admitted_and_has_no_headroom() {
    let mut set = LimitState::default();
    for _ in 0..1_000 {
        assert_eq!(admit(&mut set, &NONE, START), Ok(None));
    }
}

#[test]
fn the_limit_with_the_least_remaining_is_named() {
    let mut set = LimitState::default();
    let limits = Limits { rps: Some(10), rpm: Some(60), rpd: Some(5), ..NONE };
    let room = admit(&mut set, &limits, START).unwrap().unwrap();
    assert_eq!((room.kind, room.limit, room.remaining), (LimitKind::RequestsPerDay, 5, 4));
    assert_eq!(room.reset, START.plus_micros(MICROS_PER_DAY));
}

#[test]
fn a_refusal_names_the_limit_that_holds_longest() {
    let mut set = LimitState::default();
    let limits = Limits { rps: Some(3), rpm: Some(3), ..NONE };
    for _ in 0..3 {
        admit(&mut set, &limits, START).unwrap().unwrap();
    }
    let refused = admit(&mut set, &limits, START).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::RequestsPerMinute);
    assert_eq!(refused.retry_at, Some(START.plus_micros(20 * MICROS_PER_SEC)));
}

#[test]
fn looking_never_uses_up_the_right_to_work() {
    let mut set = LimitState::default();
    let limits = Limits { rpm: Some(2), rpd: Some(3), ..NONE };
    for _ in 0..2 {
        set.admit(&rules(&limits, None), Bucket::Look, START).unwrap();
    }
    assert!(set.admit(&rules(&limits, None), Bucket::Look, START).is_err());
    assert_eq!(admit(&mut set, &limits, START).unwrap().unwrap().remaining, 1);
}

#[test]
fn concurrency_binds_only_when_no_rate_does_and_a_place_comes_back() {
    let mut set = LimitState::default();
    let limits = Limits { rpm: Some(2), concurrency: Some(1), ..NONE };
    admit(&mut set, &limits, START).unwrap();
    let crowded = admit(&mut set, &limits, START).unwrap_err();
    assert_eq!((crowded.headroom.kind, crowded.retry_at), (LimitKind::Concurrency, None));
    set.leave();
    admit(&mut set, &limits, START).unwrap();
    assert_eq!(admit(&mut set, &limits, START).unwrap_err().headroom.kind, LimitKind::RequestsPerMinute);
    assert_eq!(set.in_flight(), 1);
}

#[test]
fn total_uses_are_spent_once_and_come_back_only_for_what_was_never_sent() {
    let mut set = LimitState::restored(START, UsedBefore { uses: 8, ..UsedBefore::default() });
    let mut one =
        || set.admit(&rules(&NONE, Some(10)), Bucket::Look, START).map_err(|e| (e.headroom.kind, e.retry_at));
    assert_eq!((one(), one()), (Ok(None), Ok(None)));
    assert_eq!(one(), Err((LimitKind::TotalUses, None)));
    set.return_use();
    assert!(set.admit(&rules(&NONE, Some(10)), Bucket::Work, START).is_ok());
    assert_eq!(set.uses(), 10);
}

#[test]
fn day_quotas_go_on_after_a_start() {
    let used = UsedBefore { work_today: 9, look_today: 10, ..UsedBefore::default() };
    let mut set = LimitState::restored(START, used);
    let limits = Limits { rpd: Some(10), ..NONE };
    assert_eq!(admit(&mut set, &limits, START).unwrap().unwrap().remaining, 0);
    assert!(admit(&mut set, &limits, START).is_err());
    assert!(set.admit(&rules(&limits, None), Bucket::Look, START).is_err());
}

#[test]
fn a_quota_that_is_set_during_the_day_counts_the_whole_day() {
    let mut set = LimitState::default();
    for _ in 0..7 {
        admit(&mut set, &NONE, START).unwrap();
    }
    let limits = Limits { rpd: Some(8), ..NONE };
    assert_eq!(admit(&mut set, &limits, START).unwrap().unwrap().remaining, 0);
    assert!(admit(&mut set, &limits, START).is_err());
}

#[test]
fn a_changed_rate_goes_on_with_what_was_used() {
    let mut set = LimitState::default();
    let before = Limits { rpm: Some(60), ..NONE };
    for _ in 0..30 {
        admit(&mut set, &before, START).unwrap();
    }
    let after = Limits { rpm: Some(120), ..NONE };
    let refused = admit(&mut set, &after, START).unwrap_err();
    assert_eq!(refused.retry_at, Some(START.plus_micros(MICROS_PER_SEC / 2)));
}

#[test]
fn what_is_given_back_was_never_taken() {
    let limits = Limits { rps: Some(1), rpm: Some(2), rph: Some(3), rpd: Some(4), ..NONE };
    let mut set = LimitState::default();
    for _ in 0..20 {
        admit(&mut set, &limits, START).unwrap();
        set.leave();
        set.give_back(&limits, Bucket::Work, START);
    }
    assert_eq!((set.uses(), set.in_flight()), (0, 0));
    let mut fresh = LimitState::default();
    assert_eq!(admit(&mut set, &limits, START), admit(&mut fresh, &limits, START));
}

fn some_limits() -> impl Strategy<Value = Limits> {
    let small = || proptest::option::of(0_u64..6);
    (small(), small(), small(), small(), proptest::option::of(0_u64..4))
        .prop_map(|(rps, rpm, rph, rpd, concurrency)| Limits { rps, rpm, rph, rpd, concurrency, ..NONE })
}

proptest! {
    /// Each step: time that passes, which bucket, and whether an earlier request ends first.
    #[test]
    fn a_refused_request_takes_nothing_and_an_admitted_one_takes_from_all(
        limits in some_limits(),
        max_uses in proptest::option::of(0_u64..8),
        steps in proptest::collection::vec((0_i64..700_000, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let (mut set, mut now) = (LimitState::default(), START);
        for (gap, look, leave) in steps {
            now = now.plus_micros(gap);
            if leave {
                set.leave();
            }
            let bucket = if look { Bucket::Look } else { Bucket::Work };
            let mut rested = set;
            let quiet = rested.bucket(bucket).step(&rules(&limits, None), now, 0).0;
            *rested.bucket(bucket) = quiet;
            match set.admit(&rules(&limits, max_uses), bucket, now) {
                Err(exceeded) => {
                    prop_assert_eq!(*set.bucket(bucket) == quiet || max_uses.is_some(), true);
                    prop_assert_eq!((set.in_flight(), set.uses()), (rested.in_flight(), rested.uses()));
                    if let Some(at) = exceeded.retry_at {
                        let mut early = set;
                        prop_assert!(early.admit(&rules(&limits, max_uses), bucket, at.plus_micros(-1)).is_err());
                        let free = Limits { concurrency: None, ..limits };
                        prop_assert!(set.clone().admit(&rules(&free, max_uses), bucket, at).is_ok());
                    }
                }
                Ok(_) => {
                    prop_assert_eq!(*set.bucket(bucket), quiet.step(&rules(&limits, None), now, 1).0);
                    prop_assert_eq!((set.in_flight(), set.uses()), (rested.in_flight() + 1, rested.uses() + 1));
                }
            }
        }
    }

    #[test]
    fn decisions_equal_those_of_a_model_that_remembers_every_request(
        rpm in 1_u32..8,
        rpd in 1_u64..12,
        gaps in proptest::collection::vec(0_i64..40_000_000, 1..40),
    ) {
        let limits = Limits { rpm: Some(rpm.into()), rpd: Some(rpd), ..NONE };
        let (mut set, mut now, mut past) = (LimitState::default(), START, Vec::<Timestamp>::new());
        for gap in gaps {
            now = now.plus_micros(gap);
            // Admitted if no earlier window that ends now would hold more than the burst and what the rate gives it.
            let rate = Rate::per_minute(rpm);
            let fits = |(i, from): (usize, &Timestamp)| {
                let sum = i64::try_from(past.len() - i + 1).unwrap() - i64::from(rate.burst());
                sum * 60_000_000 <= now.micros_since(*from) * i64::from(rpm)
            };
            let today = past.iter().filter(|t| t.utc_day() == now.utc_day()).count();
            let model = past.iter().enumerate().all(fits) && today < usize::try_from(rpd).unwrap();
            prop_assert_eq!(admit(&mut set, &limits, now).is_ok(), model);
            if model {
                past.push(now);
            }
        }
    }
}
