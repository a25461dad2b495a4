//! Operations on keys, one a file, and the bodies that they take.

pub mod create;
pub mod import;
pub mod limits;
pub mod list;
pub mod revoke;
pub mod rotate;
pub mod show;
pub mod signing;
pub mod state;
pub mod tokens;
pub mod update;

use claviger_domain::{clock::Timestamp, id::KeyId, key::OnDisconnect};
use claviger_service::keys::Expiry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::limits::LimitsPatch;
use super::time::Moment;
use crate::problem::Problem;

/// Body of `POST /admin/v1/keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its name.
    #[schema(min_length = 1, max_length = 128, example = "app")]
    pub name: String,
    /// Make a test key.
    #[serde(default)]
    pub test: bool,
    /// Workspace, by id or name.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Owner, by id or name.
    #[serde(default)]
    pub owner: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub not_before: Option<String>,
    /// `12h`, `90d`, `never`.
    #[serde(default)]
    pub expires_in: Option<String>,
    /// Model patterns.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Endpoints.
    #[serde(default)]
    pub endpoints: Option<Vec<String>>,
    /// Scopes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Address blocks.
    #[serde(default)]
    pub allow_ip: Option<Vec<String>>,
    /// Rates and concurrency.
    #[serde(default)]
    pub limits: LimitsPatch,
    /// Uses in its whole life; 0: no limit.
    #[serde(default)]
    pub max_uses: Option<u64>,
    /// Weekly window; empty: always.
    #[serde(default)]
    pub hours: Option<String>,
    /// `cancel` or `drain`.
    #[serde(default)]
    #[schema(pattern = "^(cancel|drain)$")]
    pub on_disconnect: Option<String>,
    /// How old an answer out of the response cache may be: `300s`, `5m`, `1h`, `on` (5m); `off`: it is given none.
    #[serde(default)]
    #[schema(max_length = 24, pattern = "^(on|off|[0-9]+[smhd])$")]
    pub cache: Option<String>,
    /// What must be shown beside it: `token`, `signature`, `mtls`, `dpop`.
    #[serde(default)]
    pub require: Option<Vec<String>>,
    /// Make a signing secret with it: only the answer shows it.
    #[serde(default)]
    pub sign: bool,
    /// Client certificates that it may be used with: `x5t#S256:…` or `spiffe://…`; empty: it is bound to none.
    #[serde(default)]
    pub bind_mtls: Option<Vec<String>>,
    /// Hand it over wrapped: the answer holds a token that opens it, once, in place of the key.
    #[serde(default)]
    pub wrapped: bool,
    /// How long it waits to be unwrapped, in seconds; a day when not given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub wrap_ttl_secs: Option<u64>,
    /// A hard budget, `AMOUNT/PERIOD` in dollars: `12.50/day`; also week, month, life.
    #[serde(default)]
    #[schema(max_length = 40)]
    pub budget: Option<String>,
}

/// Body of `PATCH /admin/v1/keys/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateKey {
    /// Its name.
    pub name: Option<String>,
    /// From now: `12h`, `90d`, `never`.
    pub expires_in: Option<String>,
    /// Model patterns.
    pub models: Option<Vec<String>>,
    /// Endpoints.
    pub endpoints: Option<Vec<String>>,
    /// Scopes.
    pub scopes: Option<Vec<String>>,
    /// Address blocks.
    pub allow_ip: Option<Vec<String>>,
    /// Rates and concurrency.
    pub limits: LimitsPatch,
    /// Uses in its whole life; 0: no limit.
    pub max_uses: Option<u64>,
    /// Weekly window; empty: always.
    pub hours: Option<String>,
    /// `cancel` or `drain`.
    #[schema(pattern = "^(cancel|drain)$")]
    pub on_disconnect: Option<String>,
    /// How old an answer out of the response cache may be: `300s`, `5m`, `1h`, `on` (5m); `off`: it is given none.
    #[schema(max_length = 24, pattern = "^(on|off|[0-9]+[smhd])$")]
    pub cache: Option<String>,
    /// What must be shown beside it: `token`, `signature`, `mtls`, `dpop`; empty: nothing.
    pub require: Option<Vec<String>>,
    /// Make a new signing secret: only the answer shows it. One that it had works for another day.
    pub sign: bool,
    /// The public half of the holder's Ed25519 key pair: 64 hex digits, or PEM.
    #[schema(max_length = 1000)]
    pub signing_public_key: Option<String>,
    /// Client certificates that it may be used with: `x5t#S256:…` or `spiffe://…`; empty: it is bound to none.
    #[serde(default)]
    pub bind_mtls: Option<Vec<String>>,
    /// A hard budget, `AMOUNT/PERIOD` in dollars: `12.50/day`; also week, month, life. Sets or changes that period's.
    #[schema(max_length = 40)]
    pub budget: Option<String>,
}

impl UpdateKey {
    /// Whether its holder gets something new to sign with.
    #[must_use]
    pub const fn gives_a_secret(&self) -> bool {
        self.sign || self.signing_public_key.is_some()
    }
}

/// Body of `POST /admin/v1/keys/{id}/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// EXPIRED, COMPROMISED, ROTATION, USER_REQUEST, SECURITY_POLICY.
    #[schema(pattern = "^(EXPIRED|COMPROMISED|ROTATION|USER_REQUEST|SECURITY_POLICY)$")]
    pub reason: String,
    /// Cut calls in flight at once; a compromised key is always revoked so.
    #[serde(default)]
    pub now: bool,
    /// Answer only when the key is refused everywhere and its calls have ended or were cut: within 35 s.
    #[serde(default)]
    pub wait: bool,
}

/// A key id in a path.
pub(super) fn key_id(text: &str) -> Result<KeyId, Problem> {
    KeyId::parse(text).map_err(|e| Problem::invalid("id", e.to_string()))
}

/// What `12h`, `90d` or `never` means.
pub(super) fn expiry(text: &str) -> Result<Expiry, Problem> {
    if text == "never" { Ok(Expiry::Never) } else { seconds(text).map(Expiry::AfterSecs) }
}

/// What `30m`, `12h` or `90d` means, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, Problem> {
    let bad = || {
        let why = format!("`{text}` is not a span of time: expected 30m, 12h, 90d or never");
        Problem::invalid("expires_in", why)
    };
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        Some(_) | None => return Err(bad()),
    };
    let number: u64 = text.get(..text.len() - 1).and_then(|n| n.parse().ok()).ok_or_else(bad)?;
    number.checked_mul(unit).filter(|s| (1..=100 * 366 * 86_400).contains(s)).ok_or_else(bad)
}

/// `cancel` or `drain`.
pub(super) fn on_disconnect(word: &str) -> Result<OnDisconnect, Problem> {
    OnDisconnect::parse(word)
        .ok_or_else(|| Problem::invalid("on_disconnect", format!("`{word}`: expected cancel or drain")))
}

/// A moment in a body.
pub(super) fn moment(field: &str, text: &str) -> Result<Timestamp, Problem> {
    let read: Result<Moment, _> = text.parse();
    read.map(|m| m.0).map_err(|e| Problem::invalid(field, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_span_or_never() {
        assert_eq!(expiry("never").unwrap(), Expiry::Never);
        assert_eq!(expiry("2h").unwrap(), Expiry::AfterSecs(7_200));
        for bad in ["", "0d", "-1d", "90", "d", "1w", "99999999999999999d", "€d"] {
            assert_eq!(expiry(bad).unwrap_err().field.as_deref(), Some("expires_in"), "{bad}");
        }
    }
}
