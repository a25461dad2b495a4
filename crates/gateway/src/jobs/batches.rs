//! The job that bills batches whose results nobody fetched: it looks at each, a young one often and an old one now and
//! then, and once a batch has ended reads its results and books them, as a client's reading would.

use std::{collections::HashMap, future::poll_fn, sync::Arc, time::Duration};

use claviger_claude_wire::resource::read_resource;
use claviger_domain::{
    clock::{EntropyError, Timestamp},
    id::RequestId,
    ledger::{Party, Route},
    tenancy::Resource,
};
use claviger_service::{
    ServiceError,
    recorder::{RecordError, RecorderFull},
};
use claviger_upstream::{CredentialForm, UpstreamError};
use http::{HeaderValue, Request, StatusCode, header};

use crate::{
    body::outgoing::Outgoing,
    relay::{
        results::{Booking, ResultsTap},
        source::Source,
    },
    route::Candidate,
    simulate::BoxError,
    worker::{Shared, Worker},
};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(10);
/// Batches that wait at most, oldest first.
const BATCHES: u32 = 10_000;
/// Of those, looked at in one round.
const LOOKS: usize = 256;
/// A batch is looked at when it is older by a quarter than when it was looked at last, but after ten seconds at least and
/// five minutes at most: what it held back is free soon after its end, and the provider is asked a few times an hour.
const SOONEST_US: i64 = 10 * 1_000_000;
const LATEST_US: i64 = 300 * 1_000_000;
/// A batch object is far smaller.
const MOST: usize = 1024 * 1024;
/// Batches and their results are read in the version that all of them have.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Why a batch was not billed this time.
#[derive(Debug, thiserror::Error)]
enum BatchJobError {
    /// Its credential is not in use any more.
    #[error("its provider key is no longer in use")]
    CredentialGone,
    /// The upstream gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream's answer broke off.
    #[error("the answer broke off")]
    Broken(#[source] BoxError),
    /// The upstream answered something else.
    #[error("the upstream answered {0}")]
    Status(StatusCode),
    /// The answer is not what it should be.
    #[error("the answer cannot be read")]
    Unreadable,
    /// A store did not answer.
    #[error(transparent)]
    Store(#[from] ServiceError),
    /// The ledger takes no more.
    #[error(transparent)]
    Recorder(#[from] RecorderFull),
    /// The rows could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No randomness for ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

pub(super) async fn run(shared: Arc<Shared>) {
    let worker = Worker::new(shared);
    let mut looked = HashMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        round(&worker, &mut looked).await;
    }
}

/// When each batch that waits was looked at last.
type Looked = HashMap<String, Timestamp>;

/// Those that it is time to look at, longest not looked at first.
fn due(batches: Vec<Resource>, looked: &mut Looked, now: Timestamp) -> Vec<Resource> {
    let mut old = std::mem::take(looked);
    let mut due = Vec::new();
    for batch in batches {
        let last = old.remove(&batch.id).unwrap_or(batch.created_at);
        let pause = (last.micros_since(batch.created_at) / 4).clamp(SOONEST_US, LATEST_US);
        looked.insert(batch.id.clone(), last);
        if now.micros_since(last) >= pause {
            due.push((last, batch));
        }
    }
    due.sort_by_key(|(last, _)| *last);
    due.truncate(LOOKS);
    due.into_iter().map(|(_, batch)| batch).collect()
}

async fn round(worker: &Worker, looked: &mut Looked) {
    let services = &worker.shared.services;
    let batches = match services.resources.unbilled_batches(BATCHES).await {
        Ok(batches) => batches,
        Err(error) => return tracing::warn!(%error, "unbilled batches could not be listed"),
    };
    for batch in due(batches, looked, worker.shared.clock.now()) {
        looked.insert(batch.id.clone(), worker.shared.clock.now());
        match bill(worker, &batch).await {
            Ok(true) => tracing::info!(batch = batch.id, "billed a batch whose results nobody fetched"),
            Ok(false) => {}
            Err(error) => tracing::warn!(batch = batch.id, %error, "a batch could not be billed"),
        }
    }
    worker.client.sweep();
}

/// Bills one batch if it has ended; whether it has.
async fn bill(worker: &Worker, batch: &Resource) -> Result<bool, BatchJobError> {
    let candidate = worker.candidate(Some(&batch.credential)).ok_or(BatchJobError::CredentialGone)?;
    let path = format!("/v1/messages/batches/{}", batch.id);
    let Some(mut object) = get(worker, &candidate, &path).await? else {
        // Deleted, or older than results are kept: there is nothing left to read.
        let cost = book_unread(worker, batch).await?;
        billed(worker, batch, cost).await?;
        return Ok(false);
    };
    let object = collect(&mut object).await?;
    let read = read_resource(&object).map_err(|_| BatchJobError::Unreadable)?;
    if read.processing_status.as_deref() != Some("ended") {
        return Ok(false);
    }
    worker.shared.services.budgets.know_batch(&batch.id).await?;
    let cost = match get(worker, &candidate, &format!("{path}/results")).await? {
        Some(results) => book(worker, batch, results).await?,
        None => book_unread(worker, batch).await?,
    };
    billed(worker, batch, cost).await?;
    Ok(true)
}

async fn billed(worker: &Worker, batch: &Resource, cost: i128) -> Result<(), BatchJobError> {
    let shared = &worker.shared;
    shared.services.budgets.batch_done(&batch.id, cost);
    Ok(shared.services.resources.batch_billed(&batch.id, shared.clock.now()).await?)
}

/// Charges what is held back for a batch that nobody can read any more, and says what it has come to.
async fn book_unread(worker: &Worker, batch: &Resource) -> Result<i128, BatchJobError> {
    let shared = &worker.shared;
    let Some((left, before)) = shared.services.budgets.batch_left(&batch.id) else { return Ok(0) };
    let mut slot = shared.services.recorder.slot()?;
    let row = booking(worker, batch).await?.unread(left);
    slot.book(row, Vec::new()).await?;
    slot.release();
    Ok(before + i128::from(left.as_pico()))
}

/// Reads results and books them, and says what they cost in pico-dollars; a bounded number of rows is on its way at any time.
async fn book(worker: &Worker, batch: &Resource, mut results: Source) -> Result<i128, BatchJobError> {
    let shared = &worker.shared;
    let mut slot = shared.services.recorder.slot()?;
    let mut tap = ResultsTap::new(booking(worker, batch).await?);
    while let Some(data) = poll_fn(|cx| results.poll_data(cx)).await {
        let data = data.map_err(BatchJobError::Broken)?;
        tap.feed(&data, &mut slot, &shared.prices.load());
        poll_fn(|cx| tap.poll_booked(cx)).await?;
    }
    tap.finish(&mut slot, &shared.prices.load());
    poll_fn(|cx| tap.poll_booked(cx)).await?;
    slot.release();
    tap.into_complete().map(|(_, cost)| cost).ok_or(BatchJobError::Unreadable)
}

/// What every row of a batch says: whoever made it pays.
async fn booking(worker: &Worker, batch: &Resource) -> Result<Booking, BatchJobError> {
    let shared = &worker.shared;
    let maker = shared.services.keys.show(&batch.key).await?.0;
    Ok(Booking {
        batch: batch.id.clone(),
        party: Party { key: maker.id, workspace: maker.workspace, owner: maker.owner, class: maker.class },
        route: Route { upstream: Some(batch.upstream.clone()), credential: Some(batch.credential.clone()) },
        request_id: RequestId::generate(&worker.chance)?,
        at: shared.clock.now(),
        api_endpoint: "GET /v1/messages/batches/results".to_owned(),
        client_ip: String::new(),
        user_agent: String::new(),
        budgets: shared.services.budgets.clone(),
        charges: shared.services.budgets.charges_of_batch(&batch.id),
    })
}

/// Fetches something; `None`: it is not there.
async fn get(worker: &Worker, candidate: &Candidate, path: &str) -> Result<Option<Source>, BatchJobError> {
    let mut request = Request::new(Outgoing::Empty);
    *request.uri_mut() = path.parse().map_err(|_| BatchJobError::Unreadable)?;
    let headers = request.headers_mut();
    headers.insert("anthropic-version", VERSION);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    candidate.key.apply(headers, CredentialForm::ApiKey);
    let limits = worker.shared.config().upstream;
    let sent = worker.client.send(&candidate.target, request, limits.first_byte).await;
    let answer = sent.map_err(|failure| failure.error)?;
    match answer.status() {
        StatusCode::OK => Ok(Some(Source::upstream(answer.into_body(), true, limits))),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(BatchJobError::Status(other)),
    }
}

async fn collect(source: &mut Source) -> Result<Vec<u8>, BatchJobError> {
    let mut whole = Vec::new();
    while let Some(data) = poll_fn(|cx| source.poll_data(cx)).await {
        whole.extend_from_slice(&data.map_err(BatchJobError::Broken)?);
        if whole.len() > MOST {
            return Err(BatchJobError::Unreadable);
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use claviger_domain::{
        id::{CredentialId, KeyId, UpstreamId, WorkspaceId},
        tenancy::ResourceKind,
    };

    use super::*;

    fn batch(id: &str, created_secs: i64) -> Resource {
        Resource {
            id: id.to_owned(),
            kind: ResourceKind::Batch,
            workspace: WorkspaceId::parse("ws_1").unwrap(),
            key: KeyId::parse("key_0123456789").unwrap(),
            upstream: UpstreamId::parse("up_1").unwrap(),
            credential: CredentialId::parse("cred_1").unwrap(),
            created_at: Timestamp::from_secs(created_secs),
            held: None,
        }
    }

    /// Seconds after its making at which a batch is looked at in its first hours.
    fn looks(hours: i64) -> Vec<i64> {
        let mut looked = Looked::new();
        let mut at = Vec::new();
        for secs in (0..hours * 3_600).step_by(10) {
            let now = Timestamp::from_secs(secs);
            for batch in due(vec![batch("b", 0)], &mut looked, now) {
                looked.insert(batch.id, now);
                at.push(secs);
            }
        }
        at
    }

    #[test]
    fn a_young_batch_is_looked_at_often_and_an_old_one_every_five_minutes() {
        let at = looks(2);
        assert_eq!(at[..6], [10, 20, 30, 40, 50, 70]);
        for pair in at.windows(2) {
            assert!(pair[1] - pair[0] <= (pair[0] / 4 + 10).min(300), "{pair:?}");
        }
        assert_eq!(at[at.len() - 1] - at[at.len() - 2], 300);
        assert!(at.len() < 45, "{}", at.len());
    }

    #[test]
    fn of_many_batches_all_have_their_turn_and_none_is_remembered_that_is_billed() {
        let many: Vec<Resource> = (0..600).map(|n| batch(&format!("b{n}"), 0)).collect();
        let mut looked = Looked::new();
        let mut seen = std::collections::BTreeSet::new();
        for round in 1..=3 {
            let now = Timestamp::from_secs(round * 10);
            let due = due(many.clone(), &mut looked, now);
            assert!(due.len() <= LOOKS);
            for batch in due {
                looked.insert(batch.id.clone(), now);
                seen.insert(batch.id);
            }
        }
        assert_eq!(seen.len(), 600);
        assert!(due(Vec::new(), &mut looked, Timestamp::from_secs(99)).is_empty() && looked.is_empty());
    }
}
