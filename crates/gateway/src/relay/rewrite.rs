//! Answers that are read whole: objects made at the provider, whose ids are kept, and lists, of which callers see
//! their own.

pub mod origin;
mod pages;

use bytes::Bytes;
use claviger_claude_wire::resource::{self, read_resource};
use claviger_domain::{
    ledger::Outcome,
    tenancy::{Resource, ResourceKind},
    token::KeyClass,
};
use http::{HeaderValue, Response, header, response::Parts};

use super::{RelayError, account::Account, answer_facts, collect, durable, own_headers, source::Source};
use crate::{
    authorize::Permit,
    forward::Reply,
    path::{AnswerKind, Operation},
    pump::Wait,
    reply::ReplyBody,
    reserve::Lease,
    settle::Ending,
    worker::Worker,
};

/// The largest object or page that is read (64 MB: a page of 1 000 batches is below 1 MB).
const MOST: usize = 64 * 1024 * 1024;

/// Whether an answer must be read whole.
#[must_use]
pub fn is_rewritten(permit: &Permit, parts: &Parts) -> bool {
    let concerned = match permit.head.operation.answer() {
        AnswerKind::Batch { .. } | AnswerKind::NewFile => true,
        AnswerKind::List => {
            permit.head.operation != Operation::ListModels || permit.caller.live.limits_models()
        }
        AnswerKind::Message
        | AnswerKind::Object
        | AnswerKind::Results
        | AnswerKind::Content
        | AnswerKind::Unknown => false,
    };
    concerned && parts.status.is_success()
}

/// Reads the answer, keeps what must be kept, and passes it on.
pub(super) async fn relay(
    worker: &Worker,
    permit: &Permit,
    lease: Lease,
    reply: Reply,
) -> Result<Response<ReplyBody>, RelayError> {
    let Reply { mut parts, mut source, intent } = reply;
    let facts = answer_facts(&parts, &lease);
    let read = read(worker, permit, &lease, &parts, &mut source).await;
    own_headers(&mut parts, permit, &lease);
    let mut account = Account::new(worker, lease, facts, None);
    let (body, made) = match read {
        Ok(read) => read,
        Err(error) => {
            account.settle_lost(Outcome::UpstreamCut, "unreadable");
            return Err(error);
        }
    };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if made.is_empty() && permit.head.operation == Operation::CreateBatch && !is_simulated(permit) {
        // Nobody will ever find its results.
        account.settle_lost(Outcome::Completed, "no_id");
    } else {
        account.settle(Ending { made, ..Ending::of(Outcome::Completed) });
    }
    durable(worker, Wait::on(intent)).await?;
    std::future::poll_fn(|cx| account.poll_durable(cx)).await?;
    Ok(Response::from_parts(parts, ReplyBody::once(body)))
}

async fn read(
    worker: &Worker,
    permit: &Permit,
    lease: &Lease,
    parts: &Parts,
    source: &mut Source,
) -> Result<(Bytes, Vec<Resource>), RelayError> {
    let coding = parts.headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(RelayError::Unreadable);
    }
    let whole = collect(source, MOST).await?;
    if permit.head.operation.answer() == AnswerKind::List {
        return Ok((pages::own(worker, permit, lease, whole).await?, Vec::new()));
    }
    object(permit, lease, whole)
}

/// One object: its id is the workspace's from now on, its `results_url` leads to us.
fn object(permit: &Permit, lease: &Lease, body: Bytes) -> Result<(Bytes, Vec<Resource>), RelayError> {
    let read = read_resource(&body).map_err(|_| RelayError::Unreadable)?;
    let kind = match permit.head.operation.answer() {
        AnswerKind::Batch { new: true } => Some(ResourceKind::Batch),
        AnswerKind::NewFile => Some(ResourceKind::File),
        AnswerKind::Batch { new: false }
        | AnswerKind::Message
        | AnswerKind::Object
        | AnswerKind::List
        | AnswerKind::Results
        | AnswerKind::Content
        | AnswerKind::Unknown => None,
    };
    let made = kind.and_then(|kind| lease.made(kind, read.id.as_deref()?));
    let body = redirect_results(permit, lease, body, std::slice::from_ref(&read));
    Ok((body, made.into_iter().collect()))
}

/// Puts our own origin into every `results_url`.
fn redirect_results(permit: &Permit, lease: &Lease, body: Bytes, objects: &[resource::Resource]) -> Bytes {
    if objects.iter().all(|o| o.results_url.is_none()) {
        return body;
    }
    let origin = origin::of(&lease.shared().config(), &permit.head);
    let urls: Vec<_> = objects
        .iter()
        .filter_map(|o| {
            let id = o.id.as_deref()?;
            Some((o.results_url.clone()?, format!("{origin}/v1/messages/batches/{id}/results")))
        })
        .collect();
    let places: Vec<_> = urls.iter().map(|(span, url)| (span.clone(), url.as_str())).collect();
    Bytes::from(resource::splice(&body, &places))
}

/// Whether the caller is one of the simulator's.
fn is_simulated(permit: &Permit) -> bool {
    permit.caller.live.grant.key.class == KeyClass::Test
}
