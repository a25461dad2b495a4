//! Dual control: requests that are frozen until a second person has decided, and then carried out once.

mod claim;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{ApprovalId, WorkspaceId},
    operator::approval::{ApprovalRecord, DecideError, Frozen, MAX_BODY},
    ports::{Change, Sealer, Store},
};

use crate::{
    Caller, ServiceError,
    lock::lock,
    operators::{Identity, IdentityKind, Operators},
};

pub use claim::{Claim, Outcome};

/// Requests that may wait at once.
const MOST_OPEN: usize = 1_000;

/// What approvals need.
pub(crate) struct ApprovalDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) operators: Operators,
}

/// Requests that wait for a second person.
#[derive(Clone)]
pub struct Approvals(Arc<Inner>);

struct Inner {
    deps: ApprovalDeps,
    /// What this process carries out now.
    running: Mutex<HashSet<ApprovalId>>,
}

impl Approvals {
    pub(crate) fn new(deps: ApprovalDeps) -> Self {
        Self(Arc::new(Inner { deps, running: Mutex::default() }))
    }

    /// Freezes a request. The same one by the same person that still waits is given back.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for whoever is no operator, [`ServiceError::Invalid`] when it is too large to be
    /// frozen, [`ServiceError::Conflict`] when too many wait.
    pub async fn freeze(
        &self,
        frozen: Frozen,
        workspace: Option<WorkspaceId>,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<ApprovalRecord, ServiceError> {
        let (Some(operator), Some(token)) = (&identity.operator, identity.token_id()) else {
            return Err(ServiceError::forbidden("only an operator can ask for a second person"));
        };
        if frozen.body.len() > MAX_BODY {
            return Err(ServiceError::invalid(
                "body",
                format!("a request that waits may have {MAX_BODY} bytes"),
            ));
        }
        let now = self.0.deps.clock.now();
        let open = self.0.deps.store.approvals(Some(now)).await?;
        let same = |a: &&ApprovalRecord| a.requester == operator.id && a.frozen == frozen;
        if let Some(waiting) = open.iter().find(same) {
            return Ok(waiting.clone());
        }
        if open.len() >= MOST_OPEN {
            return Err(ServiceError::conflict(
                "approval",
                "too many requests wait already: decide some first",
            ));
        }
        let id = ApprovalId::generate(self.0.deps.entropy.as_ref())?;
        let by = (operator.id.clone(), operator.name.to_string(), token.clone());
        let record = ApprovalRecord::freeze(id, frozen, by, workspace, now);
        let event = caller
            .event(now, "approval.request", record.id.as_str())
            .with("digest", record.frozen.digest().to_hex())
            .with("verb", record.frozen.verb.as_str());
        self.0.deps.store.apply(vec![Change::InsertApproval(Box::new(record.clone()))], event).await?;
        Ok(record)
    }

    /// Approvals that somebody asked for or could decide, newest first; with `open`, only those that wait.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, identity: &Identity, open: bool) -> Result<Vec<ApprovalRecord>, ServiceError> {
        let open_at = open.then(|| self.0.deps.clock.now());
        let all = self.0.deps.store.approvals(open_at).await?;
        Ok(all.into_iter().filter(|a| sees(identity, a)).collect())
    }

    /// One approval. One that they may not see looks like one that is not there.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &str, identity: &Identity) -> Result<ApprovalRecord, ServiceError> {
        let unknown = || ServiceError::not_found("approval", id);
        let parsed = ApprovalId::parse(id).map_err(|_| unknown())?;
        let found = self.0.deps.store.approval(&parsed).await?.filter(|a| sees(identity, a));
        found.ok_or_else(unknown)
    }

    /// Says yes to somebody else's request. Whoever gets the claim does what was asked for, and nobody else meanwhile: of
    /// two who approve at once, one is refused.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for the requester and for whoever could not do it themselves,
    /// [`ServiceError::Conflict`] when it was decided before.
    pub async fn approve(
        &self,
        id: &str,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<Claim, ServiceError> {
        let asked = self.show(id, identity).await?;
        let (IdentityKind::Person, Some(by)) = (identity.kind, identity.operator_id()) else {
            return Err(ServiceError::forbidden("a second person is a person: log in as another operator"));
        };
        if *by == asked.requester {
            return Err(ServiceError::forbidden(DecideError::Requester));
        }
        let verb = asked.frozen.verb;
        identity.may(verb, verb.effect()).map_err(ServiceError::forbidden)?;
        let requester = self.0.deps.operators.requester(&asked).await?;
        requester.may(verb, verb.effect()).map_err(ServiceError::forbidden)?;
        let decided = asked.approve(by, self.0.deps.clock.now()).map_err(refused)?;
        let busy = || ServiceError::conflict("approval", "somebody else decides it just now");
        // Taken before it stands in the store, so that nobody takes it up as left behind.
        let hold = self.hold(&decided.id).ok_or_else(busy)?;
        let approved = self.put(decided, None, "approval.approve", caller).await?;
        Ok(Claim { approval: approved, requester, hold })
    }

    /// Says no to a request, or takes one's own back.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it was decided before.
    pub async fn deny(
        &self,
        id: &str,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<ApprovalRecord, ServiceError> {
        let asked = self.show(id, identity).await?;
        let by = identity.operator_id();
        let by = by.ok_or_else(|| ServiceError::forbidden("only operators decide: log in"))?;
        let verb = asked.frozen.verb;
        if *by != asked.requester {
            identity.may(verb, verb.effect()).map_err(ServiceError::forbidden)?;
        }
        let decided = asked.deny(by, self.0.deps.clock.now()).map_err(refused)?;
        self.put(decided, None, "approval.deny", caller).await
    }

    /// Takes an approval for this process; `None`: it has it already.
    fn hold(&self, id: &ApprovalId) -> Option<Hold> {
        let is_free = lock(&self.0.running).insert(id.clone());
        is_free.then(|| Hold { approvals: self.clone(), id: id.clone() })
    }
}

/// An approval that this process carries out; when it is dropped, it may be taken up again.
struct Hold {
    approvals: Approvals,
    id: ApprovalId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.approvals.0.running).remove(&self.id);
    }
}

fn sees(identity: &Identity, approval: &ApprovalRecord) -> bool {
    if identity.kind == IdentityKind::Local || identity.operator_id() == Some(&approval.requester) {
        return true;
    }
    let verb = approval.frozen.verb;
    identity.sees(approval.workspace.as_ref()) && identity.may(verb, verb.effect()).is_ok()
}

fn refused(error: DecideError) -> ServiceError {
    match error {
        DecideError::Requester => ServiceError::forbidden(error),
        DecideError::Decided(_) | DecideError::Expired => ServiceError::conflict("approval", error),
    }
}
