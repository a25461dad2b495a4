//! Nonces in memory: what one process remembers, and what it knows to have forgotten.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{Hash, Hasher},
};

use super::{KEPT_SECS, Loss, NonceUse, NonceVerdict};
use crate::{
    clock::{MICROS_PER_SEC, Timestamp},
    signature::SKEW_SECS,
};

/// Nonces are forgotten by the minute.
const MINUTE: i64 = 60;
/// How far the clock may have been set back before the beginning, in seconds: what was accepted then was judged by the
/// clock before.
const SET_BACK_SECS: i64 = 5;

/// A key and its nonce, in one piece: quick to hash, and small, for there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known([u8; KEY + 16]);

/// Bytes of a key's public id.
const KEY: usize = 10;

impl Known {
    fn of(used: &NonceUse) -> Self {
        let mut bytes = [0; KEY + 16];
        let (key, nonce) = bytes.split_at_mut(KEY);
        key.copy_from_slice(used.key.as_str().as_bytes());
        nonce.copy_from_slice(used.nonce.as_bytes());
        Self(bytes)
    }
}

impl Hash for Known {
    /// All have one length, which need not be hashed.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// What is remembered. It begins with a loss: nobody knows what the process before it accepted.
#[derive(Debug)]
pub struct NonceMemory {
    known: HashSet<Known>,
    /// By the minute at whose end they may be forgotten.
    ends: BTreeMap<i64, Vec<Known>>,
    loss: Loss,
    /// Whatever was to be kept until then or earlier is gone.
    forgotten_secs: i64,
    most: usize,
}

impl NonceMemory {
    /// An empty memory for `most` nonces that begins at `now`.
    #[must_use]
    pub fn new(now: Timestamp, most: usize) -> Self {
        Self {
            known: HashSet::new(),
            ends: BTreeMap::new(),
            loss: Loss { at: now },
            forgotten_secs: i64::MIN,
            most,
        }
    }

    /// Remembers a use; `None`: there is no room.
    pub fn take(&mut self, used: &NonceUse) -> Option<NonceVerdict> {
        if let Some(loss) = self.lost(used) {
            return Some(NonceVerdict::Lost(loss));
        }
        let until = used.kept_until_secs();
        if self.forgets(used) {
            // The clock was set forward and back again.
            let at_secs = self.forgotten_secs.saturating_sub(KEPT_SECS + SKEW_SECS + 1);
            return Some(NonceVerdict::Lost(Loss { at: Timestamp::from_secs(at_secs) }));
        }
        let known = Known::of(used);
        if self.known.len() >= self.most {
            return self.known.contains(&known).then_some(NonceVerdict::Replayed);
        }
        if !self.known.insert(known) {
            return Some(NonceVerdict::Replayed);
        }
        self.ends.entry(until.div_euclid(MINUTE) + 1).or_default().push(known);
        Some(NonceVerdict::Fresh)
    }

    /// The beginning, if a use could have been accepted before it. A secret that was made since had signed nothing.
    fn lost(&self, used: &NonceUse) -> Option<Loss> {
        let last = Loss { at: self.loss.at.plus_micros(SET_BACK_SECS * MICROS_PER_SEC) };
        let made_before = used.signer_since <= self.loss.at;
        (made_before && last.covers(used)).then_some(last)
    }

    /// Forgets what need not be remembered; how many.
    pub fn forget(&mut self, now: Timestamp) -> u64 {
        let minute = now.as_secs().div_euclid(MINUTE);
        let later = self.ends.split_off(&(minute + 1));
        let over = std::mem::replace(&mut self.ends, later);
        let mut count = 0;
        for key in over.into_values().flatten() {
            count += u64::from(self.known.remove(&key));
        }
        if count > 0 {
            self.forgotten_secs = self.forgotten_secs.max(minute.saturating_mul(MINUTE));
        }
        count
    }

    /// Whether it can be judged no more because everything of its time was forgotten.
    #[must_use]
    pub const fn forgets(&self, used: &NonceUse) -> bool {
        used.kept_until_secs() <= self.forgotten_secs
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests;
