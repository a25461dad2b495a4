//! What a request needs around it: what all workers share, and what each has for itself.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use claviger_claude_wire::price::PriceTable;
use claviger_domain::{
    clock::{Clock, Entropy},
    dpop::NonceMaker,
    id::CredentialId,
};
use claviger_service::Services;
use claviger_upstream::{HealthBoard, Transport, UpstreamClient};
use tokio_util::task::TaskTracker;

use crate::{
    body::{budget::BodyBudget, outgoing::Outgoing},
    chance::Chance,
    config::GatewayConfig,
    metrics::Metrics,
    pump::Pump,
    route::{Candidate, Candidates},
    simulate::Simulate,
    tls::TlsIdentity,
};

/// What the gateway is built from.
#[derive(Clone)]
pub struct Deps {
    /// The use cases.
    pub services: Services,
    /// The way out.
    pub transport: Arc<Transport>,
    /// Who answers test keys.
    pub simulator: Arc<dyn Simulate>,
    /// What calls cost.
    pub prices: Arc<PriceTable>,
    /// The listeners' certificate, and whose certificates callers may show; `None`: no TLS.
    pub tls: Option<TlsIdentity>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Owns the tasks that the gateway starts.
    pub tracker: TaskTracker,
}

/// What all workers share.
pub struct Shared {
    /// What was set.
    config: ArcSwap<GatewayConfig>,
    /// Where it listens, as callers would write it; set once that is known.
    origin: OnceLock<String>,
    /// The use cases.
    pub services: Services,
    /// The way out.
    pub transport: Arc<Transport>,
    /// Who answers test keys.
    pub simulator: Arc<dyn Simulate>,
    /// What calls cost.
    pub prices: ArcSwap<PriceTable>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Owns the tasks that the gateway starts.
    pub tracker: TaskTracker,
    /// What is counted.
    pub metrics: Metrics,
    /// What is thought of each credential.
    pub health: HealthBoard,
    /// Nonces for proofs of possession; `None`: there was no randomness to make them with.
    pub dpop: Option<NonceMaker>,
    /// Memory for bodies.
    pub budget: BodyBudget,
}

impl Shared {
    /// Puts it together.
    #[must_use]
    pub fn new(config: GatewayConfig, deps: Deps) -> Self {
        let budget = BodyBudget::new(config.body.memory);
        Self {
            config: ArcSwap::from_pointee(config),
            origin: OnceLock::new(),
            services: deps.services,
            transport: deps.transport,
            simulator: deps.simulator,
            prices: ArcSwap::new(deps.prices),
            dpop: NonceMaker::generate(deps.entropy.as_ref()).ok(),
            clock: deps.clock,
            entropy: deps.entropy,
            tracker: deps.tracker,
            metrics: Metrics::default(),
            health: HealthBoard::default(),
            budget,
        }
    }

    /// What is set now. Not to be held while waiting.
    pub fn config(&self) -> Guard<Arc<GatewayConfig>> {
        self.config.load()
    }

    /// Says where it listens; only the first time counts.
    pub fn set_origin(&self, origin: String) {
        // It listens in one place as long as it runs.
        let _ = self.origin.set(origin);
    }

    /// Who signs access tokens, and for whom: the origin that callers use.
    #[must_use]
    pub fn issuer(&self) -> String {
        match &self.config().public_url {
            Some(url) => url.clone(),
            None => self.origin.get().cloned().unwrap_or_else(|| "http://localhost".to_owned()),
        }
    }

    /// Takes new settings over, for requests that come from now on.
    pub fn reload(&self, config: GatewayConfig, prices: Arc<PriceTable>) {
        self.config.store(Arc::new(config));
        self.prices.store(prices);
    }
}

/// What one worker thread has for itself, so that requests of different threads never wait for one another.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its connections to upstreams.
    pub client: UpstreamClient<Outgoing>,
    /// Its randomness.
    pub chance: Chance,
    /// Its credentials, made ready.
    pub candidates: Candidates,
    /// Its list of requests to be woken.
    pub pump: Arc<Pump>,
}

impl Worker {
    /// A worker with an empty pool.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let client = UpstreamClient::new(Arc::clone(&shared.transport), shared.tracker.clone());
        let chance = Chance::new(Arc::clone(&shared.entropy));
        Self { shared, client, chance, candidates: Candidates::default(), pump: Arc::default() }
    }

    /// One credential, made ready.
    #[must_use]
    pub fn candidate(&self, credential: Option<&CredentialId>) -> Option<Arc<Candidate>> {
        let credential = credential?;
        self.candidates.current(&self.shared).iter().find(|c| c.credential == *credential).cloned()
    }
}
