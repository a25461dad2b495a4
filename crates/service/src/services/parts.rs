//! How each part is made of what it needs.

use std::sync::Arc;

use claviger_domain::{
    audit::{Actor, AuditEvent},
    id::NodeId,
};

use crate::{
    ServiceError,
    approvals::{ApprovalDeps, Approvals},
    audit::CHAIN_OPEN,
    bootstrap::{Bootstrap, OwnSecrets},
    budgets::{BudgetDeps, Budgets},
    certificates::{CertificateDeps, Certificates},
    channels::{ChannelDeps, Channels},
    children::{ChildDeps, Children},
    credit::{Credit, CreditDeps},
    deliveries::{Deliveries, DeliveryDeps},
    direct_use::{DirectUseDeps, DirectUses},
    ending::Endings,
    grants::Grants,
    health::Health,
    jobs::{DiskWatch, DurableParts, Retention, durable},
    keys::{KeyDeps, Keys},
    nodes::{self, Nodes},
    notices::Notices,
    operators::{OperatorDeps, Operators},
    policies::Policies,
    reconcile::Reconciler,
    recorder::{
        Recorder, Target, Writer, WriterParts, close_dead_chains, drain_leftovers, settle_orphans,
        settle_salvaged,
    },
    refusals::Refusals,
    reviews::{ReviewDeps, Reviews},
    revocation::{RevocationDeps, Revocations},
    rotation::{RotationDeps, Rotations},
    routes::Routes,
    scheduler::Scheduler,
    signing::{Signing, SigningDeps},
    tenants::Tenants,
    tokens::{TokenDeps, Tokens},
    upstreams::{UpstreamDeps, Upstreams},
    workload::{WorkloadDeps, Workloads},
    wrapping::{WrappingDeps, Wrappings},
};

use claviger_domain::{certificate::CertificateKey, ports::KeyFilter};

use super::{Deps, Services};

/// Makes what a first start makes, and has nonces remembered from now on. Where that cannot be, signed requests are
/// refused until it can.
pub(super) async fn begun(deps: &Deps) -> Result<OwnSecrets, ServiceError> {
    let making = Bootstrap {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    };
    let secrets = making.run().await?;
    let one = KeyFilter { limit: 1, ..KeyFilter::default() };
    let is_first = deps.store.keys(&one).await?.is_empty();
    if let Err(error) = deps.nonces.begin(deps.clock.now(), is_first).await {
        tracing::warn!(%error, store = deps.nonces.name(), "nonces are not remembered yet");
    }
    Ok(secrets)
}

pub(super) fn writer(
    deps: &Deps,
    recorder: &Recorder,
    target: Target,
    head: claviger_domain::ports::ChainHead,
) -> Writer {
    Writer::new(WriterParts {
        shared: recorder.shared(),
        target,
        clock: Arc::clone(&deps.clock),
        spool_dir: deps.settings.spool_dir.clone(),
        spool_max_bytes: deps.settings.spool_max_bytes,
        head,
    })
}

pub(super) fn operators(deps: &Deps, tenants: &Tenants, grants: &Grants, refusals: &Refusals) -> Operators {
    Operators::new(OperatorDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        tracker: deps.tracker.clone(),
        tenants: tenants.clone(),
        grants: grants.clone(),
        refusals: refusals.clone(),
    })
}

pub(super) fn approvals(deps: &Deps, operators: &Operators) -> Approvals {
    Approvals::new(ApprovalDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        operators: operators.clone(),
    })
}

pub(super) fn rotations(
    deps: &Deps,
    (policies, grants, wrappings, signing, notices): (&Policies, &Grants, &Wrappings, &Signing, &Notices),
    endings: Endings,
    certificates: &Certificates,
) -> Rotations {
    Rotations::new(RotationDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        policies: policies.clone(),
        grants: grants.clone(),
        wrappings: wrappings.clone(),
        signing: signing.clone(),
        notices: notices.clone(),
        endings,
        certificates: certificates.clone(),
    })
}

