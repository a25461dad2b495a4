//! `GET /admin/v1/keys/{id}/tokens` and `POST …/tokens/revoke`

use axum::{Json, extract::State};
use claviger_domain::{clock::Timestamp, id::TokenFamilyId, refresh::Family};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::key_id;
use crate::{
    api::{page::Page, time::Moment},
    extract::{Body, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// A family of tokens: a refresh token, those that it replaced, and the access tokens that they bought.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenFamilyView {
    /// Its id.
    #[schema(example = "fam_4Kc0sPq2VYtH")]
    pub id: String,
    /// The key that bought it.
    pub key: String,
    /// What its access tokens may be used for.
    pub scope: String,
    /// What of the sender its tokens are bound to: `mtls`, `dpop` or `null`.
    pub bound: Option<String>,
    /// How often it was renewed.
    pub renewals: u32,
    /// When it began.
    pub created_at: Moment,
    /// When it was last renewed.
    pub used_at: Moment,
    /// When it ends, if nobody renews it before.
    pub expires_at: Moment,
}

impl From<Family> for TokenFamilyView {
    fn from(family: Family) -> Self {
        let cnf = &family.confirmation;
        let bound = cnf.jkt.as_ref().map(|_| "dpop").or(cnf.x5t_s256.as_ref().map(|_| "mtls"));
        Self {
            id: family.id.to_string(),
            key: family.key.to_string(),
            scope: family.scopes.words().join(" "),
            bound: bound.map(str::to_owned),
            renewals: family.generation.saturating_sub(1),
            created_at: Moment(family.created_at),
            used_at: Moment(family.used_at),
            expires_at: Moment(Timestamp::min(family.idle_until, family.expires_at)),
        }
    }
}

/// Body of `POST /admin/v1/keys/{id}/tokens/revoke`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokens {
    /// One family; without it all of the key's, and every access token that it has bought so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// What was ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokensRevoked {
    /// The key.
    pub key: String,
    /// Families that lived until now.
    pub families: u32,
}

/// Living families of a key's tokens, the one that was renewed last first.
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
    paging: Paging,
) -> Result<Json<Page<TokenFamilyView>>, Problem> {
    let (_, families) = state.services.tokens.families(&key_id(&id)?).await?;
    Page::cut(families, &paging, |family| family.id.to_string()).map(Json)
}

/// Ends tokens: one family, or all that the key has bought so far. The key itself goes on.
pub async fn revoke(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RevokeTokens>,
) -> Result<Json<TokensRevoked>, Problem> {
    let key = key_id(&id)?;
    let tokens = &state.services.tokens;
    let families = match &body.family {
        None => u32::try_from(tokens.end_all(&key, &operator.caller).await?).unwrap_or(u32::MAX),
        Some(family) => {
            let bad = |e: claviger_domain::id::IdError| Problem::invalid("family", e.to_string());
            tokens.end(&key, &TokenFamilyId::parse(family).map_err(bad)?, &operator.caller).await?;
            1
        }
    };
    Ok(Json(TokensRevoked { key: key.to_string(), families }))
}
