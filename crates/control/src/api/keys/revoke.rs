//! `POST /admin/v1/keys/{id}/revoke`

use axum::extract::State;
use claviger_domain::key::RevocationReason;

use super::{RevokeKey, key_id};
use crate::{
    answer::One,
    api::view::KeyView,
    extract::{Body, Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// Refuses a key for ever.
pub async fn revoke(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RevokeKey>,
) -> Result<One<KeyView>, Problem> {
    let reason = RevocationReason::parse(&body.reason).ok_or_else(|| {
        let expected = "EXPIRED, COMPROMISED, ROTATION, USER_REQUEST or SECURITY_POLICY";
        Problem::invalid("reason", format!("`{}`: expected {expected}", body.reason))
    })?;
    let (record, usage) =
        state.services.keys.revoke(&key_id(&id)?, reason, body.now, &operator.caller).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}
