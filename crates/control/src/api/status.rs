//! `GET /admin/v1/status` and `GET /admin/v1/settings`

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{extract::Operator, problem::Problem, state::ControlState};

/// How the process does.
pub async fn status(State(state): State<ControlState>, _operator: Operator) -> Result<Json<Value>, Problem> {
    let mut value = state.process.describe();
    value["ready"] = json!(state.services.health.is_ready());
    value["parts"] = json!(state.services.health.parts());
    value["node"] = json!(state.services.recorder.chain());
    value["feed_age_ms"] = json!(state.services.grants.view_age_us() / 1_000);
    Ok(Json(value))
}

/// The settings in force.
pub async fn settings(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<Value>, Problem> {
    Ok(Json(state.process.settings()))
}
