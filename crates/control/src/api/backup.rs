//! `POST /admin/v1/backup`

use std::path::PathBuf;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/backup`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeBackup {
    /// An absolute path to a folder that is not there yet or is empty.
    #[schema(value_type = String, pattern = "^/")]
    pub to: PathBuf,
}

/// Copies the database and what opens it, while calls go on.
pub async fn backup(
    State(state): State<ControlState>,
    _operator: Operator,
    Body(body): Body<MakeBackup>,
) -> Result<Json<Value>, Problem> {
    state.process.backup(body.to).await.map(Json)
}
