//! Dual control: requests that are frozen until a second person has decided.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{ApprovalId, WorkspaceId},
    operator::approval::{ApprovalRecord, DecideError, Frozen, MAX_BODY},
    ports::{Change, Store},
};

use crate::{
    Caller, ServiceError,
    operators::{Identity, IdentityKind, Operators},
};

/// Requests that may wait at once.
const MOST_OPEN: usize = 1_000;

/// Requests that wait for a second person.
#[derive(Clone)]
pub struct Approvals(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    operators: Operators,
}

impl Approvals {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        operators: Operators,
    ) -> Self {
        Self(Arc::new(Inner { store, clock, entropy, operators }))
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
        let now = self.0.clock.now();
        let open = self.0.store.approvals(Some(now)).await?;
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
        let id = ApprovalId::generate(self.0.entropy.as_ref())?;
        let by = (operator.id.clone(), operator.name.to_string(), token.clone());
        let record = ApprovalRecord::freeze(id, frozen, by, workspace, now);
        let event = caller
            .event(now, "approval.request", record.id.as_str())
            .with("digest", record.frozen.digest().to_hex())
            .with("verb", record.frozen.verb.as_str());
        self.0.store.apply(vec![Change::InsertApproval(Box::new(record.clone()))], event).await?;
        Ok(record)
    }

    /// Approvals that somebody asked for or could decide, newest first; with `open`, only those that wait.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, identity: &Identity, open: bool) -> Result<Vec<ApprovalRecord>, ServiceError> {
        let open_at = open.then(|| self.0.clock.now());
        let all = self.0.store.approvals(open_at).await?;
        Ok(all.into_iter().filter(|a| sees(identity, a)).collect())
    }

    /// One approval. One that they may not see looks like one that is not there.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &str, identity: &Identity) -> Result<ApprovalRecord, ServiceError> {
        let unknown = || ServiceError::not_found("approval", id);
        let parsed = ApprovalId::parse(id).map_err(|_| unknown())?;
        let found = self.0.store.approval(&parsed).await?.filter(|a| sees(identity, a));
        found.ok_or_else(unknown)
    }

    /// Says yes to somebody else's request. Whoever gets `Ok` does what was asked for, as the identity that is given
    /// back, and nobody else ever does: of two who approve at once, one is refused.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for the requester and for whoever could not do it themselves,
    /// [`ServiceError::Conflict`] when it was decided before.
    pub async fn approve(
        &self,
        id: &str,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<(ApprovalRecord, Identity), ServiceError> {
        let asked = self.show(id, identity).await?;
        let (IdentityKind::Person, Some(by)) = (identity.kind, identity.operator_id()) else {
            return Err(ServiceError::forbidden("a second person is a person: log in as another operator"));
        };
        if *by == asked.requester {
            return Err(ServiceError::forbidden(DecideError::Requester));
        }
        let verb = asked.frozen.verb;
        identity.may(verb, verb.effect()).map_err(ServiceError::forbidden)?;
        let requester = self.0.operators.requester(&asked).await?;
        requester.may(verb, verb.effect()).map_err(ServiceError::forbidden)?;
        let decided = asked.approve(by, self.0.clock.now()).map_err(refused)?;
        let approved = self.keep(decided, "approval.approve", caller).await?;
        Ok((approved, requester))
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
        let decided = asked.deny(by, self.0.clock.now()).map_err(refused)?;
        self.keep(decided, "approval.deny", caller).await
    }

    /// Notes how what was approved went.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn done(
        &self,
        approved: &ApprovalRecord,
        status: u16,
        caller: &Caller,
    ) -> Result<ApprovalRecord, ServiceError> {
        self.keep(approved.executed(status), "approval.execute", caller).await
    }

    async fn keep(
        &self,
        record: ApprovalRecord,
        action: &str,
        caller: &Caller,
    ) -> Result<ApprovalRecord, ServiceError> {
        let event = caller
            .event(self.0.clock.now(), action, record.id.as_str())
            .with("digest", record.frozen.digest().to_hex())
            .with("requester", record.requester.as_str())
            .with("verb", record.frozen.verb.as_str());
        let event = record.status.into_iter().fold(event, |event, status| event.with("status", status));
        self.0.store.apply(vec![Change::UpdateApproval(Box::new(record.clone()))], event).await?;
        Ok(ApprovalRecord { version: record.version + 1, ..record })
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
