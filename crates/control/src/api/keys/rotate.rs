//! `POST /admin/v1/keys/{id}/rotate`

use axum::extract::State;
use claviger_service::rotation::{NewRotation, Started};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::key_id;
use crate::{
    answer::Secret,
    api::time::Moment,
    extract::{Body, Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/keys/{id}/rotate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateKey {
    /// How long both keys work, in seconds, at most until the old one expires; 7 days when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub overlap_secs: Option<u64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// How long the new key waits to be unwrapped, in seconds; a day when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub wrap_ttl_secs: Option<u64>,
}

/// A rotation that has begun.
#[derive(Clone, Serialize, ToSchema)]
pub struct StartedView {
    /// The rotation.
    pub rotation: String,
    /// The key that comes.
    pub successor: String,
    /// Opens the new key, once: shown here and never again.
    pub wrapping_token: String,
    /// When that token lapses.
    pub expires_at: Moment,
    /// When the overlap is over.
    pub deadline: Moment,
}

impl From<Started> for StartedView {
    fn from(started: Started) -> Self {
        Self {
            rotation: started.rotation.id.to_string(),
            successor: started.successor.id.to_string(),
            wrapping_token: String::from_utf8_lossy(started.token.expose()).into_owned(),
            expires_at: Moment(started.wrapping_expires_at),
            deadline: Moment(started.rotation.deadline()),
        }
    }
}

/// Makes a key's successor and begins to replace the key by it.
pub async fn rotate(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RotateKey>,
) -> Result<Secret<StartedView>, Problem> {
    let new = NewRotation {
        overlap_secs: body.overlap_secs,
        reason: body.reason.unwrap_or_default(),
        wrap_ttl_secs: body.wrap_ttl_secs,
    };
    let started = state.services.rotations.start(&key_id(&id)?, &new, &operator.caller).await?;
    Ok(Secret(started.into()))
}
