//! Those who administer: what each role may do, and what needs a second proof or a second person.

pub mod access;
pub mod approval;
pub mod lockout;
pub mod name;
pub mod record;
pub mod token;
pub mod verb;

use serde::{Deserialize, Serialize};

/// What an operator may do (row A7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, other operators included.
    Owner,
    /// Everything but operators.
    Admin,
    /// Reads everything, the audit log included, verifies and exports it; changes nothing.
    Auditor,
    /// Reads all but the audit log; changes nothing.
    Viewer,
}

impl Role {
    /// All of them, the mightiest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Auditor, Self::Viewer];

    /// As in flags, JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
        }
    }

    /// The reverse of [`Role::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}
