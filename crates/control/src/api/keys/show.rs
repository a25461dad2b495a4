//! `GET /admin/v1/keys/{id}`

use axum::extract::State;

use super::key_id;
use crate::{
    answer::One,
    api::view::KeyView,
    extract::{Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// Shows one key.
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<One<KeyView>, Problem> {
    let (record, usage) = state.services.keys.show(&key_id(&id)?).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}
