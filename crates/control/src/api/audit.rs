//! Operations on the audit log.

use axum::{
    Json,
    body::{Body as HttpBody, Bytes},
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use claviger_domain::audit::checkpoint::Checkpoint;
use claviger_service::audit::Verdict;
use serde::{Deserialize, Serialize};

use super::{page::Page, view::AuditView};
use crate::{
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// Which records.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAudit {
    /// Only after this number.
    after: Option<i64>,
    /// At most so many; 100 when absent, at most 1,000.
    limit: Option<u32>,
}

/// `GET /admin/v1/audit`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(query): Query<ListAudit>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let limit = query.limit.unwrap_or(100).clamp(1, 1_000);
    let records = state.services.audit.list(query.after.unwrap_or(0), limit).await?;
    let next = (records.len() == limit as usize).then(|| records.last().map(|r| r.number.to_string()));
    let data = records.into_iter().map(Into::into).collect();
    Ok(Json(Page { data, next: next.flatten() }))
}

/// Body of `POST /admin/v1/audit/verify`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyAudit {
    /// A checkpoint kept outside: also proves that nothing before it was cut off.
    pub against: Option<Checkpoint>,
}

/// `POST /admin/v1/audit/verify`
pub async fn verify(
    State(state): State<ControlState>,
    _operator: Operator,
    Body(body): Body<VerifyAudit>,
) -> Result<Json<Verdict>, Problem> {
    Ok(Json(state.services.audit.verify(body.against.as_ref()).await?))
}

/// `GET /admin/v1/audit/checkpoint`
pub async fn checkpoint(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<Checkpoint>, Problem> {
    let newest = state.services.audit.last_checkpoint().await?;
    let none =
        || Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", "no checkpoint was signed yet");
    newest.map(Json).ok_or_else(none)
}

/// How many pieces of an export wait for a slow reader.
const EXPORT_AHEAD: usize = 64;

/// `GET /admin/v1/audit/export`: the whole log as lines of JSON, as it is read. A log that cannot be read to its end
/// ends the answer with a broken connection; the last line says how many there are.
pub async fn export(State(state): State<ControlState>, _operator: Operator) -> Response {
    let (send, receive) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(EXPORT_AHEAD);
    let (put, pieces) = std::sync::mpsc::sync_channel::<std::io::Result<Bytes>>(EXPORT_AHEAD);
    let audit = state.services.audit.clone();
    let runtime = tokio::runtime::Handle::current();
    // The export writes without awaiting, so its thread may block; a second one carries the pieces over.
    tokio::task::spawn_blocking(move || {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let write = |line: &[u8]| put.send(Ok(Bytes::copy_from_slice(line))).map_err(gone);
        if let Err(error) = runtime.block_on(audit.export(write)) {
            // A reader that went away does not wait for the reason.
            let _ = put.send(Err(std::io::Error::other(error.to_string())));
        }
    });
    tokio::task::spawn_blocking(move || {
        while let Ok(piece) = pieces.recv() {
            if send.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    let body = HttpBody::from_stream(stream_of(receive));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// A channel's receiver as a stream.
fn stream_of<T>(receive: tokio::sync::mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|item| (item, receive))
    })
}
