//! The rotation of a client key: a successor is made and handed over wrapped; both keys work for the overlap; the old
//! one walks down the ladder of deprecation once nobody uses it, or once the overlap is over; then it is revoked.
//!
//! ```text
//! created ─► delivered ─► overlapping ─► retiring ─► finished
//!    └───────────┴───► cancelled  └──────────┴────► rolled_back
//! ```
//!
//! The old key is never retired while its successor was not unwrapped and used, or is suspended: it is held
//! ([`HoldReason`]), at most until its own expiry.
//!
//! The client chooses which key it uses, so adoption is measured and not imposed. What is to be done follows from what
//! is stored and observed ([`decide`]); each answer is one step that is written in one transaction, so that a crash
//! between two steps is resumed by deciding again.

mod hold;
mod take;

use serde::{Deserialize, Serialize};

use crate::{
    clock::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_SEC, Timestamp},
    id::{KeyId, OwnerId, RotationId, WorkspaceId},
    key::{
        KeyRecord, KeyState, KeyStatus, RevocationReason,
        deprecation::{DeprecationStage, REVOKED_AFTER_US, Rung},
    },
};

pub use hold::{Hold, HoldReason};
pub use take::{Taken, cancel, redelivered, roll_back, take};

/// How long both keys work unless something else is asked for: 7 days, in seconds.
pub const DEFAULT_OVERLAP_SECS: u64 = 7 * 86_400;
/// No overlap is longer than a year, in seconds.
pub const MAX_OVERLAP_SECS: u64 = 366 * 86_400;
/// How long the old key must be unused, while the new one is used, to count as adopted everywhere: a day, or a quarter
/// of the overlap if that is less, in microseconds.
const QUIET_US: i64 = MICROS_PER_DAY;

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationState {
    /// The successor exists and waits, wrapped.
    Created,
    /// The successor was unwrapped.
    Delivered,
    /// The successor was used: both keys work.
    Overlapping,
    /// The old key walks down the ladder.
    Retiring,
    /// The old key is dead, the successor has taken its place.
    Finished,
    /// Given up before the successor was used; the successor is dead, the old key goes on.
    Cancelled,
    /// Gone back; the successor is dead, the old key goes on.
    RolledBack,
}

impl RotationState {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Delivered,
        Self::Overlapping,
        Self::Retiring,
        Self::Finished,
        Self::Cancelled,
        Self::RolledBack,
    ];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Delivered => "delivered",
            Self::Overlapping => "overlapping",
            Self::Retiring => "retiring",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }

    /// The reverse of [`RotationState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether something is still to come.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Created | Self::Delivered | Self::Overlapping | Self::Retiring => true,
            Self::Finished | Self::Cancelled | Self::RolledBack => false,
        }
    }
}

/// A rotation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationRecord {
    /// `rot_…`.
    pub id: RotationId,
    /// The key that goes.
    pub old: KeyId,
    /// The key that comes.
    pub successor: KeyId,
    /// Whose both are.
    pub owner: OwnerId,
    /// Where both belong.
    pub workspace: WorkspaceId,
    /// Why, in the operator's words.
    pub reason: String,
    /// How far it has come.
    pub state: RotationState,
    /// How long both keys work, in seconds, as agreed at the start.
    pub overlap_secs: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When the successor was unwrapped.
    pub delivered_at: Option<Timestamp>,
    /// When the successor was first used.
    pub activated_at: Option<Timestamp>,
    /// When the old key began to walk down the ladder.
    pub retiring_at: Option<Timestamp>,
    /// When it ended, in whichever way.
    pub ended_at: Option<Timestamp>,
    /// What keeps the old key from being walked out.
    pub hold: Option<Hold>,
    /// The overlap was put off to this moment: the successor was delivered anew, or adopted late.
    pub extended_to: Option<Timestamp>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

