//! What the admin API shows: never a domain type on the wire, never a secret.

use claviger_domain::{
    audit::AuditRecord,
    clock::Timestamp,
    key::{KeyRecord, KeyUse},
    tenancy::{OwnerRecord, WorkspaceRecord},
    upstream::{CredentialRecord, UpstreamRecord},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::limits::LimitsView;
use super::time::Moment;
use crate::answer::Versioned;

macro_rules! versioned {
    ($($view:ty),+) => {
        $(impl Versioned for $view {
            fn version(&self) -> i64 {
                self.version
            }
        })+
    };
}

versioned!(WorkspaceView, OwnerView, UpstreamView, CredentialView);

impl Versioned for KeyView {
    fn version(&self) -> i64 {
        self.version
    }

    fn holds_secret(&self) -> bool {
        self.signing_secret.is_some()
    }
}

/// A key, without the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// The key itself: in the answer to its creation and never again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Opens the key, once, when it was made wrapped: in the answer to its creation and never again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wrapping_token: Option<String>,
    /// When that token lapses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wrapping_expires_at: Option<Moment>,
    /// Signs requests: in the answer that makes it and never again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signing_secret: Option<String>,
    /// Its name.
    pub name: String,
    /// `live` or `test`.
    pub class: String,
    /// What it is now: pending, active, deprecated, suspended, revoked, expired, purged.
    pub status: String,
    /// The beginning of the key.
    pub hint: String,
    /// Its workspace.
    pub workspace: String,
    /// Its owner.
    pub owner: String,
    /// When it was made.
    pub created_at: Moment,
    /// It does not work before.
    pub not_before: Option<Moment>,
    /// It does not work from then on.
    pub expires_at: Option<Moment>,
    /// Model patterns; empty: all.
    pub models: Vec<String>,
    /// Endpoints; empty: all.
    pub endpoints: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Address blocks; empty: anywhere.
    pub allow_ip: Vec<String>,
    /// Rates and concurrency.
    pub limits: LimitsView,
    /// Uses in its whole life.
    pub max_uses: Option<u64>,
    /// When in the week it may be used.
    pub hours: Option<String>,
    /// What a client that goes away causes.
    pub on_disconnect: String,
    /// How old an answer out of the response cache may be, such as `300s`; `null`: it is given none.
    #[serde(default)]
    pub cache: Option<String>,
    /// What must be shown beside it: `token`, `signature`, `mtls`, `dpop`.
    #[serde(default)]
    pub require: Vec<String>,
    /// Client certificates that it may be used with; empty: it is bound to none.
    #[serde(default)]
    pub bind_mtls: Vec<String>,
    /// How often it was used.
    pub usage_count: u64,
    /// When it was last used.
    pub last_used_at: Option<Moment>,
    /// From where.
    pub last_used_ip: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// Why it was revoked.
    pub revocation_reason: Option<String>,
    /// The key that it succeeded.
    pub rotated_from: Option<String>,
    /// The key that it is a child of, and ends with.
    #[serde(default)]
    pub parent: Option<String>,
    /// Row version, for `If-Match`.
    pub version: i64,
}

impl KeyView {
    /// The view of a record at `now`.
    #[must_use]
    pub fn of(record: &KeyRecord, usage: &KeyUse, now: Timestamp) -> Self {
        let policy = &record.policy;
        Self {
            id: record.id.to_string(),
            key: None,
            wrapping_token: None,
            wrapping_expires_at: None,
            name: record.name.clone(),
            class: record.class.as_str().to_owned(),
            status: record.status(now).as_str().to_owned(),
            hint: record.hint.clone(),
            workspace: record.workspace.to_string(),
            owner: record.owner.to_string(),
            created_at: Moment(record.created_at),
            not_before: record.not_before.map(Moment),
            expires_at: record.expires_at.map(Moment),
            models: policy.permissions.models.iter().map(|m| m.as_str().to_owned()).collect(),
            endpoints: policy.permissions.endpoints.iter().map(|e| e.as_str().to_owned()).collect(),
            scopes: policy.permissions.scopes.words(),
            allow_ip: policy.allow_ip.entries(),
            limits: policy.limits.into(),
            max_uses: policy.max_uses,
            hours: policy.hours.clone().map(String::from),
            on_disconnect: policy.on_disconnect.as_str().to_owned(),
            cache: policy.cache.map(|ttl| ttl.to_string()),
            require: policy.require.into(),
            signing_secret: None,
            bind_mtls: policy.bind_mtls.iter().map(ToString::to_string).collect(),
            usage_count: usage.uses,
            last_used_at: usage.last_used_at.map(Moment),
            last_used_ip: usage.last_used_ip.clone(),
            revoked_at: record.revocation.map(|r| Moment(r.at)),
            revocation_reason: record.revocation.map(|r| r.reason.as_str().to_owned()),
            rotated_from: record.rotated_from.as_ref().map(ToString::to_string),
            parent: record.parent.as_ref().map(ToString::to_string),
            version: record.version,
        }
    }
}