pub(super) fn upstreams(deps: &Deps, tenants: &Tenants, routes: &Routes) -> Upstreams {
    Upstreams::new(UpstreamDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        tenants: tenants.clone(),
        routes: routes.clone(),
    })
}

pub(super) fn reviews(deps: &Deps, policies: &Policies, grants: &Grants) -> Reviews {
    Reviews::new(ReviewDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        policies: policies.clone(),
        grants: grants.clone(),
    })
}

pub(super) fn direct_uses(deps: &Deps, upstreams: &Upstreams, routes: &Routes) -> DirectUses {
    DirectUses::new(DirectUseDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        account: Arc::clone(&deps.account),
        routes: routes.clone(),
        upstreams: upstreams.clone(),
    })
}

pub(super) fn wrappings(deps: &Deps, grants: &Grants, refusals: &Refusals, notices: &Notices) -> Wrappings {
    Wrappings::new(WrappingDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        grants: grants.clone(),
        refusals: refusals.clone(),
        notices: notices.clone(),
    })
}

pub(super) fn signing(deps: &Deps, grants: &Grants, notices: &Notices) -> Signing {
    Signing::new(SigningDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        grants: grants.clone(),
        notices: notices.clone(),
    })
}

pub(super) fn tokens(deps: &Deps, grants: &Grants, refusals: &Refusals, notices: &Notices) -> Tokens {
    Tokens::new(TokenDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        grants: grants.clone(),
        refusals: refusals.clone(),
        notices: notices.clone(),
        plan: deps.settings.token_keys,
    })
}

pub(super) fn deliveries(deps: &Deps) -> Deliveries {
    Deliveries::new(DeliveryDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        courier: Arc::clone(&deps.courier),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    })
}

pub(super) fn channels(deps: &Deps, tenants: &Tenants, deliveries: &Deliveries) -> Channels {
    Channels::new(ChannelDeps {
        store: Arc::clone(&deps.store),
        sealer: Arc::clone(&deps.sealer),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        tenants: tenants.clone(),
        deliveries: deliveries.clone(),
    })
}

/// The durable jobs and whoever runs them on this node.
pub(super) fn scheduler(
    deps: &Deps,
    node: NodeId,
    (keys, reviews, signing, direct_uses, reconciler, tokens, rotations): (
        &Keys,
        &Reviews,
        &Signing,
        &DirectUses,
        &Reconciler,
        &Tokens,
        &Rotations,
    ),
    policies: &Policies,
    notices: &Notices,
) -> Scheduler {
    let parts = |schedules| DurableParts {
        schedules,
        store: Arc::clone(&deps.store),
        entropy: Arc::clone(&deps.entropy),
        policies: policies.clone(),
        keys: keys.clone(),
        notices: notices.clone(),
        reviews: reviews.clone(),
        signing: signing.clone(),
        direct_uses: direct_uses.clone(),
        reconciler: reconciler.clone(),
        prices: Arc::clone(&deps.prices),
        tokens: tokens.clone(),
        rotations: rotations.clone(),
    };
    let jobs = deps.settings.schedules.clone().map(|schedules| durable(parts(schedules))).unwrap_or_default();
    Scheduler::new(Arc::clone(&deps.store), Arc::clone(&deps.clock), deps.entropy.as_ref(), node, jobs)
}

pub(super) fn retention(deps: &Deps) -> Retention {
    Retention {
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        prices: Arc::clone(&deps.prices),
        days: deps.settings.retention_days,
    }
}

