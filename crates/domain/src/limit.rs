//! Limits on requests: smooth rates for short windows (GCRA), fixed windows for day quotas, and concurrency.
//!
//! Pure: state and time go in, a decision comes out. All limits of one request are taken together or not at all.

pub mod concurrency;
pub mod gcra;
pub mod set;
pub mod window;

pub use set::{KeyLimits, UsedBefore};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The limits of one key; `None` means no limit of that kind. Any combination is legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests a second.
    pub rps: Option<u32>,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Requests an hour.
    pub rph: Option<u32>,
    /// Requests a UTC day, counted in a fixed window.
    pub rpd: Option<u32>,
    /// Requests in flight at once.
    pub concurrency: Option<u32>,
}

impl Limits {
    /// Half of each limit that is set, at least one: what is left to a key that is on its way out.
    #[must_use]
    pub fn halved(self) -> Self {
        let half = |limit: Option<u32>| limit.map(|n| (n / 2).max(1));
        Self {
            rps: half(self.rps),
            rpm: half(self.rpm),
            rph: half(self.rph),
            rpd: half(self.rpd),
            concurrency: half(self.concurrency),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { rps: None, rpm: Some(60), rph: None, rpd: Some(10_000), concurrency: None }
    }
}

/// Which limit said no, or stands nearest to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Requests a second.
    RequestsPerSecond,
    /// Requests a minute.
    RequestsPerMinute,
    /// Requests an hour.
    RequestsPerHour,
    /// Requests a day.
    RequestsPerDay,
    /// Requests in flight.
    Concurrency,
    /// Uses in the key's whole life.
    TotalUses,
}

impl LimitKind {
    /// How the limit is named to callers.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests per second",
            Self::RequestsPerMinute => "requests per minute",
            Self::RequestsPerHour => "requests per hour",
            Self::RequestsPerDay => "requests per day",
            Self::Concurrency => "concurrent requests",
            Self::TotalUses => "total uses of this key",
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

/// What is left of the limit that binds most tightly, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// The limit it speaks of.
    pub kind: LimitKind,
    /// Its size.
    pub limit: u32,
    /// How many requests would be admitted right now.
    pub remaining: u32,
    /// When the limit will be wholly free again.
    pub reset: Timestamp,
}

/// A request was refused by a limit; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit that binds, as callers see it.
    pub headroom: Headroom,
    /// When the same request could be admitted; `None`: not by waiting.
    pub retry_at: Option<Timestamp>,
}
