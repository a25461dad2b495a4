//! Workspaces, owners, and what each workspace made at the provider.

use serde::{Deserialize, Serialize};

use crate::{
    budget::Charge,
    clock::Timestamp,
    id::{CredentialId, KeyId, OwnerId, UpstreamId, WorkspaceId},
    limit::Limits,
    money::PicoUsd,
};

/// How strictly a workspace's keys must be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Environment variables are good enough.
    Development,
    /// A key management service is demanded.
    Staging,
    /// Zero trust: short-lived keys only.
    Production,
}

impl Environment {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// The reverse of [`Environment::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Development, Self::Staging, Self::Production].into_iter().find(|e| e.as_str() == text)
    }
}

/// How a new key comes to whoever uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandOver {
    /// The answer shows it: from there on it lies wherever whoever asked puts it.
    Shown,
    /// A token opens it, once.
    Wrapped,
    /// To nobody: only short-lived children of it are lent.
    Kept,
}

impl HandOver {
    /// As in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Wrapped => "wrapped",
            Self::Kept => "kept",
        }
    }
}

impl Environment {
    /// Whether keys that cost money may be handed over so. What is weaker than the class demands is not.
    #[must_use]
    pub const fn allows(self, way: HandOver) -> bool {
        match way {
            HandOver::Shown => matches!(self, Self::Development),
            HandOver::Wrapped | HandOver::Kept => true,
        }
    }
}

/// One team in one environment: the border of what callers can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceRecord {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name, unique.
    pub name: String,
    /// Its environment class.
    pub environment: Environment,
    /// The limits of all its keys together.
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was archived: its keys no longer work.
    pub archived_at: Option<Timestamp>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// A person or a service that keys belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// Its id.
    pub id: OwnerId,
    /// Its name, unique.
    pub name: String,
    /// Where notices go.
    pub email: Option<String>,
    /// The limits of all its keys together.
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was archived: it gets no new keys.
    pub archived_at: Option<Timestamp>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// What is held back for a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHold {
    /// The most that the batch can cost.
    pub amount: PicoUsd,
    /// The periods of budgets that it counts against.
    pub charges: Vec<Charge>,
}

/// What kind of thing the provider minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// `msgbatch_…`.
    Batch,
    /// `file_…`.
    File,
    /// `container_…`, made by code execution.
    Container,
    /// `skill_…`.
    Skill,
    /// A managed agent's session.
    Session,
}

impl ResourceKind {
    const ALL: [Self; 5] = [Self::Batch, Self::File, Self::Container, Self::Skill, Self::Session];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::File => "file",
            Self::Container => "container",
            Self::Skill => "skill",
            Self::Session => "session",
        }
    }

    /// The reverse of [`ResourceKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// Something that exists at the provider, and whose it is. Committed before the last byte of the answer that
/// names it, so that nobody ever holds an id which we do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The provider's id, as it stands in paths and bodies.
    pub id: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The key that made it; batches are billed to it whoever fetches the results.
    pub key: KeyId,
    /// Where it lives.
    pub upstream: UpstreamId,
    /// The credential that can reach it.
    pub credential: CredentialId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Of a batch under budgets: what was held back for it, until its results are billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<BatchHold>,
}