impl RotationRecord {
    /// When the overlap is over.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.extended_to.unwrap_or_else(|| deadline(self.started_at, self.overlap_secs))
    }

    /// When an overlap that begins now is over: never past the old key's own expiry.
    fn deadline_from(&self, now: Timestamp, old: &KeyRecord) -> Timestamp {
        let end = deadline(now, self.overlap_secs);
        old.expires_at.map_or(end, |expires_at| end.min(expires_at))
    }

    /// When the old key is planned to be gone: once it has walked down the ladder, which begins when the overlap is over
    /// at the latest.
    #[must_use]
    pub fn completion_at(&self) -> Timestamp {
        match (self.ended_at, self.retiring_at) {
            (Some(ended_at), _) => ended_at,
            (None, Some(retiring_at)) => retiring_at.plus_micros(REVOKED_AFTER_US),
            (None, None) => self.deadline().plus_micros(REVOKED_AFTER_US),
        }
    }

    /// How long the old key must be unused to count as given up, in microseconds.
    #[must_use]
    pub fn quiet_us(&self) -> i64 {
        QUIET_US.min(micros(self.overlap_secs) / 4).max(MICROS_PER_HOUR.min(micros(self.overlap_secs)))
    }
}

/// What whoever still uses the key that goes must know of its open rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The key that comes.
    pub successor: KeyId,
    /// When the overlap is over.
    pub deadline: Timestamp,
}

/// Why a key cannot be rotated, or a rotation not be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// Only keys that live can hand over.
    #[error("a key that is {} cannot be rotated", .0.as_str())]
    Dead(KeyStatus),
    /// Somebody else has it: nothing overlaps with it and nothing leads back to it.
    #[error("the key is compromised: revoke it and make a new one")]
    Compromised,
    /// It is resumed first, or revoked.
    #[error("the key is suspended: resume it first, or revoke it")]
    Suspended,
    /// It is on its way out already.
    #[error("the key is deprecated already")]
    Deprecated,
    /// Its parent makes a new one whenever it needs one.
    #[error("a child key is not rotated: its parent mints a new one")]
    Child,
    /// The overlap asked for ends after the key itself does.
    #[error("the overlap would end after the key itself expires: ask for at most {0} seconds")]
    OverlapPastExpiry(u64),
    /// No overlap is shorter than a second or longer than a year.
    #[error("an overlap has 1 second to 366 days")]
    Overlap,
    /// What was asked for is not possible any more.
    #[error("a rotation that is {} cannot be {what}", .state.as_str())]
    TooLate {
        /// Its state.
        state: RotationState,
        /// `cancelled`, `rolled back`, `delivered anew`.
        what: &'static str,
    },
    /// The other key is dead: nothing is left to go on with.
    #[error("the old key is {}: it cannot go on in the successor's place", .0.as_str())]
    OldDead(KeyStatus),
    /// Nothing can be delivered of a dead key.
    #[error("the successor is {}: it cannot be delivered", .0.as_str())]
    SuccessorDead(KeyStatus),
    /// Whoever uses it would be cut off.
    #[error("the successor is in use: it was delivered")]
    InUse,
}

/// How long old and new key work together: as asked, at most until the old key expires.
///
/// # Errors
/// [`RotationError`] names what stands in the way.
pub fn overlap(old: &KeyRecord, asked_secs: Option<u64>, now: Timestamp) -> Result<u64, RotationError> {
    if old.revocation.is_some_and(|r| r.reason == RevocationReason::Compromised) {
        return Err(RotationError::Compromised);
    }
    match old.status(now) {
        KeyStatus::Active => {}
        KeyStatus::Suspended => return Err(RotationError::Suspended),
        KeyStatus::Deprecated => return Err(RotationError::Deprecated),
        dead @ (KeyStatus::Pending | KeyStatus::Revoked | KeyStatus::Expired | KeyStatus::Purged) => {
            return Err(RotationError::Dead(dead));
        }
    }
    if old.parent.is_some() {
        return Err(RotationError::Child);
    }
    let left = old.expires_at.map(|at| secs_between(now, at));
    let overlap = match (asked_secs, left) {
        (None, left) => DEFAULT_OVERLAP_SECS.min(left.unwrap_or(u64::MAX)),
        (Some(asked), Some(left)) if asked > left => return Err(RotationError::OverlapPastExpiry(left)),
        (Some(asked), _) => asked,
    };
    if (1..=MAX_OVERLAP_SECS).contains(&overlap) { Ok(overlap) } else { Err(RotationError::Overlap) }
}

