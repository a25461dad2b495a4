//! The ladder that a key walks down before it is revoked (row R5): warned at once, lower limits after an hour, a
//! final warning after a day, refused after two, revoked after three. Each step is stored, so that a restart goes on
//! where the ladder was left.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeprecationStage {
    /// Works as before; callers are told in a header.
    Warned,
    /// Works with half of its limits.
    Limited,
    /// Works with half of its limits; owners are told for the last time.
    FinalWarning,
    /// Refused, but still known; the next step is revocation.
    Refused,
}

impl DeprecationStage {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Warned, Self::Limited, Self::FinalWarning, Self::Refused];

    /// As in JSON, headers and notices.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warned => "warned",
            Self::Limited => "limited",
            Self::FinalWarning => "final_warning",
            Self::Refused => "refused",
        }
    }
}

/// Where on the ladder a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deprecation {
    /// When the ladder began.
    pub since: Timestamp,
    /// The rung that was reached.
    pub stage: DeprecationStage,
    /// When that rung was reached.
    pub stage_at: Timestamp,
}
