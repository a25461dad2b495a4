//! The data plane: one request, in a straight line. Read [`pipeline`] first, then the stages in its order.

mod admit;
mod auth;
mod authenticate;
mod authorize;
mod body;
mod chance;
pub mod config;
mod connection;
pub mod exactness;
mod forward;
mod headers;
mod jobs;
pub mod listen;
pub mod metrics;
pub mod outlook;
mod own;
pub mod path;
mod pipeline;
mod probe;
mod prove;
mod pump;
mod recall;
mod receive;
mod refuse;
mod relay;
mod reply;
mod reserve;
mod route;
mod sender;
mod settle;
pub mod simulate;
mod stack;
pub mod tls;
pub mod tokens;
pub mod worker;

use std::{io, sync::Arc, time::Duration};

use claviger_claude_wire::price::PriceTable;
pub use config::{GatewayConfig, PaceLimits};
use listen::{Acceptor, Crowd};
pub use listen::{bind, bind_first};
use prometheus_client::{encoding::text::encode, registry::Registry};
pub use simulate::{Simulate, SimulatedBody};
use tls::{Tls, TlsIdentity};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
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
    registry: Arc<Registry>,
}

impl Gateway {
    /// A gateway that listens nowhere yet.
    #[must_use]
    pub fn new(config: GatewayConfig, deps: Deps) -> Self {
        let crowd = Crowd::new(&config.connection);
        let tls = deps.tls.clone().map(Tls::new);
        let shared = Arc::new(Shared::new(config, deps));
        let mut registry = Registry::default();
        shared.metrics.register(&mut registry, &shared.services);
        Self { shared, crowd, tls, registry: Arc::new(registry) }
    }

    /// Serves one listener until told to `stop` and all connections have ended; those that have not after `drain`
    /// are cut. To be run once per worker thread, each in a runtime of its own, with a listener of its own from
    /// [`bind`].
    ///
    /// # Errors
    /// When the listener cannot be used in this runtime.
    pub async fn serve_worker(
        &self,
        listener: std::net::TcpListener,
        stop: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let worker = Arc::new(Worker::new(Arc::clone(&self.shared)));
        Acceptor::new(worker, Arc::clone(&self.crowd), self.tls.clone()).run(listener, stop, drain).await;
        Ok(())
    }

    /// Does what is to be done besides serving requests, until told to `stop`: bills batches whose results nobody
    /// fetches, counts keys. To be run once in a process.
    pub async fn run_jobs(&self, stop: CancellationToken) {
        jobs::run(Arc::clone(&self.shared), stop).await;
    }

    /// Says where it listens, as `scheme://host:port`: who signs access tokens, unless `public_url` is set. To be said
    /// before the first request; only the first time counts.
    pub fn set_origin(&self, origin: String) {
        self.shared.set_origin(origin);
    }

    /// Takes over what can change while running, for requests and connections that come from now on. Caps on
    /// connections and memory, and whether there is TLS at all, stay as they were at the start.
    pub fn reload(&self, config: GatewayConfig, prices: Arc<PriceTable>, tls: Option<TlsIdentity>) {
        self.shared.reload(config, prices);
        if let (Some(tls), Some(identity)) = (&self.tls, tls) {
            tls.replace(identity);
        }
    }

    /// All metrics, in the OpenMetrics text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The metrics, to be set by whoever counts what the gateway does not see.
    #[must_use]
    pub fn metrics(&self) -> &metrics::Metrics {
        &self.shared.metrics
    }
}
