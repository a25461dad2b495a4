//! Stage 10, relay: the answer back to the client, byte for byte, metered as it passes.

pub mod account;
pub mod early;
pub mod guard;
pub mod minted;
pub mod outflow;
pub mod plain;
pub mod replay;
pub mod results;
pub mod rewrite;
pub mod silence;
pub mod source;
pub mod stream;
pub mod tap;

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use claviger_claude_wire::answers::Answer;
use claviger_domain::{ledger::Party, permission::Endpoint, token::KeyClass};
use claviger_service::{ServiceError, recall::Recording, recorder::RecordError};
use http::{HeaderName, HeaderValue, Response, StatusCode, header, response::Parts};
use tokio::time::timeout;

use self::{
    account::{Account, AnswerFacts},
    minted::MintedTap,
    plain::{Begun, PlainRelay},
    results::{Booking, ResultsTap},
    source::Source,
    stream::{StreamKind, StreamRelay},
    tap::Tap,
};
use crate::{
    authorize::Permit,
    forward::{Reply, is_stream},
    headers::{Own, REQUEST_ID, add_nearest, client_headers},
    path::{AnswerKind, Operation},
    pump::Wait,
    recall::Part,
    receive::cut,
    refuse::Refusal,
    reply::ReplyBody,
    reserve::{Lease, micros},
    simulate::BoxError,
    worker::Worker,
};

/// How long the head of an answer waits for the body, so that both leave together.
const HEAD_WAITS: Duration = Duration::from_millis(5);

/// Why an answer that came cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The record could not be kept; nothing has left yet.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The upstream broke off while its answer was read whole.
    #[error("the upstream broke off")]
    Upstream(#[source] BoxError),
    /// An answer that must be read whole is too large.
    #[error("the upstream's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A list in which too much of others' stands before the caller's next item.
    #[error("the list holds too much of other workspaces")]
    ListTooLong,
    /// An answer that must be read cannot be.
    #[error("the upstream's answer cannot be read")]
    Unreadable,
    /// The store had to be asked and did not answer.
    #[error("the store does not answer")]
    Store(#[from] ServiceError),
}

/// Makes the client's answer of the upstream's.
///
/// # Errors
/// [`RelayError`]; no byte of the answer has left then.
pub async fn relay(
    worker: &Worker,
    permit: &Permit,
    lease: Lease,
    reply: Reply,
) -> Result<Response<ReplyBody>, RelayError> {
    if rewrite::is_rewritten(permit, &reply.parts) {
        // Boxed, so that every other request need not carry the room for it.
        return Box::pin(rewrite::relay(worker, permit, lease, reply)).await;
    }
    let Reply { mut parts, source, intent } = reply;
    let mut lease = lease;
    let facts = answer_facts(&parts, &lease);
    let cut = lease.live().runtime.cut_signal();
    let coding = parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let metered = metered(permit, &parts);
    let length = content_length(&parts);
    let coded = coding.is_some_and(|c| !c.eq_ignore_ascii_case(b"identity"));
    let stream = is_stream(&parts);
    let results = if permit.head.operation.answer() == AnswerKind::Results {
        Box::pin(results_tap(worker, permit, &parts, &lease)).await?
    } else {
        None
    };
    let tap = match (metered, stream) {
        (false, _) if permit.head.operation == Operation::CountTokens && parts.status.is_success() => {
            Tap::count(coding)
        }
        (false, _) => Tap::None,
        (true, false) => Tap::message(coding),
        (true, true) => Tap::coded_stream(coding),
    };
    own_headers(&mut parts, permit, &lease);
    let recording = recording(lease.take_part(), &parts, metered && !coded);
    if stream && !coded {
        durable(worker, Wait::on(intent)).await?;
        let kind = StreamKind {
            is_message: permit.head.operation == Operation::CreateMessage && parts.status.is_success(),
            length,
            ping_after: worker.shared.config().stream.ping_after,
        };
        let account = Account::new(worker, lease, facts, minted(permit, true)).recording(recording);
        let relay = StreamRelay::new(source, account, cut, kind);
        return Ok(Response::from_parts(parts, ReplyBody::stream(relay)));
    }
    let minted = minted(permit, false).filter(|_| metered && !coded);
    let account = Account::new(worker, lease, facts, minted).recording(recording);
    let mut relay = PlainRelay::new(source, tap, account, cut, length);
    if let Some(results) = results {
        relay = relay.with_results(results);
    }
    release(worker, &mut relay, Wait::on(intent)).await?;
    Ok(Response::from_parts(parts, ReplyBody::plain(relay)))
}

/// Waits until the answer may begin: until its intent is durable; or, where the whole answer comes along with its head
/// (or has no body to hold back), until its record is. That says as much in one commit, the answer leaves in one piece,
/// and one whose record cannot be kept is refused instead of broken off.
async fn release(worker: &Worker, relay: &mut PlainRelay, intent: Wait) -> Result<(), RecordError> {
    if let Some(Err(error)) = intent.now() {
        return Err(error);
    }
    let begun = timeout(HEAD_WAITS, poll_fn(|cx| relay.poll_begun(cx))).await;
    if matches!(begun, Ok(Begun::Whole)) {
        return poll_fn(|cx| relay.poll_recorded(cx)).await;
    }
    durable(worker, intent).await
}

async fn durable(worker: &Worker, mut intent: Wait) -> Result<(), RecordError> {
    poll_fn(|cx| intent.poll(&worker.pump, cx)).await
}

/// Reads ids that the answer mints, where it can mint any; the simulator's are its own.
fn minted(permit: &Permit, is_stream: bool) -> Option<MintedTap> {
    let live = permit.caller.live.grant.key.class == KeyClass::Live;
    (live && permit.may_mint()).then(|| MintedTap::new(is_stream))
}

/// Writes the answer down for the response cache, if it is to be kept there and can be read.
fn recording(part: Part, parts: &Parts, readable: bool) -> Option<Box<Recording>> {
    let Part::Lead(lead) = part else { return None };
    if !readable || parts.status != StatusCode::OK {
        lead.unkept();
        return None;
    }
    let head = parts.headers.iter().filter(|(name, _)| is_kept(name));
    let head = head.map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    Some(Box::new(Recording::begin(*lead, head.collect())))
}

/// Whether a header of an answer belongs to it whoever reads it, and when.
fn is_kept(name: &HeaderName) -> bool {
    let of_the_api = name.as_str().starts_with("anthropic-") && !name.as_str().contains("ratelimit");
    *name == header::CONTENT_TYPE || of_the_api
}

/// What the record says of the answer.
fn answer_facts(parts: &Parts, lease: &Lease) -> AnswerFacts {
    let id = parts.headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).map(|id| {
        let mut id = id.to_owned();
        cut(&mut id, 64);
        id
    });
    AnswerFacts {
        status: parts.status.as_u16(),
        upstream_request_id: id,
        first_byte_us: micros(lease.particulars().began.elapsed()),
    }
}

