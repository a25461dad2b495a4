//! Operations on the keys that sign access tokens.

use axum::{Json, extract::State};
use claviger_domain::access_token::key_life::TokenKeyRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::{page::Page, time::Moment};
use crate::{
    extract::{Operator, Paging},
    problem::Problem,
    state::ControlState,
};

/// A key that signs access tokens, or is to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenKeyView {
    /// Its name: the thumbprint of its public half (RFC 7638).
    pub kid: String,
    /// `EdDSA` or `ES256`.
    pub algorithm: String,
    /// `next`, `active` or `retiring`.
    pub state: String,
    /// Since when it is published.
    pub published_at: Moment,
    /// Since when it signs, or signed.
    pub active_at: Option<Moment>,
    /// Since when it signs no more.
    pub retiring_at: Option<Moment>,
}

impl From<TokenKeyRecord> for TokenKeyView {
    fn from(key: TokenKeyRecord) -> Self {
        Self {
            kid: key.kid,
            algorithm: key.algorithm.as_str().to_owned(),
            state: key.state.as_str().to_owned(),
            published_at: Moment(key.published_at),
            active_at: key.active_at.map(Moment),
            retiring_at: key.retiring_at.map(Moment),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenKeysRotated {
    /// Which keys are gone, and which one signs, in words.
    pub done: Vec<String>,
}

/// `GET /admin/v1/token-keys`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<TokenKeyView>>, Problem> {
    let rows = state.services.tokens.signing_keys().await?;
    Page::cut(rows, &paging, |row| row.kid.clone()).map(Json)
}

/// `POST /admin/v1/token-keys/rotate`
pub async fn rotate(
    State(state): State<ControlState>,
    operator: Operator,
) -> Result<Json<TokenKeysRotated>, Problem> {
    let done = state.services.tokens.replace_keys(&operator.caller).await?;
    Ok(Json(TokenKeysRotated { done }))
}
