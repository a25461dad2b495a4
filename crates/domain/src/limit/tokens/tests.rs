//! What calls may take together, what is owed, and what is given back.

use proptest::prelude::*;

use super::*;
use crate::clock::MICROS_PER_DAY;

const START: Timestamp = Timestamp::from_micros(20_000 * MICROS_PER_DAY + 12 * 3_600 * MICROS_PER_SEC);

const fn rules(limits: &Limits) -> Rules<'_> {
    Rules { subject: LimitSubject::Key, limits, max_uses: None }
}

const fn tokens(input: u64, output: u64) -> Tokens {
    Tokens { input, output }
}

/// A call that begins: what it may take is held.
fn begin(state: &mut TokenState, limits: &Limits, ask: Tokens, now: Timestamp) -> Result<(), Exceeded> {
    state.ask(&rules(limits), ask, now)?;
    state.hold(ask);
    Ok(())
}

/// A call that ends: what it took is counted.
fn end(state: &mut TokenState, limits: &Limits, (held, taken): (Tokens, Tokens), now: Timestamp) {
    state.release(held);
    state.count(limits, taken, now);
}

fn left(state: &TokenState, limits: &Limits, now: Timestamp) -> Vec<(LimitKind, u64)> {
    let mut all = Vec::new();
    state.standing(&rules(limits), now, |h| all.push((h.kind, h.remaining)));
    all
}

fn after(secs: i64) -> Timestamp {
    START.plus_micros(secs * MICROS_PER_SEC)
}

#[test]
fn what_a_call_may_take_is_held_and_what_it_did_not_take_is_given_back() {
    let limits = Limits { itpm: Some(1_000), otpm: Some(500), tpm: Some(1_200), ..Limits::NONE };
    let mut state = TokenState::default();
    begin(&mut state, &limits, tokens(300, 400), START).unwrap();
    let kinds =
        [LimitKind::InputTokensPerMinute, LimitKind::OutputTokensPerMinute, LimitKind::TokensPerMinute];
    let now = left(&state, &limits, START);
    assert_eq!(now, kinds.into_iter().zip([700, 100, 500]).collect::<Vec<_>>());
    end(&mut state, &limits, (tokens(300, 400), tokens(250, 10)), START);
    let now = left(&state, &limits, START);
    assert_eq!(now, kinds.into_iter().zip([750, 490, 940]).collect::<Vec<_>>());
    assert_eq!(state.held(), Tokens::default());
    assert_eq!(
        left(&state, &limits, after(60)),
        kinds.into_iter().zip([1_000, 500, 1_200]).collect::<Vec<_>>()
    );
}

#[test]
fn a_refusal_names_the_limit_that_holds_longest_and_takes_nothing() {
    let limits = Limits { itps: Some(10), itpm: Some(60), otpm: Some(100), ..Limits::NONE };
    let mut state = TokenState::default();
    state.count(&limits, tokens(60, 0), START);
    let before = state;
    let refused = begin(&mut state, &limits, tokens(1, 1), START).unwrap_err();
    assert_eq!((refused.headroom.kind, refused.headroom.remaining), (LimitKind::InputTokensPerSecond, 0));
    assert_eq!(refused.retry_at, Some(START.plus_micros(5 * MICROS_PER_SEC + 1)), "what is owed comes first");
    assert_eq!(state, before);
    let at = refused.retry_at.unwrap();
    assert!(state.ask(&rules(&limits), tokens(1, 1), at.plus_micros(-1)).is_err());
    assert!(state.ask(&rules(&limits), tokens(1, 1), at).is_ok());
}

#[test]
fn a_call_that_may_need_more_than_the_limit_runs_by_itself_and_what_it_took_is_owed() {
    let limits = Limits { otpm: Some(100), ..Limits::NONE };
    let mut state = TokenState::default();
    begin(&mut state, &limits, tokens(1, 64_000), START).unwrap();
    let crowded = begin(&mut state, &limits, tokens(1, 1), START).unwrap_err();
    assert_eq!(crowded.retry_at, Some(after(1)), "it may end at any time");
    end(&mut state, &limits, (tokens(1, 64_000), tokens(1, 250)), START);
    let owing = begin(&mut state, &limits, tokens(1, 1), START).unwrap_err();
    assert_eq!(owing.headroom.remaining, 0);
    assert!(
        state.ask(&rules(&limits), tokens(1, 64_000), after(90)).is_err(),
        "nothing is left at 150 % drained"
    );
    assert!(state.ask(&rules(&limits), tokens(1, 64_000), after(91)).is_ok());
}

#[test]
fn a_day_is_counted_without_a_quota_too_and_ends_at_midnight_utc() {
    let mut state = TokenState::restored(START, tokens(40, 2));
    state.count(&Limits::NONE, tokens(50, 3), START);
    let limits = Limits { itpd: Some(90), tpd: Some(1_000), ..Limits::NONE };
    assert_eq!(left(&state, &limits, START)[1], (LimitKind::TokensPerDay, 905));
    let refused = begin(&mut state, &limits, tokens(1, 1), START).unwrap_err();
    let midnight = Timestamp::from_micros(20_001 * MICROS_PER_DAY);
    assert_eq!((refused.headroom.kind, refused.retry_at), (LimitKind::InputTokensPerDay, Some(midnight)));
    assert!(begin(&mut state, &limits, tokens(1, 1), midnight).is_ok());
}

