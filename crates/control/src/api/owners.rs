//! Operations on owners.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{page::Page, view::OwnerView};
use crate::{
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/owners`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateOwner {
    /// Its name.
    pub name: String,
    /// Where notices go.
    #[serde(default)]
    pub email: Option<String>,
}

/// `POST /admin/v1/owners`
pub async fn create(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<CreateOwner>,
) -> Result<(StatusCode, Json<OwnerView>), Problem> {
    let tenants = &state.services.tenants;
    let made = tenants.create_owner(&body.name, body.email.as_deref(), &operator.caller).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// `GET /admin/v1/owners`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<Page<OwnerView>>, Problem> {
    Ok(Json(Page::whole(state.services.tenants.owners().await?)))
}

/// `POST /admin/v1/owners/{id}/archive`
pub async fn archive(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<OwnerView>, Problem> {
    let tenants = &state.services.tenants;
    let owner = tenants.owner(&id).await?;
    Ok(Json(tenants.archive_owner(&owner.id, &operator.caller).await?.into()))
}
