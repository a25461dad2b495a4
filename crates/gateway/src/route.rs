//! Stage 8, route: which credentials of which upstreams may carry the request, the best one first.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use claviger_claude_wire::{answers::Answer, headers::X_CLAUDE_CODE_SESSION_ID};
use claviger_domain::{
    clock::BootInstant,
    id::{CredentialId, UpstreamId, WorkspaceId},
    token::KeyClass,
};
use claviger_service::routes::RouteTable;
use claviger_upstream::{Availability, HealthBoard, HealthCell, ProviderKey, Target};
use smallvec::SmallVec;

use crate::{
    authorize::{Destination, Permit},
    refuse::Refusal,
    worker::{Shared, Worker},
};

/// One credential of one upstream, ready to be called.
#[derive(Debug)]
pub struct Candidate {
    /// The upstream.
    pub upstream: UpstreamId,
    /// The credential.
    pub credential: CredentialId,
    /// The only workspace that it serves.
    pub workspace: Option<WorkspaceId>,
    /// Where it leads.
    pub target: Target,
    /// What opens it.
    pub key: ProviderKey,
    /// What is thought of it.
    pub health: Arc<HealthCell>,
}

/// Where a request may go.
#[derive(Debug)]
pub enum Attempt {
    /// To the simulator.
    Simulator,
    /// To these, in this order.
    Upstream(SmallVec<[Arc<Candidate>; 4]>),
}

/// Why a request can go nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No credential serves the workspace.
    #[error("there is no upstream credential for this workspace: run `claviger credential add`")]
    NotConfigured,
    /// The credential that made what the request names is gone.
    #[error("the provider key that made what this request names is no longer in use")]
    CredentialGone,
}

/// Chooses.
///
/// # Errors
/// [`RouteError`].
pub fn route(worker: &Worker, permit: &Permit, now: BootInstant) -> Result<Attempt, RouteError> {
    let key = &permit.caller.live.grant.key;
    if key.class == KeyClass::Test {
        return Ok(Attempt::Simulator);
    }
    let all = worker.candidates.current(&worker.shared);
    let bound = |c: &Candidate| c.workspace.as_ref() == Some(&key.workspace);
    let fits = |c: &&Arc<Candidate>| match &permit.destination {
        Destination::Any => bound(c) || c.workspace.is_none(),
        Destination::Bound => bound(c),
        Destination::Credential(id) => c.credential == *id && (bound(c) || c.workspace.is_none()),
    };
    let mut fitting: SmallVec<[Arc<Candidate>; 4]> = all.iter().filter(fits).cloned().collect();
    match (fitting.len(), &permit.destination) {
        (0, Destination::Credential(_)) => return Err(RouteError::CredentialGone),
        (0, Destination::Any | Destination::Bound) => return Err(RouteError::NotConfigured),
        (1, _) => {}
        (_, _) => {
            let conversation = conversation(permit);
            fitting.sort_by_cached_key(|c| {
                (strain(c.health.availability(now)), !bound(c), spread(conversation, c))
            });
        }
    }
    Ok(Attempt::Upstream(fitting))
}

/// What must stay on one credential: prompt caches and thinking blocks do not move with the client.
fn conversation(permit: &Permit) -> u64 {
    let mut hasher = DefaultHasher::new();
    match permit.head.headers.get(X_CLAUDE_CODE_SESSION_ID) {
        Some(session) => session.as_bytes().hash(&mut hasher),
        None => permit.caller.live.grant.key.id.hash(&mut hasher),
    }
    hasher.finish()
}

/// Rendezvous hashing: one credential more or less moves only its own share of conversations.
fn spread(conversation: u64, candidate: &Candidate) -> u64 {
    let mut hasher = DefaultHasher::new();
    (conversation, &candidate.credential).hash(&mut hasher);
    hasher.finish()
}

/// How willingly a credential is used. One that is unwell is still better than none.
const fn strain(availability: Availability) -> u8 {
    match availability {
        Availability::Ready => 0,
        Availability::Trial => 1,
        Availability::Until { .. } => 2,
    }
}

/// One worker's candidates, made anew when the table of routes changes.
#[derive(Debug, Default)]
pub struct Candidates(Mutex<Option<Prepared>>);

/// What was made of which table.
#[derive(Debug)]
struct Prepared {
    table: Arc<RouteTable>,
    made: Arc<[Arc<Candidate>]>,
}

impl Candidates {
    /// As the table of routes is now.
    pub fn current(&self, shared: &Shared) -> Arc<[Arc<Candidate>]> {
        let table = shared.services.routes.snapshot();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = held.as_ref().filter(|p| Arc::ptr_eq(&p.table, &table)) {
            return Arc::clone(&prepared.made);
        }
        let made: Arc<[_]> = prepare(&table, &shared.health, shared.config().insecure_plaintext).into();
        *held = Some(Prepared { table, made: Arc::clone(&made) });
        made
    }
}

/// Everything about credentials that is worked out once.
fn prepare(table: &RouteTable, health: &HealthBoard, insecure_plaintext: bool) -> Vec<Arc<Candidate>> {
    let ready = table.credentials.iter().filter_map(|entry| {
        let target = match Target::parse(&entry.upstream.base_url, insecure_plaintext) {
            Ok(target) => target,
            Err(error) => {
                tracing::warn!(upstream = %entry.upstream.id, %error, "upstream cannot be used");
                return None;
            }
        };
        let Ok(key) = ProviderKey::new(entry.secret.clone()) else {
            tracing::warn!(credential = %entry.credential.id, "credential cannot stand in a header");
            return None;
        };
        Some(Arc::new(Candidate {
            upstream: entry.upstream.id.clone(),
            credential: entry.credential.id.clone(),
            workspace: entry.credential.workspace.clone(),
            target,
            key,
            health: health.cell(&entry.upstream.id, &entry.credential.id),
        }))
    });
    ready.collect()
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        let reason = match error {
            RouteError::NotConfigured => "no_credential",
            RouteError::CredentialGone => "credential_gone",
        };
        Self::new(Answer::NotConfigured, reason, error.to_string())
    }
}
