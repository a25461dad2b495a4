//! The outer ring around the pipeline, outermost first.
//!
//! | ring | why |
//! |---|---|
//! | connection caps, timeouts | [`listen`](crate::listen), [`connection`](crate::connection): before any byte is read |
//! | request id | everything below can be told apart in records |
//! | load shed | more than can be served is refused at once |
//! | panic guard | a fault in one request ends that request only |
//! | pipeline | the request's way |

use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use claviger_claude_wire::answers::Answer;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    connection::{ConnectionState, Serving},
    headers::X_REQUEST_ID,
    pipeline,
    receive::{Arrival, new_request_id},
    refuse::Refusal,
    reply::ReplyBody,
    tls::PeerCertificate,
    worker::Worker,
};

/// What a request's connection is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The socket's peer.
    pub ip: IpAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// The certificate that it showed.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Answers one request, whatever happens.
///
/// # Errors
/// Never.
pub async fn answer(
    worker: Arc<Worker>,
    connection: Arc<ConnectionState>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let shared = &worker.shared;
    let (at, began) = (shared.clock.now(), Instant::now());
    let serving = Serving::on(&connection, &shared.metrics.in_flight, shared.config().connection.in_flight);
    let Ok(id) = new_request_id(&worker.chance) else {
        // Without randomness there are no ids, and nothing may be done that could not be told apart.
        let mut response = Response::new(ReplyBody::once(bytes::Bytes::new()));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    };
    let client_id = request.headers().get(X_REQUEST_ID).filter(|id| id.len() <= 128).cloned();
    let head_only = request.method() == Method::HEAD;
    let Some(serving) = serving else {
        let refusal = Refusal::new(Answer::Overloaded, "load_shed", "Too many requests are being served.");
        shared.metrics.refused(refusal.reason, request.method(), refusal.status().as_u16());
        let answer = pipeline::dated(pipeline::answer(&refusal, &id, client_id.as_ref()), at);
        return Ok(if head_only { answer.map(ReplyBody::left_out) } else { answer });
    };
    let arrival = Arrival { peer: peer.ip, at, began, tls: peer.tls, certificate: peer.certificate };
    let work = AssertUnwindSafe(pipeline::serve(&worker, request, arrival, id.clone()));
    let response = work.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "a request panicked");
        let refusal = Refusal { close: true, ..Refusal::new(Answer::Internal, "panic", "Internal error.") };
        pipeline::answer(&refusal, &id, client_id.as_ref())
    });
    Ok(response.map(|body| if head_only { body.left_out() } else { body }.while_serving(serving)))
}
