//! The circuit as a value and its one step.
//!
//! ```text
//!   Closed ── refused ×3, failed ×5, limited ──► Open ── time ──► (half open) ── admit ──► Trial
//!     ▲                                           ▲                                         │
//!     └────────────── success ────────────────────┼───────────────── success ───────────────┤
//!                                                 └──────── anything else, longer ──────────┘
//! ```

use std::time::Duration;

use claviger_domain::clock::BootInstant;
use http::StatusCode;

use super::{duration_millis, millis};
use crate::error::UpstreamError;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// 401 or 403 in a row that open it (3).
    pub refusals: u8,
    /// Failed connections or 5xx in a row that open it (5).
    pub failures: u8,
    /// How long it stays open after refusals, doubled each time a trial fails (60 s).
    pub refused_for: Duration,
    /// How long after failures, doubled likewise (5 s).
    pub failed_for: Duration,
    /// How long after a 429 without `retry-after` (1 s).
    pub limited_for: Duration,
    /// The longest that it stays open (15 min).
    pub at_most: Duration,
    /// How long a trial may keep others out before the next one is let through (30 s).
    pub trial: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            refusals: 3,
            failures: 5,
            refused_for: Duration::from_secs(60),
            failed_for: Duration::from_secs(5),
            limited_for: Duration::from_secs(1),
            at_most: Duration::from_secs(15 * 60),
            trial: Duration::from_secs(30),
        }
    }
}

/// How a request went, as far as it says something about the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Answered; also an answer that only the caller is to blame for.
    Success,
    /// 401 or 403: the provider does not take the key.
    Refused,
    /// 429: enough for now.
    Limited {
        /// What `retry-after` said.
        retry_after: Option<Duration>,
    },
    /// No connection, no answer, or a 5xx.
    Failed,
}

impl Signal {
    /// What a status says.
    #[must_use]
    pub fn of_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Refused,
            429 => Self::Limited { retry_after },
            500..=599 => Self::Failed,
            _ => Self::Success,
        }
    }

    /// What a missing answer says; `None` when the cause lies on our side.
    #[must_use]
    pub const fn of_failure(error: &UpstreamError) -> Option<Self> {
        match error {
            UpstreamError::Resolve { .. }
            | UpstreamError::NotPublic { .. }
            | UpstreamError::Connect { .. }
            | UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Tls(_)
            | UpstreamError::ProxyRefused(_)
            | UpstreamError::ProxyBroken(_)
            | UpstreamError::Handshake(_)
            | UpstreamError::ClosedBeforeHead { .. }
            | UpstreamError::Malformed(_)
            | UpstreamError::HeadTimeout(_)
            | UpstreamError::Redirected(_)
            | UpstreamError::SwitchedProtocols => Some(Self::Failed),
            UpstreamError::PoolFull { .. } | UpstreamError::Unsendable(_) | UpstreamError::RequestBody(_) => {
                None
            }
        }
    }
}

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The key was refused.
    Refused,
    /// A rate limit was reached. Limits differ by model, so with no better credential it may still be tried.
    Limited,
    /// The upstream cannot be reached or fails.
    Failed,
}

impl Cause {
    /// The word for reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// Whether a credential can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Ready,
    /// One request may try.
    Trial,
    /// It cannot.
    Until {
        /// Why.
        cause: Cause,
        /// From when on it can be tried again.
        at: BootInstant,
    },
}

/// The state of one circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// In use.
    Closed {
        /// Refusals in a row.
        refusals: u8,
        /// Failures in a row.
        failures: u8,
    },
    /// Not in use until the time has come; then half open.
    Open {
        /// Why.
        cause: Cause,
        /// Openings in a row without a success between.
        streak: u8,
        /// Milliseconds since boot.
        until_ms: u64,
    },
    /// One request has been let through to find out.
    Trial {
        /// Why it was open.
        cause: Cause,
        /// As in `Open`.
        streak: u8,
        /// When the next one is let through if that one has not reported.
        until_ms: u64,
    },
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { refusals: 0, failures: 0 }
    }
}

impl Circuit {
    /// Whether the credential can be chosen now.
    #[must_use]
    pub const fn availability(self, now: BootInstant) -> Availability {
        match self {
            Self::Closed { .. } => Availability::Ready,
            Self::Open { cause, until_ms, .. } | Self::Trial { cause, until_ms, .. } => {
                if millis(now) >= until_ms {
                    Availability::Trial
                } else {
                    Availability::Until {
                        cause,
                        at: BootInstant::from_micros(until_ms.saturating_mul(1_000)),
                    }
                }
            }
        }
    }

