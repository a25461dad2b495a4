//! Who still calls the provider with one of its own keys, past us: what the provider billed by key and day, beside what
//! the ledger says went through on the sealed credential that holds the same key.
//!
//! [`compare`] decides; asking the provider is a port ([`ProviderAccount`]).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::{
    id::CredentialId,
    ledger::UsageCounts,
    reconcile::{BilledPart, CostPart},
    secret::SecretBytes,
    upstream::{CredentialPurpose, CredentialRecord, ServiceState},
};

/// What the provider puts between the two ends of a key in its hint.
const GAP: &str = "...";
/// What we put there.
const OUR_GAP: char = '…';

/// One of the provider's keys, as its account lists them: never the key, only a hint of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderApiKey {
    /// `apikey_…`.
    pub id: String,
    /// Its name in the provider's console.
    pub name: String,
    /// `active`, `inactive`, `archived`, `expired`.
    pub status: String,
    /// Its two ends, such as `sk-ant-api03-R2D...igAA`.
    pub hint: String,
}

impl ProviderApiKey {
    /// Whether this is the key that the hint was taken of.
    fn is(&self, secret: &SecretBytes) -> bool {
        let key = secret.expose();
        let ends = self.hint.split_once(GAP).filter(|(head, tail)| !head.is_empty() && !tail.is_empty());
        ends.is_some_and(|(head, tail)| {
            key.len() > head.len() + tail.len()
                && key.starts_with(head.as_bytes())
                && key.ends_with(tail.as_bytes())
        })
    }

    /// Whether it may be the key that our hint was taken of: ours shows less of the beginning.
    fn may_be(&self, our_hint: &str) -> bool {
        let (Some((head, tail)), Some((our_head, our_tail))) =
            (self.hint.split_once(GAP), our_hint.split_once(OUR_GAP))
        else {
            return false;
        };
        head.starts_with(our_head) && (tail.ends_with(our_tail) || our_tail.ends_with(tail))
    }
}

/// What the provider billed to one key on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// `apikey_…`; `None`: used without a key, as in the provider's own console.
    pub api_key: Option<String>,
    /// UTC days since 1970.
    pub day: i64,
    /// Tokens by class.
    pub usage: UsageCounts,
}

/// What went through us on one credential and day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialDay {
    /// The credential.
    pub credential: CredentialId,
    /// UTC days since 1970.
    pub day: i64,
    /// Calls that were sent.
    pub requests: u64,
    /// Calls among them whose output was estimated.
    pub estimated: u64,
    /// Tokens by class.
    pub usage: UsageCounts,
}

/// A credential, and its key if that can be opened.
#[derive(Debug, Clone, Copy)]
pub struct SealedKey<'a> {
    /// The credential.
    pub record: &'a CredentialRecord,
    /// The provider key.
    pub secret: Option<&'a SecretBytes>,
}

/// One key on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectDay {
    /// What the provider billed.
    pub billed: UsageCounts,
    /// What of it went through us.
    pub through: UsageCounts,
}

/// One of the provider's keys: what was billed, and what of that passed us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectUse {
    /// The provider's key; `None`: what was used without a key.
    pub api_key: Option<ProviderApiKey>,
    /// The sealed credentials that hold it: none is known, or one, or the same key sealed more than once.
    pub credentials: Vec<CredentialId>,
    /// By UTC day since 1970; days without anything are left out.
    pub days: BTreeMap<i64, DirectDay>,
    /// What the provider billed.
    pub billed: UsageCounts,
    /// What of it went through us.
    pub through: UsageCounts,
    /// The rest: what still passes us by.
    pub direct: UsageCounts,
    /// Calls through us whose output was estimated: they may make a small difference that is none.
    pub estimated: u64,
    /// The last day on which the provider billed anything.
    pub last_seen: Option<i64>,
    /// The last day on which it billed more than went through us.
    pub last_direct: Option<i64>,
}

/// Why the provider's account told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It does not take the key: unknown, or not an Admin key (401, 403).
    #[error("the provider refused the Admin API key ({status}): {message}")]
    Refused {
        /// 401 or 403.
        status: u16,
        /// What the provider said.
        message: String,
    },
    /// It asks for patience, or has troubles of its own.
    #[error("the provider answered {status}: {message}")]
    Failing {
        /// 429, 5xx, or what else no answer to this question should have.
        status: u16,
        /// What the provider said.
        message: String,
    },
    /// It cannot be reached.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// Its answer is not what its documentation says.
    #[error("the provider's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