/// When the successor expires: it lives as long as its predecessor was meant to.
#[must_use]
pub fn successor_expiry(old: &KeyRecord, now: Timestamp) -> Option<Timestamp> {
    let begun = old.not_before.unwrap_or(old.created_at);
    old.expires_at.map(|at| now.plus_micros(at.micros_since(begun).max(MICROS_PER_SEC)))
}

/// What was observed of the two keys.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The key that goes.
    pub old: &'a KeyRecord,
    /// The key that comes.
    pub successor: &'a KeyRecord,
    /// When the old key was last used.
    pub old_last_used: Option<Timestamp>,
    /// Whether the successor was ever used.
    pub successor_used: bool,
    /// Whether the successor was unwrapped.
    pub unwrapped: bool,
}

/// One step: what is to be written in one transaction. [`Step::ALL_NAMES`] is what crash tests go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment, unless something is observed earlier.
    Wait(Timestamp),
    /// The successor was unwrapped.
    Deliver,
    /// The successor was used.
    Activate,
    /// The old key begins to walk down the ladder.
    Retire,
    /// The old key takes a rung.
    Rung(DeprecationStage),
    /// The old key is revoked, and the rotation has ended.
    Finish,
    /// The old key died by itself or by another hand: the rotation has ended.
    Close,
    /// The successor died: the old key goes on as if nothing had been.
    Abandon,
    /// The old key is kept beyond the overlap, for its owner would be left with no key that works.
    Hold(HoldReason),
    /// What kept the old key is over.
    Release,
}

impl Step {
    /// The name in audit records, or `None` for waiting.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Wait(_) => None,
            Self::Deliver => Some("rotation.deliver"),
            Self::Activate => Some("rotation.activate"),
            Self::Retire => Some("rotation.retire"),
            Self::Rung(_) => Some("rotation.deprecate"),
            Self::Finish => Some("rotation.finish"),
            Self::Close => Some("rotation.close"),
            Self::Abandon => Some("rotation.abandon"),
            Self::Hold(_) => Some("rotation.hold"),
            Self::Release => Some("rotation.release"),
        }
    }

    /// The names of all steps.
    pub const ALL_NAMES: [&'static str; 9] = [
        "rotation.deliver",
        "rotation.activate",
        "rotation.retire",
        "rotation.deprecate",
        "rotation.finish",
        "rotation.close",
        "rotation.abandon",
        "rotation.hold",
        "rotation.release",
    ];
}

/// What is to be done now. Pure: the same record, observation and moment always give the same step.
#[must_use]
pub fn decide(rotation: &RotationRecord, seen: &Observed<'_>, now: Timestamp) -> Step {
    if !rotation.state.is_open() {
        return Step::Wait(Timestamp::MAX);
    }
    if is_dead(seen.old, now) {
        return Step::Close;
    }
    if is_dead(seen.successor, now) {
        return Step::Abandon;
    }
    if hold::is_over(rotation, seen, now) {
        return Step::Release;
    }
    let step = match rotation.state {
        RotationState::Created if seen.unwrapped => return Step::Deliver,
        RotationState::Created | RotationState::Delivered if seen.successor_used => return Step::Activate,
        RotationState::Created | RotationState::Delivered => wait_or_retire(rotation.deadline(), now),
        RotationState::Overlapping => wait_or_retire(retirement(rotation, seen), now),
        RotationState::Retiring => match seen.old.deprecation.map(|d| d.due(now)) {
            None => Step::Retire,
            Some(Rung::Wait(until)) => Step::Wait(until),
            Some(Rung::Step(stage)) => Step::Rung(stage),
            Some(Rung::Revoke) => Step::Finish,
        },
        RotationState::Finished | RotationState::Cancelled | RotationState::RolledBack => {
            Step::Wait(Timestamp::MAX)
        }
    };
    if matches!(step, Step::Wait(_)) {
        return step;
    }
    hold::instead(rotation, seen, now).unwrap_or(step)
}

