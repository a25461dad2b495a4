//! What is going on with one key right now. It outlives reloads of the key's record.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use claviger_domain::{
    clock::{BootInstant, Timestamp},
    key::{KeyPolicy, Revocation},
    limit::{
        Bucket, Exceeded, Headroom, LimitKind,
        set::{KeyLimits, UsedBefore},
    },
};
use tokio::sync::Notify;

use super::cut::{Cut, CutSignal};
use crate::lock::lock;

/// How long calls in flight may go on after a revocation that is not immediate.
pub const REVOCATION_GRACE_US: i64 = 30_000_000;
const NEVER: u64 = u64::MAX;

/// Limit state, calls in flight and cut signal of one key.
#[derive(Debug)]
pub struct KeyRuntime {
    limits: Mutex<KeyLimits>,
    waiting: AtomicU32,
    /// Told once for each place that becomes free while someone waits.
    place: Notify,
    cut: Cut,
    /// Boot time in microseconds at which calls in flight are cut.
    cut_due: AtomicU64,
}

impl KeyRuntime {
    pub(crate) fn new(now: Timestamp, used: UsedBefore) -> Self {
        Self {
            limits: Mutex::new(KeyLimits::restored(now, used)),
            waiting: AtomicU32::new(0),
            place: Notify::new(),
            cut: Cut::default(),
            cut_due: AtomicU64::new(NEVER),
        }
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
        lock(&self.limits).in_flight()
    }

    /// Uses in the key's whole life, those of its children included.
    #[must_use]
    pub fn uses(&self) -> u64 {
        lock(&self.limits).uses()
    }

    /// What is left of each rate and day limit of a bucket.
    #[must_use]
    pub fn standing(&self, policy: &KeyPolicy, bucket: Bucket, now: Timestamp) -> Vec<Headroom> {
        lock(&self.limits).standing(&policy.limits, bucket, now)
    }

    pub(super) const fn cut(&self) -> &Cut {
        &self.cut
    }

    /// Takes one request from all limits, or from none. Who did not wait does not overtake those who do.
    pub(crate) fn admit(
        &self,
        policy: &KeyPolicy,
        bucket: Bucket,
        now: Timestamp,
        has_waited: bool,
    ) -> Result<Option<Headroom>, Exceeded> {
        self.check_queue(policy, now, has_waited)?;
        lock(&self.limits).admit(&policy.limits, policy.max_uses, bucket, now)
    }

    /// The same for a child: from its own limits and from its parent's, or from none of them.
    pub(crate) fn admit_within(
        &self,
        policy: &KeyPolicy,
        parent: (&Self, &KeyPolicy),
        (bucket, now): (Bucket, Timestamp),
        has_waited: bool,
    ) -> Result<Option<Headroom>, Exceeded> {
        let (parent, parent_policy) = parent;
        parent.check_queue(parent_policy, now, has_waited)?;
        // Parent before child, always: nobody waits for the other way round.
        let mut theirs = lock(&parent.limits);
        let mut own = lock(&self.limits);
        let (mut their_next, mut own_next) = (*theirs, *own);
        let their_room = their_next.admit(&parent_policy.limits, parent_policy.max_uses, bucket, now)?;
        let own_room = own_next.admit(&policy.limits, policy.max_uses, bucket, now)?;
        (*theirs, *own) = (their_next, own_next);
        Ok([own_room, their_room].into_iter().flatten().min_by_key(|room| room.remaining))
    }

    fn check_queue(&self, policy: &KeyPolicy, now: Timestamp, has_waited: bool) -> Result<(), Exceeded> {
        if !has_waited
            && self.waiting.load(Ordering::Relaxed) > 0
            && let Some(limit) = policy.limits.concurrency
        {
            let headroom = Headroom { kind: LimitKind::Concurrency, limit, remaining: 0, reset: now };
            return Err(Exceeded { headroom, retry_at: None });
        }
        Ok(())
    }

    /// A request has ended; `unsent`: it never counted as a use.
    pub(crate) fn leave(&self, unsent: bool) {
        {
            let mut limits = lock(&self.limits);
            limits.leave();
            if unsent {
                limits.return_use();
            }
        }
        self.pass_on();
    }

    /// Tells the first who waits that there may be a place.
    pub(crate) fn pass_on(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.place.notify_one();
        }
    }

    pub(crate) const fn waiting(&self) -> &AtomicU32 {
        &self.waiting
    }

    pub(crate) const fn place(&self) -> &Notify {
        &self.place
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
