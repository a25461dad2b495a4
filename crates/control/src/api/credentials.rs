//! Operations on credentials.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use claviger_domain::{id::CredentialId, secret::SecretBytes};
use claviger_service::upstreams::NewCredential;
use serde::{Deserialize, Serialize};

use super::{page::Page, view::CredentialView};
use crate::{
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/credentials`. It holds a secret, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
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
    /// The provider key.
    pub secret: String,
}

/// `POST /admin/v1/credentials`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddCredential>,
) -> Result<(StatusCode, Json<CredentialView>), Problem> {
    let new = NewCredential {
        upstream: body.upstream,
        name: body.name,
        workspace: body.workspace,
        secret: SecretBytes::new(body.secret.into_bytes()),
    };
    let made = state.services.upstreams.add_credential(new, &operator.caller).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// `GET /admin/v1/credentials`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<Page<CredentialView>>, Problem> {
    Ok(Json(Page::whole(state.services.upstreams.credentials().await?)))
}

/// `DELETE /admin/v1/credentials/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<CredentialView>, Problem> {
    let id = CredentialId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(Json(state.services.upstreams.remove_credential(&id, &operator.caller).await?.into()))
}
