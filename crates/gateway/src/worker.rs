//! What a request needs around it: what all workers share, and what each has for itself.

use std::sync::Arc;

use arc_swap::ArcSwap;
use claviger_claude_wire::price::PriceTable;
use claviger_domain::{
    clock::{Clock, Entropy},
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
    route::{Candidate, Candidates},
    simulate::Simulate,
};

/// What the gateway is built from.
#[derive(Clone)]
pub struct Deps {
    /// The use cases.
    pub services: Services,
    /// The way out.
    pub transport: Arc<Transport>,
    /// Who answers test keys.
    pub simulate: Arc<dyn Simulate>,
    /// What calls cost; swapped when the operator's prices change.
    pub prices: Arc<ArcSwap<PriceTable>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Owns the tasks that the gateway starts.
    pub tracker: TaskTracker,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is thought of each credential.
    pub health: Arc<HealthBoard>,
}

/// What all workers share.
pub struct Shared {
    /// What was set.
    pub config: GatewayConfig,
    /// The use cases.
    pub services: Services,
    /// The way out.
    pub transport: Arc<Transport>,
    /// Who answers test keys.
    pub simulate: Arc<dyn Simulate>,
    /// What calls cost.
    pub prices: Arc<ArcSwap<PriceTable>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Owns the tasks that the gateway starts.
    pub tracker: TaskTracker,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is thought of each credential.
    pub health: Arc<HealthBoard>,
    /// Memory for bodies.
    pub budget: BodyBudget,
}

impl Shared {
    /// Puts it together.
    #[must_use]
    pub fn new(config: GatewayConfig, deps: Deps) -> Self {
        let budget = BodyBudget::new(config.body.memory);
        Self {
            config,
            services: deps.services,
            transport: deps.transport,
            simulate: deps.simulate,
            prices: deps.prices,
            clock: deps.clock,
            entropy: deps.entropy,
            tracker: deps.tracker,
            metrics: deps.metrics,
            health: deps.health,
            budget,
        }
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
}

impl Worker {
    /// A worker with an empty pool.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let client = UpstreamClient::new(Arc::clone(&shared.transport), shared.tracker.clone());
        let chance = Chance::new(Arc::clone(&shared.entropy));
        Self { shared, client, chance, candidates: Candidates::default() }
    }

    /// One credential, made ready.
    #[must_use]
    pub fn candidate(&self, credential: Option<&CredentialId>) -> Option<Arc<Candidate>> {
        let credential = credential?;
        self.candidates.current(&self.shared).iter().find(|c| c.credential == *credential).cloned()
    }
}
