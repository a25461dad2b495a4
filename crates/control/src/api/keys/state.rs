//! `POST /admin/v1/keys/{id}/suspend`, `…/resume` and `…/purge`

use axum::extract::State;

use super::key_id;
use crate::{
    answer::One,
    api::view::KeyView,
    extract::{Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// Refuses a key until it is resumed.
pub async fn suspend(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<KeyView>, Problem> {
    let (record, usage) = state.services.keys.suspend(&key_id(&id)?, &operator.caller).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}

/// Lets a suspended key work again.
pub async fn resume(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<KeyView>, Problem> {
    let (record, usage) = state.services.keys.resume(&key_id(&id)?, &operator.caller).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}

/// Forgets what could still prove a key that is over; its record stays.
pub async fn purge(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<KeyView>, Problem> {
    let (record, usage) = state.services.keys.purge(&key_id(&id)?, &operator.caller).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}
