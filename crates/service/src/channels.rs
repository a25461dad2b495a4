//! Where notices go: adding, trying and removing channels. Their secrets are sealed, and shown once at most.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use claviger_domain::{
    clock::{Clock, Entropy},
    id::{ChannelId, NoticeId},
    notice::{
        About, Notice, NoticeRecord, Severity,
        channel::{ChannelRecord, ChannelTarget, SmtpSecurity, SmtpTarget},
        delivery::DeliveryError,
    },
    operator::verb::Effect,
    ports::{Change, Sealer, Store},
    secret::SecretBytes,
    upstream::ServiceState,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Caller, ServiceError,
    deliveries::Deliveries,
    digests,
    naming::{check_name, find},
    tenants::Tenants,
};

/// What a webhook's secret begins with when it is shown (Standard Webhooks).
const SECRET_PREFIX: &str = "whsec_";
/// A webhook's secret has so many bytes (Standard Webhooks).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The name of the channel that the settings define.
pub const CONFIGURED: &str = "settings";

/// A channel to be made.
pub struct NewChannel {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub target: ChannelTarget,
    /// A mail server's password; a webhook's secret as `whsec_…`, `None`: one is made.
    pub secret: Option<Zeroizing<String>>,
    /// Only notices at least as grave as this.
    pub min_severity: Severity,
    /// Only of this workspace, by id or name.
    pub workspace: Option<String>,
}

/// What to change of a channel: `None` leaves it.
#[derive(Clone, Default)]
pub struct ChannelPatch {
    /// Its name.
    pub name: Option<String>,
    /// Where it goes; its kind stays.
    pub target: Option<ChannelTarget>,
    /// A new password or secret; without one the old one stays.
    pub secret: Option<Zeroizing<String>>,
    /// Only notices at least as grave as this.
    pub min_severity: Option<Severity>,
    /// Only of this workspace, by id or name; `Some(None)`: all.
    pub workspace: Option<Option<String>>,
}

pub(crate) struct ChannelDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tenants: Tenants,
    pub(crate) deliveries: Deliveries,
}

/// Where notices go. Cheap to clone.
#[derive(Clone)]
pub struct Channels(Arc<ChannelDeps>);

