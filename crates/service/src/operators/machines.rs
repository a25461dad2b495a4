//! Machines' tokens: minted by people, narrower than they are, never able to mint.

use claviger_domain::{
    clock::MICROS_PER_SEC,
    id::OperatorTokenId,
    operator::{
        Role,
        token::{LONGEST_SECS, OperatorTokenRecord, TokenKind, is_for_people},
        verb::Verb,
    },
    ports::Change,
    token::side::SideToken,
};

use super::{Identity, IdentityKind, Operators};
use crate::{Caller, ServiceError, naming::check_name};

/// A machine's token to be minted.
#[derive(Debug, Clone)]
pub struct NewOperatorToken {
    /// What the machine is called.
    pub name: String,
    /// What it may do, at most what its minter may.
    pub role: Role,
    /// The only workspace that it sees, by id or name.
    pub workspace: Option<String>,
    /// The only verbs that it may use. Empty: all of its role that read or change. Verbs that grant, export or destroy
    /// must stand here.
    pub verbs: Vec<String>,
    /// How long it lasts, in seconds.
    pub ttl_secs: u64,
}

impl Operators {
    /// Mints a machine's token. It is returned here and never again.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::Forbidden`] for whoever is not a person.
    pub async fn create_token(
        &self,
        new: NewOperatorToken,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<(SideToken, OperatorTokenRecord), ServiceError> {
        let (IdentityKind::Person, Some(minter)) = (identity.kind, &identity.operator) else {
            return Err(ServiceError::forbidden(
                "machines' tokens are minted by people: log in as an operator",
            ));
        };
        check_name("name", &new.name)?;
        if minter.role != Role::Owner && minter.role != new.role {
            return Err(ServiceError::invalid("role", "a token has at most the role of whoever mints it"));
        }
        let most = LONGEST_SECS.unsigned_abs();
        if !(60..=most).contains(&new.ttl_secs) {
            return Err(ServiceError::invalid("expires_in", "expected 1 minute to 366 days"));
        }
        let mut workspace = minter.workspace.clone();
        if let Some(wanted) = &new.workspace {
            let found = self.0.deps.tenants.workspace(wanted).await?.id;
            if !identity.sees(Some(&found)) {
                return Err(ServiceError::not_found("workspace", wanted));
            }
            workspace = Some(found);
        }
        let verbs = verbs(&new, workspace.is_some())?;
        let now = self.0.deps.clock.now();
        let (token, mut record) = self.new_token(TokenKind::Machine, minter, now)?;
        record.name = new.name;
        record.role = new.role;
        record.workspace = workspace;
        record.verbs = verbs;
        let ttl_us = i64::try_from(new.ttl_secs).unwrap_or(LONGEST_SECS).saturating_mul(MICROS_PER_SEC);
        record.expires_at = now.plus_micros(ttl_us);
        let event = caller.event(now, "operator.token.create", record.id.as_str());
        let event = crate::digests::with(event, None, Some(&record.canonical()));
        let event = event.with("name", &*record.name).with("role", record.role.as_str());
        self.0.deps.store.apply(vec![Change::InsertOperatorToken(Box::new(record.clone()))], event).await?;
        Ok((token, record))
    }

    /// Ends a token: a machine's, somebody's session, or the sealed code. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn revoke_token(&self, id: &str, caller: &Caller) -> Result<OperatorTokenRecord, ServiceError> {
        let unknown = || ServiceError::not_found("operator token", id);
        let token_id = OperatorTokenId::parse(id).map_err(|_| unknown())?;
        let token = self.0.deps.store.operator_token(&token_id).await?.ok_or_else(unknown)?;
        self.end(&token, "operator.token.revoke", caller).await
    }
}

fn verbs(new: &NewOperatorToken, is_bound: bool) -> Result<Vec<Verb>, ServiceError> {
    let mut verbs = Vec::new();
    for word in &new.verbs {
        let verb = Verb::parse(word).ok_or_else(|| {
            ServiceError::invalid("verbs", format!("`{word}` is no verb, such as key.create"))
        })?;
        if is_for_people(verb) {
            return Err(ServiceError::invalid("verbs", format!("{word} is for people, not for machines")));
        }
        if !verb.is_open_to(new.role, is_bound) {
            let why = format!("{word} is not open to the role {} of this token", new.role.as_str());
            return Err(ServiceError::invalid("verbs", why));
        }
        if !verbs.contains(&verb) {
            verbs.push(verb);
        }
    }
    Ok(verbs)
}
