//! Message batches. Nothing runs in the background: a batch is over once the clock says so, and its results are made
//! when somebody looks.

mod intake;
mod item;

use std::collections::VecDeque;

use bytes::Bytes;

use self::item::Item;
use crate::call::{Call, Reply};
use crate::error::{ApiError, quoted};
use crate::headers::{Kind, rfc3339};
use crate::page::{Page, PageQuery};
use crate::simulator::Core;
use crate::workspace::Workspace;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The batches of one workspace, newest first.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    all: VecDeque<Batch>,
    /// Bytes of items and results.
    bytes: usize,
}

/// One batch: `in_progress => (canceling =>)? ended`.
#[derive(Debug)]
struct Batch {
    id: String,
    created_ms: u64,
    delay_ms: u64,
    canceled_ms: Option<u64>,
    /// The key that created it, and the key's workspace: they are billed.
    billed_to: (String, String),
    /// API version that created it; results are rendered in it.
    version: String,
    items: Vec<Item>,
    results: Option<Results>,
}

#[derive(Debug)]
struct Results {
    jsonl: Bytes,
    succeeded: usize,
    errored: usize,
    canceled: usize,
    expired: usize,
}

impl Batch {
    fn ends_ms(&self) -> u64 {
        let due = self.created_ms.saturating_add(self.delay_ms);
        self.canceled_ms.map_or(due, |at| due.min(at.saturating_add(self.delay_ms / 4)))
    }

    fn status(&self, now_ms: u64) -> &'static str {
        match (now_ms >= self.ends_ms(), self.canceled_ms) {
            (true, _) => "ended",
            (false, Some(_)) => "canceling",
            (false, None) => "in_progress",
        }
    }

    /// How many items were through when the batch was canceled.
    fn finished_before_cancel(&self) -> usize {
        let Some(canceled) = self.canceled_ms else { return self.items.len() };
        let passed = usize::try_from(canceled.saturating_sub(self.created_ms)).unwrap_or(usize::MAX);
        let delay = usize::try_from(self.delay_ms).unwrap_or(usize::MAX).max(1);
        (self.items.len().saturating_mul(passed) / delay).min(self.items.len())
    }

    fn json(&self, now_ms: u64, origin: &str) -> String {
        let time = |at: Option<u64>| at.map_or_else(|| "null".to_owned(), |at| quoted(&rfc3339(at)));
        let status = self.status(now_ms);
        let ended = status == "ended";
        let counts = match (&self.results, ended) {
            (Some(r), true) => format!(
                r#"{{"processing":0,"succeeded":{},"errored":{},"canceled":{},"expired":{}}}"#,
                r.succeeded, r.errored, r.canceled, r.expired
            ),
            (Some(_) | None, _) => format!(
                r#"{{"processing":{},"succeeded":0,"errored":0,"canceled":0,"expired":0}}"#,
                self.items.len()
            ),
        };
        let url = if ended {
            quoted(&format!("{origin}/v1/messages/batches/{}/results", self.id))
        } else {
            "null".into()
        };
        format!(
            r#"{{"id":{},"type":"message_batch","processing_status":"{status}","request_counts":{counts},"ended_at":{},"created_at":{},"expires_at":{},"archived_at":null,"cancel_initiated_at":{},"results_url":{url}}}"#,
            quoted(&self.id),
            time(ended.then(|| self.ends_ms())),
            time(Some(self.created_ms)),
            time(Some(self.created_ms.saturating_add(DAY_MS))),
            time(self.canceled_ms),
        )
    }
}

impl Batches {
    /// Makes the results of every batch that is over.
    pub(crate) fn settle(&mut self, core: &Core, now_ms: u64) {
        for batch in &mut self.all {
            if batch.results.is_none() && now_ms >= batch.ends_ms() {
                let results = item::finish(core, batch);
                self.bytes += results.jsonl.len();
                batch.results = Some(results);
            }
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Batch, ApiError> {
        self.all
            .iter_mut()
            .find(|batch| batch.id == id)
            .ok_or_else(|| ApiError::not_found(format!("Message Batch {id} was not found")))
    }
}

/// `POST /v1/messages/batches`.
pub(crate) fn create(call: &mut Call, workspace: &Workspace, body: &Bytes) -> Result<Reply, ApiError> {
    let batch = intake::read(call, &workspace.name, body)?;
    let limits = &call.core.config.limits;
    let mut batches = workspace.batches();
    if batches.all.len() >= limits.objects
        || batches.bytes.saturating_add(body.len()) > limits.workspace_bytes
    {
        return Err(ApiError::full());
    }
    let json = batch.json(call.now_ms, &call.origin());
    batches.bytes += body.len();
    batches.all.push_front(batch);
    Ok(Reply::json(json))
}

/// `GET /v1/messages/batches`.
pub(crate) fn list(call: &Call, workspace: &Workspace, query: &PageQuery) -> Result<Reply, ApiError> {
    call.core.settle(workspace);
    let origin = call.origin();
    let rows = workspace.batches().all.iter().map(|b| (b.id.clone(), b.json(call.now_ms, &origin))).collect();
    Page::of(rows, query).map(|page| Reply::json(page.json()))
}

/// `GET /v1/messages/batches/{id}`.
pub(crate) fn get(call: &Call, workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    call.core.settle(workspace);
    let mut batches = workspace.batches();
    batches.find(id).map(|batch| Reply::json(batch.json(call.now_ms, &call.origin())))
}

/// `POST /v1/messages/batches/{id}/cancel`.
pub(crate) fn cancel(call: &Call, workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    call.core.settle(workspace);
    let mut batches = workspace.batches();
    let batch = batches.find(id)?;
    if call.now_ms >= batch.ends_ms() {
        return Err(ApiError::invalid(format!(
            "Message Batch {id} has already ended and cannot be canceled"
        )));
    }
    batch.canceled_ms.get_or_insert(call.now_ms);
    Ok(Reply::json(batch.json(call.now_ms, &call.origin())))
}

/// `DELETE /v1/messages/batches/{id}`.
pub(crate) fn delete(call: &Call, workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    call.core.settle(workspace);
    let mut batches = workspace.batches();
    let batch = batches.find(id)?;
    if call.now_ms < batch.ends_ms() {
        return Err(ApiError::invalid(format!("Message Batch {id} has not ended; cancel it first")));
    }
    let results = batch.results.as_ref().map_or(0, |results| results.jsonl.len());
    let freed = results + batch.items.iter().map(Item::bytes).sum::<usize>();
    batches.bytes = batches.bytes.saturating_sub(freed);
    batches.all.retain(|batch| batch.id != id);
    Ok(Reply::json(format!(r#"{{"id":{},"type":"message_batch_deleted"}}"#, quoted(id))))
}

/// `GET /v1/messages/batches/{id}/results`.
pub(crate) fn results(call: &Call, workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    call.core.settle(workspace);
    let mut batches = workspace.batches();
    let batch = batches.find(id)?;
    match &batch.results {
        Some(results) => Ok(Reply::of(Kind::Jsonl, results.jsonl.clone())),
        None => Err(ApiError::not_found(format!("Message Batch {id} has no available results"))),
    }
}