/// A workspace.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `development`, `staging` or `production`.
    pub environment: String,
    /// The limits of all its keys together.
    pub limits: LimitsView,
    /// When it was made.
    pub created_at: Moment,
    /// When it was archived.
    pub archived_at: Option<Moment>,
    /// Row version.
    pub version: i64,
}

impl From<WorkspaceRecord> for WorkspaceView {
    fn from(w: WorkspaceRecord) -> Self {
        Self {
            id: w.id.to_string(),
            name: w.name,
            environment: w.environment.as_str().to_owned(),
            limits: w.limits.into(),
            created_at: Moment(w.created_at),
            archived_at: w.archived_at.map(Moment),
            version: w.version,
        }
    }
}

/// An owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OwnerView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where notices go.
    pub email: Option<String>,
    /// The limits of all its keys together.
    pub limits: LimitsView,
    /// When it was made.
    pub created_at: Moment,
    /// When it was archived.
    pub archived_at: Option<Moment>,
    /// Row version.
    pub version: i64,
}

impl From<OwnerRecord> for OwnerView {
    fn from(o: OwnerRecord) -> Self {
        Self {
            id: o.id.to_string(),
            name: o.name,
            email: o.email,
            limits: o.limits.into(),
            created_at: Moment(o.created_at),
            archived_at: o.archived_at.map(Moment),
            version: o.version,
        }
    }
}

/// An upstream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpstreamView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub kind: String,
    /// Where it is.
    pub base_url: String,
    /// `active`, `disabled` or `removed`.
    pub state: String,
    /// When it was added.
    pub created_at: Moment,
    /// Row version.
    pub version: i64,
}

impl From<UpstreamRecord> for UpstreamView {
    fn from(u: UpstreamRecord) -> Self {
        Self {
            id: u.id.to_string(),
            name: u.name,
            kind: u.kind.as_str().to_owned(),
            base_url: u.base_url,
            state: u.state.as_str().to_owned(),
            created_at: Moment(u.created_at),
            version: u.version,
        }
    }
}

/// A credential: never the provider key, only a hint of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The upstream that it opens.
    pub upstream: String,
    /// What it is for: `traffic` or `admin`.
    pub purpose: String,
    /// The only workspace that it serves.
    pub workspace: Option<String>,
    /// The first and last few characters of the provider key.
    pub hint: String,
    /// `active`, `disabled` or `removed`.
    pub state: String,
    /// When it was added.
    pub created_at: Moment,
    /// Row version.
    pub version: i64,
}

impl From<CredentialRecord> for CredentialView {
    fn from(c: CredentialRecord) -> Self {
        Self {
            id: c.id.to_string(),
            name: c.name,
            upstream: c.upstream.to_string(),
            purpose: c.purpose.as_str().to_owned(),
            workspace: c.workspace.map(|w| w.to_string()),
            hint: c.hint,
            state: c.state.as_str().to_owned(),
            created_at: Moment(c.created_at),
            version: c.version,
        }
    }
}

/// One audit record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its number in the control chain.
    pub number: i64,
    /// When.
    pub timestamp: Moment,
    /// Who.
    #[schema(value_type = Object)]
    pub actor: serde_json::Value,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// `ok` or why not.
    pub outcome: String,
    /// The key concerned.
    pub key: String,
    /// Method and path.
    pub api_endpoint: String,
    /// The request.
    pub request_id: String,
    /// The client's address.
    pub client_ip: String,
    /// The scopes in force.
    pub token_scope: String,
    /// The client's program.
    pub user_agent: String,
    /// What else is known.
    #[schema(value_type = Object)]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// The record's hash, hex.
    pub leaf: String,
    /// The chain's head after it, hex.
    pub head: String,
}

impl From<AuditRecord> for AuditView {
    fn from(r: AuditRecord) -> Self {
        let e = r.event;
        Self {
            number: r.number,
            timestamp: Moment(e.at),
            actor: serde_json::to_value(&e.actor).unwrap_or_default(),
            action: e.action,
            target: e.target,
            outcome: e.outcome,
            key: e.key,
            api_endpoint: e.api_endpoint,
            request_id: e.request_id,
            client_ip: e.client_ip,
            token_scope: e.token_scope,
            user_agent: e.user_agent,
            details: e.details,
            leaf: r.leaf.to_hex(),
            head: r.head.to_hex(),
        }
    }
}
