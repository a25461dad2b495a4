//! Sending one request to an upstream and getting its answer's head.

use std::{sync::Arc, time::Duration};

use http::{
    Request, Response, StatusCode, Uri, Version,
    header::{HOST, PROXY_AUTHORIZATION},
    uri::PathAndQuery,
};
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::{
    body::{RequestBody, UpstreamBody},
    error::{ConnectPhase, UpstreamError},
    pool::{
        Found, Lease, Pool, Slot,
        http1::Http1,
        http2::{Http2, Http2Stream},
    },
    target::Target,
    transport::{Timeline, Transport},
};

/// Idle connections found dead in a row before a fresh one is opened.
const MAX_STALE: usize = 3;
/// HTTP/2 settings are sent and read within this.
const HTTP2_SETUP: Duration = Duration::from_secs(5);

/// One worker's way to the upstreams: a connection pool over the shared [`Transport`].
pub struct UpstreamClient<B: RequestBody> {
    transport: Arc<Transport>,
    pool: Arc<Pool<B>>,
    tasks: TaskTracker,
}

impl<B: RequestBody> Clone for UpstreamClient<B> {
    fn clone(&self) -> Self {
        Self {
            transport: Arc::clone(&self.transport),
            pool: Arc::clone(&self.pool),
            tasks: self.tasks.clone(),
        }
    }
}

/// Why there is no answer, and the request itself if none of it has left.
#[derive(Debug)]
pub struct SendFailure<B> {
    /// What happened.
    pub error: UpstreamError,
    /// The request, if the failure came before any of it was written.
    pub request: Option<Box<Request<B>>>,
}

/// A way to send one request.
enum Way<B: RequestBody> {
    Http1(Lease<B>),
    Http2(Http2Stream<B>, bool),
}

impl<B: RequestBody> Way<B> {
    const fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.connection.was_used(),
            Self::Http2(_, reused) => *reused,
        }
    }
}

impl<B: RequestBody> UpstreamClient<B> {
    /// A client with an empty pool. Only HTTP/2 connections need a task each; they are spawned on `tasks`.
    #[must_use]
    pub fn new(transport: Arc<Transport>, tasks: TaskTracker) -> Self {
        let pool = Pool::new(transport.pool);
        Self { transport, pool, tasks }
    }

    /// Sends the request: its path is put behind the target's prefix, `Host` is set, everything else goes out
    /// as given. An idle connection that turns out to be closed is replaced without a word, as long as nothing
    /// was written. `head_timeout` bounds the time from sending to the answer's head.
    ///
    /// # Errors
    /// [`SendFailure`] with an [`UpstreamError`]; redirects and a switch of protocols are errors too.
    pub async fn send(
        &self,
        target: &Target,
        request: Request<B>,
        head_timeout: Duration,
    ) -> Result<Response<UpstreamBody<B>>, SendFailure<B>> {
        let mut request = request;
        let path = match target.path(request.uri()) {
            Ok(path) => path,
            Err(error) => return Err(SendFailure::unsent(UpstreamError::Unsendable(error), request)),
        };
        let mut stale = 0;
        loop {
            let way = match self.way(target, stale >= MAX_STALE).await {
                Ok(way) => way,
                Err(error) => return Err(SendFailure::unsent(error, request)),
            };
            if let Err(error) = self.address(&mut request, target, &path, &way) {
                return Err(SendFailure::unsent(UpstreamError::Unsendable(error), request));
            }
            let reused = way.is_reused();
            let failed = match timeout(head_timeout, exchange(way, request)).await {
                Err(_) => return Err(SendFailure::sent(UpstreamError::HeadTimeout(head_timeout))),
                Ok(Ok(response)) => return accept(response),
                Ok(Err(failed)) => *failed,
            };
            let mut failed = failed;
            match failed.take_message() {
                Some(unsent) if reused && stale < MAX_STALE => {
                    request = unsent;
                    stale += 1;
                }
                Some(unsent) => {
                    let error = classify(failed.into_error(), reused, false);
                    return Err(SendFailure::unsent(error, unsent));
                }
                None => return Err(SendFailure::sent(classify(failed.into_error(), reused, true))),
            }
        }
    }

    /// Sends the request on a connection of its own, noting how long each part took.
    pub(crate) async fn send_noting(
        &self,
        target: &Target,
        request: Request<B>,
        head_timeout: Duration,
        timeline: &mut Timeline,
    ) -> Result<Response<UpstreamBody<B>>, UpstreamError> {
        let mut request = request;
        let slot = self.pool.place()?;
        let way = self.open(target, slot, timeline).await?;
        let path = target.path(request.uri()).map_err(UpstreamError::Unsendable)?;
        self.address(&mut request, target, &path, &way).map_err(UpstreamError::Unsendable)?;
        let sent = Instant::now();
        let answer = timeout(head_timeout, exchange(way, request)).await;
        timeline.first_byte = Some(sent.elapsed());
        match answer {
            Err(_) => Err(UpstreamError::HeadTimeout(head_timeout)),
            Ok(Ok(response)) => accept(response).map_err(|failure| failure.error),
            Ok(Err(failed)) => Err(classify(failed.into_error(), false, true)),
        }
    }

