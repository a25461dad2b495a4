//! Enrolling, changing and removing operators.

use claviger_domain::{
    id::{OperatorId, WorkspaceId},
    operator::{
        Role,
        name::OperatorName,
        record::OperatorRecord,
        token::{OperatorTokenRecord, TokenKind},
    },
    ports::Change,
    secret::SecretBytes,
};

use super::{Identity, Operators, totp};
use crate::{Caller, ServiceError, digests};

/// An operator to be enrolled.
pub struct NewOperator {
    /// Their name, however spelled.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The only workspace that they see, by id or name.
    pub workspace: Option<String>,
    /// Their password.
    pub password: SecretBytes,
}

/// What to change of an operator: `None` leaves it.
#[derive(Default)]
pub struct OperatorPatch {
    /// What they may do.
    pub role: Option<Role>,
    /// The only workspace that they see, by id or name; `Some(None)`: all.
    pub workspace: Option<Option<String>>,
    /// A new password.
    pub password: Option<SecretBytes>,
    /// Whether their second factor is made anew.
    pub new_totp: bool,
}

/// What an operator changes of their own.
pub struct OwnEnrolment {
    /// The password that they have.
    pub password: SecretBytes,
    /// A code of the second factor that they have.
    pub code: String,
    /// The password that they want.
    pub new_password: Option<SecretBytes>,
    /// Whether their second factor is made anew.
    pub new_totp: bool,
}

/// An operator, with what is shown once.
pub struct Enrolled {
    /// The operator.
    pub operator: OperatorRecord,
    /// The secret of the second factor in Base32, when it is new.
    pub totp_secret: Option<String>,
    /// The same for QR codes.
    pub otpauth_url: Option<String>,
    /// What whoever enrolled the first operator should do next.
    pub next: Vec<String>,
}

impl Operators {
    /// Enrols an operator. From the first one on, which must be an owner, nobody administers without having logged in.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::Conflict`] when the name is taken.
    pub async fn add(&self, new: NewOperator, caller: &Caller) -> Result<Enrolled, ServiceError> {
        let deps = &self.0.deps;
        let name = OperatorName::canonical(&new.name).map_err(|e| ServiceError::invalid("name", e))?;
        let workspace = self.home(new.workspace.as_deref()).await?;
        let password = self.0.passwords.hash(new.password).await?;
        let _turn = self.0.turn.lock().await;
        let is_first = !deps.store.has_operators().await?;
        if is_first && (new.role != Role::Owner || workspace.is_some()) {
            let why =
                "the first operator must be an owner of all workspaces, else nobody could enrol a second one";
            return Err(ServiceError::invalid("role", why));
        }
        if deps.store.operator_by_name(&name).await?.is_some() {
            return Err(ServiceError::conflict("operator name", format!("`{name}` is or was somebody's")));
        }
        let id = OperatorId::generate(deps.entropy.as_ref())?;
        let secret = totp::generate(id.as_str(), &name, deps.sealer.as_ref(), deps.entropy.as_ref())?;
        let now = deps.clock.now();
        let operator = OperatorRecord {
            id,
            name,
            role: new.role,
            workspace,
            password,
            totp_sealed: secret.sealed,
            totp_step: 0,
            created_at: now,
            removed_at: None,
            version: 1,
        };
        let event = caller.event(now, "operator.add", operator.id.as_str());
        let event = digests::with(event, None, Some(&operator.canonical()));
        let event = event.with("name", operator.name.as_str()).with("role", operator.role.as_str());
        deps.store.apply(vec![Change::InsertOperator(Box::new(operator.clone()))], event).await?;
        if is_first {
            tracing::warn!(operator = %operator.name, "the first operator is enrolled: the socket alone opens nothing any more");
        }
        let next = if is_first { self.after_the_first(&operator).await? } else { Vec::new() };
        Ok(Enrolled { operator, totp_secret: Some(secret.base32), otpauth_url: Some(secret.url), next })
    }

    /// Whoever is alone cannot do what needs a second person: what helps is said before it is missed.
    async fn after_the_first(&self, first: &OperatorRecord) -> Result<Vec<String>, ServiceError> {
        let is_code = |t: &OperatorTokenRecord| t.kind == TokenKind::BreakGlassCode;
        let mut next = vec![
            format!("log in: `claviger login --name {}`", first.name),
            "enrol a second owner: `claviger operator add NAME --role owner`; until then whatever needs a second person \
             waits"
                .to_owned(),
        ];
        if !self.tokens().await?.iter().any(is_code) {
            next.push(
                "make the sealed code as soon as there is a second owner, who must agree: `claviger operator break-glass \
                 prepare`"
                    .to_owned(),
            );
        }
        Ok(next)
    }

