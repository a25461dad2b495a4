//! `POST /admin/v1/keys/{id}/revoke`

use axum::extract::State;
use claviger_domain::key::RevocationReason;
use claviger_service::revocation::{RevocationOrder, Revoked};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{RevokeKey, key_id};
use crate::{
    answer::{One, Versioned},
    api::{certificates, view::KeyView},
    extract::{Body, Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// A key that was revoked, with its certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevokedView {
    /// The key as it is now.
    #[serde(flatten)]
    pub key: KeyView,
    /// The revocation's number in the change feed.
    pub seq: i64,
    /// The signed certificate; `null`: it follows, see `certificates/{id}` with the key's id.
    #[schema(value_type = Option<Object>)]
    pub certificate: Option<Value>,
    /// Child keys that died with it.
    pub children: Vec<String>,
    /// Calls that were still in flight.
    pub calls_in_flight: u32,
}

impl Versioned for RevokedView {
    fn version(&self) -> i64 {
        self.key.version
    }
}

/// Refuses a key for ever.
pub async fn revoke(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RevokeKey>,
) -> Result<One<RevokedView>, Problem> {
    let reason = RevocationReason::parse(&body.reason).ok_or_else(|| {
        let expected = "EXPIRED, COMPROMISED, ROTATION, USER_REQUEST or SECURITY_POLICY";
        Problem::invalid("reason", format!("`{}`: expected {expected}", body.reason))
    })?;
    let order = RevocationOrder { reason, immediate: body.now, wait: body.wait };
    let revoked = state.services.revocations.revoke(&key_id(&id)?, order, &operator.caller).await?;
    let Revoked { key, used, seq, certificate, children, in_flight } = revoked;
    Ok(One(RevokedView {
        key: KeyView::of(&key, &used, state.clock.now()),
        seq,
        certificate: certificate.as_ref().map(certificates::signed),
        children: children.iter().map(ToString::to_string).collect(),
        calls_in_flight: in_flight,
    }))
}
