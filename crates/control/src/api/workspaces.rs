//! Operations on workspaces.

use axum::{Json, extract::State};
use claviger_domain::tenancy::Environment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{limits::LimitsPatch, page::Page, view::WorkspaceView};
use crate::{
    answer::{Made, One},
    extract::{Body, IfMatch, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/workspaces`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// Its name: letters, digits, spaces, `-`, `_`, `.`, `@` or `/`.
    #[schema(min_length = 1, max_length = 64, example = "team-a")]
    pub name: String,
    /// `development`, `staging` or `production`.
    #[serde(default = "development")]
    #[schema(example = "staging", pattern = "^(development|staging|production)$")]
    pub environment: String,
    /// The limits of all its keys together.
    #[serde(default, skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
}

fn development() -> String {
    Environment::Development.as_str().to_owned()
}

fn environment(text: &str) -> Result<Environment, Problem> {
    let why = || format!("`{text}`: expected development, staging or production");
    Environment::parse(text).ok_or_else(|| Problem::invalid("environment", why()))
}

/// `POST /admin/v1/workspaces`
pub async fn create(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<CreateWorkspace>,
) -> Result<Made<WorkspaceView>, Problem> {
    let environment = environment(&body.environment)?;
    let tenants = &state.services.tenants;
    let made =
        tenants.create_workspace(&body.name, environment, body.limits.into(), &operator.caller).await?;
    Ok(Made(made.into()))
}

/// `GET /admin/v1/workspaces`
pub async fn list(
    State(state): State<ControlState>,
    operator: Operator,
    paging: Paging,
) -> Result<Json<Page<WorkspaceView>>, Problem> {
    let mut rows = state.services.tenants.workspaces().await?;
    rows.retain(|row| operator.identity.sees(Some(&row.id)));
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// Body of `PATCH /admin/v1/workspaces/{id}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateWorkspace {
    /// `development`, `staging` or `production`. A change to a laxer one needs a second person.
    #[schema(example = "staging", pattern = "^(development|staging|production)$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The limits of all its keys together.
    #[serde(skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
}

impl UpdateWorkspace {
    /// The environment class, when it is one.
    #[must_use]
    pub fn class(&self) -> Option<Environment> {
        self.environment.as_deref().and_then(Environment::parse)
    }
}

/// `PATCH /admin/v1/workspaces/{id}`
pub async fn update(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Body(body): Body<UpdateWorkspace>,
) -> Result<One<WorkspaceView>, Problem> {
    let change = (body.environment.as_deref().map(environment).transpose()?, body.limits.into());
    Ok(One(state.services.tenants.update_workspace(&id, change, version, &operator.caller).await?.into()))
}

/// `POST /admin/v1/workspaces/{id}/archive`
pub async fn archive(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<WorkspaceView>, Problem> {
    let tenants = &state.services.tenants;
    let workspace = tenants.workspace(&id).await?;
    Ok(One(tenants.archive_workspace(&workspace.id, &operator.caller).await?.into()))
}
