//! Limits on requests, tokens and concurrency: smooth rates for short windows, fixed windows for day quotas, and counts
//! of what is in flight.
//!
//! Pure: state and time go in, a decision comes out. All limits of one request are taken together or not at all.

pub mod concurrency;
pub mod gcra;
pub mod kind;
pub mod set;
pub mod tokens;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub use kind::{LimitKind, Limits, LimitsPatch, Measure};
pub use set::{LimitState, Rules, UsedBefore};
pub use tokens::Tokens;

/// The most tokens that a limit can be set to: far more than anyone sends in a day, and far from where sums overflow.
pub const MOST_TOKENS: u64 = 1_000_000_000_000;

/// Whose limit it is, as the caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSubject {
    /// The key's own.
    Key,
    /// That of the key which the caller's key is a child of.
    Parent,
    /// That of the key's owner, over all its keys.
    Owner,
    /// That of the key's workspace, over all its keys.
    Workspace,
}

impl LimitSubject {
    /// How it is named to callers.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Key => "your key's",
            Self::Parent => "your key's parent's",
            Self::Owner => "your key's owner's",
            Self::Workspace => "your workspace's",
        }
    }

    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Parent => "parent",
            Self::Owner => "owner",
            Self::Workspace => "workspace",
        }
    }
}

/// Two buckets a key: what spends, and what only looks (`count_tokens`, GET and HEAD), so that looking never
/// uses up the right to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Messages, batches and everything that writes.
    Work,
    /// `count_tokens`, GET and HEAD.
    Look,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// Whose limit it is.
    pub subject: LimitSubject,
    /// The limit it speaks of.
    pub kind: LimitKind,
    /// Its size.
    pub limit: u64,
    /// How much would be admitted right now.
    pub remaining: u64,
    /// When the limit will be wholly free again, if nothing is in flight.
    pub reset: Timestamp,
}

impl Headroom {
    /// Whether this one binds more tightly: less is left of it, or as much for longer.
    #[must_use]
    pub fn binds_before(&self, other: &Self) -> bool {
        let order = |h: &Self| (h.remaining, std::cmp::Reverse(h.reset));
        order(self) < order(other)
    }
}

/// What is left of the limits that bind most tightly, one for each thing that is measured: for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headrooms {
    /// Of requests.
    pub requests: Option<Headroom>,
    /// Of input tokens.
    pub input_tokens: Option<Headroom>,
    /// Of output tokens.
    pub output_tokens: Option<Headroom>,
    /// Of tokens of both directions.
    pub tokens: Option<Headroom>,
}

impl Headrooms {
    /// Those that a refusal names: nothing else is said of what it measures.
    #[must_use]
    pub fn of(headroom: Headroom) -> Self {
        let mut all = Self::default();
        *all.place(headroom.kind.measure()) = Some(headroom);
        all
    }

    /// Takes one more into account.
    pub fn hear(&mut self, headroom: Headroom) {
        let place = self.place(headroom.kind.measure());
        if place.as_ref().is_none_or(|known| headroom.binds_before(known)) {
            *place = Some(headroom);
        }
    }

    /// The one that binds is said, whatever else is known of what it measures.
    #[must_use]
    pub fn bound_by(mut self, headroom: Headroom) -> Self {
        *self.place(headroom.kind.measure()) = Some(headroom);
        self
    }

    const fn place(&mut self, measure: Measure) -> &mut Option<Headroom> {
        match measure {
            Measure::Requests => &mut self.requests,
            Measure::InputTokens => &mut self.input_tokens,
            Measure::OutputTokens => &mut self.output_tokens,
            Measure::Tokens => &mut self.tokens,
        }
    }
}

/// A request was refused by a limit; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit that binds, as callers see it.
    pub headroom: Headroom,
    /// When the same request could be admitted; `None`: not by waiting.
    pub retry_at: Option<Timestamp>,
}

impl Exceeded {
    /// Whether this one binds for longer. Never is later than any time.
    #[must_use]
    pub fn binds_longer(&self, known: &Self) -> bool {
        match (self.retry_at, known.retry_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(new), Some(known)) => new > known,
        }
    }
}
