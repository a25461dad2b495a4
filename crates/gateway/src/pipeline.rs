//! The way of a request, in one straight line. Each stage hands on what only it can make.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    address::counting_block,
    clock::Timestamp,
    id::RequestId,
    key::OnDisconnect,
    proof::{Proof, Proofs},
    token::KeyClass,
};
use claviger_service::{grants::LiveGrant, refusals::RefusalSubject};
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    admit::admit,
    auth,
    authenticate::{AuthenticateError, authenticate},
    authorize::{Permit, authorize},
    forward::forward,
    headers::{Own, X_REQUEST_ID, add_rotating, add_told},
    metrics::{Metrics, Stage},
    own::{self, OwnRoute},
    path::Operation,
    probe, prove,
    recall::{Recall, recall},
    receive::{Arrival, receive},
    refuse::{Refusal, Refused, refuse},
    relay::{early, relay},
    reply::ReplyBody,
    reserve::{Lease, reserve},
    route::{Attempt, route},
    sender,
    settle::unanswered,
    tokens,
    worker::Worker,
};

/// Serves one request.
pub async fn serve(
    worker: &Arc<Worker>,
    request: Request<Incoming>,
    arrival: Arrival,
    id: RequestId,
) -> Response<ReplyBody> {
    let method = request.method().clone();
    let client_id = request.headers().get(X_REQUEST_ID).filter(|id| id.len() <= 128).cloned();
    let mut known = Known::default();
    let (peer, at) = (arrival.peer, arrival.at);
    let mut response = match run(worker, request, arrival, id.clone(), &mut known).await {
        Ok(response) if known.relayed => response,
        Ok(response) => dated(response, worker.shared.clock.now()),
        Err(refusal) => {
            note(worker, &refusal, &method, known.whose, (peer, at));
            dated(answer(&refusal, &id, client_id.as_ref()), worker.shared.clock.now())
        }
    };
    if let Some(told) = known.leaving.as_ref().and_then(|live| live.told()) {
        add_told(response.headers_mut(), told);
    }
    if let Some(at) = known.rotating(worker.shared.clock.now()) {
        add_rotating(response.headers_mut(), at);
    }
    response
}

async fn run(
    worker: &Arc<Worker>,
    request: Request<Incoming>,
    arrival: Arrival,
    id: RequestId,
    known: &mut Known,
) -> Result<Response<ReplyBody>, Refusal> {
    let shared = &worker.shared;
    let mut laps = Laps { metrics: &shared.metrics, last: arrival.began };

    let inbound = receive(&shared.config(), request, arrival, id)?;
    known.whose = Whose::Address(inbound.head.client_ip);
    if let Some(answer) = probe::answer(&shared.services, &inbound.head.operation) {
        return Ok(answer);
    }
    if inbound.head.operation == Operation::Own(OwnRoute::Unwrap) {
        return Ok(Box::pin(own::unwrap(shared, inbound)).await?);
    }
    if let Operation::Auth(route) = inbound.head.operation {
        let given = Box::pin(auth::serve(shared, inbound, route)).await;
        return Ok(given.inspect_err(|error| known.whose.counter(error))?);
    }
    let claim = prove::claim(shared, &inbound.head)?;
    let caller = authenticate(shared, &inbound).await;
    let mut caller = caller.inspect_err(|error| known.whose.named(error))?;
    known.whose = Whose::Key(caller.live.grant.key.public_id);
    caller.proofs = caller.proofs.union(sender::prove(shared, &inbound.head, &caller).await?);
    known.leaving = caller.live.told().map(|_| Arc::clone(&caller.live));
    known.signer = signer(&caller.live);
    laps.end(Stage::Authenticate);
    if let Operation::Own(route) = inbound.head.operation.clone() {
        // A holder reads how the key stands before it can buy a token.
        let excused = Proofs::NONE.with(Proof::Token);
        let proving = prove::begin(shared, &inbound.head, &mut caller, claim, excused)?;
        known.signed = caller.signed.clone();
        return Ok(own::serve(shared, (inbound, proving), &caller, route).await?);
    }
    let proving = prove::begin(shared, &inbound.head, &mut caller, claim, Proofs::NONE)?;
    known.signed = caller.signed.clone();

    known.relayed = true;
    let permit = authorize(shared, inbound, caller, proving).await?;
    laps.end(Stage::Authorize);

    let bucket = permit.head.operation.bucket(&permit.head.method);
    let admission = admit(&shared.services, &permit.caller, bucket, permit.head.at).await?;
    laps.end(Stage::Admit);

    let miss = match recall(worker, &permit, admission).await? {
        Recall::Hit(response) => return Ok(response),
        Recall::Miss(miss) => miss,
    };
    if permit.caller.live.cache().is_some() {
        laps.end(Stage::Recall);
    }

    let miss = tokens::hold(shared, &permit, miss)?;
    let lease = reserve(worker, &permit, miss).await?;
    let attempt = match route(worker, &permit, shared.clock.boot()) {
        Ok(attempt) => attempt,
        Err(error) => {
            lease.release();
            return Err(error.into());
        }
    };
    laps.end(Stage::Route);

    let stream = shared.config().stream;
    if !(stream.early_keepalive && permit.wants_stream()) {
        return send(worker, permit, lease, attempt).await;
    }
    let (request_id, client_id) = (permit.head.request_id.clone(), permit.head.client_request_id().cloned());
    let own = Own {
        request_id: request_id.as_str(),
        client_request_id: client_id.as_ref(),
        headrooms: lease.headrooms(),
        simulated: permit.caller.live.grant.key.class == KeyClass::Test,
        cache: lease.part().word(),
    };
    let worker = Arc::clone(worker);
    let rest = Box::pin(async move { send(&worker, permit, lease, attempt).await });
    Ok(early::open(rest, &own, stream.ping_after))
}

