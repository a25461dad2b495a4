//! The laws of the bucket, and its agreement with a model that counts in exact fractions.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn rates() -> impl Strategy<Value = Rate> {
    let limit = prop_oneof![1_u32..200, 1_u32..=u32::MAX];
    let kind = prop_oneof![
        Just(Rate::per_second as fn(u32) -> Rate),
        Just(Rate::per_minute as fn(u32) -> Rate),
        Just(Rate::per_hour as fn(u32) -> Rate)
    ];
    (limit, kind).prop_map(|(limit, kind)| kind(limit))
}

fn exhausted(rate: Rate, at: Timestamp) -> Gcra {
    let (state, decision) = Gcra::default().step(rate, at, rate.burst());
    assert!(decision.admitted && decision.remaining == 0);
    state
}

#[test]
fn the_burst_is_a_quarter_at_least_thirty_and_never_above_the_limit() {
    for (limit, burst) in [(0, 0), (5, 5), (30, 30), (60, 30), (100, 30), (120, 30), (124, 31), (1_000, 250)]
    {
        assert_eq!(Rate::per_minute(limit).burst(), burst, "{limit}");
    }
}

#[test]
fn an_idle_key_of_sixty_a_minute_sends_thirty_at_once_then_one_a_second() {
    let rate = Rate::per_minute(60);
    let mut bucket = Gcra::default();
    for left in (0..30).rev() {
        let (next, d) = bucket.step(rate, START, 1);
        assert_eq!((d.admitted, d.remaining), (true, left));
        bucket = next;
    }
    let (next, d) = bucket.step(rate, START, 1);
    assert_eq!((d.admitted, d.retry_at), (false, Some(START.plus_micros(MICROS_PER_SEC))));
    assert_eq!(d.reset, START.plus_micros(30 * MICROS_PER_SEC));
    assert!(next.step(rate, START.plus_micros(MICROS_PER_SEC), 1).1.admitted);
}

#[test]
fn a_cost_above_the_burst_is_never_admitted_by_waiting() {
    let d = Gcra::default().step(Rate::per_minute(5), START, 6).1;
    assert_eq!((d.admitted, d.retry_at, d.remaining), (false, None, 5));
    assert_eq!(Gcra::default().step(Rate::per_minute(0), START, 1).1.retry_at, None);
}

#[test]
fn a_clock_that_is_set_back_grants_nothing_and_starves_nobody() {
    let rate = Rate::per_minute(60);
    let back = START.plus_micros(-3_600 * MICROS_PER_SEC);
    let (bucket, d) = exhausted(rate, START).step(rate, back, 1);
    assert_eq!((d.admitted, d.retry_at), (false, Some(back.plus_micros(MICROS_PER_SEC))));
    assert!(bucket.step(rate, back.plus_micros(MICROS_PER_SEC), 1).1.admitted);
}

#[test]
fn readings_out_of_order_count_no_time_twice() {
    let rate = Rate::per_second(1_000);
    let mut bucket = exhausted(rate, START);
    for _ in 0..1_000 {
        let (late, d) = bucket.step(rate, START.plus_micros(-500), 1);
        assert!(!d.admitted);
        let (next, d) = late.step(rate, START, 1);
        assert!(!d.admitted);
        bucket = next;
    }
}

#[test]
fn a_limit_that_shrinks_makes_nobody_wait_for_the_old_ones_level() {
    let bucket = exhausted(Rate::per_minute(1_000), START);
    let d = bucket.step(Rate::per_minute(10), START, 1).1;
    assert_eq!(d.retry_at, Some(START.plus_micros(6 * MICROS_PER_SEC)));
    let d = bucket.step(Rate::per_minute(4_000), START, 1).1;
    assert_eq!((d.admitted, d.remaining), (true, 749));
}

