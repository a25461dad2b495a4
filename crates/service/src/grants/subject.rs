//! Whose limits one request has to pass: the key's, its parent's, its owner's and its workspace's.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering},
};

use claviger_domain::{
    clock::Timestamp,
    limit::{
        Bucket, Exceeded, Headroom, LimitKind, LimitState, LimitSubject, Measure, Rules, Tokens, UsedBefore,
    },
};
use tokio::sync::Notify;

use super::LiveGrant;
use crate::lock::lock;

/// How many there are at most.
pub(crate) const SUBJECTS: usize = 4;

/// Limit state of one key, owner or workspace, and those who wait for one of its places. It outlives reloads of what
/// the limits are.
#[derive(Debug)]
pub struct SubjectRuntime {
    state: Mutex<LimitState>,
    waiting: AtomicU32,
    /// Told once for each place that becomes free while someone waits.
    place: Notify,
}

impl SubjectRuntime {
    pub(crate) fn new(now: Timestamp, used: UsedBefore) -> Self {
        Self {
            state: Mutex::new(LimitState::restored(now, used)),
            waiting: AtomicU32::new(0),
            place: Notify::new(),
        }
    }

    /// The state as it is now.
    pub(crate) fn state(&self) -> MutexGuard<'_, LimitState> {
        lock(&self.state)
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
}

/// One whose limits a request has to pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) rules: Rules<'a>,
    pub(crate) runtime: &'a SubjectRuntime,
}

impl Subject<'_> {
    /// Who did not wait does not overtake those who do.
    pub(crate) fn check_queue(&self, now: Timestamp) -> Result<(), Exceeded> {
        if self.runtime.waiting.load(Ordering::Relaxed) > 0
            && let Some(limit) = self.rules.limits.concurrency
        {
            let (subject, kind) = (self.rules.subject, LimitKind::Concurrency);
            let headroom = Headroom { subject, kind, limit, remaining: 0, reset: now };
            return Err(Exceeded { headroom, retry_at: None });
        }
        Ok(())
    }
}

/// One limit, and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// For calls that work, or for those that look something up; `None`: for both.
    pub bucket: Option<Bucket>,
    /// What is left.
    pub headroom: Headroom,
    /// What of it is held for calls in flight, and given back if they do not take it.
    pub held: u64,
    /// Whether time alone gives anything back.
    pub resets: bool,
}

impl LiveGrant {
    /// All whose limits hold for the key, from the narrowest to the widest: also the order in which they are locked.
    pub(crate) fn subjects(&self) -> [Option<Subject<'_>>; SUBJECTS] {
        let group = |subject, limits| Rules { subject, limits, max_uses: None };
        let parent = self.parent.as_ref();
        [
            Some(self.as_subject(LimitSubject::Key)),
            parent.map(|parent| parent.as_subject(LimitSubject::Parent)),
            Some(Subject {
                rules: group(LimitSubject::Owner, &self.grant.owner_limits),
                runtime: &self.owner,
            }),
            Some(Subject {
                rules: group(LimitSubject::Workspace, &self.grant.workspace_limits),
                runtime: &self.workspace,
            }),
        ]
    }

    /// Calls in flight of all keys of its owner.
    #[must_use]
    pub fn owner_in_flight(&self) -> u32 {
        self.owner.state().in_flight()
    }

    /// Calls in flight of all keys of its workspace.
    #[must_use]
    pub fn workspace_in_flight(&self) -> u32 {
        self.workspace.state().in_flight()
    }

    fn as_subject(&self, subject: LimitSubject) -> Subject<'_> {
        let policy = &self.grant.key.policy;
        let rules = Rules { subject, limits: &policy.limits, max_uses: policy.max_uses };
        Subject { rules, runtime: self.runtime.subject() }
    }

    /// Every limit that holds for the key, and how it stands now. Nothing is changed by looking.
    #[must_use]
    pub fn counters(&self, now: Timestamp) -> Vec<Counter> {
        let mut all = Vec::new();
        for Subject { rules, runtime } in self.subjects().into_iter().flatten() {
            let state = *runtime.state();
            for bucket in [Bucket::Work, Bucket::Look] {
                state.standing(&rules, bucket, now, |headroom| {
                    all.push(Counter { bucket: Some(bucket), headroom, held: 0, resets: true });
                });
            }
            let Tokens { input, output } = state.tokens.held();
            state.tokens.standing(&rules, now, |headroom| {
                let held = match headroom.kind.measure() {
                    Measure::InputTokens => input,
                    Measure::OutputTokens => output,
                    Measure::Tokens => input.saturating_add(output),
                    Measure::Requests => 0,
                };
                all.push(Counter { bucket: Some(Bucket::Work), headroom, held, resets: true });
            });
            let counts = [
                (LimitKind::Concurrency, rules.limits.concurrency, u64::from(state.in_flight())),
                (LimitKind::TotalUses, rules.max_uses, state.uses()),
            ];
            for (kind, limit, used) in counts {
                let Some(limit) = limit else { continue };
                let remaining = limit.saturating_sub(used);
                let headroom = Headroom { subject: rules.subject, kind, limit, remaining, reset: now };
                all.push(Counter { bucket: None, headroom, held: 0, resets: false });
            }
        }
        all
    }
}
