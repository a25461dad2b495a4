//! Logging in and out.

use claviger_domain::{
    clock::{MICROS_PER_SEC, Timestamp},
    operator::{
        name::OperatorName,
        record::OperatorRecord,
        token::{OperatorTokenRecord, SESSION_SECS, TokenKind},
    },
    ports::Change,
    secret::SecretBytes,
    token::side::{SideToken, SideUse},
};

use super::{Identity, Operators, token_id};
use crate::{Caller, ServiceError};

/// What somebody who logs in brings.
pub struct Login {
    /// Their name, however spelled.
    pub name: String,
    /// Their password.
    pub password: SecretBytes,
    /// The code of their second factor.
    pub code: String,
}

/// A session that was opened. The token is shown here and never again.
pub struct Opened {
    /// The token.
    pub token: SideToken,
    /// Its record.
    pub record: OperatorTokenRecord,
    /// Who logged in; none by break-glass.
    pub operator: Option<OperatorRecord>,
}

const FAILED: &str = "name, password or code is wrong, or the code was used before: wait for the next one";

impl Operators {
    /// Opens a session. What was wrong is not said; unknown names take as long as known ones.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`], [`ServiceError::LockedOut`], [`ServiceError::Unavailable`].
    pub async fn login(&self, login: Login, caller: &Caller) -> Result<Opened, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let name = OperatorName::canonical(&login.name).ok();
        // What is no name at all shares one place.
        let place = format!("login of {}", name.as_ref().map_or("", OperatorName::as_str));
        self.check_lock(&place, now).await?;
        let found = match &name {
            Some(name) => deps.store.operator_by_name(name).await?.filter(OperatorRecord::is_active),
            None => None,
        };
        let hash = found.as_ref().map(|o| o.password.clone());
        let is_right = self.0.passwords.is_right(login.password, hash).await?;
        // Others may have failed meanwhile: as many as could wait for their turn at once.
        self.check_lock(&place, now).await?;
        let Some(operator) = found.clone().filter(|_| is_right) else {
            self.failed(&place, "login", found.as_ref(), &caller.client_ip).await?;
            return Err(ServiceError::unauthenticated(FAILED));
        };
        let (token, record) = self.new_token(TokenKind::Session, &operator, now)?;
        let mut caller = caller.clone();
        caller.actor = claviger_domain::audit::Actor::Operator {
            id: operator.id.to_string(),
            name: operator.name.to_string(),
        };
        let event =
            caller.event(now, "session.login", operator.id.as_str()).with("token", record.id.as_str());
        let change = Change::InsertOperatorToken(Box::new(record.clone()));
        match self.spend(&operator, &login.code, vec![change], event).await {
            Ok(()) => {
                self.0.lockouts.passed(&place).await?;
                Ok(Opened { token, record, operator: Some(operator) })
            }
            Err(ServiceError::SecondFactor { .. }) => {
                self.failed(&place, "login", found.as_ref(), &caller.client_ip).await?;
                Err(ServiceError::unauthenticated(FAILED))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the session or token that asks.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for the local owner, who has none.
    pub async fn logout(&self, identity: &Identity, caller: &Caller) -> Result<(), ServiceError> {
        let none = || ServiceError::forbidden("nobody is logged in here: the socket itself is the way in");
        let token = identity.token.as_ref().ok_or_else(none)?;
        self.end(token, "session.logout", caller).await.map(drop)
    }

    pub(super) async fn end(
        &self,
        token: &OperatorTokenRecord,
        action: &str,
        caller: &Caller,
    ) -> Result<OperatorTokenRecord, ServiceError> {
        let now = self.0.deps.clock.now();
        if token.ended_at.is_some() {
            return Ok(token.clone());
        }
        let ended = OperatorTokenRecord { ended_at: Some(now), ..token.clone() };
        let event = caller.event(now, action, token.id.as_str());
        let event = crate::digests::with(event, Some(&token.canonical()), Some(&ended.canonical()));
        self.0.deps.store.apply(vec![Change::UpdateOperatorToken(Box::new(ended.clone()))], event).await?;
        Ok(OperatorTokenRecord { version: ended.version + 1, ..ended })
    }

    pub(super) fn new_token(
        &self,
        kind: TokenKind,
        operator: &OperatorRecord,
        now: Timestamp,
    ) -> Result<(SideToken, OperatorTokenRecord), ServiceError> {
        let (token, mut record) = self.blank_token(kind, now)?;
        record.operator = Some(operator.id.clone());
        record.role = operator.role;
        record.workspace.clone_from(&operator.workspace);
        record.expires_at = now.plus_micros(SESSION_SECS * MICROS_PER_SEC);
        Ok((token, record))
    }

    /// A token of nobody with an owner's rights, which is over already.
    pub(super) fn blank_token(
        &self,
        kind: TokenKind,
        now: Timestamp,
    ) -> Result<(SideToken, OperatorTokenRecord), ServiceError> {
        let deps = &self.0.deps;
        let token = SideToken::generate(deps.brand, SideUse::Operator, deps.entropy.as_ref())?;
        let peppers = self.peppers();
        let record = OperatorTokenRecord {
            id: token_id(&token)?,
            kind,
            operator: None,
            name: String::new(),
            role: claviger_domain::operator::Role::Owner,
            workspace: None,
            verbs: Vec::new(),
            mac: peppers.current().side_mac(&token),
            pepper_version: peppers.current().version(),
            hint: token.hint(),
            created_at: now,
            expires_at: now,
            last_used_at: now,
            ended_at: None,
            review: None,
            version: 1,
        };
        Ok((token, record))
    }
}
