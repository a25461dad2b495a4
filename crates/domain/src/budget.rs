//! Budgets: ceilings on money for a key, an owner, a workspace or everything, in a day, a week, a month or for life.
//! What a call can cost is held back before it is made and settled after it; a hard budget in strict mode is never
//! passed.

pub mod aside;
pub mod blocks;
pub mod book;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{BudgetId, CreditAccountId, KeyId, OwnerId, WorkspaceId},
    money::PicoUsd,
};

pub use blocks::{Block, BlockWish, Ground};
pub use book::{Ask, Book, Charge, Cover, Crossed, Holds, Nearest, OverBudget, Standing};
pub use window::{Calendar, Period, Window, ZoneError};

/// Shares of a budget, in per cent, at which somebody is told, once each a period.
pub const THRESHOLDS: [u8; 5] = [50, 75, 90, 95, 100];

/// Whose money it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum BudgetSubject {
    /// Of one key and those that it is rotated to: the first key of its line. Their children are included.
    Key(KeyId),
    /// Of all keys of one owner.
    Owner(OwnerId),
    /// Of all keys of one workspace.
    Workspace(WorkspaceId),
    /// Of the whole installation.
    All,
}

impl BudgetSubject {
    /// Its kind, as stored and printed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Owner(_) => "owner",
            Self::Workspace(_) => "workspace",
            Self::All => "all",
        }
    }

    /// The id of what it is about; empty: everything.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Key(id) => id.as_str(),
            Self::Owner(id) => id.as_str(),
            Self::Workspace(id) => id.as_str(),
            Self::All => "",
        }
    }

    /// From its kind and id.
    #[must_use]
    pub fn from_parts(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "key" => KeyId::parse(id).ok().map(Self::Key),
            "owner" => OwnerId::parse(id).ok().map(Self::Owner),
            "workspace" => WorkspaceId::parse(id).ok().map(Self::Workspace),
            "all" if id.is_empty() => Some(Self::All),
            _ => None,
        }
    }
}

/// What of a call is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetMode {
    /// The most that it can cost: the limit is never passed.
    #[default]
    Strict,
    /// What it will likely cost, by the calls before it: the limit can be passed by at most what the calls in flight can
    /// cost beyond that.
    Expected,
}

impl BudgetMode {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Expected => "expected",
        }
    }

    /// The reverse of [`BudgetMode::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Strict, Self::Expected].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A budget as it is kept. A subject has at most one for each period, and one more that holds its prepaid credit.
#[derive(Debug, Clone)]
pub struct BudgetRecord {
    /// Its id.
    pub id: BudgetId,
    /// Whose money it is.
    pub subject: BudgetSubject,
    /// When its periods begin.
    pub calendar: Calendar,
    /// The ceiling of one period.
    pub limit: PicoUsd,
    /// Whether calls beyond it are refused; otherwise somebody is told.
    pub hard: bool,
    /// What of a call is held back.
    pub mode: BudgetMode,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was dropped; it binds nobody from then on.
    pub dropped_at: Option<Timestamp>,
    /// The account whose credit it holds: its limit follows from what was paid in.
    pub credit: Option<CreditAccountId>,
    /// Row version, for optimistic locking.
    pub version: i64,
}