    /// Closes connections that died or lay idle too long. Requests do this in passing; a worker that may have
    /// none for long should call it every ten seconds or so.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Connections open, and idle among them.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.pool.count()
    }

    async fn way(&self, target: &Target, fresh: bool) -> Result<Way<B>, UpstreamError> {
        match self.pool.acquire(target.origin(), fresh).await? {
            Found::Idle(lease) => Ok(Way::Http1(lease)),
            Found::Shared(stream) => Ok(Way::Http2(stream, true)),
            Found::Room(slot) => self.open(target, slot, &mut Timeline::default()).await,
        }
    }

    async fn open(
        &self,
        target: &Target,
        slot: Slot<B>,
        timeline: &mut Timeline,
    ) -> Result<Way<B>, UpstreamError> {
        let origin = target.origin();
        let stream = self.transport.connect(origin, timeline).await?;
        if !stream.speaks_http2() {
            let connection = Http1::open(stream).await.map_err(UpstreamError::Handshake)?;
            return Ok(Way::Http1(Lease::new(connection, Arc::clone(origin), slot)));
        }
        let late = |_| UpstreamError::ConnectTimeout { phase: ConnectPhase::Http, after: HTTP2_SETUP };
        let setup = timeout(HTTP2_SETUP, Http2::open(stream, slot, &self.tasks)).await.map_err(late)?;
        let mut connection = setup.map_err(UpstreamError::Handshake)?;
        let gone = UpstreamError::ConnectTimeout { phase: ConnectPhase::Http, after: Duration::ZERO };
        let first = connection.stream(self.transport.pool.http2_streams).ok_or(gone)?;
        self.pool.share(origin, connection);
        Ok(Way::Http2(first, false))
    }

    /// Writes the request's address in the form that the way wants.
    fn address(
        &self,
        request: &mut Request<B>,
        target: &Target,
        path: &PathAndQuery,
        way: &Way<B>,
    ) -> Result<(), http::Error> {
        match way {
            Way::Http2(..) => {
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = target.absolute(path.clone())?;
                request.headers_mut().remove(HOST);
            }
            Way::Http1(_) => {
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(HOST, target.host_header().clone());
                *request.uri_mut() = match self.transport.absolute_form_proxy(target.origin()) {
                    None => Uri::from(path.clone()),
                    Some(proxy) => {
                        if let Some(authorization) = proxy.authorization() {
                            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
                        }
                        target.absolute(path.clone())?
                    }
                };
            }
        }
        Ok(())
    }
}

impl<B: RequestBody> std::fmt::Debug for UpstreamClient<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, idle) = self.connections();
        f.debug_struct("UpstreamClient").field("open", &open).field("idle", &idle).finish_non_exhaustive()
    }
}

impl<B> SendFailure<B> {
    fn unsent(error: UpstreamError, request: Request<B>) -> Self {
        Self { error, request: Some(Box::new(request)) }
    }

    const fn sent(error: UpstreamError) -> Self {
        Self { error, request: None }
    }
}

async fn exchange<B: RequestBody>(
    way: Way<B>,
    request: Request<B>,
) -> Result<Response<UpstreamBody<B>>, Box<TrySendError<Request<B>>>> {
    match way {
        Way::Http1(mut lease) => {
            let answer = lease.connection.send(request).await.map_err(Box::new)?;
            Ok(answer.map(|incoming| UpstreamBody::http1(incoming, lease)))
        }
        Way::Http2(Http2Stream { mut sender, place }, _) => {
            let answer = sender.try_send_request(request).await.map_err(Box::new)?;
            Ok(answer.map(|incoming| UpstreamBody::http2(incoming, place)))
        }
    }
}

fn accept<B: RequestBody>(
    response: Response<UpstreamBody<B>>,
) -> Result<Response<UpstreamBody<B>>, SendFailure<B>> {
    match response.status() {
        status @ (StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT) => Err(SendFailure::sent(UpstreamError::Redirected(status))),
        StatusCode::SWITCHING_PROTOCOLS => Err(SendFailure::sent(UpstreamError::SwitchedProtocols)),
        _ => Ok(response),
    }
}

fn classify(error: hyper::Error, reused: bool, sent: bool) -> UpstreamError {
    if error.is_user() {
        UpstreamError::RequestBody(error)
    } else if error.is_parse() {
        UpstreamError::Malformed(error)
    } else {
        UpstreamError::ClosedBeforeHead { reused, sent, source: error }
    }
}
