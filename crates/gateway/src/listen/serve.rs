//! One connection from its first byte to its last.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{rt::Executor, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{guarded::Guarded, unreadable::Unreadable};
use crate::{
    connection::{ConnectionState, Watchdog},
    stack::{self, Peer},
    tls::Tls,
    worker::Worker,
};

/// Streams at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
/// An HTTP/2 connection is asked for a sign of life after so long a silence.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// How an HTTP/2 connection without TLS begins; no HTTP/1 request does.
const PREFACE: &[u8; 4] = b"PRI ";

pub(super) async fn connection(
    stream: TcpStream,
    ip: IpAddr,
    worker: Arc<Worker>,
    tls: Option<Tls>,
    state: Arc<ConnectionState>,
) {
    // Without it, small frames of a stream would wait for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let limit = worker.shared.config().connection.handshake;
    let peer = Peer { ip, tls: tls.is_some(), certificate: None };
    match tls {
        None => {
            let first = unless_draining(&state, speaks_http2(&stream));
            let Ok(Some(Ok(http2))) = timeout(worker.shared.config().connection.keep_alive, first).await
            else {
                return;
            };
            http(stream, http2, peer, worker, state).await;
        }
        Some(tls) => {
            let handshake = unless_draining(&state, tls.handshake(stream));
            let (stream, certificate) = match timeout(limit, handshake).await {
                Ok(Some(Ok(done))) => done,
                Ok(Some(Err(error))) => {
                    worker.shared.metrics.handshakes_failed.inc();
                    tracing::debug!(%error, "a TLS handshake failed");
                    return;
                }
                Ok(None) | Err(_) => return,
            };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(stream, http2, Peer { certificate, ..peer }, worker, state).await;
        }
    }
}

/// What comes before a connection's first request; `None` when no request is taken any more.
async fn unless_draining<T>(state: &ConnectionState, first: impl Future<Output = T>) -> Option<T> {
    let mut first = pin!(first);
    poll_fn(|cx| {
        state.runs_in(cx);
        if state.is_draining() { Poll::Ready(None) } else { first.as_mut().poll(cx).map(Some) }
    })
    .await
}

async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let seen = stream.peek(&mut first).await?;
    // `P` alone may still become `POST`; whoever sends a preface byte by byte is no client of ours.
    Ok(first.get(..seen).is_some_and(|s| s.len() > 2 && PREFACE.starts_with(s)))
}

async fn http<S>(stream: S, http2: bool, peer: Peer, worker: Arc<Worker>, state: Arc<ConnectionState>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = worker.shared.config().connection;
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&state), Unreadable::new(Arc::clone(&worker))));
    let watchdog = Watchdog::new(Arc::clone(&state), limits);
    let tracker = worker.shared.tracker.clone();
    let (served, known) = (Arc::clone(&worker), Arc::clone(&state));
    let service = service_fn(move |request| {
        stack::answer(Arc::clone(&served), Arc::clone(&known), peer.clone(), request)
    });
    if http2 {
        let head = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
        let connection = conn::http2::Builder::new(Tracked(tracker))
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(head)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(limits.head)
            .auto_date_header(false)
            .serve_connection(io, service);
        drive(connection, state, watchdog).await;
    } else {
        let connection = conn::http1::Builder::new()
            .header_read_timeout(None)
            // A little more than is allowed, so that what is too large is told so in the usual envelope.
            .max_header_size(limits.head_bytes.saturating_mul(2))
            .auto_date_header(false)
            .preserve_header_case(crate::PRESERVE_HEADER_CASE)
            .serve_connection(io, service);
        drive(connection, state, watchdog).await;
    }
}

/// A connection that can be asked to end.
trait Served: Future<Output = Result<(), hyper::Error>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, B> Served for conn::http1::Connection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

impl<I, S, B, E> Served for conn::http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

/// Runs a connection until it ends, is overdue, or must go.
async fn drive(connection: impl Served, state: Arc<ConnectionState>, mut watchdog: Watchdog) {
    let mut connection = pin!(connection);
    let mut asked = false;
    poll_fn(|cx: &mut Context<'_>| {
        state.runs_in(cx);
        if state.is_draining() && !asked {
            asked = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "client connection ended");
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        watchdog.poll(cx).map(|why| tracing::debug!(?why, "client connection closed"))
    })
    .await;
}

/// Runs an HTTP/2 connection's streams.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