/// Drains, opens, settles, closes: in this order, each step may be the last before a crash.
pub(super) async fn open_chain(
    deps: &Deps,
    target: &Target,
) -> Result<(claviger_domain::ports::ChainHead, NodeId), ServiceError> {
    let (ledger, clock) = (&deps.ledger, deps.clock.as_ref());
    let salvaged = match &deps.settings.spool_dir {
        Some(dir) => drain_leftovers(target, dir).await?,
        None => Vec::new(),
    };
    let chain = NodeId::generate(deps.entropy.as_ref())?;
    let shared = deps.store.shared();
    if let Some(shared) = shared {
        nodes::begin(shared, &chain, deps.settings.spool_dir.as_deref()).await?;
    }
    let event = AuditEvent::new(clock.now(), Actor::System, CHAIN_OPEN, chain.as_str());
    ledger.open_chain(&chain, event).await?;
    if let Some(shared) = shared {
        for dead in shared.lapsed(&chain).await? {
            shared.take_over(&chain, &dead, nodes::close_dead(clock, &dead)).await?;
        }
    }
    let head = settle_orphans(target, clock, &chain).await?;
    let head = settle_salvaged((target, deps.store.as_ref()), clock, (&chain, head), salvaged).await?;
    match shared {
        // What was taken over is in the totals, and out of the blocks, before anything is spent.
        Some(shared) => shared.fold(&chain, clock.now()).await?,
        None => close_dead_chains(ledger, clock, &chain).await?,
    }
    Ok((head, chain))
}

pub(super) fn keys(
    deps: &Deps,
    (tenants, policies, wrappings, signing, grants): (&Tenants, &Policies, &Wrappings, &Signing, &Grants),
    (endings, budgets): (&Endings, &Budgets),
) -> Keys {
    Keys::new(KeyDeps {
        store: Arc::clone(&deps.store),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        tenants: tenants.clone(),
        policies: policies.clone(),
        endings: endings.clone(),
        wrappings: wrappings.clone(),
        signing: signing.clone(),
        grants: grants.clone(),
        budgets: budgets.clone(),
    })
}

pub(super) fn children(deps: &Deps, grants: &Grants) -> Children {
    Children::new(ChildDeps {
        store: Arc::clone(&deps.store),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        grants: grants.clone(),
    })
}

pub(super) fn workloads(deps: &Deps, grants: &Grants, keys: &Keys, refusals: &Refusals) -> Workloads {
    Workloads::new(WorkloadDeps {
        store: Arc::clone(&deps.store),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        brand: deps.brand,
        grants: grants.clone(),
        keys: keys.clone(),
        refusals: refusals.clone(),
        fetcher: Arc::clone(&deps.key_fetcher),
        tracker: deps.tracker.clone(),
    })
}

pub(super) fn revocations(
    deps: &Deps,
    keys: &Keys,
    grants: &Grants,
    certificates: &Certificates,
) -> Revocations {
    Revocations::new(RevocationDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        keys: keys.clone(),
        grants: grants.clone(),
        certificates: certificates.clone(),
    })
}

pub(super) fn certificates(deps: &Deps, key: CertificateKey) -> Certificates {
    Certificates::new(CertificateDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        key,
    })
}

pub(super) async fn budgets(deps: &Deps, node: &NodeId) -> Result<Budgets, ServiceError> {
    let deps = BudgetDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    };
    Budgets::start(deps, node).await
}

pub(super) fn nodes(deps: &Deps, node: NodeId, services: &Services) -> Nodes {
    Nodes {
        store: Arc::clone(&deps.store),
        clock: Arc::clone(&deps.clock),
        node,
        budgets: services.budgets.clone(),
        recorder: services.recorder.clone(),
        health: services.health.clone(),
    }
}

pub(super) fn credit(deps: &Deps, budgets: &Budgets) -> Credit {
    Credit::new(CreditDeps {
        store: Arc::clone(&deps.store),
        ledger: Arc::clone(&deps.ledger),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        budgets: budgets.clone(),
    })
}

pub(super) fn disk(deps: &Deps, health: &Health) -> DiskWatch {
    DiskWatch {
        free_disk: Arc::clone(&deps.free_disk),
        min_free_bytes: deps.settings.min_free_disk_bytes,
        health: health.clone(),
    }
}