/// When an adopted successor lets the old key go: after a quiet time, at the latest when the overlap is over.
fn retirement(rotation: &RotationRecord, seen: &Observed<'_>) -> Timestamp {
    let since = rotation.activated_at.max(seen.old_last_used).unwrap_or(rotation.started_at);
    since.plus_micros(rotation.quiet_us()).min(rotation.deadline())
}

fn wait_or_retire(at: Timestamp, now: Timestamp) -> Step {
    if now < at { Step::Wait(at) } else { Step::Retire }
}

fn is_dead(key: &KeyRecord, now: Timestamp) -> bool {
    matches!(key.state, KeyState::Revoked | KeyState::Purged) || key.status(now) == KeyStatus::Expired
}

/// Whether a rotation can be cancelled: only before the successor is used, and while the old key lives.
///
/// # Errors
/// [`RotationError::TooLate`], [`RotationError::OldDead`].
pub fn check_cancel(rotation: &RotationRecord, old: &KeyRecord, now: Timestamp) -> Result<(), RotationError> {
    match rotation.state {
        RotationState::Created | RotationState::Delivered if is_dead(old, now) => {
            Err(RotationError::OldDead(old.status(now)))
        }
        RotationState::Created | RotationState::Delivered => Ok(()),
        state @ (RotationState::Overlapping
        | RotationState::Retiring
        | RotationState::Finished
        | RotationState::Cancelled
        | RotationState::RolledBack) => Err(RotationError::TooLate { state, what: "cancelled" }),
    }
}

/// Whether a rotation can be rolled back: while the old key lives, and never to a compromised one.
///
/// # Errors
/// [`RotationError::TooLate`], [`RotationError::Compromised`], [`RotationError::OldDead`].
pub fn check_rollback(
    rotation: &RotationRecord,
    old: &KeyRecord,
    now: Timestamp,
) -> Result<(), RotationError> {
    if old.revocation.is_some_and(|r| r.reason == RevocationReason::Compromised) {
        return Err(RotationError::Compromised);
    }
    if !rotation.state.is_open() {
        return Err(RotationError::TooLate { state: rotation.state, what: "rolled back" });
    }
    if is_dead(old, now) { Err(RotationError::OldDead(old.status(now))) } else { Ok(()) }
}

/// Whether a successor can be delivered anew: until it is used, whatever became of the old key meanwhile.
///
/// # Errors
/// [`RotationError::TooLate`], [`RotationError::SuccessorDead`], [`RotationError::InUse`].
pub fn check_redeliver(
    rotation: &RotationRecord,
    successor: &KeyRecord,
    successor_used: bool,
    now: Timestamp,
) -> Result<(), RotationError> {
    match rotation.state {
        RotationState::Created | RotationState::Delivered | RotationState::Finished => {}
        state @ (RotationState::Overlapping
        | RotationState::Retiring
        | RotationState::Cancelled
        | RotationState::RolledBack) => {
            return Err(RotationError::TooLate { state, what: "delivered anew" });
        }
    }
    if is_dead(successor, now) {
        return Err(RotationError::SuccessorDead(successor.status(now)));
    }
    if successor_used || rotation.activated_at.is_some() { Err(RotationError::InUse) } else { Ok(()) }
}

/// When an overlap of so many seconds is over.
#[must_use]
pub fn deadline(started_at: Timestamp, overlap_secs: u64) -> Timestamp {
    started_at.plus_micros(micros(overlap_secs))
}

fn micros(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(MICROS_PER_SEC)
}

/// Whole seconds from one moment to a later one.
fn secs_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.micros_since(from) / MICROS_PER_SEC).unwrap_or(0)
}

#[cfg(test)]
mod tests;
