//! What became of tokens on this node, counted since its start.

use std::sync::atomic::{AtomicU64, Ordering};

/// What may happen to access and refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEvent {
    /// A key bought an access and a refresh token.
    Issued,
    /// A refresh token was spent for its successor.
    Refreshed,
    /// A lost answer was given once more.
    Repeated,
    /// An access token, or all of a family, ended before its time: by its holder or by an operator.
    Revoked,
    /// A spent refresh token was shown again, which ended its family.
    Reused,
}

impl TokenEvent {
    /// All, in the order of [`TokenCounts`].
    pub const ALL: [Self; 5] = [Self::Issued, Self::Refreshed, Self::Repeated, Self::Revoked, Self::Reused];

    /// The label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refreshed => "refreshed",
            Self::Repeated => "repeated",
            Self::Revoked => "revoked",
            Self::Reused => "reused",
        }
    }
}

/// How often each happened.
#[derive(Debug, Default)]
pub(super) struct TokenCounts([AtomicU64; TokenEvent::ALL.len()]);

impl TokenCounts {
    pub(super) fn add(&self, event: TokenEvent) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> [(TokenEvent, u64); TokenEvent::ALL.len()] {
        TokenEvent::ALL.map(|event| (event, self.0[event as usize].load(Ordering::Relaxed)))
    }
}