#[test]
fn a_limit_that_is_lowered_forgives_what_was_within_the_old_one_and_not_what_was_owed() {
    let wide = Limits { itpm: Some(60_000), ..Limits::NONE };
    let narrow = Limits { itpm: Some(60), ..Limits::NONE };
    let mut state = TokenState::default();
    state.count(&wide, tokens(60_000, 0), START);
    assert!(state.ask(&rules(&narrow), tokens(1, 0), START).is_err());
    assert!(state.ask(&rules(&narrow), tokens(1, 0), after(1)).is_ok());
    let mut owing = TokenState::default();
    owing.count(&wide, tokens(60_060, 0), START);
    assert!(owing.ask(&rules(&narrow), tokens(1, 0), after(60)).is_err());
    assert!(owing.ask(&rules(&narrow), tokens(1, 0), after(61)).is_ok());
}

#[test]
fn a_clock_that_is_set_back_grants_nothing() {
    let limits = Limits { itpm: Some(60), ..Limits::NONE };
    let mut state = TokenState::default();
    state.count(&limits, tokens(60, 0), START);
    assert!(state.ask(&rules(&limits), tokens(1, 0), after(-3_600)).is_err());
    state.count(&limits, tokens(1, 0), after(-3_600));
    assert!(state.ask(&rules(&limits), tokens(1, 0), after(-3_600)).is_err());
    assert!(state.ask(&rules(&limits), tokens(1, 0), after(-3_590)).is_ok(), "time goes on from there");
}

fn limits() -> impl Strategy<Value = Limits> {
    let some = || proptest::option::of(1_u64..400);
    ((some(), some(), some()), (some(), some(), some()), (some(), some(), some())).prop_map(|(i, o, t)| {
        Limits {
            itps: i.0,
            itpm: i.1,
            itpd: i.2,
            otps: o.0,
            otpm: o.1,
            otph: o.2,
            tpm: t.0,
            tph: t.1,
            tpd: t.2,
            ..Limits::NONE
        }
    })
}

/// What happens next, so many microseconds later: a call begins (what it may take, what it will), or the oldest one ends.
type Step = (i64, Option<(u64, u64, u8)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = proptest::option::of((1_u64..200, 1_u64..500, 0_u8..=100));
    proptest::collection::vec((0_i64..20 * MICROS_PER_SEC, call), 1..80)
}

proptest! {
    /// However many calls run at once: from any moment on, what was taken in the time that follows is at most what the
    /// limit gives in it, its depth, and the needs of one call.
    #[test]
    fn calls_at_once_pass_no_limit_by_more_than_one_of_them(limits in limits(), steps in steps()) {
        let (mut state, mut now) = (TokenState::default(), START);
        let mut running: std::collections::VecDeque<(Tokens, Tokens)> = std::collections::VecDeque::new();
        let (mut taken, mut dearest) = (Vec::new(), Tokens::default());
        for (gap, step) in steps {
            now = now.plus_micros(gap);
            match step {
                Some((input, output, share)) => {
                    let ask = tokens(input, output);
                    if begin(&mut state, &limits, ask, now).is_ok() {
                        let used = tokens(input, output * u64::from(share) / 100);
                        running.push_back((ask, used));
                        dearest = tokens(dearest.input.max(ask.input), dearest.output.max(ask.output));
                    }
                }
                None => if let Some((held, used)) = running.pop_front() {
                    end(&mut state, &limits, (held, used), now);
                    taken.push((now, used));
                }
            }
            let held = running.iter().fold(Tokens::default(), |sum, (held, _)| sum + *held);
            prop_assert_eq!(state.held(), held, "nothing is leaked and nothing given back twice");
        }
        for kind in LimitKind::ALL.iter().copied().filter(|kind| kind.measure() != Measure::Requests) {
            let Some(limit) = limits.get(kind) else { continue };
            let window_us = match kind.field().as_bytes().last() {
                Some(b's') => SECOND,
                Some(b'm') => MINUTE,
                Some(b'h') => HOUR,
                _ => continue,
            };
            let need = u128::from(dearest.of(kind.measure()));
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0_u128;
                for (at, used) in &taken[first..] {
                    sum += u128::from(used.of(kind.measure()));
                    let gone = u128::from(at.micros_since(*from).unsigned_abs());
                    let given = (gone * u128::from(limit)).div_ceil(u128::from(window_us));
                    prop_assert!(sum <= u128::from(limit) + given + need, "{kind:?}: {sum} of {limit}");
                }
            }
        }
    }

    #[test]
    fn a_call_refused_with_nothing_in_flight_is_admitted_at_the_time_that_is_told_and_not_before(
        limits in limits(),
        before in proptest::collection::vec((0_u64..500, 0_u64..500), 1..5),
        ask in (1_u64..600, 1_u64..600),
    ) {
        let mut state = TokenState::default();
        for (input, output) in before {
            state.count(&limits, tokens(input, output), START);
        }
        let ask = tokens(ask.0, ask.1);
        if let Err(refused) = state.ask(&rules(&limits), ask, START) {
            let at = refused.retry_at.unwrap();
            prop_assert!(state.ask(&rules(&limits), ask, at.plus_micros(-1)).is_err());
            prop_assert!(state.ask(&rules(&limits), ask, at).is_ok());
        }
    }
}
