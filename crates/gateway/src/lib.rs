//! The data plane: one request, in a straight line. Read [`pipeline`] first, then the stages in its order.

mod admit;
mod authenticate;
mod authorize;
mod body;
mod chance;
pub mod config;
mod connection;
pub mod exactness;
mod forward;
mod headers;
pub mod listen;
pub mod metrics;
pub mod path;
mod pipeline;
mod probe;
mod receive;
mod refuse;
mod relay;
mod reply;
mod reserve;
mod route;
mod settle;
pub mod simulate;
mod stack;
pub mod tls;
pub mod worker;

use std::sync::Arc;

pub use config::GatewayConfig;
pub use listen::Shutdown;
use listen::{Acceptor, Crowd};
pub use metrics::Metrics;
pub use simulate::{Simulate, SimulatedBody};
pub use tls::{Tls, TlsError};
use tokio::net::TcpListener;
pub use worker::Deps;
use worker::{Shared, Worker};

/// Whether header names keep the case in which they were sent.
const PRESERVE_HEADER_CASE: bool = false;

/// The gateway. Cheap to clone: each worker thread has one.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    crowd: Arc<Crowd>,
    tls: Option<Tls>,
}

impl Gateway {
    /// A gateway that listens nowhere yet.
    #[must_use]
    pub fn new(config: GatewayConfig, deps: Deps, tls: Option<Tls>) -> Self {
        let crowd = Crowd::new(&config.connection);
        Self { shared: Arc::new(Shared::new(config, deps)), crowd, tls }
    }

    /// Serves one listener until the shutdown is over. To be run once per worker thread, each in a runtime of its
    /// own, with a listener of its own from [`listen::bind`].
    ///
    /// # Errors
    /// When the listener cannot be used in this runtime.
    pub async fn serve_worker(
        &self,
        listener: std::net::TcpListener,
        shutdown: Shutdown,
    ) -> std::io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let worker = Arc::new(Worker::new(Arc::clone(&self.shared)));
        Acceptor::new(worker, Arc::clone(&self.crowd), self.tls.clone()).run(listener, shutdown).await;
        Ok(())
    }
}
