//! Operations on the audit log.

use axum::{
    Json,
    body::{Body as HttpBody, Bytes},
    extract::State,
};
use claviger_domain::audit::checkpoint::Checkpoint;
use claviger_service::audit::Verdict;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{page::Page, view::AuditView};
use crate::{
    answer::Lines,
    extract::{Body, Operator, Paging},
    problem::Problem,
    state::ControlState,
};

/// `GET /admin/v1/audit`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<AuditView>>, Problem> {
    let number = |text: &str| text.parse().ok().filter(|n| *n >= 0);
    let bad = || Problem::invalid("after", "expected a record's number");
    let after = paging.after.as_deref().map_or(Some(0), number).ok_or_else(bad)?;
    let records = state.services.audit.list(after, paging.limit + 1).await?;
    Ok(Json(Page::of(records, &paging, |record| record.number.to_string())))
}

/// Body of `POST /admin/v1/audit/verify`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyAudit {
    /// A checkpoint kept outside: also proves that nothing before it was cut off.
    #[schema(value_type = Option<CheckpointView>)]
    pub against: Option<Checkpoint>,
}

/// A signed statement of where all chains stood, as in the document.
#[derive(ToSchema, Serialize, Deserialize)]
#[schema(as = Checkpoint)]
#[serde(deny_unknown_fields)]
pub struct CheckpointView {
    /// Its number, from 1.
    number: i64,
    /// When it was signed: microseconds since 1970.
    at: i64,
    /// The heads, ordered by chain.
    heads: Vec<CheckpointHeadView>,
    /// The Merkle root over the heads (RFC 6962 hashing), hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    root: String,
    /// The digest of the checkpoint before it, hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    previous: String,
    /// The Ed25519 public key, hex.
    public_key: String,
    /// The Ed25519 signature over the canonical text, hex.
    signature: String,
}

/// Where one chain stood.
#[derive(ToSchema, Serialize, Deserialize)]
#[schema(as = CheckpointHead)]
#[serde(deny_unknown_fields)]
pub struct CheckpointHeadView {
    /// `control`, or a data chain's node id.
    chain: String,
    /// Its length.
    length: i64,
    /// Its head, hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    head: String,
}

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct VerdictView {
    /// How many records were found good, over all chains.
    records: u64,
    /// The Merkle root over the heads of all chains that the records lead to, hex.
    head: String,
    /// How many records lie after the newest checkpoint: chained, but not signed for.
    unproven: u64,
    /// Whether everything held.
    ok: bool,
    /// The first thing that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<BadRecordView>,
}

/// The first record that does not hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BadRecord)]
pub struct BadRecordView {
    /// `control`, a data chain's node id, or `checkpoint`.
    chain: String,
    /// Its number in the chain.
    number: i64,
    /// What is wrong.
    why: String,
}

impl From<Verdict> for VerdictView {
    fn from(v: Verdict) -> Self {
        let bad = v.bad.map(|b| BadRecordView { chain: b.chain, number: b.number, why: b.why });
        Self { records: v.records, head: v.head, unproven: v.unproven, ok: v.ok, bad }
    }
}

impl From<Checkpoint> for CheckpointView {
    fn from(c: Checkpoint) -> Self {
        let head = |h: claviger_domain::audit::checkpoint::CheckpointHead| CheckpointHeadView {
            chain: h.chain,
            length: h.length,
            head: h.head.to_hex(),
        };
        Self {
            number: c.number,
            at: c.at.as_micros(),
            heads: c.heads.into_iter().map(head).collect(),
            root: c.root.to_hex(),
            previous: c.previous.to_hex(),
            public_key: c.public_key,
            signature: c.signature,
        }
    }
}

/// `POST /admin/v1/audit/verify`
pub async fn verify(
    State(state): State<ControlState>,
    _operator: Operator,
    Body(body): Body<VerifyAudit>,
) -> Result<Json<VerdictView>, Problem> {
    Ok(Json(state.services.audit.verify(body.against.as_ref()).await?.into()))
}

/// `GET /admin/v1/audit/checkpoint`
pub async fn checkpoint(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<CheckpointView>, Problem> {
    let newest = state.services.audit.last_checkpoint().await?;
    let none =
        || Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", "no checkpoint was signed yet");
    newest.map(|c| Json(c.into())).ok_or_else(none)
}

/// How many pieces of an export wait for a slow reader.
const EXPORT_AHEAD: usize = 64;

/// `GET /admin/v1/audit/export`: the whole log as lines of JSON, as it is read. A log that cannot be read to its end
/// ends the answer with a broken connection; the last line says how many there are.
pub async fn export(State(state): State<ControlState>, _operator: Operator) -> Result<Lines, Problem> {
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
    Ok(Lines(HttpBody::from_stream(stream_of(receive))))
}

/// A channel's receiver as a stream.
fn stream_of<T>(receive: tokio::sync::mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|item| (item, receive))
    })
}
