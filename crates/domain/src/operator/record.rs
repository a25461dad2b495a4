//! Operators as they are kept.

use std::fmt;

use zeroize::Zeroize;

use super::{Role, name::OperatorName};
use crate::{
    clock::Timestamp,
    id::{OperatorId, WorkspaceId},
};

/// What is stored of a password: an Argon2id string (PHC format). It opens nothing, but guessing against it is cheap,
/// so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// From the stored string.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The string. The name is meant to stand out in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for PasswordHash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// Someone who administers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRecord {
    /// `op_…`.
    pub id: OperatorId,
    /// The name, unique among all that were ever enrolled.
    pub name: OperatorName,
    /// What they may do.
    pub role: Role,
    /// The only workspace that they see; `None`: all.
    pub workspace: Option<WorkspaceId>,
    /// Their password.
    pub password: PasswordHash,
    /// The secret of their second factor (RFC 6238), sealed.
    pub totp_sealed: Vec<u8>,
    /// The newest step whose code was used: it and all before it are used up.
    pub totp_step: i64,
    /// When they were enrolled.
    pub created_at: Timestamp,
    /// When they were removed.
    pub removed_at: Option<Timestamp>,
    /// Row version.
    pub version: i64,
}

impl OperatorRecord {
    /// Whether they may log in.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.removed_at.is_none()
    }

    /// What of the record goes into digests of before and after: no secrets.
    #[must_use]
    pub fn canonical(&self) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "name": self.name.as_str(),
            "removed": self.removed_at.is_some(),
            "role": self.role,
            "workspace": self.workspace,
        })
    }
}
