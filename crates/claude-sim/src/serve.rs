//! Serving connections: HTTP/1.1 and HTTP/2 (prior knowledge) on one listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::body::{Aborted, SimBody};
use crate::call::Hangup;
use crate::simulator::Simulator;

/// Pending connections that the kernel keeps.
const BACKLOG: i32 = 4096;

/// Binds `address` so that several threads may bind it too (`SO_REUSEPORT`).
///
/// # Errors
/// Whatever the system says about binding.
pub fn bind_shared(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Simulator {
    /// Serves `listener` until `stop` resolves; then every open connection is dropped.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => { connections.spawn(connection(self.clone(), stream)); }
                    // Out of descriptors, or the peer is gone already: let others go on first.
                    Err(_) => tokio::task::yield_now().await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// For whoever drives connections himself. The error is a hang-up on demand.
impl<B> Service<Request<B>> for Simulator
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<SimBody>;
    type Error = Aborted;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Aborted>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let simulator = self.clone();
        Box::pin(async move {
            let response = simulator.handle(request).await;
            if response.extensions().get::<Hangup>().is_some() { Err(Aborted) } else { Ok(response) }
        })
    }
}

async fn connection(simulator: Simulator, stream: TcpStream) {
    // Small events must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    // An error here is a client that went away or was cut off on purpose; the log has it.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), simulator).await;
}
