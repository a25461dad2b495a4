//! TLS on the control listener. Handshakes go on side by side, so that one that hangs holds up nobody.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::serve::Listener;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Handshakes that may be under way at once; more wait in the system's queue.
const HANDSHAKES: usize = 128;
/// The longest that one may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause when the system has no room for another connection.
const BREATH: Duration = Duration::from_millis(100);

type Handshake = Pin<Box<dyn Future<Output = Option<(TlsStream<TcpStream>, SocketAddr)>> + Send>>;

/// A TCP listener whose connections speak TLS.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: FuturesUnordered<Handshake>,
}

impl TlsListener {
    /// With this configuration.
    #[must_use]
    pub fn new(tcp: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { tcp, acceptor: TlsAcceptor::from(config), handshakes: FuturesUnordered::new() }
    }

    fn greet(&self, stream: TcpStream, peer: SocketAddr) {
        let handshake = self.acceptor.accept(stream);
        self.handshakes.push(Box::pin(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => Some((stream, peer)),
                // A client that does not speak TLS, or does not trust us: its own log says so.
                Ok(Err(_)) | Err(_) => None,
            }
        }));
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES;
            tokio::select! {
                Some(done) = self.handshakes.next() => {
                    if let Some(greeted) = done {
                        return greeted;
                    }
                }
                accepted = self.tcp.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.greet(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "the control listener could not take a connection");
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
