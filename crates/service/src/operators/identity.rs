//! Who asks: from a token to an operator and what they may do now.

use claviger_domain::{
    audit::Actor,
    clock::{MICROS_PER_SEC, Timestamp},
    id::{OperatorId, OperatorTokenId, WorkspaceId},
    mac::{KeyMac, PepperVersion},
    operator::{
        Role,
        access::{self, Denied, Holder, Needs, Request},
        approval::ApprovalRecord,
        record::OperatorRecord,
        token::{OperatorTokenRecord, TokenKind},
        verb::{Effect, Verb},
    },
    token::side::{SideToken, SideUse},
};

use super::{Operators, token_id};
use crate::ServiceError;

/// A token's use is noted at most so often.
const TOUCH_US: i64 = 60 * MICROS_PER_SEC;

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// By the socket alone, before the first operator.
    Local,
    /// By a session.
    Person,
    /// By a machine's token.
    Machine,
    /// By the sealed code.
    BreakGlass,
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Identity {
    /// By what.
    pub kind: IdentityKind,
    /// The operator; none for local owners and break-glass.
    pub operator: Option<OperatorRecord>,
    /// Their token; none for local owners.
    pub token: Option<OperatorTokenRecord>,
}

impl Identity {
    /// The owner of this machine's user, while nobody is enrolled.
    #[must_use]
    pub const fn local() -> Self {
        Self { kind: IdentityKind::Local, operator: None, token: None }
    }

    /// What they may do at most.
    #[must_use]
    pub fn role(&self) -> Role {
        self.token.as_ref().map_or(Role::Owner, |t| t.role)
    }

    /// The only workspace that they see.
    #[must_use]
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        let of_operator = self.operator.as_ref().and_then(|o| o.workspace.as_ref());
        of_operator.or_else(|| self.token.as_ref().and_then(|t| t.workspace.as_ref()))
    }

    /// The operator's id.
    #[must_use]
    pub fn operator_id(&self) -> Option<&OperatorId> {
        self.operator.as_ref().map(|o| &o.id)
    }

    /// The token's id.
    #[must_use]
    pub fn token_id(&self) -> Option<&OperatorTokenId> {
        self.token.as_ref().map(|t| &t.id)
    }

    /// Who acts, for the audit record; `None` for the local owner, whom the socket knows.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        let token = self.token.as_ref()?;
        Some(match (self.kind, &self.operator) {
            (IdentityKind::Person, Some(o)) => {
                Actor::Operator { id: o.id.to_string(), name: o.name.to_string() }
            }
            (IdentityKind::Machine, _) => {
                Actor::Operator { id: token.id.to_string(), name: token.name.clone() }
            }
            (IdentityKind::Local | IdentityKind::Person | IdentityKind::BreakGlass, _) => {
                Actor::Operator { id: token.id.to_string(), name: "break-glass".to_owned() }
            }
        })
    }

    /// What they act with: kind, role, workspace and verbs, for the audit record.
    #[must_use]
    pub fn scope(&self) -> String {
        let Some(token) = &self.token else { return String::new() };
        let mut words = vec![token.kind.as_str().to_owned(), self.role().as_str().to_owned()];
        words.extend(self.workspace().map(ToString::to_string));
        words.extend(token.verbs.iter().map(|v| v.as_str().to_owned()));
        words.join(" ")
    }

    /// Whether they may use a verb, and what that takes.
    ///
    /// # Errors
    /// [`Denied`] says why not.
    pub fn may(&self, verb: Verb, effect: Effect) -> Result<Needs, Denied> {
        let verbs = self.token.as_ref().map(|t| t.verbs.as_slice()).unwrap_or_default();
        let holder = match self.kind {
            IdentityKind::Local => Holder::Local,
            IdentityKind::Person => Holder::Person,
            IdentityKind::Machine => Holder::Machine(verbs),
            IdentityKind::BreakGlass => Holder::BreakGlass,
        };
        let minter = self.operator.as_ref().map_or(Role::Owner, |o| o.role);
        let roles = [self.role(), minter];
        access::judge(&Request { holder, roles, is_bound: self.workspace().is_some(), verb, effect })
    }

    /// Whether they see what belongs to a workspace, or to none.
    #[must_use]
    pub fn sees(&self, workspace: Option<&WorkspaceId>) -> bool {
        self.workspace().is_none_or(|own| workspace == Some(own))
    }
}

