//! `GET /admin/v1/keys/{id}`

use axum::{
    Json,
    extract::{Path, State},
};

use super::key_id;
use crate::{api::view::KeyView, extract::Operator, problem::Problem, state::ControlState};

/// Shows one key.
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, Problem> {
    let (record, usage) = state.services.keys.show(&key_id(&id)?).await?;
    Ok(Json(KeyView::of(&record, &usage, state.clock.now())))
}