/// The rest of the way: out, and back. A call that is to be drained goes on when its client is gone before the answer
/// begins, too: it is made, and billed by what its answer says.
async fn send(
    worker: &Arc<Worker>,
    permit: Permit,
    lease: Lease,
    attempt: Attempt,
) -> Result<Response<ReplyBody>, Refusal> {
    let drains = permit.caller.live.grant.key.policy.on_disconnect == OnDisconnect::Drain
        && permit.head.operation == Operation::CreateMessage;
    if !drains {
        return exchange(worker, permit, lease, attempt).await;
    }
    let tracker = worker.shared.tracker.clone();
    let worker = Arc::clone(worker);
    let task = tracker.spawn(async move { exchange(&worker, permit, lease, attempt).await });
    match task.await {
        Ok(answered) => answered,
        Err(_) => Err(Refusal::new(Answer::Internal, "internal", "Internal error.")),
    }
}

async fn exchange(
    worker: &Worker,
    mut permit: Permit,
    mut lease: Lease,
    attempt: Attempt,
) -> Result<Response<ReplyBody>, Refusal> {
    let mut laps = Laps { metrics: &worker.shared.metrics, last: Instant::now() };
    let reply = match forward(worker, &mut permit, &mut lease, &attempt).await {
        Ok(reply) => reply,
        Err(error) => {
            unanswered(lease, &error);
            return Err(error.into());
        }
    };
    laps.end(Stage::Forward);

    let response = relay(worker, &permit, lease, reply).await?;
    laps.end(Stage::Relay);
    Ok(response)
}

/// What is known of a request's caller by the time it is answered.
#[derive(Default)]
struct Known {
    whose: Whose,
    /// A key of which every answer says that it is on its way out.
    leaving: Option<Arc<LiveGrant>>,
    /// It goes on to an upstream, whose own time the answer tells.
    relayed: bool,
    /// A key that has signing secrets.
    signer: Option<Arc<LiveGrant>>,
    /// What the request's signature is found to be made with.
    signed: prove::Signed,
}

impl Known {
    /// When the secret that the caller signs with gives way to another, or gave way.
    fn rotating(&self, now: Timestamp) -> Option<Timestamp> {
        let role = self.signed.by().map(|by| by.role);
        self.signer.as_ref()?.signers().rotates_at(role, now)
    }
}

/// Most keys have no signing secret, and are done with at once.
fn signer(live: &Arc<LiveGrant>) -> Option<Arc<LiveGrant>> {
    (!live.signers().is_empty()).then(|| Arc::clone(live))
}

/// Whom a refusal is counted under.
#[derive(Debug, Clone, Copy, Default)]
enum Whose {
    #[default]
    Nobody,
    Address(IpAddr),
    Key(claviger_domain::token::PublicId),
}

impl Whose {
    /// A well-formed key was named at the counter.
    fn counter(&mut self, error: &auth::AuthError) {
        if let auth::AuthError::Client(error) = error {
            self.named(error);
        }
    }

    /// A well-formed key was named, even if it does not work.
    fn named(&mut self, error: &AuthenticateError) {
        if let AuthenticateError::Failed { named: Some(id), .. } = error {
            *self = Self::Key(*id);
        }
    }
}

/// Counts a refusal: in metrics, and for the audit log, which gets one record for many.
fn note(worker: &Worker, refusal: &Refusal, method: &Method, whose: Whose, (peer, at): (IpAddr, Timestamp)) {
    let shared = &worker.shared;
    shared.metrics.refused(refusal.reason, method, refusal.status().as_u16());
    let subject = match whose {
        Whose::Nobody => RefusalSubject::Block(counting_block(peer)),
        Whose::Address(ip) => RefusalSubject::Block(counting_block(ip)),
        Whose::Key(id) => RefusalSubject::Key(id),
    };
    shared.services.refusals.count(refusal.reason, subject, at);
}

/// The answer to a refusal.
#[must_use]
pub fn answer(refusal: &Refusal, id: &RequestId, client_id: Option<&HeaderValue>) -> Response<ReplyBody> {
    refuse(refusal, Refused { request_id: id.as_str(), client_request_id: client_id })
}

/// An answer of ours, with our time: by it clients learn how far their clocks are off.
#[must_use]
pub fn dated(mut response: Response<ReplyBody>, now: Timestamp) -> Response<ReplyBody> {
    let since = Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or_default());
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(UNIX_EPOCH + since)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Measures the stages.
struct Laps<'a> {
    metrics: &'a Metrics,
    last: Instant,
}

impl Laps<'_> {
    fn end(&mut self, stage: Stage) {
        let now = Instant::now();
        self.metrics.stage(stage, now.saturating_duration_since(self.last));
        self.last = now;
    }
}
