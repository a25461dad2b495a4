//! Notices: what people must hear of, how grave it is, and whom it concerns. A notice is raised in the transaction of
//! the change that it speaks of ([`crate::ports::Change::RaiseNotice`]) and delivered later, channel by channel.

pub mod channel;
pub mod delivery;
pub mod endpoint;
pub mod message;

use serde::{Deserialize, Serialize};

use crate::{
    budget::Period,
    clock::Timestamp,
    id::{BudgetId, KeyId, NoticeId, OwnerId, ReportId, RotationId, WorkspaceId},
    key::{KeyRecord, RevocationReason, deprecation::DeprecationStage},
    money::PicoUsd,
    rotation::HoldReason,
};

/// How grave it is (row M4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something must be done, in time.
    Warning,
    /// Something must be done now.
    Critical,
}

impl Severity {
    const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The reverse of [`Severity::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// As stored, so that stores can compare: 1 to 3.
    #[must_use]
    pub const fn rank(self) -> i64 {
        match self {
            Self::Info => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }

    /// The reverse of [`Severity::rank`].
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.rank() == rank)
    }
}

/// How far the rotation of a client key has come (row R4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStep {
    /// The successor was made and waits for whoever unwraps it.
    Started,
    /// The successor was unwrapped.
    Delivered,
    /// The successor was used for the first time: both keys work.
    Activated,
    /// The old key is no longer used, or the overlap has ended: it begins to be deprecated.
    Retiring,
    /// The old key is revoked.
    Completed,
    /// Given up; the old key goes on.
    Cancelled,
    /// Gone back to the old key.
    RolledBack,
    /// The successor waits in a new wrapping.
    Redelivered,
    /// The old key is kept beyond the overlap: nobody uses the successor.
    Held,
}

impl RotationStep {
    /// As printed, and the last word of the notice's type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Delivered => "delivered",
            Self::Activated => "activated",
            Self::Retiring => "retiring",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
            Self::Redelivered => "redelivered",
            Self::Held => "held",
        }
    }
}

/// What happened, with all that its text needs. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Notice {
    /// A key runs out in so many days: 14, 7, 3 and 1 by default, each once.
    KeyExpiring {
        /// The key's name.
        name: String,
        /// When it stops working.
        expires_at: Timestamp,
        /// The threshold that was reached, in days.
        days: u32,
    },
    /// A rotation took a step.
    Rotation {
        /// The rotation.
        rotation: RotationId,
        /// The step.
        step: RotationStep,
        /// The key that goes.
        old_key_id: KeyId,
        /// The key that comes.
        new_key_id: KeyId,
        /// Why it is rotated.
        reason: String,
        /// How long both work, in seconds.
        overlap_secs: u64,
        /// When the old key is planned to be gone.
        completion_at: Timestamp,
        /// Why the old key is kept beyond the overlap, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<HoldReason>,
    },
    /// A key was moved down the ladder of deprecation (row R5).
    Deprecation {
        /// The key's name.
        name: String,
        /// The stage that was reached.
        stage: DeprecationStage,
        /// When the next stage, or after the last one revocation, comes.
        next_at: Option<Timestamp>,
    },
    /// A key was revoked (rows V1, V2).
    Revocation {
        /// The key's name.
        name: String,
        /// Why.
        reason: RevocationReason,
        /// Whether calls in flight were cut.
        immediate: bool,
        /// Who or what still used it: services, child keys, addresses. In words.
        affected: Vec<String>,
    },
    /// Something happened that looks like an attack.
    Incident {
        /// What was found.
        incident: Incident,
        /// What is known of it, in one sentence.
        what: String,
        /// From where, or empty.
        client_ip: String,
    },
    /// A key breaks its workspace's policy.
    PolicyBreach {
        /// The key's name.
        name: String,
        /// The rule, as in the policy: `require_ip`, `rotation_days` …
        rule: String,
        /// How it is broken.
        what: String,
        /// What will happen, if anything, and when.
        deadline: Option<Timestamp>,
    },
    /// A key was revoked because nobody used it (row K4).
    UnusedRevoked {
        /// The key's name.
        name: String,
        /// The policy's number of days.
        unused_days: u32,
        /// When it or a key of its lineage was last used; `None`: never.
        last_used_at: Option<Timestamp>,
    },
    /// A signing secret gets a successor (row R6).
    SigningRotation {
        /// The key's name.
        name: String,
        /// When the successor takes over.
        valid_from: Timestamp,
        /// When the old one is refused.
        until: Timestamp,
    },
    /// A signing secret was used in the last hour before it is refused.
    SigningOld {
        /// The key's name.
        name: String,
        /// When it is refused.
        until: Timestamp,
    },
    /// The weekly rotation report was made.
    WeeklyReport {
        /// The report that is kept.
        report: ReportId,
        /// Its week begins here,
        from: Timestamp,
        /// and ends before this.
        until: Timestamp,
        /// What it says, in one sentence.
        summary: String,
    },
    /// A share of a budget was reached: 50, 75, 90, 95 and 100 %, each once a period (row S3).
    Budget {
        /// The budget.
        budget: BudgetId,
        /// Whose it is, in words: `key “ci”`.
        whose: String,
        /// Its period.
        period: Period,
        /// When this period began.
        window: Timestamp,
        /// When the next one begins; `None`: never.
        resets_at: Option<Timestamp>,
        /// The share that was reached, in per cent.
        percent: u8,
        /// The ceiling.
        limit: PicoUsd,
        /// What calls have cost in this period, in dollars.
        settled_usd: String,
        /// Whether calls beyond it are refused.
        hard: bool,
    },
    /// The provider's bill of one UTC day and the ledger do not agree.
    Reconciled {
        /// The upstream behind which the account is.
        upstream: String,
        /// The UTC day, `YYYY-MM-DD`.
        day: String,
        /// What was billed for calls that did not come through Claviger, in dollars.
        leaked_usd: String,
        /// With which of the provider's keys, in words.
        keys: Vec<String>,
        /// What no finding explains, in dollars; `None`: nothing, or the day is still open.
        unexplained_usd: Option<String>,
    },
    /// An operator tries a channel.
    Trial {
        /// The channel's name.
        channel: String,
    },
}

/// What an incident was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// A wrapping token was opened a second time: whoever came first may not have been the one it was for.
    SecondUnwrap,
    /// Break-glass was used.
    BreakGlass,
    /// An operator was locked out after too many failed logins.
    Lockout,
    /// A key was used after it was revoked as compromised.
    DeadKeyUsed,
    /// A refresh token was shown again after it was spent: somebody has a copy.
    RefreshReused,
}

impl Incident {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecondUnwrap => "second_unwrap",
            Self::BreakGlass => "break_glass",
            Self::Lockout => "lockout",
            Self::DeadKeyUsed => "dead_key_used",
            Self::RefreshReused => "refresh_reused",
        }
    }
}

/// Whom a notice concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The key.
    pub key: Option<KeyId>,
    /// Whose it is: gets a copy on channels that write to owners.
    pub owner: Option<OwnerId>,
    /// Where it belongs: channels of other workspaces stay silent.
    pub workspace: Option<WorkspaceId>,
}

impl About {
    /// A key, its owner and its workspace.
    #[must_use]
    pub fn key(key: &KeyRecord) -> Self {
        Self {
            key: Some(key.id.clone()),
            owner: Some(key.owner.clone()),
            workspace: Some(key.workspace.clone()),
        }
    }

    /// The installation as a whole.
    #[must_use]
    pub fn everyone() -> Self {
        Self::default()
    }
}

/// A notice as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// `ntc_…`; also the `webhook-id`, so that receivers can tell a repetition.
    pub id: NoticeId,
    /// What happened.
    pub notice: Notice,
    /// How grave it is.
    pub severity: Severity,
    /// Whom it concerns.
    pub about: About,
    /// A notice with the same text here was raised before: this one is dropped. `None`: always raised.
    pub once: Option<String>,
    /// When.
    pub raised_at: Timestamp,
}

impl NoticeRecord {
    /// A notice raised now.
    #[must_use]
    pub fn new(id: NoticeId, about: About, notice: Notice, raised_at: Timestamp) -> Self {
        let (severity, once) = (notice.severity(), notice.once(&about));
        Self { id, notice, severity, about, once, raised_at }
    }
}

impl Notice {
    /// Its type in payloads and lists.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::KeyExpiring { .. } => "key.expiring",
            Self::Rotation { step, .. } => match step {
                RotationStep::Started => "rotation.started",
                RotationStep::Delivered => "rotation.delivered",
                RotationStep::Activated => "rotation.activated",
                RotationStep::Retiring => "rotation.retiring",
                RotationStep::Completed => "rotation.completed",
                RotationStep::Cancelled => "rotation.cancelled",
                RotationStep::RolledBack => "rotation.rolled_back",
                RotationStep::Redelivered => "rotation.redelivered",
                RotationStep::Held => "rotation.held",
            },
            Self::Deprecation { .. } => "key.deprecated",
            Self::Revocation { .. } => "key.revoked",
            Self::Incident { .. } => "incident.opened",
            Self::PolicyBreach { .. } => "policy.breached",
            Self::UnusedRevoked { .. } => "key.unused_revoked",
            Self::SigningRotation { .. } => "signing.rotating",
            Self::SigningOld { .. } => "signing.old_secret",
            Self::WeeklyReport { .. } => "report.weekly",
            Self::Budget { percent: 100.., .. } => "budget.spent",
            Self::Budget { .. } => "budget.threshold",
            Self::Reconciled { keys, .. } if keys.is_empty() => "cost.unexplained",
            Self::Reconciled { .. } => "cost.leaked",
            Self::Trial { .. } => "channel.trial",
        }
    }

    /// How grave it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Incident { .. }
            | Self::Revocation { reason: RevocationReason::Compromised, .. }
            | Self::Revocation { immediate: true, .. }
            | Self::Budget { percent: 100.., hard: true, .. } => Severity::Critical,
            Self::Reconciled { keys, .. } if !keys.is_empty() => Severity::Critical,
            Self::Budget { percent: 90.., .. } | Self::Reconciled { .. } => Severity::Warning,
            Self::KeyExpiring { days, .. } if *days > 3 => Severity::Info,
            Self::Rotation {
                step: RotationStep::Cancelled | RotationStep::RolledBack | RotationStep::Held,
                ..
            }
            | Self::KeyExpiring { .. }
            | Self::Deprecation { .. }
            | Self::Revocation { .. }
            | Self::PolicyBreach { .. }
            | Self::UnusedRevoked { .. }
            | Self::SigningOld { .. } => Severity::Warning,
            Self::SigningRotation { .. } | Self::Budget { .. } => Severity::Info,
            Self::Rotation { .. } | Self::WeeklyReport { .. } | Self::Trial { .. } => Severity::Info,
        }
    }

    /// What must not be said twice. A later expiry is warned of anew; steps of rotations and ladders are persisted
    /// with their notice and need no key.
    fn once(&self, about: &About) -> Option<String> {
        let key = about.key.as_ref().map_or("", KeyId::as_str);
        match self {
            Self::KeyExpiring { expires_at, days, .. } => {
                Some(format!("key.expiring/{key}/{}/{days}", expires_at.as_micros()))
            }
            Self::PolicyBreach { rule, deadline, .. } => {
                let deadline = deadline.map_or(0, Timestamp::as_micros);
                Some(format!("policy.breached/{key}/{rule}/{deadline}"))
            }
            Self::WeeklyReport { until, .. } => Some(format!("report.weekly/{}", until.as_micros())),
            Self::UnusedRevoked { .. } => Some(format!("key.unused_revoked/{key}")),
            // Under another ceiling the same share is another amount.
            Self::Budget { budget, window, percent, limit, .. } => {
                Some(format!("budget/{budget}/{}/{percent}/{limit}", window.as_micros()))
            }
            // What grows is another amount, and told anew.
            Self::Reconciled { upstream, day, leaked_usd, unexplained_usd, .. } => {
                let rest = unexplained_usd.as_deref().unwrap_or_default();
                Some(format!("cost/{upstream}/{day}/{leaked_usd}/{rest}"))
            }
            Self::SigningOld { until, .. } => Some(format!("signing.old_secret/{key}/{}", until.as_micros())),
            Self::Rotation { .. }
            | Self::Deprecation { .. }
            | Self::Revocation { .. }
            | Self::Incident { .. }
            | Self::SigningRotation { .. }
            | Self::Trial { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