impl Operators {
    /// Who a token belongs to, and notes that it was used.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] for every token that does not work; [`ServiceError::Unavailable`].
    pub async fn authenticate(&self, text: &[u8]) -> Result<Identity, ServiceError> {
        let Ok(token) = SideToken::parse(self.0.deps.brand, SideUse::Operator, text) else {
            return Err(ServiceError::unauthenticated("this is not an operator's token: log in"));
        };
        let busy = |_| ServiceError::Unavailable("too many look-ups at once".to_owned());
        let turn = self.0.lookups.try_acquire().map_err(busy)?;
        let found = self.0.deps.store.operator_token(&token_id(&token)?).await?;
        drop(turn);
        let record = self.genuine(&token, found)?;
        let now = self.0.deps.clock.now();
        if !record.is_alive(now) {
            return Err(over());
        }
        let identity = self.identity(record).await?;
        self.touch(&identity, now).await?;
        Ok(identity)
    }

    fn genuine(
        &self,
        token: &SideToken,
        found: Option<OperatorTokenRecord>,
    ) -> Result<OperatorTokenRecord, ServiceError> {
        // The same work whether there is a record or not.
        let nothing = (KeyMac::from_bytes([0; 32]), PepperVersion(0));
        let (mac, version) = found.as_ref().map_or(nothing, |r| (r.mac, r.pepper_version));
        let is_genuine = self.peppers().verify_side(token, &mac, version);
        let known = found.filter(|r| is_genuine && r.kind != TokenKind::BreakGlassCode);
        known.ok_or_else(over)
    }

    async fn identity(&self, token: OperatorTokenRecord) -> Result<Identity, ServiceError> {
        let kind = match token.kind {
            TokenKind::Session => IdentityKind::Person,
            TokenKind::Machine => IdentityKind::Machine,
            TokenKind::BreakGlass => {
                return Ok(Identity { kind: IdentityKind::BreakGlass, operator: None, token: Some(token) });
            }
            TokenKind::BreakGlassCode => return Err(over()),
        };
        let Some(id) = &token.operator else { return Err(over()) };
        let operator =
            self.0.deps.store.operator(id).await?.filter(OperatorRecord::is_active).ok_or_else(over)?;
        let elsewhere =
            matches!((&operator.workspace, &token.workspace), (Some(a), b) if Some(a) != b.as_ref());
        if elsewhere {
            return Err(over());
        }
        Ok(Identity { kind, operator: Some(operator), token: Some(token) })
    }

    async fn touch(&self, identity: &Identity, now: Timestamp) -> Result<(), ServiceError> {
        if let Some(token) = &identity.token
            && now.micros_since(token.last_used_at) >= TOUCH_US
        {
            self.0.deps.store.touch_operator_token(&token.id, now).await?;
        }
        Ok(())
    }

    /// Whoever asked for what is now approved, as they are today.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] when they were removed, or their machine's token ended.
    pub async fn requester(&self, approval: &ApprovalRecord) -> Result<Identity, ServiceError> {
        let gone = || ServiceError::forbidden("whoever asked for it may not any more");
        let mut token = self.0.deps.store.operator_token(&approval.token).await?.ok_or_else(gone)?;
        let operator = self.0.deps.store.operator(&approval.requester).await?;
        let operator = operator.filter(OperatorRecord::is_active).ok_or_else(gone)?;
        match token.kind {
            // They may have logged out since; what they may do is what counts.
            TokenKind::Session => (token.role, token.workspace) = (operator.role, operator.workspace.clone()),
            TokenKind::Machine if token.is_alive(self.0.deps.clock.now()) => {}
            TokenKind::Machine | TokenKind::BreakGlass | TokenKind::BreakGlassCode => return Err(gone()),
        }
        self.identity(token).await.map_err(|_| gone())
    }
}

fn over() -> ServiceError {
    ServiceError::unauthenticated(
        "this session or token does not work (any more): log in with `claviger login`",
    )
}
