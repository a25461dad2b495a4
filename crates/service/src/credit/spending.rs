//! How what calls have settled comes into the book, and what proves that all of it did.

use std::time::Duration;

use claviger_domain::{
    budget::Charge,
    clock::{MICROS_PER_DAY, MICROS_PER_SEC, Timestamp},
    credit::{AccountRecord, Check, Particulars, Place},
    id::{CreditAccountId, CreditEntryId},
    ports::{RowScan, StoreError},
};
use tokio_util::sync::CancellationToken;

use super::{ATTEMPTS, Credit, booking, told};
use crate::{Caller, ServiceError, lock::lock};

/// How often spending is booked, for statements that nobody asks for.
const EVERY: Duration = Duration::from_secs(3_600);
/// How often what is in doubt is looked at.
const DOUBTS: Duration = Duration::from_secs(5);
/// Entries and ledger rows that are read at a time.
const PAGE: u32 = 2_000;

/// What a look through one account's book has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountProof {
    /// The account, once its spending was booked.
    pub account: AccountRecord,
    /// What its entries book as spent, in pico-dollars.
    pub booked: i128,
    /// What the store's total says that calls have settled.
    pub settled: i128,
    /// What the ledger's rows come to; `None`: retention has taken the oldest of them.
    pub ledger: Option<i128>,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// What a look through the whole book has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Each account.
    pub accounts: Vec<AccountProof>,
    /// What all places of all accounts sum to: nothing.
    pub sum: i128,
}

impl Proof {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.sum == 0 && self.accounts.iter().all(|account| account.faults.is_empty())
    }
}

impl Credit {
    /// Books what calls have settled, until it is stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut waited = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(DOUBTS) => waited += DOUBTS,
            }
            self.look_at_doubts().await;
            if waited < EVERY {
                continue;
            }
            waited = Duration::ZERO;
            if let Err(error) = self.book_all_spending().await {
                tracing::warn!(%error, "spending of prepaid credit is not booked yet");
            }
        }
    }

    /// Once the limits are read again, they say whether what was in doubt was written.
    async fn look_at_doubts(&self) {
        if lock(&self.0.doubtful).is_empty() {
            return;
        }
        let known = std::mem::take(&mut *lock(&self.0.doubtful));
        if self.0.deps.budgets.reload().await.is_err() {
            lock(&self.0.doubtful).extend(known);
        }
    }

    async fn book_all_spending(&self) -> Result<(), ServiceError> {
        for account in self.0.deps.store.credit_accounts().await? {
            self.book_spending(&account.id).await?;
        }
        Ok(())
    }

    /// Books what calls have settled and the book does not have; the account after it.
    ///
    /// The account is read before the total, and is written only if nobody has written it since: what another process
    /// books meanwhile makes this attempt nothing, and a total that has grown is booked by the next one.
    pub(super) async fn book_spending(&self, id: &CreditAccountId) -> Result<AccountRecord, ServiceError> {
        let deps = &self.0.deps;
        let mut collisions = 0;
        loop {
            let before = self.record(id).await?;
            let settled = self.settled(&before).await?;
            let now = deps.clock.now();
            let with = Particulars {
                id: CreditEntryId::generate(deps.entropy.as_ref())?,
                at: now,
                reference: None,
                note: String::new(),
            };
            let Some((after, entry)) = before.spend(settled, with) else { return Ok(before) };
            let event = Caller::system().event(now, "credit.spend", before.id.as_str());
            match deps.store.apply(vec![booking(&after, &entry)], told(event, &before, &after, &entry)).await
            {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) if collisions < ATTEMPTS => collisions += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What calls have settled in all.
    async fn settled(&self, account: &AccountRecord) -> Result<i128, ServiceError> {
        let totals = self.0.deps.store.budget_totals(&[charge(account)]).await?;
        Ok(totals.first().copied().unwrap_or_default())
    }

    /// Goes through every entry of every account, and holds what they book as spent against the totals and the ledger.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`], [`ServiceError::Broken`]: there was something that cannot be read.
    pub async fn verify(&self) -> Result<Proof, ServiceError> {
        let mut accounts = Vec::new();
        for found in self.0.deps.store.credit_accounts().await? {
            accounts.push(self.verify_one(&found).await?);
        }
        let sum = accounts.iter().map(|proof| proof.account.balances.sum()).sum();
        Ok(Proof { accounts, sum })
    }

    async fn verify_one(&self, found: &AccountRecord) -> Result<AccountProof, ServiceError> {
        let mut faults = Vec::new();
        let before = self.settled(found).await?;
        let account = self.book_spending(&found.id).await?;
        let booked = account.balances.of(Place::Usage);
        let settled = self.settled(found).await?;
        if !(before..=settled).contains(&booked) {
            faults.push(format!("{booked} is booked as spent, {settled} was settled"));
        }
        let ledger = self.in_ledger(&account).await?;
        let now = self.settled(found).await?;
        if let Some(sum) = ledger.filter(|sum| !(before..=now).contains(sum)) {
            faults.push(format!("the ledger's rows come to {sum}, {before} was settled"));
        }
        faults.extend(self.check(&account).await?);
        Ok(AccountProof { account, booked, settled, ledger, faults })
    }

    /// What is wrong with the entries of an account, up to its last.
    async fn check(&self, account: &AccountRecord) -> Result<Vec<String>, ServiceError> {
        let mut check = Check::default();
        let mut after = 0;
        loop {
            let entries = self.0.deps.store.credit_entries(&account.id, after, PAGE).await?;
            let Some(last) = entries.last() else { break };
            after = last.number;
            entries.iter().filter(|entry| entry.number <= account.entries).for_each(|entry| check.add(entry));
        }
        Ok(check.end(account).iter().map(ToString::to_string).collect())
    }

    /// What the ledger's rows that count against the account come to.
    async fn in_ledger(&self, account: &AccountRecord) -> Result<Option<i128>, ServiceError> {
        let charge = charge(account);
        let until = self.0.deps.clock.now().plus_micros(MICROS_PER_DAY);
        let from = account.opened_at.plus_micros(-MICROS_PER_SEC);
        let wanted = RowScan { from, until, key: None, workspace: None, limit: PAGE };
        let (mut sum, mut cursor) = (0, None);
        loop {
            let page = self.0.deps.ledger.rows_in(&wanted, cursor).await?;
            if page.first_day > account.opened_at.utc_day() {
                return Ok(None);
            }
            let ours = page.rows.iter().filter(|row| row.charges.contains(&charge));
            sum += ours.map(|row| i128::from(row.cost.as_pico())).sum::<i128>();
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Some(sum));
            }
        }
    }
}

/// The one period of the account's budget.
fn charge(account: &AccountRecord) -> Charge {
    Charge { budget: account.budget.clone(), window: Timestamp::from_micros(0) }
}
