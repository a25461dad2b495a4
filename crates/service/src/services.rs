//! The handles that gateway and control plane receive, and how they are started.

use std::{path::PathBuf, sync::Arc};

use claviger_domain::{
    clock::{Clock, Entropy},
    id::NodeId,
    ports::{LedgerStore, Sealer, Store},
    token::Brand,
};
use tokio_util::task::TaskTracker;

use crate::{
    ServiceError, admission::Admission, audit::Audit, checkpoints::CheckpointSink, grants::Grants, health::Health,
    jobs::Jobs, keys::Keys, recorder::{Recorder, Writer}, refusals::Refusals, resources::Resources, routes::Routes,
    tenants::Tenants, upstreams::Upstreams, usage::Usage,
};

/// How many bytes are free where the data lives; `None`: cannot be told, which closes nothing.
pub type FreeDisk = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What may be set.
#[derive(Clone)]
pub struct Settings {
    /// How old the view of the feed may be before each request asks the store, in microseconds. Default 10 s.
    pub max_staleness_us: u64,
    /// How many keys are held verified in memory. Default 10,000.
    pub grants: usize,
    /// How many requests may be between admission and settlement. Default 4,096.
    pub slots: usize,
    /// Where group commits are kept while the store is away; `None`: nowhere.
    pub spool_dir: Option<PathBuf>,
    /// How much may be spooled, in bytes. Default 256 MB.
    pub spool_max_bytes: u64,
    /// Admission closes below this much free disk, in bytes. Default 256 MB.
    pub min_free_disk_bytes: u64,
    /// How long ledger rows are kept, in days. Default 90.
    pub retention_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_staleness_us: 10_000_000,
            grants: 10_000,
            slots: 4_096,
            spool_dir: None,
            spool_max_bytes: 256 << 20,
            min_free_disk_bytes: 256 << 20,
            retention_days: 90,
        }
    }
}

/// What the services are built from.
#[derive(Clone)]
pub struct Deps {
    /// Keys, workspaces, upstreams, the control chain.
    pub store: Arc<dyn Store>,
    /// The ledger and the data chains.
    pub ledger: Arc<dyn LedgerStore>,
    /// Encryption at rest.
    pub sealer: Arc<dyn Sealer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What keys begin with.
    pub brand: Brand,
    /// Owns the tasks that services start.
    pub tracker: TaskTracker,
    /// Free disk space.
    pub free_disk: FreeDisk,
    /// Where signed checkpoints go outside the database; `None`: nowhere.
    pub checkpoint_sink: Option<Arc<dyn CheckpointSink>>,
    /// What may be set.
    pub settings: Settings,
}

/// All use cases. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Verified keys: the hot path's question "who is this?".
    pub grants: Grants,
    /// Request limits and concurrency.
    pub admission: Admission,
    /// The ledger's group commit.
    pub recorder: Recorder,
    /// Upstreams and their unsealed credentials, ready to use.
    pub routes: Routes,
    /// Issuing and changing keys.
    pub keys: Keys,
    /// Workspaces and owners.
    pub tenants: Tenants,
    /// Adding and removing upstreams and credentials.
    pub upstreams: Upstreams,
    /// Reports.
    pub usage: Usage,
    /// The audit log.
    pub audit: Audit,
    /// Refusals, counted.
    pub refusals: Refusals,
    /// What workspaces made at the provider.
    pub resources: Resources,
    /// Which parts work.
    pub health: Health,
}

/// What must be kept running beside the services.
pub struct Background {
    /// The group-commit writer: run it on a thread and runtime of its own.
    pub writer: Writer,
    /// The background loops.
    pub jobs: Jobs,
}

impl Services {
    /// Loads what is needed, opens this incarnation's data chain, drains what an earlier one spooled and settles the
    /// calls that died with it.
    ///
    /// # Errors
    /// [`ServiceError`] when a secret cannot be opened or the store does not answer. Nothing is left running.
    pub async fn start(deps: Deps) -> Result<(Self, Background), ServiceError> {
        let chain = NodeId::generate(deps.entropy.as_ref())?;
        let _ = (deps, chain);
        Err(ServiceError::Unavailable("not started".to_owned()))
    }
}
