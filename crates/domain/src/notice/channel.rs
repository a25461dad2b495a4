//! Where notices go: e-mail servers and signed webhooks.

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::{
    clock::Timestamp,
    id::{ChannelId, WorkspaceId},
    ports::SealContext,
    upstream::ServiceState,
};

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// TLS from the first byte (RFC 8314); port 465.
    Implicit,
    /// `STARTTLS`, demanded (RFC 3207); port 587.
    #[default]
    Starttls,
    /// None: on this machine only.
    Plain,
}

impl SmtpSecurity {
    /// As in flags and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::Starttls => "starttls",
            Self::Plain => "plain",
        }
    }

    /// The reverse of [`SmtpSecurity::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Implicit, Self::Starttls, Self::Plain].into_iter().find(|s| s.as_str() == text)
    }

    /// The port that goes with it.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
            Self::Plain => 25,
        }
    }
}

/// A mail server and who gets mail through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpTarget {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Log in as this name; the password is sealed beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The sender.
    pub from: String,
    /// Who gets every notice.
    pub to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy, when an address of theirs is known.
    #[serde(default)]
    pub to_owner: bool,
}

/// An address that takes signed JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTarget {
    /// `https://…`, or `http://…` on this machine.
    pub url: String,
    /// Whether the operator said that private addresses are meant.
    #[serde(default)]
    pub allow_private: bool,
}

/// What kind of channel, and its particulars but for the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChannelTarget {
    /// E-mail.
    Smtp(SmtpTarget),
    /// A signed webhook (Standard Webhooks).
    Webhook(WebhookTarget),
}

impl ChannelTarget {
    /// `smtp` or `webhook`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// A channel as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecord {
    /// `chn_…`
    pub id: ChannelId,
    /// Its name, unique.
    pub name: String,
    /// Where it goes.
    pub target: ChannelTarget,
    /// The password or signing secret, sealed for [`ChannelRecord::seal_context`]; empty: none.
    pub sealed: Vec<u8>,
    /// Only notices at least as grave as this.
    pub min_severity: Severity,
    /// Only of this workspace; `None`: of all, and of the installation.
    pub workspace: Option<WorkspaceId>,
    /// Whether it is in use.
    pub state: ServiceState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Row version, for optimistic locking.
    pub version: i64,
}

impl ChannelRecord {
    /// What a channel's secret is bound to.
    #[must_use]
    pub fn seal_context(id: &ChannelId) -> SealContext<'_> {
        SealContext { table: "channels", column: "sealed", row: id.as_str() }
    }
}
