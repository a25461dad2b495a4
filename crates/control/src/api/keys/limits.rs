//! `GET /admin/v1/keys/{id}/limits`

use axum::{
    Json,
    extract::{Path, State},
};
use claviger_domain::limit::{Bucket, Headroom};
use serde_json::{Value, json};

use super::key_id;
use crate::{api::time::Moment, extract::Operator, problem::Problem, state::ControlState};

/// A key's limits, and what is left of each right now.
pub async fn limits(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = key_id(&id)?;
    let (record, usage) = state.services.keys.show(&id).await?;
    let now = state.clock.now();
    let held = state.services.grants.held(&id);
    let left = |bucket| -> Vec<Value> {
        let all = held.as_ref().map(|live| live.runtime.standing(&live.grant.key.policy, bucket, now));
        let show = |h: Headroom| json!({"kind": h.kind, "limit": h.limit, "remaining": h.remaining, "reset": Moment(h.reset)});
        all.unwrap_or_default().into_iter().map(show).collect()
    };
    Ok(Json(json!({
        "key": record.id,
        "limits": record.policy.limits,
        "max_uses": record.policy.max_uses,
        "usage_count": usage.uses,
        "in_flight": held.as_ref().map_or(0, |live| live.runtime.in_flight()),
        "work": left(Bucket::Work),
        "look": left(Bucket::Look),
    })))
}
