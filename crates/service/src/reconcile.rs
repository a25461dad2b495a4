//! The provider's bill held against the ledger, account by account.

use std::collections::BTreeMap;

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::ProviderApiKey,
    id::{CredentialId, UpstreamId},
    price::Prices,
    reconcile::{Ledgers, Reconciliation, Sides, reconcile},
};

use crate::{
    Caller, ServiceError,
    direct_use::{DirectUses, MOST_DAYS, USUAL_DAYS, failed},
    reports::{Extent, Reports},
    routes::RouteEntry,
};

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
}

/// Reconciles. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    accounts: DirectUses,
    reports: Reports,
}

impl Reconciler {
    pub(crate) const fn new(accounts: DirectUses, reports: Reports) -> Self {
        Self { accounts, reports }
    }

    /// Asks the provider; the question stands in the audit log.
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
        match &asked {
            Ok(books) => event = event.with("leaked_pusd", books.leaked().to_string()),
            Err(_) => "failed".clone_into(&mut event.outcome),
        }
        self.accounts.deps().store.apply(Vec::new(), event).await?;
        asked
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
        let midnight = |day: i64| Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
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

/// What one account told.
struct Bill {
    keys: Vec<ProviderApiKey>,
    billed: Vec<claviger_domain::reconcile::BilledPart>,
    costs: Vec<claviger_domain::reconcile::CostPart>,
}
