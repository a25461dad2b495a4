//! Operators: who administers, how they prove it, and what their tokens may do.

mod break_glass;
mod enrol;
pub mod identity;
mod lockouts;
mod machines;
mod password;
mod proof;
mod session;
mod totp;

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{OperatorTokenId, WorkspaceId},
    mac::Peppers,
    operator::{record::OperatorRecord, token::OperatorTokenRecord, verb::Verb},
    ports::{Sealer, Store},
    token::{Brand, side::SideToken},
};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use crate::{ServiceError, grants::Grants, refusals::Refusals, tenants::Tenants};

pub use enrol::{Enrolled, NewOperator, OperatorPatch, OwnEnrolment};
pub use identity::{Identity, IdentityKind};
pub use machines::NewOperatorToken;
pub use proof::Code;
pub use session::{Login, Opened};

use self::{lockouts::Lockouts, password::Passwords};

/// Look-ups of operator tokens at once.
const LOOKUPS: usize = 64;

/// What operators need.
pub(crate) struct OperatorDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) tracker: TaskTracker,
    pub(crate) tenants: Tenants,
    pub(crate) grants: Grants,
    pub(crate) refusals: Refusals,
}

/// Operators, their sessions and tokens.
#[derive(Clone)]
pub struct Operators(Arc<Inner>);

struct Inner {
    deps: OperatorDeps,
    passwords: Passwords,
    lockouts: Lockouts,
    lookups: Semaphore,
    /// Changes of operators come one after the other, so that the last owner is not removed by two others at once.
    turn: Mutex<()>,
}

impl Operators {
    pub(crate) fn new(deps: OperatorDeps) -> Self {
        let passwords = Passwords::new(Arc::clone(&deps.entropy), deps.tracker.clone());
        let lookups = Semaphore::new(LOOKUPS);
        let lockouts = Lockouts::new(Arc::clone(&deps.store), deps.grants.clone());
        Self(Arc::new(Inner { deps, passwords, lockouts, lookups, turn: Mutex::new(()) }))
    }

    /// Whether anyone was ever enrolled: from then on nobody administers without having logged in.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn is_enrolled(&self) -> Result<bool, ServiceError> {
        Ok(self.0.deps.store.has_operators().await?)
    }

    /// Whether anybody else is enrolled who could agree to what somebody asks for.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn has_second_person(
        &self,
        asker: &Identity,
        verb: Verb,
        workspace: Option<&WorkspaceId>,
    ) -> Result<bool, ServiceError> {
        let could = |o: &OperatorRecord| {
            Some(&o.id) != asker.operator_id()
                && verb.is_open_to(o.role, o.workspace.is_some())
                && (o.workspace.is_none() || o.workspace.as_ref() == workspace)
        };
        Ok(self.list().await?.iter().any(could))
    }

    /// The workspace that a thing belongs to; `None`: unknown, or of no workspace.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn workspace_of(&self, id: &str) -> Result<Option<WorkspaceId>, ServiceError> {
        Ok(self.0.deps.store.workspace_of(id).await?)
    }

    /// Tokens that are not ended, and break-glass sessions, newest first.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn tokens(&self) -> Result<Vec<OperatorTokenRecord>, ServiceError> {
        let now = self.0.deps.clock.now();
        let all = self.0.deps.store.operator_tokens().await?;
        Ok(all.into_iter().filter(|t| t.is_alive(now) || t.awaits_review()).collect())
    }

    fn peppers(&self) -> Arc<Peppers> {
        self.0.deps.grants.peppers()
    }
}

/// The id under which a token's record is kept.
fn token_id(token: &SideToken) -> Result<OperatorTokenId, ServiceError> {
    let id = format!("{}{}", OperatorTokenId::PREFIX, token.public_id().as_str());
    OperatorTokenId::parse(&id).map_err(|e| ServiceError::invalid("token", e))
}

#[cfg(test)]
mod tests;
