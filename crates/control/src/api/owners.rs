//! Operations on owners.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{limits::LimitsPatch, page::Page, view::OwnerView};
use crate::{
    answer::{Made, One},
    extract::{Body, IfMatch, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/owners`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOwner {
    /// Its name: letters, digits, spaces, `-`, `_`, `.`, `@` or `/`.
    #[schema(min_length = 1, max_length = 64, example = "ann")]
    pub name: String,
    /// Where notices go.
    #[serde(default)]
    #[schema(max_length = 254, example = "ann@example.com")]
    pub email: Option<String>,
    /// The limits of all its keys together.
    #[serde(default, skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
}

/// `POST /admin/v1/owners`
pub async fn create(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<CreateOwner>,
) -> Result<Made<OwnerView>, Problem> {
    let tenants = &state.services.tenants;
    let made =
        tenants.create_owner(&body.name, body.email.as_deref(), body.limits.into(), &operator.caller).await?;
    Ok(Made(made.into()))
}

/// `GET /admin/v1/owners`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<OwnerView>>, Problem> {
    let rows = state.services.tenants.owners().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// Body of `PATCH /admin/v1/owners/{id}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateOwner {
    /// Where notices go; empty: nowhere.
    #[schema(max_length = 254, example = "ann@example.com")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The limits of all its keys together.
    #[serde(skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
}

/// `PATCH /admin/v1/owners/{id}`
pub async fn update(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Body(body): Body<UpdateOwner>,
) -> Result<One<OwnerView>, Problem> {
    let email = body.email.as_deref().map(|email| Some(email).filter(|email| !email.is_empty()));
    let change = (email, body.limits.into());
    Ok(One(state.services.tenants.update_owner(&id, change, version, &operator.caller).await?.into()))
}

/// `POST /admin/v1/owners/{id}/archive`
pub async fn archive(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<OwnerView>, Problem> {
    let tenants = &state.services.tenants;
    let owner = tenants.owner(&id).await?;
    Ok(One(tenants.archive_owner(&owner.id, &operator.caller).await?.into()))
}