/// Puts our own headers in place of those that describe the upstream's account.
fn own_headers(parts: &mut Parts, permit: &Permit, lease: &Lease) {
    let own = Own {
        request_id: permit.head.request_id.as_str(),
        client_request_id: permit.head.client_request_id(),
        headrooms: lease.headrooms(),
        simulated: lease.particulars().party.class == KeyClass::Test,
        cache: lease.part().word(),
    };
    parts.headers = client_headers(std::mem::take(&mut parts.headers), &own);
    if let Some(nearest) = lease.nearest().filter(|_| parts.status.is_success()) {
        add_nearest(&mut parts.headers, &nearest);
    }
    // The framing of this connection is its own.
    parts.version = http::Version::HTTP_11;
}

/// Whether the answer may say what a model used.
fn metered(permit: &Permit, parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let json = b"application/json";
    // An answer that does not say what it is can still be a message.
    let is_json = kind.map_or(permit.head.operation == Operation::CreateMessage, |kind| {
        kind.get(..json.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(json))
    });
    let readable = is_json || is_stream(parts);
    let endpoint = permit.head.operation.endpoint();
    parts.status.is_success() && readable && matches!(endpoint, Endpoint::Messages | Endpoint::Other)
}

fn content_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The tap on batch results, if this is them: whoever made the batch pays.
async fn results_tap(
    worker: &Worker,
    permit: &Permit,
    parts: &Parts,
    lease: &Lease,
) -> Result<Option<ResultsTap>, RelayError> {
    let Operation::BatchResults(batch) = &permit.head.operation else { return Ok(None) };
    let key = &permit.caller.live.grant.key;
    if !parts.status.is_success() || key.class == KeyClass::Test {
        return Ok(None);
    }
    let services = &worker.shared.services;
    let Some(resource) = services.resources.find(batch).await? else { return Ok(None) };
    services.budgets.know_batch(batch).await?;
    let maker = if resource.key == key.id { key.clone() } else { services.keys.show(&resource.key).await?.0 };
    let particulars = lease.particulars();
    Ok(Some(ResultsTap::new(Booking {
        batch: String::from(&**batch),
        party: Party { key: maker.id, workspace: maker.workspace, owner: maker.owner, class: maker.class },
        route: lease.route().clone(),
        request_id: particulars.request_id.clone(),
        at: particulars.at,
        api_endpoint: particulars.api_endpoint.clone(),
        client_ip: particulars.client_ip.clone(),
        user_agent: particulars.user_agent.clone(),
        budgets: services.budgets.clone(),
        charges: services.budgets.charges_of_batch(batch),
    })))
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Record(_) => {
                Self::new(Answer::Unavailable, "record", "The request could not be recorded.")
            }
            RelayError::ListTooLong => Self::new(
                Answer::Unavailable,
                "list_too_long",
                "Too many items of other workspaces stand before the next one of this workspace.",
            ),
            RelayError::Store(_) => Self::new(Answer::Unavailable, "store", "The store does not answer."),
            RelayError::Upstream(_) => {
                Self::new(Answer::UpstreamUnreachable, "upstream_cut", "The upstream broke its answer off.")
            }
            RelayError::TooLarge(_) | RelayError::Unreadable => Self::new(
                Answer::UpstreamUnreachable,
                "upstream_unreadable",
                "The upstream's answer cannot be read.",
            ),
        }
    }
}

/// Reads an answer whole.
async fn collect(source: &mut Source, most: usize) -> Result<Bytes, RelayError> {
    let mut first: Option<Bytes> = None;
    let mut more = bytes::BytesMut::new();
    while let Some(data) = poll_fn(|cx| source.poll_data(cx)).await {
        let data = data.map_err(RelayError::Upstream)?;
        if more.len() + data.len() > most {
            return Err(RelayError::TooLarge(most));
        }
        match (&first, more.is_empty()) {
            (None, true) => first = Some(data),
            (Some(one), true) => {
                more.extend_from_slice(one);
                more.extend_from_slice(&data);
            }
            (_, false) => more.extend_from_slice(&data),
        }
    }
    Ok(if more.is_empty() { first.unwrap_or_default() } else { more.freeze() })
}
