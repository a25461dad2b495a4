//! What is going on with one key right now. It outlives reloads of the key's record.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use claviger_domain::{
    clock::{BootInstant, Timestamp},
    key::Revocation,
    limit::UsedBefore,
};

use super::{
    cut::{Cut, CutSignal},
    subject::SubjectRuntime,
};

/// How long calls in flight may go on after a revocation that is not immediate.
pub const REVOCATION_GRACE_US: i64 = 30_000_000;
const NEVER: u64 = u64::MAX;

/// Limit state, calls in flight and cut signal of one key.
#[derive(Debug)]
pub struct KeyRuntime {
    subject: SubjectRuntime,
    cut: Cut,
    /// Boot time in microseconds at which calls in flight are cut.
    cut_due: AtomicU64,
}

impl KeyRuntime {
    pub(crate) fn new(now: Timestamp, used: UsedBefore) -> Self {
        Self { subject: SubjectRuntime::new(now, used), cut: Cut::default(), cut_due: AtomicU64::new(NEVER) }
    }

    /// Resolves when calls of this key must be cut: at once after an immediate revocation, 30 s after another one.
    #[must_use]
    pub fn cut_signal(self: &Arc<Self>) -> CutSignal {
        CutSignal::new(Arc::clone(self))
    }

    /// Whether calls of this key must be cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.is_given()
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.subject.state().in_flight()
    }

    /// Uses in the key's whole life, those of its children included.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.subject.state().uses()
    }

    /// Its limits, and those who wait for one of its places.
    pub(crate) const fn subject(&self) -> &SubjectRuntime {
        &self.subject
    }

    pub(super) const fn cut(&self) -> &Cut {
        &self.cut
    }

    /// The key was revoked. True, once, when calls in flight are to be cut later, by [`KeyRuntime::cut_if_due`].
    pub(super) fn revoked(&self, revocation: Revocation, now: Timestamp, boot: BootInstant) -> bool {
        let gone = now.micros_since(revocation.at).max(0);
        let left = REVOCATION_GRACE_US.saturating_sub(gone);
        if revocation.immediate || left <= 0 {
            self.cut.give();
            return false;
        }
        let due = boot.as_micros().saturating_add(left.unsigned_abs());
        self.cut_due.fetch_min(due, Ordering::AcqRel) == NEVER
    }

    /// Cuts if the time has come; true when there is nothing more to wait for.
    pub(super) fn cut_if_due(&self, boot: BootInstant) -> bool {
        if self.cut.is_given() {
            return true;
        }
        let due = self.cut_due.load(Ordering::Acquire) <= boot.as_micros();
        if due {
            self.cut.give();
        }
        due
    }
}