proptest! {
    #[test]
    fn no_window_admits_more_than_the_burst_and_what_the_rate_allows(
        rate in rates(),
        gaps in proptest::collection::vec((0_i64..3_000_000, 1_u32..4), 1..80),
    ) {
        let (mut bucket, mut now) = (Gcra::default(), START);
        let mut admitted: Vec<(Timestamp, u32)> = Vec::new();
        for (gap, cost) in gaps {
            now = now.plus_micros(gap);
            let (next, d) = bucket.step(rate, now, cost);
            bucket = next;
            if d.admitted {
                admitted.push((now, cost));
            }
        }
        for from in 0..admitted.len() {
            let mut sum = 0_u128;
            for (at, cost) in &admitted[from..] {
                sum += u128::from(*cost);
                let us = u128::try_from(at.micros_since(admitted[from].0)).unwrap();
                let allowed = u128::from(rate.burst()) * u128::from(rate.window_us) + u128::from(rate.limit) * us;
                prop_assert!(sum * u128::from(rate.window_us) <= allowed);
            }
        }
    }

    #[test]
    fn retry_at_is_exact_to_the_microsecond(rate in rates(), used_for in 0_i64..100_000_000, cost in 1_u32..=5) {
        let cost = cost.min(rate.burst());
        let now = START.plus_micros(used_for % 3_600);
        let (bucket, d) = exhausted(rate, START).step(rate, now, cost);
        if let Some(at) = d.retry_at {
            prop_assert!(at > now);
            prop_assert!(!bucket.step(rate, at.plus_micros(-1), cost).1.admitted);
            prop_assert!(bucket.step(rate, at, cost).1.admitted);
        } else {
            prop_assert!(d.admitted);
        }
    }

    #[test]
    fn reset_is_when_the_whole_burst_is_free_and_not_before(rate in rates(), cost in 1_u32..50) {
        let cost = cost.min(rate.burst());
        let (bucket, d) = Gcra::default().step(rate, START, cost);
        prop_assert!(!bucket.step(rate, d.reset.plus_micros(-1), rate.burst()).1.admitted);
        prop_assert!(bucket.step(rate, d.reset, rate.burst()).1.admitted);
    }

    #[test]
    fn remaining_is_how_many_more_are_admitted_at_once(limit in 1_u32..200, cost in 1_u32..40, after in 0_i64..90_000_000) {
        let rate = Rate::per_minute(limit);
        let (bucket, _) = Gcra::default().step(rate, START, cost.min(rate.burst()));
        let now = START.plus_micros(after);
        let (bucket, d) = bucket.step(rate, now, 0);
        let left = u32::try_from(d.remaining).unwrap();
        prop_assert!(bucket.step(rate, now, left).1.admitted);
        prop_assert!(!bucket.step(rate, now, left + 1).1.admitted);
    }

    #[test]
    fn decisions_equal_those_of_virtual_scheduling_in_fractions(
        limit in 1_u32..500,
        gaps in proptest::collection::vec((0_i64..2_000_000, 1_u32..3), 1..100),
    ) {
        // The text-book form: one theoretical arrival time, here as a fraction over `limit`.
        let rate = Rate::per_minute(limit);
        let interval = i128::from(rate.window_us);
        let tolerance = interval * i128::from(rate.burst());
        let (mut tat, mut bucket, mut now) = (0_i128, Gcra::default(), START);
        for (gap, cost) in gaps {
            now = now.plus_micros(gap);
            let scaled = i128::from(now.as_micros()) * i128::from(limit);
            let next = tat.max(scaled) + interval * i128::from(cost);
            let model = next - scaled <= tolerance;
            if model {
                tat = next;
            }
            let (state, d) = bucket.step(rate, now, cost);
            bucket = state;
            prop_assert_eq!(d.admitted, model);
        }
    }

    #[test]
    fn a_wandering_clock_grants_no_more_than_the_time_it_went_forward(
        rate in rates(),
        moves in proptest::collection::vec(-5_000_000_i64..5_000_000, 1..80),
    ) {
        let (mut bucket, mut now, mut forward, mut admitted) = (Gcra::default(), START, 0_u128, 0_u128);
        for step in moves {
            now = now.plus_micros(step);
            forward += u128::try_from(step).unwrap_or(0);
            let (next, d) = bucket.step(rate, now, 1);
            bucket = next;
            admitted += u128::from(d.admitted);
        }
        let allowed = u128::from(rate.burst()) * u128::from(rate.window_us) + u128::from(rate.limit) * forward;
        prop_assert!(admitted * u128::from(rate.window_us) <= allowed);
    }
}
