//! Operations on wrapped deliveries of keys.

use axum::extract::State;
use claviger_domain::id::WrappingId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::Moment;
use crate::{
    answer::{One, Shown, Versioned},
    extract::{Body, Operator, Path, Visitor},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/unwrap`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unwrap {
    /// The wrapping token: `cvg_wrap_…`.
    pub token: String,
}

/// A key that came out of its wrapping.
#[derive(Clone, Serialize, ToSchema)]
pub struct UnwrappedView {
    /// The key's id.
    pub id: String,
    /// The key: shown here and never again.
    pub key: String,
}

/// A wrapped delivery, without what is inside.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WrappingView {
    /// Its id.
    pub id: String,
    /// The key inside.
    pub key: String,
    /// `waiting`, `opened`, `lapsed`, `withdrawn`.
    pub state: String,
    /// When it was made.
    pub created_at: Moment,
    /// When it lapses.
    pub expires_at: Moment,
    /// When it was opened.
    pub opened_at: Option<Moment>,
    /// From which address; empty: on this machine.
    pub opened_ip: Option<String>,
    /// Row version.
    pub version: i64,
}

impl Versioned for WrappingView {
    fn version(&self) -> i64 {
        self.version
    }
}

/// `GET /admin/v1/wrappings/{id}`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<One<WrappingView>, Problem> {
    let id = WrappingId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    let (record, standing) = state.services.wrappings.show(&id).await?;
    Ok(One(WrappingView {
        id: record.id.to_string(),
        key: record.key.to_string(),
        state: standing.as_str().to_owned(),
        created_at: Moment(record.created_at),
        expires_at: Moment(record.expires_at),
        opened_at: record.opened.as_ref().map(|o| Moment(o.at)),
        opened_ip: record.opened.map(|o| o.client_ip),
        version: record.version,
    }))
}

/// `POST /admin/v1/unwrap`
pub async fn unwrap(
    State(state): State<ControlState>,
    visitor: Visitor,
    Body(body): Body<Unwrap>,
) -> Result<Shown<UnwrappedView>, Problem> {
    let out = state.services.wrappings.unwrap(body.token.trim().as_bytes(), &visitor.caller).await?;
    let key = String::from_utf8_lossy(out.key.expose()).into_owned();
    Ok(Shown(UnwrappedView { id: out.id.to_string(), key }))
}
