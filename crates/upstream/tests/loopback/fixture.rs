//! Servers to talk to, and a client to talk with.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use claviger_upstream::{
    PoolLimits, Target, Transport, UpstreamBody, UpstreamClient, UpstreamConfig, UpstreamError,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Long enough for any step on loopback.
pub const SOON: Duration = Duration::from_secs(10);

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e: Infallible| match e {}).boxed_unsync()
}

pub fn empty() -> Body {
    Empty::new().map_err(|e: Infallible| match e {}).boxed_unsync()
}

/// A server on loopback that counts its connections.
pub struct Server {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    tasks: TaskTracker,
}

impl Server {
    /// Runs `session` on each connection.
    pub async fn raw<F, S>(session: S) -> Self
    where
        S: Fn(TcpStream, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let tasks = TaskTracker::new();
        let (count, inner) = (Arc::clone(&accepted), tasks.clone());
        tasks.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                inner.spawn(session(tcp, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, accepted, tasks }
    }

    /// Answers each request with `answer`.
    pub async fn http<F, A>(answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::raw(move |tcp, _| serve(tcp, answer.clone())).await
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn target(&self) -> Target {
        self.target_at("")
    }

    pub fn target_at(&self, prefix: &str) -> Target {
        Target::parse(&format!("http://{}{prefix}", self.address), false).expect("target")
    }

    /// Tasks still running: one to accept and one per open connection.
    pub fn open_sessions(&self) -> usize {
        self.tasks.len() - 1
    }

    /// Waits until the server too has seen all connections end.
    pub async fn all_sessions_ended(&self) {
        let ended = async {
            while self.open_sessions() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(SOON, ended).await.expect("sessions end");
    }
}

/// Serves HTTP/1 or, where the client begins so, HTTP/2 on one connection.
pub async fn serve<F, A, S>(io: S, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Response<Body>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A client that goes away is part of several tests.
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

pub fn ok(body: Body) -> Response<Body> {
    Response::new(body)
}

pub fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(code).expect("status");
    response
}

pub fn client() -> UpstreamClient<Body> {
    client_with(&UpstreamConfig::default())
}

pub fn limited(pool: PoolLimits) -> UpstreamClient<Body> {
    client_with(&UpstreamConfig { pool, ..UpstreamConfig::default() })
}

pub fn client_with(config: &UpstreamConfig) -> UpstreamClient<Body> {
    UpstreamClient::new(Transport::new(config).expect("transport"), TaskTracker::new())
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(empty()).expect("request")
}

pub fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(path).body(body).expect("request")
}

/// Sends and returns the answer's head with its body unread.
pub async fn open(
    client: &UpstreamClient<Body>,
    target: &Target,
    request: Request<Body>,
) -> Result<Response<UpstreamBody<Body>>, UpstreamError> {
    client.send(target, request, SOON).await.map_err(|failure| failure.error)
}

/// Sends and reads the answer to its end.
pub async fn call(client: &UpstreamClient<Body>, target: &Target, request: Request<Body>) -> Bytes {
    let response = open(client, target, request).await.expect("answer");
    read(response).await
}

pub async fn read(response: Response<UpstreamBody<Body>>) -> Bytes {
    response.into_body().collect().await.expect("body").to_bytes()
}
