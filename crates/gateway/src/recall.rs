//! Stage 6, recall: has this been asked before, by somebody of the same workspace? Only of keys that ask for it, and
//! only for requests whose answers are made of the request alone and do nothing but say something. A hit is free: it
//! reserves nothing, reaches no provider, and counts as a request and as nothing else.

mod ask;

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use claviger_claude_wire::answers::{Answer, UNAUTHENTICATED_MESSAGE};
use claviger_domain::{
    ledger::{Outcome, Recalled, RowFlags},
    token::KeyClass,
};
use claviger_service::{
    recall::{self, Asked, Ended, Lead},
    recorder::RecordError,
};
use http::{HeaderName, HeaderValue, Response, header};
use tokio::time::{Instant, timeout_at};

use self::ask::Ask;
use crate::{
    admit::Admission,
    authorize::Permit,
    forward::unless_cut,
    headers::{Own, REQUEST_ID, client_headers},
    refuse::Refusal,
    relay::{
        account::{Account, AnswerFacts},
        replay::Replay,
    },
    reply::ReplyBody,
    reserve::{Lease, micros},
    settle::Ending,
    worker::Worker,
};

/// What became of it.
pub enum Recall {
    /// There was an answer.
    Hit(Response<ReplyBody>),
    /// There was none: the request goes on.
    Miss(Miss),
}

/// A request that must be sent. Only this stage makes one.
pub struct Miss {
    admission: Admission,
    part: Part,
}

/// What a call has to do with the cache.
#[derive(Default)]
pub enum Part {
    /// Nothing: the key does not ask, or the request may not.
    #[default]
    None,
    /// The cache had nothing; the answer is kept by somebody else's call, or not at all.
    Missed,
    /// The answer is to be kept; others may wait for it.
    Lead(Box<Lead>),
}

/// Why a request ends here.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The key was revoked while it waited.
    #[error("the key was revoked")]
    Revoked,
    /// The record could not be kept; nothing has left.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Miss {
    /// The request's places.
    pub const fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// Takes it apart.
    #[must_use]
    pub fn into_parts(self) -> (Admission, Part) {
        (self.admission, self.part)
    }
}

impl Part {
    /// What the answer says of it; `None`: the cache does not apply.
    #[must_use]
    pub const fn word(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Missed | Self::Lead(_) => Some("miss"),
        }
    }
}

/// Looks for an answer; waits for one that somebody else's call is about to make.
///
/// # Errors
/// [`RecallError`].
pub async fn recall(worker: &Worker, permit: &Permit, admission: Admission) -> Result<Recall, RecallError> {
    if permit.caller.live.cache().is_none() {
        return Ok(Recall::Miss(Miss { admission, part: Part::None }));
    }
    // Boxed, so that every other request need not carry the room for it.
    Box::pin(look(worker, permit, admission)).await
}

async fn look(worker: &Worker, permit: &Permit, admission: Admission) -> Result<Recall, RecallError> {
    let cache = &worker.shared.services.recall;
    let part = match ask::of(permit).filter(|_| cache.is_on()) {
        None => Part::None,
        Some(Ask { asking, anew: true }) => Part::Lead(Box::new(cache.anew(&asking))),
        Some(Ask { asking, anew: false }) => match find(worker, permit, &asking).await? {
            Found::Answer(answer) => {
                cache.count(true);
                return Ok(Recall::Hit(replay(worker, permit, admission, &answer).await?));
            }
            Found::Nothing(part) => part,
        },
    };
    if part.word().is_some() {
        cache.count(false);
    }
    Ok(Recall::Miss(Miss { admission, part }))
}

enum Found {
    Answer(Arc<recall::Answer>),
    Nothing(Part),
}

