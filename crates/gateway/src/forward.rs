//! Stage 9, forward: send, and send again or elsewhere as long as no byte of an answer has left.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use claviger_claude_wire::answers::{Answer, UNAUTHENTICATED_MESSAGE};
use claviger_domain::{clock::EntropyError, ledger::Route};
use claviger_service::{
    grants::CutSignal,
    recorder::{Receipt, RecordError},
};
use claviger_upstream::{
    Decision, HealthPolicy, Outcome, Progress, RetryPolicy, SendFailure, Signal, UpstreamError,
    retry::retry_after,
};
use http::{Request, StatusCode, header, response::Parts};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use crate::{
    authorize::Permit,
    body::{BodyError, outgoing::Outgoing},
    headers::{self, Coding, is_chunked},
    path::AnswerKind,
    prove::ProveError,
    refuse::Refusal,
    relay::source::Source,
    reserve::{Lease, ReserveError},
    route::{Attempt, Candidate},
    worker::Worker,
};

/// An answer's head, with its body still to come.
pub struct Reply {
    /// The head.
    pub parts: Parts,
    /// The body.
    pub source: Source,
    /// Resolves when the intent is durable.
    pub intent: Option<Receipt>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The upstream gave none.
    #[error("the upstream gave no answer ({})", .0.label())]
    Upstream(UpstreamError),
    /// The key was revoked meanwhile.
    #[error("the key was revoked")]
    Revoked,
    /// Budgets have not enough left for another try.
    #[error(transparent)]
    OverBudget(ReserveError),
    /// What is held back for the call could not be written down.
    #[error("what the call can cost cannot be recorded")]
    Unrecorded(#[from] RecordError),
    /// There is no randomness for ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The body was not what was signed, or was not seen to its end.
    #[error(transparent)]
    Unproven(ProveError),
    /// The body was passed on already and there is nothing left to send.
    #[error("the request body is gone")]
    BodyGone,
}

/// Sends a request until there is an answer to pass on.
///
/// # Errors
/// [`ForwardError`].
pub async fn forward(
    worker: &Worker,
    permit: &mut Permit,
    lease: &mut Lease,
    attempt: &Attempt,
) -> Result<Reply, ForwardError> {
    let cut = lease.live().runtime.cut_signal();
    let mut exchange = pin!(async {
        match attempt {
            // Boxed, so that every other request need not carry the room for it.
            Attempt::Simulator => Box::pin(simulate(worker, permit, lease)).await,
            Attempt::Upstream(candidates) => Tries::new(worker).run(permit, lease, candidates).await,
        }
    });
    unless_cut(cut, exchange.as_mut()).await.unwrap_or(Err(ForwardError::Revoked))
}

/// The outcome of `work`, or `None` when the key is cut first.
pub async fn unless_cut<T>(mut cut: CutSignal, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        Pin::new(&mut cut).poll(cx).map(|()| None)
    })
    .await
}

async fn simulate(worker: &Worker, permit: &mut Permit, lease: &mut Lease) -> Result<Reply, ForwardError> {
    let intent = lease.intent(worker, Route { upstream: None, credential: None })?;
    lease.sending();
    let chunked = is_chunked(&permit.head.headers);
    let body = permit.payload.outgoing(&worker.shared, chunked).ok_or(ForwardError::BodyGone)?;
    let request =
        request(worker, permit, coding(permit, lease), body).map(|b| b.map_err(Into::into).boxed_unsync());
    let workspace = &permit.caller.live.grant.key.workspace;
    let answer = worker.shared.simulator.answer(workspace, request).await;
    permit.payload.proved().map_err(ForwardError::Unproven)?;
    let (parts, body) = answer.into_parts();
    Ok(Reply { parts, source: Source::simulated(body), intent })
}

/// The request as it goes out, but for the provider's key.
fn request(worker: &Worker, permit: &Permit, coding: Coding, body: Outgoing) -> Request<Outgoing> {
    let head = &permit.head;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() =
        headers::upstream_headers(&head.headers, coding, worker.shared.config().forward_trace_headers);
    request
}

/// Which content codings the upstream may use: none where we may have to write into the answer.
fn coding(permit: &Permit, lease: &Lease) -> Coding {
    match permit.head.operation.answer() {
        // Kept as it is, for callers who take any coding or none.
        AnswerKind::Message if lease.part().word().is_some() => Coding::Identity,
        AnswerKind::Message if permit.wants_stream() || permit.may_mint() => Coding::Identity,
        AnswerKind::Message | AnswerKind::Object => Coding::AtMostGzip,
        AnswerKind::Content => Coding::AsAsked,
        AnswerKind::Batch { .. }
        | AnswerKind::NewFile
        | AnswerKind::List
        | AnswerKind::Results
        | AnswerKind::Unknown => Coding::Identity,
    }
}

