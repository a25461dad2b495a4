//! The handles that gateway and control plane receive, and how they are started.

mod parts;

use std::{path::PathBuf, sync::Arc};

use claviger_domain::{
    access_token::key_life::KeyPlan,
    clock::{Clock, Entropy},
    direct_use::ProviderAccount,
    ports::{LedgerStore, Sealer, Store, notices::Courier, signing::NonceStore, workload::KeyFetcher},
    price::Prices,
    token::Brand,
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::{
    ServiceError,
    admission::Admission,
    approvals::Approvals,
    audit::Audit,
    budgets::Budgets,
    certificates::Certificates,
    channels::Channels,
    checkpoints::{CheckpointSink, Checkpoints},
    children::Children,
    credit::Credit,
    deliveries::Deliveries,
    direct_use::DirectUses,
    ending::Endings,
    feed::Feed,
    grants::Grants,
    health::Health,
    idempotency::Idempotency,
    jobs::{Jobs, Schedules},
    keys::Keys,
    nonces::Nonces,
    notices::Notices,
    operators::Operators,
    policies::Policies,
    recall::{CacheOrders, Recall},
    reconcile::Reconciler,
    recorder::{Aside, Recorder, Target, Writer},
    refusals::Refusals,
    reports::Reports,
    resources::Resources,
    reviews::Reviews,
    revocation::Revocations,
    rotation::Rotations,
    routes::Routes,
    scheduler::Scheduler,
    signing::Signing,
    tenants::Tenants,
    tokens::Tokens,
    upstreams::Upstreams,
    usage::Usage,
    workload::Workloads,
    wrapping::Wrappings,
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
    /// Signed requests of one key that are remembered at once. Default 200,000: 200 a second and more, all the time.
    pub nonces_per_key: u32,
    /// What the response cache may take, in bytes. Default 64 MB; 0: there is none.
    pub cache_bytes: u64,
    /// When durable jobs are due; `None`: never.
    pub schedules: Option<Schedules>,
    /// What access tokens are signed with, and for how long with one key. Default: Ed25519, 30 days.
    pub token_keys: KeyPlan,
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
            nonces_per_key: 200_000,
            cache_bytes: 64 << 20,
            schedules: Schedules::new("0 9 * * *", "0 9 * * 1", "UTC").ok(),
            token_keys: KeyPlan::default(),
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
    /// Carries notices out of the house.
    pub courier: Arc<dyn Courier>,
    /// Remembers nonces of signed requests.
    pub nonces: Arc<dyn NonceStore>,
    /// Asks providers' accounts.
    pub account: Arc<dyn ProviderAccount>,
    /// Fetches other issuers' keys.
    pub key_fetcher: Arc<dyn KeyFetcher>,
    /// What calls cost, for reports.
    pub prices: Arc<dyn Prices>,
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
    /// Ceilings on money.
    pub budgets: Budgets,
    /// Accounts that are paid into before calls are made.
    pub credit: Credit,
    /// Issuing and changing keys.
    pub keys: Keys,
    /// Requests with an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// Who administers.
    pub operators: Operators,
    /// Requests that wait for a second person.
    pub approvals: Approvals,
    /// What holders of keys do by themselves.
    pub children: Children,
    /// What programs buy by what their platforms say of them.
    pub workloads: Workloads,
    /// What people are told.
    pub notices: Notices,
    /// Where they are told.
    pub channels: Channels,
    /// Carries notices to their channels.
    pub deliveries: Deliveries,
    /// What is done again and again.
    pub scheduler: Scheduler,
    /// Ending keys, in order.
    pub revocations: Revocations,
    /// What proves that a key was ended.
    pub certificates: Certificates,
    /// What keys buy: access and refresh tokens.
    pub tokens: Tokens,
    /// Replacing keys by successors.
    pub rotations: Rotations,
    /// Keys that wait, wrapped, for whoever they are for.
    pub wrappings: Wrappings,
    /// What keys may do and do not use.
    pub reviews: Reviews,
    /// What workspaces demand of their keys.
    pub policies: Policies,
    /// Signing secrets of keys.
    pub signing: Signing,
    /// Nonces of signed requests.
    pub nonces: Nonces,
    /// The response cache.
    pub recall: Recall,
    /// Looking into it, and flushing it.
    pub cache: CacheOrders,
    /// Workspaces and owners.
    pub tenants: Tenants,
    /// Adding and removing upstreams and credentials.
    pub upstreams: Upstreams,
    /// Who uses the provider's keys past us.
    pub direct_uses: DirectUses,
    /// The provider's bill held against the ledger.
    pub reconciler: Reconciler,
    /// Reports.
    pub usage: Usage,
    /// Reports over single calls.
    pub reports: Reports,
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
    /// Makes what a first start makes, loads what is needed, drains what an earlier incarnation spooled, opens this
    /// one's data chain and settles the calls that died with others.
    ///
    /// # Errors
    /// [`ServiceError`] when a secret cannot be opened or the store does not answer. Nothing is left running, and the
    /// start may be repeated.
    pub async fn start(deps: Deps) -> Result<(Self, Background), ServiceError> {
        let Deps { store, ledger, sealer, clock, .. } = deps.clone();
        let secrets = parts::begun(&deps).await?;
        let aside = Aside::new(deps.settings.spool_dir.clone(), deps.settings.spool_max_bytes);
        let target = Target { ledger: Arc::clone(&ledger), aside: Arc::new(aside) };
        let (head, chain) = parts::open_chain(&deps, &target).await?;

        let health = Health::new();
        let checkpoint_due = Arc::new(Notify::new());
        let settings = &deps.settings;
        let recorder = Recorder::new(
            chain.clone(),
            settings.slots,
            health.disk_low(),
            Arc::clone(&checkpoint_due),
            Arc::clone(&target.aside),
        );
        let writer = parts::writer(&deps, &recorder, target, head);
        let grants = Grants::new(
            (Arc::clone(&store), Arc::clone(&sealer)),
            Arc::clone(&clock),
            secrets.peppers,
            settings.grants,
            settings.max_staleness_us,
        );
        let routes = Routes::new(Arc::clone(&store), Arc::clone(&sealer));
        let budgets = parts::budgets(&deps, &chain).await?;
        let certificates = parts::certificates(&deps, secrets.certificate_key);
        let parts = Parts { grants, routes, budgets, recorder, health: health.clone(), certificates };
        let services = Self::assemble(&deps, parts);
        let mut feed = Feed {
            store: Arc::clone(&store),
            sealer,
            clock: Arc::clone(&clock),
            grants: services.grants.clone(),
            routes: services.routes.clone(),
            tokens: services.tokens.clone(),
            budgets: services.budgets.clone(),
            health: health.clone(),
            seq: 0,
        };
        services.tokens.tend_keys(&[]).await?;
        feed.begin().await?;
        let disk = parts::disk(&deps, &health);
        disk.look();
        let nodes = parts::nodes(&deps, chain, &services);
        let checkpoints = Arc::new(Checkpoints {
            store,
            ledger,
            clock: Arc::clone(&clock),
            key: secrets.checkpoint_key,
            sink: deps.checkpoint_sink.clone(),
            health,
            due: checkpoint_due,
        });
        let jobs = Jobs {
            tracker: deps.tracker.clone(),
            clock,
            feed,
            nodes,
            checkpoints,
            refusals: services.refusals.clone(),
            nonces: services.nonces.clone(),
            recall: services.recall.clone(),
            signing: services.signing.clone(),
            certificates: services.certificates.clone(),
            scheduler: services.scheduler.clone(),
            deliveries: services.deliveries.clone(),
            budgets: services.budgets.clone(),
            credit: services.credit.clone(),
            notices: services.notices.clone(),
            disk,
            retention: parts::retention(&deps),
        };
        Ok((services, Background { writer, jobs }))
    }

    fn assemble(deps: &Deps, parts: Parts) -> Self {
        let Parts { grants, routes, budgets, recorder, health, certificates } = parts;
        let (store, clock) = (&deps.store, &deps.clock);
        health.watch(grants.clone(), recorder.clone(), routes.clone());
        let tenants =
            Tenants::new(Arc::clone(store), Arc::clone(clock), Arc::clone(&deps.entropy), grants.clone());
        let refusals = Refusals::new(Arc::clone(store));
        let policies = Policies::new(Arc::clone(store), Arc::clone(clock), tenants.clone(), grants.clone());
        let operators = parts::operators(deps, &tenants, &grants, &refusals);
        let notices = Notices::new(Arc::clone(store), Arc::clone(clock), Arc::clone(&deps.entropy));
        let wrappings = parts::wrappings(deps, &grants, &refusals, &notices);
        let signing = parts::signing(deps, &grants, &notices);
        let endings = Endings::new(Arc::clone(store), notices.clone(), grants.clone());
        let keys =
            parts::keys(deps, (&tenants, &policies, &wrappings, &signing, &grants), (&endings, &budgets));
        let rotations = parts::rotations(
            deps,
            (&policies, &grants, &wrappings, &signing, &notices),
            endings,
            &certificates,
        );
        let deliveries = parts::deliveries(deps);
        let reviews = parts::reviews(deps, &policies, &grants);
        let upstreams = parts::upstreams(deps, &tenants, &routes);
        let direct_uses = parts::direct_uses(deps, &upstreams, &routes);
        let reports = Reports::new(Arc::clone(&deps.ledger), Arc::clone(&deps.clock));
        let reconciler = Reconciler::new(direct_uses.clone(), reports.clone(), notices.clone());
        let recall = Recall::new(deps.settings.cache_bytes, Arc::clone(clock));
        let tokens = parts::tokens(deps, &grants, &refusals, &notices);
        Self {
            channels: parts::channels(deps, &tenants, &deliveries),
            deliveries,
            scheduler: parts::scheduler(
                deps,
                recorder.chain().clone(),
                (&keys, &reviews, &signing, &direct_uses, &reconciler, &tokens, &rotations),
                &policies,
                &notices,
            ),
            tokens,
            approvals: parts::approvals(deps, &operators),
            operators,
            admission: Admission::new(Arc::clone(clock)),
            children: parts::children(deps, &grants),
            workloads: parts::workloads(deps, &grants, &keys, &refusals),
            revocations: parts::revocations(deps, &keys, &grants, &certificates),
            certificates,
            rotations,
            wrappings,
            keys,
            reviews,
            signing,
            nonces: Nonces::new(Arc::clone(&deps.nonces), Arc::clone(clock), deps.settings.nonces_per_key),
            cache: CacheOrders::new(recall.clone(), Arc::clone(store), Arc::clone(clock), tenants.clone()),
            recall,
            policies,
            idempotency: Idempotency::new(Arc::clone(store), Arc::clone(&deps.sealer), Arc::clone(clock)),
            notices,
            reconciler,
            reports,
            direct_uses,
            upstreams,
            usage: Usage::new(Arc::clone(&deps.ledger)),
            audit: Audit::new(Arc::clone(store), Arc::clone(&deps.ledger)),
            refusals,
            resources: Resources::new(Arc::clone(&deps.ledger)),
            grants,
            recorder,
            routes,
            credit: parts::credit(deps, &budgets),
            budgets,
            tenants,
            health,
        }
    }
}

/// What is made first, because much else stands on it.
struct Parts {
    grants: Grants,
    routes: Routes,
    budgets: Budgets,
    recorder: Recorder,
    health: Health,
    certificates: Certificates,
}
