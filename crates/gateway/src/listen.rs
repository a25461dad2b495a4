//! Listeners: sockets, connections and their caps, TLS, and how all of it ends.

mod crowd;
mod guarded;
mod serve;
mod unreadable;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use crowd::Crowd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{connection::ConnectionState, tls::Tls, worker::Worker};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// What cut answers get to send their last event.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Opens a listening socket that several workers may open at once; the kernel spreads connections over them.
///
/// # Errors
/// Whatever the system says.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens the first of them: an address on which another process of this user listens with several sockets, too, would
/// open as well, and the two would share its connections.
///
/// # Errors
/// When somebody listens there already, or whatever else the system says.
pub fn bind_first(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let alone = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    alone.set_reuse_address(true)?;
    alone.bind(&address.into())?;
    drop(alone);
    bind(address)
}

/// Accepts and serves connections until told to stop.
pub(crate) struct Acceptor {
    worker: Arc<Worker>,
    crowd: Arc<Crowd>,
    tls: Option<Tls>,
    open: Arc<Open>,
    tracker: TaskTracker,
}

/// The connections of one worker, to be told when to end.
#[derive(Debug, Default)]
struct Open(Mutex<slots::Slots>);

mod slots {
    //! Connections by number.

    use std::{collections::HashMap, sync::Arc};

    use crate::connection::ConnectionState;

    #[derive(Debug, Default)]
    pub struct Slots {
        pub next: u64,
        pub all: HashMap<u64, Arc<ConnectionState>>,
    }
}

impl Open {
    fn enter(self: &Arc<Self>, state: &Arc<ConnectionState>) -> Entry {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = slots.next;
        slots.next += 1;
        slots.all.insert(number, Arc::clone(state));
        Entry { open: Arc::clone(self), number }
    }

    fn each(&self, tell: impl Fn(&ConnectionState)) {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.all.values().for_each(|state| tell(state));
    }
}

/// One connection's entry among the open ones.
struct Entry {
    open: Arc<Open>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}

impl Acceptor {
    pub(crate) fn new(worker: Arc<Worker>, crowd: Arc<Crowd>, tls: Option<Tls>) -> Self {
        Self { worker, crowd, tls, open: Arc::default(), tracker: TaskTracker::new() }
    }

    /// Runs until told to stop and all connections have ended, by themselves or, after `drain`, cut.
    pub(crate) async fn run(self, listener: TcpListener, stop: CancellationToken, drain: Duration) {
        let pump = Arc::clone(&self.worker.pump);
        tokio::select! {
            () = pump.run() => {}
            () = self.serve(listener, stop, drain) => {}
        }
    }

    async fn serve(self, listener: TcpListener, stop: CancellationToken, drain: Duration) {
        let mut sweep = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = sweep.tick() => self.worker.client.sweep(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer.ip()),
                    Err(error) if is_about_one_connection(&error) => {}
                    Err(error) => {
                        // Out of file descriptors, most likely: some must be freed first.
                        tracing::warn!(%error, "cannot accept connections");
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        self.end(drain).await;
    }

    fn welcome(&self, stream: TcpStream, peer: IpAddr) {
        let metrics = &self.worker.shared.metrics;
        let Some(place) = self.crowd.enter(peer) else {
            // Closed at once: whoever floods gets no more work out of us than that.
            metrics.connections_refused.inc();
            return;
        };
        let state = ConnectionState::new();
        let entry = self.open.enter(&state);
        let (worker, tls) = (Arc::clone(&self.worker), self.tls.clone());
        let gauge = metrics.connections.clone();
        gauge.inc();
        self.tracker.spawn(async move {
            serve::connection(stream, peer, worker, tls, state).await;
            gauge.dec();
            drop((entry, place));
        });
    }

    async fn end(self, drain_timeout: Duration) {
        self.tracker.close();
        self.open.each(ConnectionState::drain);
        if timeout(drain_timeout, self.tracker.wait()).await.is_ok() {
            return;
        }
        self.open.each(ConnectionState::cut);
        if timeout(LAST_WORDS, self.tracker.wait()).await.is_err() {
            tracing::warn!("connections were closed in the middle of their answers");
        }
    }
}

/// Errors that concern the connection that was to be accepted, and no other.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_owner_with_several_sockets() {
        let first = bind_first("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let second = bind(address).unwrap();
        assert_eq!(bind_first(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((first, second));
        bind_first(address).unwrap();
    }
}
