//! `GET /admin/v1/keys/{id}/limits`

use axum::{Json, extract::State};
use claviger_domain::limit::{Bucket, Headroom, LimitKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::key_id;
use crate::{
    api::{time::Moment, view::LimitsView},
    extract::{Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// What is left of one limit.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HeadroomView {
    /// Which limit.
    #[schema(value_type = String)]
    pub kind: LimitKind,
    /// How much it admits.
    pub limit: u64,
    /// How much is left.
    pub remaining: u64,
    /// When it is whole again.
    pub reset: Moment,
}

impl From<Headroom> for HeadroomView {
    fn from(h: Headroom) -> Self {
        Self { kind: h.kind, limit: h.limit.into(), remaining: h.remaining.into(), reset: Moment(h.reset) }
    }
}

/// A key's limits, and what is left of each.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyLimitsView {
    /// The key's id.
    pub key: String,
    /// Rates and concurrency.
    pub limits: LimitsView,
    /// Uses in its whole life.
    pub max_uses: Option<u64>,
    /// How often it was used.
    pub usage_count: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// What is left for calls that work.
    pub work: Vec<HeadroomView>,
    /// What is left for calls that look something up.
    pub look: Vec<HeadroomView>,
}

/// A key's limits, and what is left of each right now.
pub async fn limits(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<KeyLimitsView>, Problem> {
    let id = key_id(&id)?;
    let (record, usage) = state.services.keys.show(&id).await?;
    let now = state.clock.now();
    let held = state.services.grants.held(&id);
    let left = |bucket| -> Vec<HeadroomView> {
        let all = held.as_ref().map(|live| live.runtime.standing(&live.grant.key.policy, bucket, now));
        all.unwrap_or_default().into_iter().map(Into::into).collect()
    };
    Ok(Json(KeyLimitsView {
        key: record.id.to_string(),
        limits: record.policy.limits.into(),
        max_uses: record.policy.max_uses,
        usage_count: usage.uses,
        in_flight: held.as_ref().map_or(0, |live| live.runtime.in_flight()),
        work: left(Bucket::Work),
        look: left(Bucket::Look),
    }))
}
