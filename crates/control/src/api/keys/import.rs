//! `POST /admin/v1/keys/import`

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CreateKey, create};
use crate::{
    answer::Secret,
    api::view::KeyView,
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// The most keys of one request.
pub const MAX_ROWS: usize = 1_000;

/// Body of `POST /admin/v1/keys/import`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKeys {
    /// The workspace of keys that name none, by id or name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace: Option<String>,
    /// Hand each key over wrapped: the answer holds tokens that open them, once, in place of the keys.
    #[serde(default)]
    pub wrapped: bool,
    /// The keys, 1 to 1,000.
    #[schema(min_items = 1, max_items = 1_000)]
    pub keys: Vec<ImportKey>,
}

/// One key to be made.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKey {
    /// Its name.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Owner, by id or name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// Workspace, by id or name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace: Option<String>,
    /// Model patterns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub models: Option<Vec<String>>,
    /// Address blocks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allow_ip: Option<Vec<String>>,
    /// `12h`, `90d`, `never`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in: Option<String>,
    /// What must be shown beside it: `token`, `signature`, `mtls`, `dpop`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub require: Option<Vec<String>>,
    /// Make a signing secret with it; the answer shows it once.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sign: bool,
}

/// What has become of each key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// How many were made.
    pub made: u64,
    /// How many were refused; of those nothing is left.
    pub refused: u64,
    /// All, in the order of the request.
    pub rows: Vec<ImportedKey>,
}

/// What has become of one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ImportedKey {
    /// Its place in the request, from 1.
    pub row: u64,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Its id; `null`: it was refused.
    pub id: Option<String>,
    /// The key itself, unless it is wrapped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Opens the key, once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wrapping_token: Option<String>,
    /// Signs its requests.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signing_secret: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Problem>,
}

/// Makes many keys, each whole or not at all. A store that fails ends it: what was made until then is told.
pub async fn import(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<ImportKeys>,
) -> Result<Secret<ImportReport>, Problem> {
    if !(1..=MAX_ROWS).contains(&body.keys.len()) {
        return Err(Problem::invalid("keys", format!("expected 1 to {MAX_ROWS} keys")));
    }
    let mut report = ImportReport { made: 0, refused: 0, rows: Vec::with_capacity(body.keys.len()) };
    let mut broken: Option<Problem> = None;
    for (row, wish) in (1..).zip(body.keys) {
        let (name, owner) = (wish.name.clone(), wish.owner.clone());
        let wish = CreateKey {
            name: wish.name,
            owner: wish.owner,
            workspace: wish.workspace.or_else(|| body.workspace.clone()),
            models: wish.models,
            allow_ip: wish.allow_ip,
            expires_in: wish.expires_in,
            require: wish.require,
            sign: wish.sign,
            wrapped: body.wrapped,
            ..CreateKey::default()
        };
        let made = match &broken {
            Some(problem) => Err(problem.clone()),
            None => create::make(&state, wish, &operator.caller).await,
        };
        let blank = ImportedKey { row, name, owner, ..ImportedKey::default() };
        report.rows.push(match made {
            Ok(view) => {
                report.made += 1;
                let KeyView { id, owner, key, wrapping_token, signing_secret, .. } = view;
                ImportedKey { id: Some(id), owner: Some(owner), key, wrapping_token, signing_secret, ..blank }
            }
            Err(problem) => {
                report.refused += 1;
                if problem.status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
                    broken = Some(problem.clone());
                }
                ImportedKey { problem: Some(problem), ..blank }
            }
        });
    }
    match broken {
        Some(problem) if report.made == 0 => Err(problem),
        Some(_) | None => Ok(Secret(report)),
    }
}