impl Channels {
    pub(crate) fn new(deps: ChannelDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Adds a channel. The secret of a webhook that was made here comes back, for the only time.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::Conflict`] when the name is taken.
    pub async fn add(
        &self,
        new: NewChannel,
        caller: &Caller,
    ) -> Result<(ChannelRecord, Option<Zeroizing<String>>), ServiceError> {
        check_name("name", &new.name)?;
        new.target.check().map_err(|error| ServiceError::invalid(error.field(), &error))?;
        let workspace = match &new.workspace {
            Some(wanted) => Some(self.0.tenants.workspace(wanted).await?.id),
            None => None,
        };
        let (secret, shown) = self.secret(&new.target, new.secret.as_ref())?;
        let id = ChannelId::generate(self.0.entropy.as_ref())?;
        let record = ChannelRecord {
            sealed: self.seal(&id, secret.as_ref())?,
            id,
            name: new.name,
            target: new.target,
            min_severity: new.min_severity,
            workspace,
            state: ServiceState::Active,
            created_at: self.0.clock.now(),
            version: 1,
        };
        let event = caller.event(record.created_at, "channel.add", record.id.as_str());
        let event = event.with("kind", record.target.kind()).with("name", record.name.as_str());
        let event = digests::with(event, None, Some(&canonical(&record)));
        self.0.store.apply(vec![Change::InsertChannel(Box::new(record.clone()))], event).await?;
        Ok((record, shown))
    }

    /// Channels that are in use.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<ChannelRecord>, ServiceError> {
        let mut channels = self.0.store.channels().await?;
        channels.retain(|c| c.state != ServiceState::Removed);
        Ok(channels)
    }

    /// One channel, by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn find(&self, id_or_name: &str) -> Result<ChannelRecord, ServiceError> {
        find("channel", id_or_name, self.list().await?, |c| (c.id.as_str(), c.name.as_str()))
    }

    /// Sends a trial notice at once; what went wrong, if anything. Nothing of it is kept but the audit record.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn test(
        &self,
        id_or_name: &str,
        caller: &Caller,
    ) -> Result<(ChannelRecord, Result<(), DeliveryError>), ServiceError> {
        let channel = self.find(id_or_name).await?;
        let now = self.0.clock.now();
        let id = NoticeId::generate(self.0.entropy.as_ref())?;
        let trial = Notice::Trial { channel: channel.name.clone() };
        let result =
            self.0.deliveries.deliver(&channel, &NoticeRecord::new(id, About::everyone(), trial, now)).await;
        let mut event = caller.event(now, "channel.test", channel.id.as_str());
        if let Err(error) = &result {
            event.outcome = "undelivered".to_owned();
            event = event.with("error", error.to_string());
        }
        self.0.store.apply(Vec::new(), event).await?;
        Ok((channel, result))
    }

    /// Changes a channel. What waits for it goes where it leads then; what is so already stays as it is.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Invalid`], [`ServiceError::Stale`],
    /// [`ServiceError::Conflict`] when the name is taken, or the settings define it.
    pub async fn update(
        &self,
        id_or_name: &str,
        patch: ChannelPatch,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<ChannelRecord, ServiceError> {
        let before = self.find(id_or_name).await?;
        if expected_version.is_some_and(|version| version != before.version) {
            return Err(ServiceError::Stale { what: "channel", version: before.version });
        }
        if before.name == CONFIGURED {
            let why = "the settings define it: change [smtp] there";
            return Err(ServiceError::conflict("channel", why));
        }
        let secret = patch.secret.clone();
        let after = self.patched(&before, patch).await?;
        let after = ChannelRecord { sealed: self.sealed(&before, &after.target, secret)?, ..after };
        if after == before {
            return Ok(before);
        }
        let event = caller.event(self.0.clock.now(), "channel.update", after.id.as_str());
        let event = event.with("name", after.name.as_str()).with("new_secret", after.sealed != before.sealed);
        let event = digests::with(event, Some(&canonical(&before)), Some(&canonical(&after)));
        self.0.store.apply(vec![Change::UpdateChannel(Box::new(after.clone()))], event).await?;
        Ok(ChannelRecord { version: after.version + 1, ..after })
    }

    /// What a change of a channel does: nothing, or it tells more, or it keeps something from somebody.
    ///
    /// # Errors
    /// As [`Channels::update`].
    pub async fn judge_update(&self, id_or_name: &str, patch: ChannelPatch) -> Result<Effect, ServiceError> {
        let before = self.find(id_or_name).await?;
        let has_new_secret = patch.secret.is_some();
        let after = self.patched(&before, patch).await?;
        Ok(if after.loses(&before) {
            Effect::Destroy
        } else if after == before && !has_new_secret {
            Effect::Change
        } else {
            Effect::Grant
        })
    }

    async fn patched(
        &self,
        before: &ChannelRecord,
        patch: ChannelPatch,
    ) -> Result<ChannelRecord, ServiceError> {
        let mut after = before.clone();
        if let Some(name) = patch.name {
            check_name("name", &name)?;
            after.name = name;
        }
        if let Some(target) = patch.target {
            target.check().map_err(|error| ServiceError::invalid(error.field(), &error))?;
            if target.kind() != before.target.kind() {
                let field = target.kind();
                return Err(ServiceError::invalid(field, "a channel's kind never changes: add another one"));
            }
            after.target = target;
        }
        after.min_severity = patch.min_severity.unwrap_or(before.min_severity);
        match patch.workspace {
            Some(Some(wanted)) => after.workspace = Some(self.0.tenants.workspace(&wanted).await?.id),
            Some(None) => after.workspace = None,
            None => {}
        }
        Ok(after)
    }

    /// The secret that goes with a target: a new one, or the one that is there.
    fn sealed(
        &self,
        before: &ChannelRecord,
        target: &ChannelTarget,
        secret: Option<Zeroizing<String>>,
    ) -> Result<Vec<u8>, ServiceError> {
        let wants_secret = match target {
            ChannelTarget::Webhook(_) => true,
            ChannelTarget::Smtp(smtp) => smtp.username.is_some(),
        };
        if secret.is_none() && !wants_secret {
            return Ok(Vec::new());
        }
        if secret.is_none() && !before.sealed.is_empty() {
            // A password must not be carried to another server by whoever does not know it.
            if server(target) != server(&before.target) {
                return Err(ServiceError::invalid("password", "another server: give the password again"));
            }
            return Ok(before.sealed.clone());
        }
        let (secret, _) = self.secret(target, secret.as_ref())?;
        self.seal(&before.id, secret.as_ref())
    }

    /// Removes a channel. What waits for it is dropped.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] when somebody else was faster.
    pub async fn remove(&self, id_or_name: &str, caller: &Caller) -> Result<ChannelRecord, ServiceError> {
        let channel = self.find(id_or_name).await?;
        let mut removed =
            ChannelRecord { state: ServiceState::Removed, sealed: Vec::new(), ..channel.clone() };
        let event = caller.event(self.0.clock.now(), "channel.remove", channel.id.as_str());
        let event = event.with("name", channel.name.as_str());
        let event = digests::with(event, Some(&canonical(&channel)), Some(&canonical(&removed)));
        self.0.store.apply(vec![Change::UpdateChannel(Box::new(removed.clone()))], event).await?;
        removed.version += 1;
        Ok(removed)
    }

    /// Brings the channel that the settings define into being, up to date, or out of use.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field.
    pub async fn configure(
        &self,
        wanted: Option<(SmtpTarget, Option<Zeroizing<String>>)>,
    ) -> Result<(), ServiceError> {
        let present = self.list().await?.into_iter().find(|c| c.name == CONFIGURED);
        let Some((target, secret)) = wanted else {
            if present.is_some() {
                self.remove(CONFIGURED, &Caller::system()).await?;
            }
            return Ok(());
        };
        if let Some(present) = present {
            if present.target == ChannelTarget::Smtp(target.clone())
                && self.is_secret(&present, secret.as_ref())
            {
                return Ok(());
            }
            self.remove(CONFIGURED, &Caller::system()).await?;
        }
        let new = NewChannel {
            name: CONFIGURED.to_owned(),
            target: ChannelTarget::Smtp(target),
            secret,
            min_severity: Severity::Info,
            workspace: None,
        };
        self.add(new, &Caller::system()).await.map(drop)
    }

    fn is_secret(&self, channel: &ChannelRecord, secret: Option<&Zeroizing<String>>) -> bool {
        if channel.sealed.is_empty() || secret.is_none() {
            return channel.sealed.is_empty() && secret.is_none();
        }
        let opened = self.0.sealer.open(ChannelRecord::seal_context(&channel.id), &channel.sealed);
        opened.is_ok_and(|opened| secret.is_some_and(|secret| opened.expose() == secret.as_bytes()))
    }

    /// The secret, and how to show it if it was made here.
    fn secret(
        &self,
        target: &ChannelTarget,
        given: Option<&Zeroizing<String>>,
    ) -> Result<(Option<SecretBytes>, Option<Zeroizing<String>>), ServiceError> {
        match (target, given) {
            (ChannelTarget::Smtp(smtp), given) => {
                if smtp.username.is_some() != given.is_some() {
                    return Err(ServiceError::invalid(
                        "password",
                        "give a user name and a password, or neither",
                    ));
                }
                Ok((given.map(|text| SecretBytes::new(text.as_bytes().to_vec())), None))
            }
            (ChannelTarget::Webhook(_), Some(given)) => {
                let bytes = given.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
                let bytes = bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
                let bad = || ServiceError::invalid("secret", "expected whsec_ and 24 to 64 bytes in base64");
                Ok((Some(SecretBytes::new(bytes.ok_or_else(bad)?)), None))
            }
            (ChannelTarget::Webhook(_), None) => {
                let mut bytes = Zeroizing::new(vec![0; 32]);
                self.0.entropy.fill(&mut bytes)?;
                let shown = Zeroizing::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(&*bytes)));
                Ok((Some(SecretBytes::new(std::mem::take(&mut *bytes))), Some(shown)))
            }
        }
    }

    fn seal(&self, id: &ChannelId, secret: Option<&SecretBytes>) -> Result<Vec<u8>, ServiceError> {
        let Some(secret) = secret else { return Ok(Vec::new()) };
        Ok(self.0.sealer.seal(ChannelRecord::seal_context(id), secret.expose())?)
    }
}

/// Where a password is sent; nowhere for webhooks, whose secret stays here.
fn server(target: &ChannelTarget) -> Option<(&str, u16, SmtpSecurity)> {
    match target {
        ChannelTarget::Smtp(smtp) => Some((&smtp.host, smtp.port, smtp.security)),
        ChannelTarget::Webhook(_) => None,
    }
}

/// What digests are taken of.
fn canonical(channel: &ChannelRecord) -> Value {
    json!({
        "id": channel.id,
        "min_severity": channel.min_severity,
        "name": channel.name,
        "state": channel.state.as_str(),
        "target": channel.target,
        "workspace": channel.workspace,
    })
}

#[cfg(test)]
mod tests;
