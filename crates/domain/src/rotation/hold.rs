//! What keeps an old key from being walked out: its successor is not in anybody's use, so that its owner would be left
//! with no key that works. The old key then goes on, at most until its own expiry, and people are told.

use serde::{Deserialize, Serialize};

use super::{Observed, RotationRecord, RotationState, Step};
use crate::{clock::Timestamp, key::KeyStatus};

/// Why an old key is kept beyond the overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Nobody unwrapped the successor.
    Undelivered,
    /// The successor was unwrapped and never used.
    Unused,
    /// The successor is suspended.
    Suspended,
}

impl HoldReason {
    const ALL: [Self; 3] = [Self::Undelivered, Self::Unused, Self::Suspended];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Unused => "unused",
            Self::Suspended => "suspended",
        }
    }

    /// The reverse of [`HoldReason::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }

    /// What is the matter, and what leads on, for people.
    #[must_use]
    pub const fn means(self) -> &'static str {
        match self {
            Self::Undelivered => {
                "nobody has unwrapped the successor, so the old key is kept until its own expiry: have it unwrapped, \
                 or make a new wrapping token with `claviger rotation redeliver`"
            }
            Self::Unused => {
                "the successor was unwrapped but never used, so the old key is kept until its own expiry: put the \
                 successor in place, or deliver it anew with `claviger rotation redeliver`"
            }
            Self::Suspended => {
                "the successor is suspended, so the old key is kept until its own expiry: resume the successor, or \
                 roll the rotation back"
            }
        }
    }
}

/// That an old key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub why: HoldReason,
    /// Since when.
    pub since: Timestamp,
}

/// What is done in the place of a step that would bring the old key nearer to its end; `None`: nothing is in the way.
pub(super) fn instead(rotation: &RotationRecord, seen: &Observed<'_>, now: Timestamp) -> Option<Step> {
    let why = match rotation.state {
        RotationState::Created => Some(HoldReason::Undelivered),
        RotationState::Delivered => Some(HoldReason::Unused),
        RotationState::Overlapping
        | RotationState::Retiring
        | RotationState::Finished
        | RotationState::Cancelled
        | RotationState::RolledBack => is_suspended(seen, now).then_some(HoldReason::Suspended),
    }?;
    if rotation.hold.is_some_and(|hold| hold.why == why) {
        return Some(Step::Wait(seen.old.expires_at.unwrap_or(Timestamp::MAX)));
    }
    Some(Step::Hold(why))
}

/// Whether an old key is kept for a suspension that is over.
pub(super) fn is_over(rotation: &RotationRecord, seen: &Observed<'_>, now: Timestamp) -> bool {
    rotation.hold.is_some_and(|hold| hold.why == HoldReason::Suspended) && !is_suspended(seen, now)
}

fn is_suspended(seen: &Observed<'_>, now: Timestamp) -> bool {
    seen.successor.status(now) == KeyStatus::Suspended
}