/// The provider's account behind an upstream, asked with an Admin API key.
#[async_trait]
pub trait ProviderAccount: Send + Sync + 'static {
    /// All keys of the account.
    async fn api_keys(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
    ) -> Result<Vec<ProviderApiKey>, AccountError>;
    /// What was billed by key and day: from the first day, before the second (UTC days since 1970).
    async fn billed(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<Billed>, AccountError>;
    /// The same by kind of call, too.
    async fn billed_parts(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<BilledPart>, AccountError>;
    /// What it cost, by day, of the whole organisation.
    async fn costs(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<CostPart>, AccountError>;
}

/// Where nobody's account can be asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAccount;

impl NoAccount {
    fn nobody<T>() -> Result<T, AccountError> {
        Err(AccountError::Unreachable("no account is asked from here".to_owned()))
    }
}

#[async_trait]
impl ProviderAccount for NoAccount {
    async fn api_keys(&self, _: &str, _: &SecretBytes) -> Result<Vec<ProviderApiKey>, AccountError> {
        Self::nobody()
    }
    async fn billed(&self, _: &str, _: &SecretBytes, _: (i64, i64)) -> Result<Vec<Billed>, AccountError> {
        Self::nobody()
    }
    async fn billed_parts(
        &self,
        _: &str,
        _: &SecretBytes,
        _: (i64, i64),
    ) -> Result<Vec<BilledPart>, AccountError> {
        Self::nobody()
    }
    async fn costs(&self, _: &str, _: &SecretBytes, _: (i64, i64)) -> Result<Vec<CostPart>, AccountError> {
        Self::nobody()
    }
}

/// Holds what was billed against what went through: one row for each of the provider's keys that was used or can be,
/// those first that pass us by the most. `through` may hold other accounts' credentials, too.
#[must_use]
pub fn compare(
    keys: &[ProviderApiKey],
    billed: &[Billed],
    through: &[CredentialDay],
    sealed: &[SealedKey<'_>],
) -> Vec<DirectUse> {
    let mut rows: BTreeMap<Option<&str>, DirectUse> = BTreeMap::new();
    for key in keys {
        rows.insert(Some(&key.id), DirectUse::of(Some(key.clone())));
    }
    for part in billed {
        let row = rows.entry(part.api_key.as_deref()).or_insert_with(|| DirectUse::unlisted(part));
        let day = row.days.entry(part.day).or_default();
        day.billed = day.billed.plus(part.usage);
    }
    for (credential, key) in holders(keys, sealed) {
        if let Some(row) = rows.get_mut(&Some(key)) {
            row.credentials.push(credential.clone());
            through.iter().filter(|part| part.credential == *credential).for_each(|part| row.carry(part));
        }
    }
    let mut rows: Vec<DirectUse> = rows.into_values().map(DirectUse::summed).collect();
    rows.retain(|row| {
        let is_active = row.api_key.as_ref().is_some_and(|key| key.status == "active");
        is_active || row.last_seen.is_some() || !row.days.is_empty()
    });
    rows.sort_by_key(|row| std::cmp::Reverse(row.direct.all_tokens()));
    rows
}

/// Which credential holds which of the provider's keys: judged by the sealed key itself where it can be opened, else by
/// its name and what we may show of it.
pub(crate) fn holders<'a>(
    keys: &'a [ProviderApiKey],
    sealed: &[SealedKey<'a>],
) -> Vec<(&'a CredentialId, &'a str)> {
    let of_traffic = sealed.iter().filter(|s| s.record.purpose == CredentialPurpose::Traffic);
    let mut found = Vec::new();
    for one in of_traffic {
        let fits: Vec<&ProviderApiKey> = match one.secret {
            Some(secret) => keys.iter().filter(|key| key.is(secret)).collect(),
            None => keys.iter().filter(|k| k.name == one.record.name && k.may_be(&one.record.hint)).collect(),
        };
        let named = fits.iter().find(|key| key.name == one.record.name);
        if let Some(key) = named.or_else(|| fits.first()) {
            found.push((&one.record.id, key.id.as_str()));
        }
    }
    found
}

/// Credentials in use that hold none of these keys: sealed for another account, or removed from this one.
#[must_use]
pub fn strangers<'a>(rows: &[DirectUse], sealed: &[SealedKey<'a>]) -> Vec<&'a CredentialRecord> {
    let known: BTreeSet<&CredentialId> = rows.iter().flat_map(|row| &row.credentials).collect();
    let of_traffic = sealed.iter().map(|s| s.record).filter(|record| {
        record.purpose == CredentialPurpose::Traffic && record.state == ServiceState::Active
    });
    of_traffic.filter(|record| !known.contains(&record.id)).collect()
}

impl DirectUse {
    fn of(api_key: Option<ProviderApiKey>) -> Self {
        Self {
            api_key,
            credentials: Vec::new(),
            days: BTreeMap::new(),
            billed: UsageCounts::default(),
            through: UsageCounts::default(),
            direct: UsageCounts::default(),
            estimated: 0,
            last_seen: None,
            last_direct: None,
        }
    }

    /// A key that was billed and is in no list: deleted meanwhile.
    fn unlisted(part: &Billed) -> Self {
        let key = |id: &String| ProviderApiKey {
            id: id.clone(),
            name: String::new(),
            status: "unknown".to_owned(),
            hint: String::new(),
        };
        Self::of(part.api_key.as_ref().map(key))
    }

    fn carry(&mut self, part: &CredentialDay) {
        let day = self.days.entry(part.day).or_default();
        day.through = day.through.plus(part.usage);
        self.estimated += part.estimated;
    }

    /// The sums. A call around midnight may be billed on one day and stand in the ledger on the other: only the sums
    /// over all days tell how much passed us by.
    fn summed(mut self) -> Self {
        self.days.retain(|_, day| *day != DirectDay::default());
        for (day, part) in &self.days {
            self.billed = self.billed.plus(part.billed);
            self.through = self.through.plus(part.through);
            if part.billed.all_tokens() > 0 {
                self.last_seen = Some(*day);
            }
        }
        self.direct = self.billed.beyond(self.through);
        if self.direct.all_tokens() > 0 {
            let passed = self.days.iter().filter(|(_, part)| part.direct().all_tokens() > 0);
            self.last_direct = passed.map(|(day, _)| *day).next_back();
        }
        self
    }
}

impl DirectDay {
    /// What passed us by on that day.
    #[must_use]
    pub const fn direct(&self) -> UsageCounts {
        self.billed.beyond(self.through)
    }
}

#[cfg(test)]
mod tests;