/// The tries of one request.
struct Tries<'a> {
    worker: &'a Worker,
    policy: RetryPolicy,
    health: HealthPolicy,
    began: Instant,
    made: u32,
}

/// What follows from one try.
enum Next {
    /// Pass this on.
    Pass(Box<Reply>),
    /// Nothing to pass on.
    Fail(ForwardError),
    /// Try again: after a while, or at once with another credential.
    Again { after: Duration, elsewhere: bool },
}

impl<'a> Tries<'a> {
    fn new(worker: &'a Worker) -> Self {
        let (policy, health) = (RetryPolicy::default(), HealthPolicy::default());
        Self { worker, policy, health, began: Instant::now(), made: 0 }
    }

    async fn run(
        mut self,
        permit: &mut Permit,
        lease: &mut Lease,
        candidates: &[Arc<Candidate>],
    ) -> Result<Reply, ForwardError> {
        let mut at = 0;
        loop {
            let Some(candidate) = candidates.get(at % candidates.len().max(1)) else {
                return Err(ForwardError::BodyGone);
            };
            let fresh = candidates.len().saturating_sub(at + 1);
            match self.once(permit, lease, candidate, fresh > 0).await? {
                Next::Pass(reply) => return Ok(*reply),
                Next::Fail(error) => return Err(error),
                Next::Again { after, elsewhere } => {
                    if elsewhere || fresh > 0 {
                        // Another credential was not told to wait.
                        at += 1;
                    } else if !after.is_zero() {
                        sleep(after).await;
                    }
                }
            }
        }
    }

    async fn once(
        &mut self,
        permit: &mut Permit,
        lease: &mut Lease,
        candidate: &Candidate,
        has_other: bool,
    ) -> Result<Next, ForwardError> {
        let shared = &self.worker.shared;
        let chunked = is_chunked(&permit.head.headers);
        let body = permit.payload.outgoing(shared, chunked).ok_or(ForwardError::BodyGone)?;
        let mut request = request(self.worker, permit, coding(permit, lease), body);
        candidate.key.apply(request.headers_mut(), permit.caller.form);
        let now = shared.clock.boot();
        // With nothing better at hand a credential that is unwell is tried all the same.
        candidate.health.admit(now, &self.health);
        let route = Route {
            upstream: Some(candidate.upstream.clone()),
            credential: Some(candidate.credential.clone()),
        };
        let intent = match lease.intent(self.worker, route)? {
            // What is held back must outlive us before the provider can bill it.
            Some(receipt) if lease.is_bound() => {
                receipt.await?;
                let services = &shared.services;
                if services.budgets.are_shared() && !services.recorder.is_healthy() {
                    // Other nodes do not know of it, as it is only in this one's spool: they could spend its money.
                    return Err(RecordError::Timeout.into());
                }
                None
            }
            intent => intent,
        };
        self.made += 1;
        lease.sending();
        let first_byte = shared.config().upstream.first_byte;
        let sent = self.worker.client.send(&candidate.target, request, first_byte).await;
        let harmless = permit.head.operation.is_repeatable(&permit.head.method);
        let repeatable = harmless && permit.payload.is_repeatable();
        Ok(match sent {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                headers::one_length(&mut parts.headers);
                let wait = (parts.status == StatusCode::TOO_MANY_REQUESTS)
                    .then(|| retry_after(&parts.headers, shared.clock.now()))
                    .flatten();
                candidate.health.report(Signal::of_status(parts.status, wait), now, &self.health);
                if parts.status.is_success()
                    && let Err(error) = permit.payload.proved()
                {
                    return Ok(Next::Fail(ForwardError::Unproven(error)));
                }
                match self.judge_answer(&parts, repeatable, has_other) {
                    Some((after, elsewhere)) => Next::Again { after, elsewhere },
                    None => {
                        let timeouts = shared.config().upstream;
                        let source = Source::upstream(body, is_stream(&parts), timeouts);
                        Next::Pass(Box::new(Reply { source, parts, intent }))
                    }
                }
            }
            Err(failure) => {
                if let Some(signal) = Signal::of_failure(&failure.error) {
                    candidate.health.report(signal, now, &self.health);
                }
                let SendFailure { error, request } = failure;
                if let Some(unsent) = request {
                    permit.payload.take_back(unsent.into_body());
                }
                let repeatable = permit.payload.is_repeatable() && (harmless || !error.sent());
                self.judge_failure(error, lease, repeatable).await
            }
        })
    }

    fn progress(&self) -> Progress {
        Progress {
            attempts: self.made,
            elapsed: self.began.elapsed(),
            now: self.worker.shared.clock.now(),
            jitter: self.worker.chance.number(),
        }
    }

    /// When to try again after this answer, if at all, and whether it must be elsewhere.
    fn judge_answer(&self, parts: &Parts, repeatable: bool, has_other: bool) -> Option<(Duration, bool)> {
        let status = parts.status;
        if status.is_success() || !repeatable {
            return None;
        }
        let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if refused && has_other && self.made <= self.policy.extra_attempts {
            return Some((Duration::ZERO, true));
        }
        match self.policy.decide(Outcome::Answer { status, headers: &parts.headers }, self.progress()) {
            Decision::Retry { after } => Some((after, false)),
            Decision::GiveUp(_) => None,
        }
    }

    async fn judge_failure(&self, error: UpstreamError, lease: &mut Lease, repeatable: bool) -> Next {
        tracing::debug!(error = %error.chain(), attempt = self.made, "no answer from the upstream");
        let decision = self.policy.decide(Outcome::Failure(&error), self.progress());
        match decision {
            Decision::Retry { after } if repeatable => {
                if may_be_billed(&error)
                    && let Err(over) = lease.book_lost(error.label()).await
                {
                    return Next::Fail(ForwardError::OverBudget(over));
                }
                Next::Again { after, elsewhere: false }
            }
            Decision::Retry { .. } | Decision::GiveUp(_) => Next::Fail(ForwardError::Upstream(error)),
        }
    }
}

