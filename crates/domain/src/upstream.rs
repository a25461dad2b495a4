//! Upstreams and the credentials that open them.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{CredentialId, UpstreamId, WorkspaceId},
};

/// What protocol an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamKind {
    /// The Claude API itself, or anything that speaks it to the letter.
    Anthropic,
}

impl UpstreamKind {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
        }
    }

    /// The reverse of [`UpstreamKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text == "anthropic").then_some(Self::Anthropic)
    }
}

/// Whether an upstream or credential takes part in routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// In use.
    Active,
    /// Kept but not used.
    Disabled,
    /// Taken out for good; the row stays because records name it.
    Removed,
}

impl ServiceState {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }

    /// The reverse of [`ServiceState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Disabled, Self::Removed].into_iter().find(|s| s.as_str() == text)
    }
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPurpose {
    /// It opens the upstream for callers' requests.
    Traffic,
    /// An Admin API key: it asks the provider's account what was billed, and never serves a caller.
    Admin,
}

impl CredentialPurpose {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Admin => "admin",
        }
    }

    /// The reverse of [`CredentialPurpose::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Traffic, Self::Admin].into_iter().find(|p| p.as_str() == text)
    }
}

/// A place that speaks the Claude API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamRecord {
    /// Its id.
    pub id: UpstreamId,
    /// Its name, unique among those not removed.
    pub name: String,
    /// Its protocol.
    pub kind: UpstreamKind,
    /// `https://host[:port][/prefix]`, without a trailing slash.
    pub base_url: String,
    /// Whether it takes part.
    pub state: ServiceState,
    /// When it was added.
    pub created_at: Timestamp,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// One provider key, sealed. The plain key exists only in the memory of a running gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialRecord {
    /// Its id.
    pub id: CredentialId,
    /// The upstream that it opens.
    pub upstream: UpstreamId,
    /// What it is for.
    pub purpose: CredentialPurpose,
    /// The only workspace that it serves; `None`: all of them.
    pub workspace: Option<WorkspaceId>,
    /// Its name.
    pub name: String,
    /// The provider key, sealed under the master key and bound to this row.
    #[serde(skip)]
    pub sealed: Vec<u8>,
    /// What may be shown of the provider key: its first and last few characters.
    pub hint: String,
    /// Whether it takes part.
    pub state: ServiceState,
    /// When it was added.
    pub created_at: Timestamp,
    /// Row version, for optimistic locking.
    pub version: i64,
}
