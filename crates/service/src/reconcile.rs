//! The provider's bill held against the ledger, account by account.

use std::collections::{BTreeMap, BTreeSet};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::ProviderApiKey,
    id::{CredentialId, UpstreamId},
    money::usd_text,
    notice::{About, Notice},
    ports::Change,
    price::Prices,
    reconcile::{Finding, Ledgers, Reconciliation, Sides, Verdict, reconcile},
};

use crate::{
    Caller, ServiceError,
    direct_use::{DirectUses, MOST_DAYS, USUAL_DAYS, failed},
    notices::Notices,
    reports::{Extent, Reports},
    routes::RouteEntry,
    scheduler::Turn,
};

/// What a day may be off before people are told: half a cent, in pico-dollars. The provider's cost report has cents.
const TOLERANCE: i128 = 5_000_000_000;
/// Keys that one notice names.
const MOST_KEYS: usize = 20;

/// What is to be reconciled.
#[derive(Debug, Clone, Default)]
pub struct ReconcileWish {
    /// UTC days, today among them: 1 to [`MOST_DAYS`]; `None`: [`USUAL_DAYS`].
    pub days: Option<u32>,
    /// Only the account behind this upstream, by id or name.
    pub upstream: Option<String>,
}

/// One account.
#[derive(Debug, Clone)]
pub struct AccountBooks {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Its name.
    pub upstream_name: String,
    /// The provider's keys.
    pub keys: BTreeMap<String, ProviderApiKey>,
    /// What came of it.
    pub result: Reconciliation,
}

/// All accounts.
#[derive(Debug, Clone)]
pub struct Books {
    /// From this UTC midnight on.
    pub from: Timestamp,
    /// Before this one.
    pub until: Timestamp,
    /// Single calls are only kept from here on: the ledger of earlier days is not whole.
    pub kept_from: Option<Timestamp>,
    /// By account.
    pub accounts: Vec<AccountBooks>,
    /// The names of credentials.
    pub credential_names: BTreeMap<CredentialId, String>,
}

impl Books {
    /// What leaked, in pico-dollars.
    #[must_use]
    pub fn leaked(&self) -> i128 {
        self.accounts.iter().map(|account| account.result.leaked()).sum()
    }

    /// The provider's keys with which calls were made past us on a day, in words.
    fn leaking_keys(&self, account: &AccountBooks, day: i64) -> Vec<String> {
        let leaks = |finding: &&Finding| finding.day == day && finding.verdict == Verdict::Leak;
        let named = |finding: &Finding| {
            let sealed: Vec<&str> = finding
                .credentials
                .iter()
                .filter_map(|id| self.credential_names.get(id))
                .map(String::as_str)
                .collect();
            let sealed = if sealed.is_empty() { "sealed nowhere here".to_owned() } else { sealed.join(", ") };
            match finding.api_key.as_ref().map(|id| (id, account.keys.get(id))) {
                Some((_, Some(key))) => format!("{} {} ({sealed})", key.name, key.hint),
                Some((id, None)) => format!("{id} ({sealed})"),
                None => "no key: the provider's own console".to_owned(),
            }
        };
        let named: BTreeSet<String> = account.result.findings.iter().filter(leaks).map(named).collect();
        named.into_iter().take(MOST_KEYS).collect()
    }
}

/// Reconciles. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    accounts: DirectUses,
    reports: Reports,
    notices: Notices,
}

impl Reconciler {
    pub(crate) const fn new(accounts: DirectUses, reports: Reports, notices: Notices) -> Self {
        Self { accounts, reports, notices }
    }

    /// Whether an account can be asked at all.
    pub(crate) fn can_ask(&self) -> bool {
        self.accounts.can_ask()
    }

    /// Asks the provider; the question stands in the audit log, and what does not agree is told, each finding once.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for a span that is none, [`ServiceError::NotFound`] for an unknown upstream,
    /// [`ServiceError::Conflict`] without an Admin key or when the provider refuses it, [`ServiceError::Unavailable`] when
    /// it does not answer.
    pub async fn ask(
        &self,
        wish: &ReconcileWish,
        prices: &dyn Prices,
        caller: &Caller,
    ) -> Result<Books, ServiceError> {
        let asked = self.books(wish, prices).await;
        let mut event = caller.event(self.accounts.deps().clock.now(), "cost.reconcile", "");
        event = event.with("days", wish.days.unwrap_or(USUAL_DAYS));
        let mut told = Vec::new();
        match &asked {
            Ok(books) => {
                event = event.with("leaked_pusd", books.leaked().to_string());
                told = self.told(books)?;
            }
            Err(_) => "failed".clone_into(&mut event.outcome),
        }
        self.accounts.deps().store.apply(told, event).await?;
        asked
    }