/// Whether the provider may have worked on a call that it did not answer: whatever has left may have arrived, on a
/// kept connection too. (One that was closed for being idle is mostly seen to be before anything is written to it;
/// where call and closing cross, nobody can tell that from a call that was read and then lost.)
#[must_use]
pub const fn may_be_billed(error: &UpstreamError) -> bool {
    error.sent() && !matches!(error, UpstreamError::Redirected(_))
}

/// Whether an answer is an event stream.
#[must_use]
pub fn is_stream(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..17).is_some_and(|k| k.eq_ignore_ascii_case(b"text/event-stream"))
}

impl From<ForwardError> for Refusal {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Upstream(error) => upstream_refusal(&error),
            ForwardError::OverBudget(error) => error.into(),
            ForwardError::Unrecorded(_) => {
                Self::new(Answer::Unavailable, "unrecorded", "The request cannot be recorded now.")
            }
            ForwardError::Revoked => {
                Self { close: true, ..Self::new(Answer::Unauthenticated, "revoked", UNAUTHENTICATED_MESSAGE) }
            }
            ForwardError::Unproven(error) => Self { close: true, ..error.into() },
            ForwardError::Entropy(_) | ForwardError::BodyGone => {
                Self::new(Answer::Internal, "internal", "Internal error.")
            }
        }
    }
}

fn upstream_refusal(error: &UpstreamError) -> Refusal {
    let reason = error.label();
    match error {
        // The client's own body was at fault, while it was passed on.
        UpstreamError::RequestBody(error)
            if let Some(fault) =
                std::error::Error::source(error).and_then(|e| e.downcast_ref::<BodyError>()) =>
        {
            fault.into()
        }
        UpstreamError::HeadTimeout(_) => {
            Refusal::new(Answer::UpstreamTimeout, reason, "The upstream did not answer in time.")
        }
        UpstreamError::PoolFull { .. } => {
            Refusal::new(Answer::Overloaded, reason, "Too many requests are on their way to the upstream.")
        }
        UpstreamError::RequestBody(_) => Refusal {
            close: true,
            ..Refusal::new(Answer::InvalidRequest, reason, "The request body ended early.")
        },
        UpstreamError::Unsendable(_) => {
            Refusal::new(Answer::InvalidRequest, reason, "The request path cannot be sent.")
        }
        UpstreamError::Redirected(_) => Refusal::new(
            Answer::UpstreamUnreachable,
            reason,
            "The upstream answered with a redirect, which is not followed.",
        ),
        UpstreamError::SwitchedProtocols => Refusal::new(
            Answer::UpstreamUnreachable,
            reason,
            "The upstream switched to another protocol, which was not asked for.",
        ),
        UpstreamError::Resolve { .. }
        | UpstreamError::NotPublic { .. }
        | UpstreamError::Connect { .. }
        | UpstreamError::ConnectTimeout { .. }
        | UpstreamError::Tls(_)
        | UpstreamError::ProxyRefused(_)
        | UpstreamError::ProxyBroken(_)
        | UpstreamError::Handshake(_)
        | UpstreamError::ClosedBeforeHead { .. }
        | UpstreamError::Malformed(_) => {
            let message = format!("The upstream cannot be reached ({reason}).");
            Refusal::new(Answer::UpstreamUnreachable, reason, message)
        }
    }
}