    /// All operators that are not removed, by creation.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<OperatorRecord>, ServiceError> {
        let all = self.0.deps.store.operators().await?;
        Ok(all.into_iter().filter(OperatorRecord::is_active).collect())
    }

    /// One operator by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn operator(&self, id_or_name: &str) -> Result<OperatorRecord, ServiceError> {
        let name = OperatorName::canonical(id_or_name).ok();
        let all = self.list().await?;
        let wanted = |o: &OperatorRecord| o.id.as_str() == id_or_name || name.as_ref() == Some(&o.name);
        all.into_iter().find(wanted).ok_or_else(|| ServiceError::not_found("operator", id_or_name))
    }

    /// Changes an operator. Their sessions and tokens end.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Invalid`],
    /// [`ServiceError::Conflict`] when no owner would be left.
    pub async fn update(
        &self,
        id_or_name: &str,
        patch: OperatorPatch,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<Enrolled, ServiceError> {
        let _turn = self.0.turn.lock().await;
        let before = self.operator(id_or_name).await?;
        if expected_version.is_some_and(|version| version != before.version) {
            return Err(ServiceError::Stale { what: "operator", version: before.version });
        }
        let mut after = before.clone();
        after.role = patch.role.unwrap_or(before.role);
        if let Some(workspace) = &patch.workspace {
            after.workspace = self.home(workspace.as_deref()).await?;
        }
        if after.role != Role::Owner || after.workspace.is_some() {
            self.keep_an_owner(&before).await?;
        }
        self.write(before, after, (patch.password, patch.new_totp), ("operator.update", caller)).await
    }

    /// Changes one's own password or second factor. All of one's sessions and tokens end.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] when password or code are wrong.
    pub async fn update_own(
        &self,
        identity: &Identity,
        own: OwnEnrolment,
        caller: &Caller,
    ) -> Result<Enrolled, ServiceError> {
        let operator = identity.operator.as_ref();
        let operator =
            operator.ok_or_else(|| ServiceError::forbidden("only operators have a password: log in"))?;
        let now = self.0.deps.clock.now();
        let place = format!("second factor of {}", operator.id);
        self.check_lock(&place, now).await?;
        if !self.0.passwords.is_right(own.password, Some(operator.password.clone())).await? {
            self.failed(&place, "password", Some(operator), &caller.client_ip).await?;
            return Err(ServiceError::unauthenticated("the password is wrong"));
        }
        let event = caller.event(now, "session.step_up", operator.id.as_str()).with("verb", "session.enrol");
        self.spend(operator, &own.code, Vec::new(), event).await?;
        let _turn = self.0.turn.lock().await;
        let before = self.operator(operator.id.as_str()).await?;
        let after = before.clone();
        self.write(before, after, (own.new_password, own.new_totp), ("session.enrol", caller)).await
    }

    async fn write(
        &self,
        before: OperatorRecord,
        mut after: OperatorRecord,
        (password, new_totp): (Option<SecretBytes>, bool),
        (action, caller): (&str, &Caller),
    ) -> Result<Enrolled, ServiceError> {
        let deps = &self.0.deps;
        let (has_new_password, mut secret) = (password.is_some(), None);
        if let Some(password) = password {
            after.password = self.0.passwords.hash(password).await?;
        }
        if new_totp {
            let made =
                totp::generate(after.id.as_str(), &after.name, deps.sealer.as_ref(), deps.entropy.as_ref())?;
            after.totp_sealed.clone_from(&made.sealed);
            secret = Some(made);
        }
        let now = deps.clock.now();
        let event = caller.event(now, action, after.id.as_str());
        let event = digests::with(event, Some(&before.canonical()), Some(&after.canonical()));
        let event = event.with("new_password", has_new_password).with("new_totp", new_totp);
        let changes = vec![
            Change::UpdateOperator(Box::new(after.clone())),
            Change::EndOperatorTokens(after.id.clone(), now),
        ];
        deps.store.apply(changes, event).await?;
        after.version += 1;
        let (totp_secret, otpauth_url) = secret.map(|s| (s.base32, s.url)).unzip();
        Ok(Enrolled { operator: after, totp_secret, otpauth_url, next: Vec::new() })
    }

    /// Removes an operator: they and their machines' tokens administer nothing any more.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when no owner would be left.
    pub async fn remove(&self, id_or_name: &str, caller: &Caller) -> Result<OperatorRecord, ServiceError> {
        let _turn = self.0.turn.lock().await;
        let before = self.operator(id_or_name).await?;
        self.keep_an_owner(&before).await?;
        let now = self.0.deps.clock.now();
        let gone = OperatorRecord { removed_at: Some(now), ..before.clone() };
        let event = caller.event(now, "operator.remove", gone.id.as_str());
        let event = digests::with(event, Some(&before.canonical()), Some(&gone.canonical()));
        let changes = vec![
            Change::UpdateOperator(Box::new(gone.clone())),
            Change::EndOperatorTokens(gone.id.clone(), now),
        ];
        self.0.deps.store.apply(changes, event.with("name", gone.name.as_str())).await?;
        Ok(OperatorRecord { version: gone.version + 1, ..gone })
    }

    /// Somebody beside this operator must stay who can enrol others.
    async fn keep_an_owner(&self, leaving: &OperatorRecord) -> Result<(), ServiceError> {
        let rules = |o: &OperatorRecord| o.role == Role::Owner && o.workspace.is_none();
        if !rules(leaving) || self.list().await?.iter().any(|o| o.id != leaving.id && rules(o)) {
            return Ok(());
        }
        Err(ServiceError::conflict(
            "operator",
            format!("`{}` is the last owner: enrol another first", leaving.name),
        ))
    }

    async fn home(&self, workspace: Option<&str>) -> Result<Option<WorkspaceId>, ServiceError> {
        match workspace {
            Some(wanted) => Ok(Some(self.0.deps.tenants.workspace(wanted).await?.id)),
            None => Ok(None),
        }
    }
}
