//! Operations on credentials.

use axum::{Json, extract::State};
use claviger_domain::{id::CredentialId, secret::SecretBytes, upstream::CredentialPurpose};
use claviger_service::upstreams::NewCredential;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{page::Page, view::CredentialView};
use crate::{
    answer::{Made, One},
    extract::{Body, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/credentials`. It holds a secret, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddCredential {
    /// The upstream, by id or name.
    pub upstream: String,
    /// The only workspace that it serves, by id or name.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for: `traffic`, or `admin` for an Admin API key, which asks the account who used which key and serves no
    /// caller.
    #[serde(default = "traffic")]
    #[schema(value_type = String, default = "traffic", pattern = "^(traffic|admin)$")]
    pub purpose: CredentialPurpose,
    /// The provider key.
    pub secret: String,
}

const fn traffic() -> CredentialPurpose {
    CredentialPurpose::Traffic
}

/// `POST /admin/v1/credentials`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddCredential>,
) -> Result<Made<CredentialView>, Problem> {
    let new = NewCredential {
        upstream: body.upstream,
        name: body.name,
        purpose: body.purpose,
        workspace: body.workspace,
        secret: SecretBytes::new(body.secret.into_bytes()),
    };
    let made = state.services.upstreams.add_credential(new, &operator.caller).await?;
    Ok(Made(made.into()))
}

/// `GET /admin/v1/credentials`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<CredentialView>>, Problem> {
    let rows = state.services.upstreams.credentials().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// `DELETE /admin/v1/credentials/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<CredentialView>, Problem> {
    let id = CredentialId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(One(state.services.upstreams.remove_credential(&id, &operator.caller).await?.into()))
}
