//! Operators' tokens as they are kept: sessions of people, tokens of machines, and the sealed code of break-glass.

use super::{
    Role,
    verb::{Area, Effect, Verb},
};
use crate::{
    clock::{MICROS_PER_SEC, Timestamp},
    id::{OperatorId, OperatorTokenId, WorkspaceId},
    mac::{KeyMac, PepperVersion},
};

/// A session lasts so long, in seconds,
pub const SESSION_SECS: i64 = 12 * 3_600;
/// and ends when nothing was done for so long, in seconds.
pub const IDLE_SECS: i64 = 3_600;
/// A break-glass session lasts so long, in seconds.
pub const BREAK_GLASS_SECS: i64 = 15 * 60;
/// A proof of the second factor is fresh for so long, in seconds.
pub const STEP_UP_SECS: i64 = 5 * 60;
/// A machine's token lasts at most so long, in seconds: 366 days.
pub const LONGEST_SECS: i64 = 366 * 86_400;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A person's, after password and second factor.
    Session,
    /// A machine's.
    Machine,
    /// A session that was opened with the sealed code.
    BreakGlass,
    /// The sealed code itself: it opens one session, once, and administers nothing.
    BreakGlassCode,
}

impl TokenKind {
    const ALL: [Self; 4] = [Self::Session, Self::Machine, Self::BreakGlass, Self::BreakGlassCode];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Machine => "machine",
            Self::BreakGlass => "break_glass",
            Self::BreakGlassCode => "break_glass_code",
        }
    }

    /// The reverse of [`TokenKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// What was written down after a break-glass session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who wrote it.
    pub by: OperatorId,
    /// When.
    pub at: Timestamp,
    /// What was done and why.
    pub note: String,
}

/// An operator's token.
#[derive(Debug, Clone)]
pub struct OperatorTokenRecord {
    /// `opt_` and the public id that stands in the token itself.
    pub id: OperatorTokenId,
    /// What it is.
    pub kind: TokenKind,
    /// Whose it is: who logged in, minted or prepared it. `None`: the local owner, before the first operator.
    pub operator: Option<OperatorId>,
    /// What it is called: a machine's name, or empty.
    pub name: String,
    /// What it may do, never more than its operator.
    pub role: Role,
    /// The only workspace that it sees; `None`: all that its operator sees.
    pub workspace: Option<WorkspaceId>,
    /// The only verbs that it may use; empty: all that read or change.
    pub verbs: Vec<Verb>,
    /// The stored MAC.
    pub mac: KeyMac,
    /// Its pepper.
    pub pepper_version: PepperVersion,
    /// What may be shown of it.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// It does not work from then on.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// When it was ended: revoked, logged out, or used up.
    pub ended_at: Option<Timestamp>,
    /// What was written down after a break-glass session.
    pub review: Option<Review>,
    /// Row version.
    pub version: i64,
}

impl OperatorTokenRecord {
    /// Whether it works now.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let idle = match self.kind {
            TokenKind::Session => now.micros_since(self.last_used_at) > IDLE_SECS * MICROS_PER_SEC,
            TokenKind::Machine | TokenKind::BreakGlass | TokenKind::BreakGlassCode => false,
        };
        self.ended_at.is_none() && now < self.expires_at && !idle
    }

    /// Whether it was a break-glass session that nobody has written about yet.
    #[must_use]
    pub fn awaits_review(&self) -> bool {
        self.kind == TokenKind::BreakGlass && self.review.is_none()
    }

    /// What of the record goes into digests of before and after: no secrets.
    #[must_use]
    pub fn canonical(&self) -> serde_json::Value {
        serde_json::json!({
            "ended": self.ended_at.is_some(),
            "expires_at": self.expires_at,
            "id": self.id,
            "kind": self.kind.as_str(),
            "name": self.name,
            "operator": self.operator,
            "role": self.role,
            "verbs": self.verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>(),
            "workspace": self.workspace,
        })
    }
}

/// Verbs that no machine may have, whatever it was minted with: a machine is not a person, and never makes operators
/// or their tokens.
#[must_use]
pub const fn is_for_people(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::SessionStepUp
            | Verb::SessionEnrol
            | Verb::ApprovalApprove
            | Verb::ApprovalDeny
            | Verb::ApprovalAnswer
    ) || matches!(verb.area(), Area::Operators) && !matches!(verb.effect(), Effect::Read)
}
