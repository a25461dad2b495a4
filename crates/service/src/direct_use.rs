//! Getting off the drawer: who still calls the provider with its own keys, past us. The provider's account is asked with
//! an Admin API key that serves nothing else, and its bill is held against the ledger.

use std::{collections::BTreeMap, sync::Arc};

use claviger_domain::{
    clock::{Clock, MICROS_PER_DAY, Timestamp},
    direct_use::{AccountError, CredentialDay, DirectUse, ProviderAccount, SealedKey, compare, strangers},
    id::{CredentialId, UpstreamId},
    ports::{LedgerStore, Store},
    secret::SecretBytes,
    upstream::{CredentialPurpose, CredentialRecord},
};

use crate::{
    Caller, ServiceError,
    routes::{RouteEntry, RouteTable, Routes},
    upstreams::Upstreams,
};

/// Days that a report covers unless told.
pub const USUAL_DAYS: u32 = 7;
/// The most days that a report covers.
pub const MOST_DAYS: u32 = 90;
/// What is to be done when there is no Admin key.
const NO_ADMIN_KEY: &str = "none is sealed: create one in the provider's console (Settings, Admin keys) and run \
                            `claviger credential add --upstream NAME --admin --from-file -`";

/// Whom a report is about.
#[derive(Debug, Clone, Default)]
pub struct DirectUseWish {
    /// UTC days, today among them: 1 to [`MOST_DAYS`]; `None`: [`USUAL_DAYS`].
    pub days: Option<u32>,
    /// Only the account behind this upstream, by id or name.
    pub upstream: Option<String>,
}

/// What the account behind one upstream tells.
#[derive(Debug, Clone)]
pub struct AccountUse {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Its name.
    pub upstream_name: String,
    /// The provider's keys.
    pub keys: Vec<DirectUse>,
    /// Credentials in use that hold none of the account's keys.
    pub strangers: Vec<CredentialId>,
}

/// Who used the provider's keys past us.
#[derive(Debug, Clone)]
pub struct DirectUseReport {
    /// From this UTC midnight on.
    pub from: Timestamp,
    /// Before this one.
    pub until: Timestamp,
    /// By account.
    pub accounts: Vec<AccountUse>,
    /// The names of credentials.
    pub credential_names: BTreeMap<CredentialId, String>,
}

impl DirectUseReport {
    /// Every key that still passes us by, with its account.
    pub fn passing_by(&self) -> impl Iterator<Item = (&AccountUse, &DirectUse)> {
        let all = self.accounts.iter().flat_map(|account| account.keys.iter().map(move |key| (account, key)));
        all.filter(|(_, key)| key.direct.all_tokens() > 0)
    }

    /// Whose key it is, as one would say it: the names of the credentials, or `unknown`.
    #[must_use]
    pub fn sealed_as(&self, key: &DirectUse) -> String {
        let names = key.credentials.iter().filter_map(|id| self.credential_names.get(id));
        let names: Vec<&str> = names.map(String::as_str).collect();
        if names.is_empty() { "unknown".to_owned() } else { names.join(", ") }
    }
}

pub(crate) struct DirectUseDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: Arc<dyn ProviderAccount>,
    pub(crate) routes: Routes,
    pub(crate) upstreams: Upstreams,
}

/// Reports on use that passes us by. Cheap to clone.
#[derive(Clone)]
pub struct DirectUses(Arc<DirectUseDeps>);

/// What all accounts are held against.
pub(crate) struct Desk {
    table: Arc<RouteTable>,
    records: Vec<CredentialRecord>,
    through: Vec<CredentialDay>,
    days: (i64, i64),
}

impl DirectUses {
    pub(crate) fn new(deps: DirectUseDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Asks the provider; the question stands in the audit log.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for a span that is none, [`ServiceError::NotFound`] for an unknown upstream,
    /// [`ServiceError::Conflict`] without an Admin key or when the provider refuses it, [`ServiceError::Unavailable`] when
    /// it does not answer.
    pub async fn ask(&self, wish: &DirectUseWish, caller: &Caller) -> Result<DirectUseReport, ServiceError> {
        let asked = self.report(wish).await;
        let mut event = caller.event(self.0.clock.now(), "credential.usage", "");
        event = event.with("days", wish.days.unwrap_or(USUAL_DAYS));
        match &asked {
            Ok(report) => event = event.with("passing_by", report.passing_by().count()),
            Err(_) => "failed".clone_into(&mut event.outcome),
        }
        self.0.store.apply(Vec::new(), event).await?;
        asked
    }

    /// Whether an account can be asked at all.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        !self.0.routes.snapshot().admins.is_empty()
    }

