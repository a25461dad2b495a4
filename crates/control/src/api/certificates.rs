//! Operations on certificates of revocation.

use axum::{Json, extract::State};
use claviger_domain::{
    id::{CertificateId, KeyId},
    ports::lifecycle::{CertificateFilter, CertificateRecord},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    extract::{Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// A certificate, and what it is about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// Its id.
    pub id: String,
    /// The key that was revoked.
    pub key: String,
    /// When it was signed.
    pub created_at: Moment,
    /// The signed certificate: canonical JSON (RFC 8785), Ed25519.
    #[schema(value_type = Object)]
    pub certificate: Value,
}

impl From<CertificateRecord> for CertificateView {
    fn from(record: CertificateRecord) -> Self {
        Self {
            id: record.id.to_string(),
            key: record.key.to_string(),
            created_at: Moment(record.created_at),
            certificate: signed(&record),
        }
    }
}

/// The signed certificate itself.
pub(super) fn signed(record: &CertificateRecord) -> Value {
    serde_json::from_str(&record.body).unwrap_or_default()
}

/// What certificates are verified with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublicKeyView {
    /// Its short name, as certificates name it.
    pub id: String,
    /// Always `Ed25519`.
    pub algorithm: String,
    /// The key as PEM (RFC 8410).
    pub public_key: String,
}

/// Which certificates.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListCertificates {
    /// Only of this workspace's keys, by id or name.
    workspace: Option<String>,
}

/// `GET /admin/v1/certificates`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(query): Query<ListCertificates>,
) -> Result<Json<Page<CertificateView>>, Problem> {
    let bad = |e: claviger_domain::id::IdError| Problem::invalid("after", e.to_string());
    let before = paging.after.as_deref().map(CertificateId::parse).transpose().map_err(bad)?;
    let workspace = match &query.workspace {
        None => None,
        Some(wanted) => Some(state.services.tenants.workspace(wanted).await?.id),
    };
    let filter = CertificateFilter { workspace, before, limit: paging.limit + 1 };
    let rows = state.services.certificates.list(&filter).await?;
    Ok(Json(Page::of(rows, &paging, |row| row.id.to_string())))
}

/// `GET /admin/v1/certificates/{id}`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<CertificateView>, Problem> {
    let certificates = &state.services.certificates;
    if let Ok(key) = KeyId::parse(&id) {
        let found = certificates.of_key(&key).await?;
        let none = || {
            let why = format!("no certificate of `{key}`: it was not revoked");
            Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", why)
        };
        return Ok(Json(found.ok_or_else(none)?.into()));
    }
    let id = CertificateId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(Json(certificates.show(&id).await?.into()))
}

/// `GET /admin/v1/certificates/public-key`
pub async fn public_key(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<PublicKeyView>, Problem> {
    let key = state.services.certificates.public_key();
    Ok(Json(PublicKeyView {
        id: key.id(),
        algorithm: claviger_domain::certificate::ALGORITHM.to_owned(),
        public_key: key.to_pem(),
    }))
}