    /// The circuit after a request asked to be let through, and whether it is.
    #[must_use]
    pub fn admit(self, now: BootInstant, policy: &HealthPolicy) -> (Self, bool) {
        match (self, self.availability(now)) {
            (_, Availability::Ready) => (self, true),
            (Self::Open { cause, streak, .. } | Self::Trial { cause, streak, .. }, Availability::Trial) => {
                let until_ms = limit(millis(now).saturating_add(duration_millis(policy.trial)));
                (Self::Trial { cause, streak, until_ms }, true)
            }
            (_, Availability::Trial | Availability::Until { .. }) => (self, false),
        }
    }

    /// The circuit after a request reported.
    #[must_use]
    pub fn step(self, signal: Signal, now: BootInstant, policy: &HealthPolicy) -> Self {
        match (self, signal) {
            (Self::Closed { .. } | Self::Trial { .. }, Signal::Success) => Self::default(),
            // A request that was sent before the circuit opened says nothing new, unless it asks for patience.
            (Self::Open { .. }, Signal::Success | Signal::Refused | Signal::Failed) => self,
            (_, Signal::Limited { retry_after }) => self.limited(retry_after, now, policy),
            (Self::Closed { refusals, .. }, Signal::Refused) if refusals + 1 >= policy.refusals => {
                self.opened(Cause::Refused, now, policy)
            }
            (Self::Closed { failures, .. }, Signal::Failed) if failures + 1 >= policy.failures => {
                self.opened(Cause::Failed, now, policy)
            }
            (Self::Closed { refusals, failures }, Signal::Refused) => {
                Self::Closed { refusals: refusals + 1, failures }
            }
            (Self::Closed { refusals, failures }, Signal::Failed) => {
                Self::Closed { refusals, failures: failures + 1 }
            }
            (Self::Trial { .. }, Signal::Refused) => self.opened(Cause::Refused, now, policy),
            (Self::Trial { .. }, Signal::Failed) => self.opened(Cause::Failed, now, policy),
        }
    }

    const fn streak(self) -> u8 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { streak, .. } | Self::Trial { streak, .. } => streak,
        }
    }

    fn opened(self, cause: Cause, now: BootInstant, policy: &HealthPolicy) -> Self {
        let base = match cause {
            Cause::Refused => policy.refused_for,
            Cause::Limited => policy.limited_for,
            Cause::Failed => policy.failed_for,
        };
        let time = base.saturating_mul(1 << self.streak().min(10)).min(policy.at_most);
        let until_ms = limit(millis(now).saturating_add(duration_millis(time)));
        Self::Open { cause, streak: self.streak().saturating_add(1), until_ms }
    }

    /// A limit opens at once, for as long as asked. It never shortens what another reason has set.
    fn limited(self, retry_after: Option<Duration>, now: BootInstant, policy: &HealthPolicy) -> Self {
        let asked = retry_after.unwrap_or(policy.limited_for).min(policy.at_most);
        let until_ms = limit(millis(now).saturating_add(duration_millis(asked)));
        match self {
            Self::Open { until_ms: set, .. } if set >= until_ms => self,
            Self::Open { cause: cause @ (Cause::Refused | Cause::Failed), streak, .. } => {
                Self::Open { cause, streak, until_ms }
            }
            Self::Open { cause: Cause::Limited, .. } | Self::Closed { .. } | Self::Trial { .. } => {
                Self::Open { cause: Cause::Limited, streak: 0, until_ms }
            }
        }
    }
}

// === 64 bits: state 2 | cause 2 | two counters of 8 | milliseconds 44 ===

const MILLIS_BITS: u32 = 44;
const MAX_MILLIS: u64 = (1 << MILLIS_BITS) - 1;

/// 44 bits of milliseconds are 557 years of uptime.
const fn limit(ms: u64) -> u64 {
    if ms > MAX_MILLIS { MAX_MILLIS } else { ms }
}

impl Circuit {
    pub(super) fn pack(self) -> u64 {
        let word = |state: u64, cause: u64, first: u8, second: u8, ms: u64| {
            state << 62 | cause << 60 | u64::from(first) << 52 | u64::from(second) << MILLIS_BITS | limit(ms)
        };
        let code = |cause| match cause {
            Cause::Refused => 0,
            Cause::Limited => 1,
            Cause::Failed => 2,
        };
        match self {
            Self::Closed { refusals, failures } => word(0, 0, refusals, failures, 0),
            Self::Open { cause, streak, until_ms } => word(1, code(cause), streak, 0, until_ms),
            Self::Trial { cause, streak, until_ms } => word(2, code(cause), streak, 0, until_ms),
        }
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let streak = (word >> 52 & 0xff) as u8;
        let failures = (word >> MILLIS_BITS & 0xff) as u8;
        let until_ms = word & MAX_MILLIS;
        let cause = match word >> 60 & 3 {
            0 => Cause::Refused,
            1 => Cause::Limited,
            _ => Cause::Failed,
        };
        match word >> 62 {
            0 => Self::Closed { refusals: streak, failures },
            1 => Self::Open { cause, streak, until_ms },
            _ => Self::Trial { cause, streak, until_ms },
        }
    }
}