    /// The same for the house itself, in its turn: what leaked, in pico-dollars.
    ///
    /// # Errors
    /// As [`Reconciler::ask`].
    pub(crate) async fn look(&self, turn: &Turn, prices: &dyn Prices) -> Result<i128, ServiceError> {
        let books = self.books(&ReconcileWish::default(), prices).await?;
        let event = AuditEvent::new(turn.now, Actor::System, "cost.reconcile", "")
            .with("days", USUAL_DAYS)
            .with("leaked_pusd", books.leaked().to_string());
        let mut changes = vec![turn.hold()];
        changes.extend(self.told(&books)?);
        self.accounts.deps().store.apply(changes, event).await?;
        Ok(books.leaked())
    }

    /// A notice for each account and day whose bill is not what the ledger says.
    fn told(&self, books: &Books) -> Result<Vec<Change>, ServiceError> {
        let mut told = Vec::new();
        for account in &books.accounts {
            for (day, sum) in &account.result.days {
                let leaked = sum.leak_cost > TOLERANCE;
                let rest = Some(sum.rest()).filter(|rest| !sum.is_open && rest.abs() > TOLERANCE);
                // Of days that the ledger does not know whole nothing can be said.
                let is_known = books.kept_from.is_none_or(|kept| midnight(*day) >= kept);
                if !is_known || (!leaked && rest.is_none()) {
                    continue;
                }
                let notice = Notice::Reconciled {
                    upstream: account.upstream_name.clone(),
                    day: midnight(*day).to_rfc3339().chars().take_while(|c| *c != 'T').collect(),
                    leaked_usd: usd_text(sum.leak_cost),
                    keys: if leaked { books.leaking_keys(account, *day) } else { Vec::new() },
                    unexplained_usd: rest.map(usd_text),
                };
                told.push(self.notices.raise(About::everyone(), notice)?);
            }
        }
        Ok(told)
    }

    async fn books(&self, wish: &ReconcileWish, prices: &dyn Prices) -> Result<Books, ServiceError> {
        let days = wish.days.unwrap_or(USUAL_DAYS);
        if !(1..=MOST_DAYS).contains(&days) {
            return Err(ServiceError::invalid("days", format!("expected 1 to {MOST_DAYS}")));
        }
        let now = self.accounts.deps().clock.now();
        let until = now.utc_day() + 1;
        let span = (until - i64::from(days), until);
        // A call at the border of the first day may stand on the day before it.
        let wide = (span.0 - 1, span.1 + 1);
        let desk = self.accounts.desk(wide).await?;
        let asked = self.accounts.admins(&desk, wish.upstream.as_deref()).await?;
        // The provider is asked first: what is booked meanwhile is on our side only, and no leak.
        let mut bills = Vec::with_capacity(asked.len());
        for entry in asked {
            bills.push((self.bill(entry, wide).await?, entry));
        }
        let mut ledgers = Ledgers::default();
        let extent =
            Extent { from: Some(midnight(wide.0)), until: Some(midnight(wide.1)), ..Extent::default() };
        let covered = self.reports.each(&extent, |row| ledgers.add(row, prices)).await?;
        let sealed = desk.sealed();
        let account = |(bill, entry): (Bill, &RouteEntry)| {
            let sides = Sides {
                keys: &bill.keys,
                billed: &bill.billed,
                costs: &bill.costs,
                ledgers: &ledgers,
                sealed: &sealed,
                days: span,
                now,
            };
            let result = reconcile(&sides, prices);
            AccountBooks {
                upstream: entry.upstream.id.clone(),
                upstream_name: entry.upstream.name.clone(),
                keys: bill.keys.into_iter().map(|key| (key.id.clone(), key)).collect(),
                result,
            }
        };
        let accounts = bills.into_iter().map(account).collect();
        let kept_from = covered.kept_from.filter(|kept| *kept > midnight(span.0));
        let credential_names = desk.names();
        Ok(Books { from: midnight(span.0), until: midnight(span.1), kept_from, accounts, credential_names })
    }

    async fn bill(&self, entry: &RouteEntry, days: (i64, i64)) -> Result<Bill, ServiceError> {
        let (account, url) = (&self.accounts.deps().account, &entry.upstream.base_url);
        let failed = |error| failed(entry, error);
        Ok(Bill {
            keys: account.api_keys(url, &entry.secret).await.map_err(failed)?,
            billed: account.billed_parts(url, &entry.secret, days).await.map_err(failed)?,
            costs: account.costs(url, &entry.secret, days).await.map_err(failed)?,
        })
    }
}

fn midnight(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY))
}

/// What one account told.
struct Bill {
    keys: Vec<ProviderApiKey>,
    billed: Vec<claviger_domain::reconcile::BilledPart>,
    costs: Vec<claviger_domain::reconcile::CostPart>,
}
