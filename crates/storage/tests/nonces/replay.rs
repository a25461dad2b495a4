//! Replays without number: requests of honest clients with clocks of their own, each sent again and again by somebody
//! who heard it, across the edges of the window, while the memory is lost at any time.
//!
//! A request is judged as the gateway judges it: clock, then nonce. Promised: no replay passes; a fresh one is refused
//! only by the stated rule, which is that its time is too far off, or that it was lost what was accepted at its time.

use std::collections::HashSet;

use claviger_domain::{
    clock::Timestamp,
    signature::{
        SKEW_SECS,
        nonce::{Loss, Nonce, NonceMemory, NonceUse, NonceVerdict},
    },
    token::PublicId,
};

use super::KEY;

/// How many signed requests: 20 k, or what a soak asks for.
const COUNT: &str = "CLAVIGER_TEST_REPLAYS";
const SEED: &str = "CLAVIGER_TEST_SEED";
const START: i64 = 1_800_000_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn within(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.roll(u64::try_from(to - from + 1).unwrap())).unwrap()
    }
}

#[derive(Default, Debug)]
struct Count {
    sent: u64,
    passed: u64,
    replays: u64,
    by_clock: u64,
    by_loss: u64,
}

/// A gateway's judgement.
fn passes(memory: &mut NonceMemory, used: &NonceUse, arrived: i64, judged: i64) -> Result<bool, Loss> {
    if (used.made_at_secs - arrived).abs() > SKEW_SECS || used.check(Timestamp::from_secs(judged)).is_err() {
        return Ok(false);
    }
    match memory.take(used).unwrap() {
        NonceVerdict::Fresh => Ok(true),
        NonceVerdict::Replayed => Ok(false),
        NonceVerdict::Lost(loss) => Err(loss),
    }
}

#[test]
fn no_replay_passes_and_nothing_fresh_is_refused_but_by_the_rule() {
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (wanted, seed) = (number(COUNT, 20_000), number(SEED, 7));
    let mut dice = Dice(seed);
    let mut memory = NonceMemory::new(Timestamp::from_secs(START), usize::MAX);
    let mut now = START;
    let mut heard: Vec<NonceUse> = Vec::new();
    let mut accepted: HashSet<(i64, [u8; 16])> = HashSet::new();
    let mut count = Count::default();
    while count.sent < wanted {
        now += dice.within(0, 1);
        match dice.roll(4_000) {
            // A restart, a flush, a failover.
            0 => memory = NonceMemory::new(Timestamp::from_secs(now), usize::MAX),
            1 => now += dice.within(0, 900),
            2..60 => drop(memory.forget(Timestamp::from_secs(now))),
            _ => {}
        }
        count.sent += 1;
        let again = !heard.is_empty() && dice.roll(2) == 0;
        let used = if again {
            let recent = heard.len().saturating_sub(1_500);
            heard[recent + usize::try_from(dice.roll((heard.len() - recent) as u64)).unwrap()]
        } else {
            // Most clocks are right, some are off by just what is allowed, or a little more.
            let off = match dice.roll(8) {
                0 => dice.within(295, 305),
                1 => -dice.within(295, 305),
                2 => dice.within(-300, 300),
                _ => dice.within(-2, 2),
            };
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&count.sent.to_be_bytes());
            NonceUse {
                key: PublicId::parse(KEY).unwrap(),
                nonce: Nonce::from_bytes(nonce),
                made_at_secs: now + off,
                signer_since: Timestamp::from_secs(START - 86_400),
            }
        };
        // Bodies take their time, those of somebody who wants to be late above all.
        let judged = now + if dice.roll(10) == 0 { dice.within(0, 700) } else { 0 };
        let verdict = passes(&mut memory, &used, now, judged);
        let known = (used.made_at_secs, *used.nonce.as_bytes());
        let fresh = !accepted.contains(&known);
        match verdict {
            Ok(true) => {
                assert!(accepted.insert(known), "a replay passed: {used:?} at {now}, {count:?}, seed {seed}");
                count.passed += 1;
            }
            Ok(false) if !fresh => count.replays += 1,
            Ok(false) => {
                let late = judged - used.made_at_secs > 2 * SKEW_SECS;
                let off = (used.made_at_secs - now).abs() > SKEW_SECS;
                assert!(late || off, "fresh, and refused: {used:?} at {now}, seed {seed}");
                count.by_clock += 1;
            }
            Err(loss) => {
                assert!(
                    loss.covers(&used) || memory.forgets(&used),
                    "refused beyond the rule: {used:?} {loss:?}"
                );
                count.by_loss += 1;
            }
        }
        if !again {
            heard.push(used);
        }
        if heard.len() > 100_000 {
            heard.drain(..50_000);
        }
    }
    println!("{count:?}");
    assert!(count.passed > wanted / 5 && count.replays > wanted / 20 && count.by_loss > 0, "{count:?}");
}