    /// The same for the house itself: not audited.
    ///
    /// # Errors
    /// As [`DirectUses::ask`].
    pub async fn report(&self, wish: &DirectUseWish) -> Result<DirectUseReport, ServiceError> {
        let days = wish.days.unwrap_or(USUAL_DAYS);
        if !(1..=MOST_DAYS).contains(&days) {
            return Err(ServiceError::invalid("days", format!("expected 1 to {MOST_DAYS}")));
        }
        let until = self.0.clock.now().utc_day() + 1;
        let span = (until - i64::from(days), until);
        let desk = self.desk(span).await?;
        let mut accounts = Vec::new();
        for entry in self.admins(&desk, wish.upstream.as_deref()).await? {
            accounts.push(self.account(&desk, entry).await?);
        }
        let midnight = |day: i64| Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
        let credential_names = desk.names();
        Ok(DirectUseReport { from: midnight(span.0), until: midnight(span.1), accounts, credential_names })
    }

    /// What accounts are held against, of these days.
    pub(crate) async fn desk(&self, days: (i64, i64)) -> Result<Desk, ServiceError> {
        Ok(Desk {
            table: self.0.routes.snapshot(),
            records: self.0.store.credentials().await?,
            through: self.0.ledger.credential_days(days).await?,
            days,
        })
    }

    pub(crate) fn deps(&self) -> &DirectUseDeps {
        &self.0
    }

    /// The Admin keys of accounts: one for each upstream that has one, if it has several, the newest.
    pub(crate) async fn admins<'d>(
        &self,
        desk: &'d Desk,
        upstream: Option<&str>,
    ) -> Result<Vec<&'d RouteEntry>, ServiceError> {
        let only = match upstream {
            Some(wanted) => Some(self.0.upstreams.find(wanted).await?.id),
            None => None,
        };
        let asked = desk.table.admins.iter().filter(|e| only.as_ref().is_none_or(|id| e.upstream.id == *id));
        let by_upstream: BTreeMap<&str, &RouteEntry> = asked.map(|e| (e.upstream.id.as_str(), e)).collect();
        if by_upstream.is_empty() {
            return Err(ServiceError::conflict("Admin API key", NO_ADMIN_KEY));
        }
        Ok(by_upstream.into_values().collect())
    }

    async fn account(&self, desk: &Desk, entry: &RouteEntry) -> Result<AccountUse, ServiceError> {
        let (account, url) = (&self.0.account, &entry.upstream.base_url);
        let failed = |error| failed(entry, error);
        let keys = account.api_keys(url, &entry.secret).await.map_err(failed)?;
        let billed = account.billed(url, &entry.secret, desk.days).await.map_err(failed)?;
        let sealed = desk.sealed();
        let rows = compare(&keys, &billed, &desk.through, &sealed);
        let of_it: Vec<SealedKey<'_>> =
            sealed.into_iter().filter(|s| s.record.upstream == entry.upstream.id).collect();
        let strangers = strangers(&rows, &of_it).into_iter().map(|record| record.id.clone()).collect();
        Ok(AccountUse {
            upstream: entry.upstream.id.clone(),
            upstream_name: entry.upstream.name.clone(),
            keys: rows,
            strangers,
        })
    }
}

impl Desk {
    /// The names of credentials.
    pub(crate) fn names(&self) -> BTreeMap<CredentialId, String> {
        self.records.iter().map(|c| (c.id.clone(), c.name.clone())).collect()
    }

    pub(crate) fn sealed(&self) -> Vec<SealedKey<'_>> {
        let secrets: BTreeMap<&str, &SecretBytes> =
            self.table.credentials.iter().map(|e| (e.credential.id.as_str(), &e.secret)).collect();
        let of_traffic = self.records.iter().filter(|c| c.purpose == CredentialPurpose::Traffic);
        of_traffic
            .map(|record| SealedKey { record, secret: secrets.get(record.id.as_str()).copied() })
            .collect()
    }
}

/// What to look at when the account told nothing.
pub(crate) fn failed(entry: &RouteEntry, error: AccountError) -> ServiceError {
    let (upstream, name) = (&entry.upstream.name, &entry.credential.name);
    match &error {
        AccountError::Refused { .. } => ServiceError::conflict(
            "Admin API key",
            format!(
                "upstream `{upstream}`: {error}. Seal one that works with `claviger credential add --upstream \
                 {upstream} --admin --from-file -`, and remove credential `{name}`"
            ),
        ),
        AccountError::Failing { .. } | AccountError::Unreachable(_) | AccountError::Unreadable(_) => {
            ServiceError::Unavailable(format!("the account behind upstream `{upstream}`: {error}"))
        }
    }
}
