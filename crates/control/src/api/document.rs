//! `GET /admin/v1/openapi.json`

use std::sync::LazyLock;

use axum::Json;
use serde_json::Value;

use crate::{openapi, problem::Problem};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(openapi::document()).unwrap_or_default());

/// The document that describes all operations.
pub async fn openapi() -> Result<Json<Value>, Problem> {
    Ok(Json(DOCUMENT.clone()))
}