/// Looks, and waits where somebody else is at it. When that call dies, the next in line makes its own; when its answer
/// may be given to nobody, or does not come in time, everybody does.
async fn find(worker: &Worker, permit: &Permit, asking: &recall::Asking) -> Result<Found, RecallError> {
    let deadline = Instant::now() + patience(worker, permit);
    loop {
        let follow = match worker.shared.services.recall.ask(asking) {
            Asked::Hit(answer) => return Ok(Found::Answer(answer)),
            Asked::Lead(lead) => return Ok(Found::Nothing(Part::Lead(Box::new(lead)))),
            Asked::Follow(follow) => follow,
        };
        let cut = permit.caller.live.runtime.cut_signal();
        let waited = pin!(timeout_at(deadline, follow.ended()));
        match unless_cut(cut, waited).await {
            None => return Err(RecallError::Revoked),
            Some(Ok(Ended::Kept(answer))) => return Ok(Found::Answer(answer)),
            Some(Ok(Ended::Unkept) | Err(_)) => return Ok(Found::Nothing(Part::Missed)),
            Some(Ok(Ended::Gone)) => {}
        }
    }
}

/// How long to wait for somebody else's call. A stream that the operator wants kept alive from the first moment on
/// must not be silent for longer than any other.
fn patience(worker: &Worker, permit: &Permit) -> Duration {
    let config = worker.shared.config();
    let wait = config.cache.wait;
    if config.stream.early_keepalive && permit.wants_stream() {
        wait.min(config.stream.ping_after)
    } else {
        wait
    }
}

/// The answer once more, for somebody else. Its record is durable before its first byte leaves.
async fn replay(
    worker: &Worker,
    permit: &Permit,
    admission: Admission,
    answer: &Arc<recall::Answer>,
) -> Result<Response<ReplyBody>, RecallError> {
    let shared = &worker.shared;
    let lease = Lease::free(shared, permit, admission);
    let mut response = Response::new(body(worker, permit, answer));
    let own = Own {
        request_id: permit.head.request_id.as_str(),
        client_request_id: permit.head.client_request_id(),
        headrooms: lease.headrooms(),
        simulated: permit.caller.live.grant.key.class == KeyClass::Test,
        cache: Some("hit"),
    };
    let mut headers = http::HeaderMap::with_capacity(answer.head.len() + 12);
    for (name, value) in &answer.head {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value.clone())) {
            headers.append(name, value);
        }
    }
    headers.insert(header::AGE, HeaderValue::from(answer.age_secs(&*shared.clock)));
    if let Ok(id) = HeaderValue::from_str(permit.head.request_id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    *response.headers_mut() = client_headers(headers, &own);
    let first_byte_us = micros(permit.head.began.elapsed());
    let facts = AnswerFacts { status: response.status().as_u16(), upstream_request_id: None, first_byte_us };
    let mut account = Account::new(worker, lease, facts, None);
    account.settle(Ending {
        flags: RowFlags::RECALLED,
        model: Some(answer.model.clone()),
        recalled: Some(Recalled { call: answer.call.clone(), saved: answer.cost }),
        ..Ending::of(Outcome::Completed)
    });
    poll_fn(|cx| account.poll_durable(cx)).await?;
    Ok(response)
}

fn body(worker: &Worker, permit: &Permit, answer: &Arc<recall::Answer>) -> ReplyBody {
    if !permit.wants_stream() {
        return ReplyBody::once(answer.body.clone());
    }
    let config = worker.shared.config();
    let pace = config.cache.keep_pace.then_some(config.stream.ping_after);
    let cut = permit.caller.live.runtime.cut_signal();
    ReplyBody::replay(Replay::new(Arc::clone(answer), cut, pace))
}

impl From<RecallError> for Refusal {
    fn from(error: RecallError) -> Self {
        match error {
            RecallError::Revoked => {
                Self { close: true, ..Self::new(Answer::Unauthenticated, "revoked", UNAUTHENTICATED_MESSAGE) }
            }
            RecallError::Record(_) => {
                Self::new(Answer::Unavailable, "record", "The request could not be recorded.")
            }
        }
    }
}
