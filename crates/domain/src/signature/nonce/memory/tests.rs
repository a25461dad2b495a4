use proptest::prelude::*;

use super::{super::Nonce, *};
use crate::token::PublicId;

const START: i64 = 1_000_000;

fn used(nonce: u8, made_at_secs: i64) -> NonceUse {
    NonceUse {
        key: PublicId::parse("0123456789").unwrap(),
        nonce: Nonce::from_bytes([nonce; 16]),
        made_at_secs,
        signer_since: Timestamp::from_secs(1),
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A memory whose beginning is long over.
fn old() -> NonceMemory {
    NonceMemory::new(at(START - 10_000), 1_000)
}

#[test]
fn a_nonce_passes_once_whatever_time_stands_beside_it() {
    let mut memory = old();
    assert_eq!(memory.take(&used(1, START)), Some(NonceVerdict::Fresh));
    assert_eq!(memory.take(&used(1, START)), Some(NonceVerdict::Replayed));
    assert_eq!(memory.take(&used(1, START + 200)), Some(NonceVerdict::Replayed));
    assert_eq!(memory.take(&used(2, START)), Some(NonceVerdict::Fresh));
    let other = NonceUse { key: PublicId::parse("9876543210").unwrap(), ..used(1, START) };
    assert_eq!(memory.take(&other), Some(NonceVerdict::Fresh));
}

#[test]
fn it_is_remembered_as_long_as_it_could_be_judged() {
    let mut memory = old();
    memory.take(&used(1, START));
    memory.forget(at(START + KEPT_SECS));
    assert_eq!(memory.take(&used(1, START)), Some(NonceVerdict::Replayed));
    assert_eq!(memory.forget(at(START + KEPT_SECS + 121)), 1);
    assert!(memory.is_empty());
}

#[test]
fn a_clock_that_is_set_back_brings_nothing_back() {
    let mut memory = old();
    memory.take(&used(1, START));
    memory.forget(at(START + 100_000));
    assert!(matches!(memory.take(&used(1, START)), Some(NonceVerdict::Lost(_))));
}

#[test]
fn a_beginning_refuses_what_could_have_been_accepted_before_it() {
    let mut memory = NonceMemory::new(at(START), 10);
    // Five seconds more than it seems: the clock before may have been ahead of this one.
    let loss = Loss { at: at(START + 5) };
    assert_eq!(memory.take(&used(1, START + 305)), Some(NonceVerdict::Lost(loss)));
    assert_eq!(memory.take(&used(1, START + 306)), Some(NonceVerdict::Fresh));
    let new_secret = NonceUse { signer_since: at(START + 1), ..used(2, START) };
    assert_eq!(memory.take(&new_secret), Some(NonceVerdict::Fresh));
}

#[test]
fn a_full_memory_says_so_and_has_room_again_later() {
    let mut memory = NonceMemory::new(at(START - 10_000), 1);
    assert_eq!(memory.take(&used(1, START)), Some(NonceVerdict::Fresh));
    assert_eq!(memory.take(&used(2, START)), None);
    assert_eq!(memory.take(&used(1, START)), Some(NonceVerdict::Replayed));
    memory.forget(at(START + KEPT_SECS + 121));
    assert_eq!(memory.take(&used(2, START + 700)), Some(NonceVerdict::Fresh));
}

proptest! {
    /// Whatever the clock does and whenever it is forgotten: nothing passes twice that the clock lets through.
    #[test]
    fn nothing_passes_twice(steps in proptest::collection::vec((0_u8..6, -700_i64..700, 0_i64..200, any::<bool>()), 1..200)) {
        let mut memory = old();
        let mut passed = std::collections::HashSet::new();
        let mut now = START;
        for (nonce, drift, pause, forget) in steps {
            now += pause;
            if forget {
                memory.forget(at(now));
            }
            let one = used(nonce, now + drift);
            if one.check(at(now)).is_ok() && memory.take(&one) == Some(NonceVerdict::Fresh) {
                prop_assert!(passed.insert((nonce, one.made_at_secs)), "{one:?} at {now}");
            }
        }
    }
}
