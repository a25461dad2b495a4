//! Prepaid credit: accounts, what is done to them, and how spending comes into their book.
//!
//! An account binds calls as a hard budget of its subject, for life, whose limit is what was paid in less what was paid
//! back, set aside or taken. What takes from it is held back in this node's book like a call before it is written, so
//! that no call and no refund ever spends the same money.

mod spending;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use claviger_domain::{
    audit::AuditEvent,
    budget::{BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Period, Standing},
    clock::{Clock, Entropy},
    credit::{
        AccountRecord, Balances, Entry, EntryKind, MAX_NOTE, OpenHold, Order, Particulars, Place, Refused,
        is_reference,
    },
    id::{BudgetId, CreditAccountId, CreditEntryId},
    money::{PicoUsd, usd_text},
    ports::{Change, LedgerStore, Store, StoreError, budgets::NewBudget, credit::NewEntry},
};
use serde_json::{Value, json};

pub use spending::{AccountProof, Proof};

use crate::{
    Caller, ServiceError,
    budgets::{Budgets, SetAside},
    digests,
    lock::lock,
};

/// How often something is decided anew that somebody else's entry came before.
const ATTEMPTS: u32 = 4;
/// Refunds and holds of which it is not known whether they were written, at most; then no more are made.
const DOUBTFUL: usize = 1_024;

/// What credit needs.
pub(crate) struct CreditDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) budgets: Budgets,
}

/// Prepaid credit. Cheap to clone.
#[derive(Clone)]
pub struct Credit(Arc<Inner>);

struct Inner {
    deps: CreditDeps,
    /// One entry at a time of this node.
    writing: tokio::sync::Mutex<()>,
    /// What is held back for entries of which it is not known whether they were written: until the limits are read
    /// again.
    doubtful: Mutex<Vec<SetAside>>,
}

/// What is to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreditWish {
    /// Paid in.
    TopUp(PicoUsd),
    /// Paid back.
    Refund(PicoUsd),
    /// Set aside.
    Hold(PicoUsd),
    /// Given back of a hold; `None`: all that is left of it.
    Release(CreditEntryId, Option<PicoUsd>),
    /// Taken of a hold; `None`: all that is left of it.
    Capture(CreditEntryId, Option<PicoUsd>),
    /// Given.
    AdjustUp(PicoUsd),
    /// Taken.
    AdjustDown(PicoUsd),
}

impl CreditWish {
    fn kind(&self) -> EntryKind {
        match self {
            Self::TopUp(_) => EntryKind::TopUp,
            Self::Refund(_) => EntryKind::Refund,
            Self::Hold(_) => EntryKind::Hold,
            Self::Release(..) => EntryKind::Release,
            Self::Capture(..) => EntryKind::Capture,
            Self::AdjustUp(_) => EntryKind::AdjustUp,
            Self::AdjustDown(_) => EntryKind::AdjustDown,
        }
    }

    fn amount(&self) -> Option<PicoUsd> {
        match self {
            Self::TopUp(amount)
            | Self::Refund(amount)
            | Self::Hold(amount)
            | Self::AdjustUp(amount)
            | Self::AdjustDown(amount) => Some(*amount),
            Self::Release(_, amount) | Self::Capture(_, amount) => *amount,
        }
    }

    fn hold(&self) -> Option<&CreditEntryId> {
        match self {
            Self::Release(hold, _) | Self::Capture(hold, _) => Some(hold),
            Self::TopUp(_) | Self::Refund(_) | Self::Hold(_) | Self::AdjustUp(_) | Self::AdjustDown(_) => {
                None
            }
        }
    }
}

/// What stands beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// What it stands for outside, such as a payment's id: it is booked once.
    pub reference: Option<String>,
    /// Why.
    pub note: String,
}

/// What was booked.
#[derive(Debug, Clone)]
pub struct Booked {
    /// The account after it.
    pub account: Account,
    /// The entry.
    pub entry: Entry,
    /// It was booked before, under the same reference; nothing was booked now.
    pub replayed: bool,
}

/// An account and how it stands.
#[derive(Debug, Clone)]
pub struct Account {
    /// As it is kept.
    pub record: AccountRecord,
    /// How the budget stands that holds calls to it; `None`: this node has not heard of it yet.
    pub standing: Option<Standing>,
}

impl std::fmt::Debug for Credit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credit")
    }
}

impl Credit {
    pub(crate) fn new(deps: CreditDeps) -> Self {
        Self(Arc::new(Inner { deps, writing: tokio::sync::Mutex::default(), doubtful: Mutex::default() }))
    }

    /// Opens an account with nothing in it: from now on its subject spends only what is paid in.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when there is one.
    pub async fn open(&self, subject: BudgetSubject, caller: &Caller) -> Result<Account, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let record = AccountRecord {
            id: CreditAccountId::generate(deps.entropy.as_ref())?,
            subject: subject.clone(),
            budget: BudgetId::generate(deps.entropy.as_ref())?,
            opened_at: now,
            balances: Balances::default(),
            entries: 0,
        };
        let calendar = Calendar::new(Period::Life, "UTC")
            .map_err(|error| ServiceError::invalid("tz", error.to_string()))?;
        let charge = Charge { budget: record.budget.clone(), window: calendar.window_at(now).start };
        let budget = BudgetRecord {
            id: record.budget.clone(),
            subject,
            calendar,
            limit: PicoUsd::ZERO,
            hard: true,
            mode: BudgetMode::Strict,
            created_at: now,
            dropped_at: None,
            credit: Some(record.id.clone()),
            version: 1,
        };
        let event = caller.event(now, "credit.open", record.id.as_str());
        let event = digests::with(event, None, Some(&as_json(&record))).with("account", as_json(&record));
        let changes = vec![
            Change::InsertCreditAccount(Box::new(record.clone())),
            Change::InsertBudget(Box::new(NewBudget { record: budget, charge, settled: 0 })),
        ];
        let opened = deps.store.apply(changes, event).await;
        opened.map_err(|error| match error {
            StoreError::Conflict { .. } => {
                ServiceError::conflict("credit account", "its subject has one already")
            }
            error @ (StoreError::OverCap { .. }
            | StoreError::Unavailable(_)
            | StoreError::Refused { .. }
            | StoreError::Corrupt { .. }
            | StoreError::NewerSchema { .. }) => error.into(),
        })?;
        deps.budgets.reload().await?;
        self.standing(record).await
    }

    /// All accounts, by when they were opened.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<Account>, ServiceError> {
        let all = self.0.deps.store.credit_accounts().await?;
        let mut accounts = Vec::with_capacity(all.len());
        for record in all {
            accounts.push(self.standing(record).await?);
        }
        Ok(accounts)
    }

    /// One account.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &CreditAccountId) -> Result<Account, ServiceError> {
        self.standing(self.record(id).await?).await
    }

    /// Entries of an account after a number, in their order; what calls have settled is booked first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn statement(
        &self,
        id: &CreditAccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, ServiceError> {
        self.book_spending(id).await?;
        Ok(self.0.deps.store.credit_entries(id, after, limit).await?)
    }

    /// Books what is wished, once for each reference.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] says what is left when that is not enough, or that the reference stands for something
    /// else.
    pub async fn book(
        &self,
        id: &CreditAccountId,
        wish: &CreditWish,
        words: &Words,
        caller: &Caller,
    ) -> Result<Booked, ServiceError> {
        check(words)?;
        let _one = self.0.writing.lock().await;
        let mut attempt = 1;
        loop {
            if let Some(booked) = self.booked_before(id, wish, words).await? {
                return Ok(booked);
            }
            match self.try_book(id, wish, words, caller).await {
                Err(Attempt::Again) if attempt < ATTEMPTS => attempt += 1,
                Err(Attempt::Again) => {
                    return Err(ServiceError::conflict("credit account", "others book into it all the time"));
                }
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(booked) => return Ok(booked),
            }
        }
    }

    /// Books a payment that a provider has told of, once for its reference: what is told again, or after its rate has
    /// changed, is booked already.
    ///
    /// # Errors
    /// As [`Credit::book`].
    pub async fn paid(
        &self,
        id: &CreditAccountId,
        amount: PicoUsd,
        (reference, note): (String, String),
        caller: &Caller,
    ) -> Result<Booked, ServiceError> {
        let known = self.0.deps.store.credit_reference(&reference).await?;
        if let Some(entry) = known.filter(|e| e.account == *id && e.kind == EntryKind::TopUp) {
            return Ok(Booked { account: self.show(id).await?, entry, replayed: true });
        }
        let words = Words { reference: Some(reference), note };
        self.book(id, &CreditWish::TopUp(amount), &words, caller).await
    }

    async fn try_book(
        &self,
        id: &CreditAccountId,
        wish: &CreditWish,
        words: &Words,
        caller: &Caller,
    ) -> Result<Booked, Attempt> {
        let deps = &self.0.deps;
        let (before, budget) = self.both(id).await?;
        let order = self.order(id, wish).await?;
        if lock(&self.0.doubtful).len() >= DOUBTFUL {
            let why = "it is not known of too many refunds and holds whether they were written";
            return Err(ServiceError::Unavailable(why.to_owned()).into());
        }
        let (held, free) = match order.takes() {
            None => (None, 0),
            // From here on no call has it.
            Some(amount) => match deps.budgets.set_aside(&budget.id, amount).await? {
                Ok(held) => (Some(held), i128::from(amount.as_pico())),
                Err(left) => (None, left),
            },
        };
        let now = deps.clock.now();
        let with = Particulars {
            id: CreditEntryId::generate(deps.entropy.as_ref()).map_err(ServiceError::from)?,
            at: now,
            reference: words.reference.clone(),
            note: words.note.clone(),
        };
        let (after, entry) = before.book(&order, free, with).map_err(refused)?;
        let mut changes = vec![booking(&after, &entry)];
        if after.limit() != before.limit() {
            let limit = PicoUsd::saturating(after.limit());
            changes.push(Change::UpdateBudget(Box::new(BudgetRecord { limit, ..budget })));
        }
        let event = caller.event(now, &format!("credit.{}", entry.kind.as_str()), before.id.as_str());
        match deps.store.apply(changes, told(event, &before, &after, &entry)).await {
            Ok(_) => {}
            Err(StoreError::Conflict { what }) if what != "request" => return Err(Attempt::Again),
            Err(error) => {
                self.doubt(held).await;
                return Err(ServiceError::from(error).into());
            }
        }
        // The limit is lowered before what was held back for it is free again.
        match deps.budgets.reload().await {
            Ok(()) => drop(held),
            Err(error) => {
                tracing::warn!(%error, "a new limit of prepaid credit is not read yet");
                self.doubt(held).await;
            }
        }
        Ok(Booked { account: self.standing(after).await?, entry, replayed: false })
    }

    /// Keeps holding back what may have been taken, until it is known.
    async fn doubt(&self, held: Option<SetAside>) {
        let Some(held) = held else { return };
        if self.0.deps.budgets.reload().await.is_ok() {
            return;
        }
        lock(&self.0.doubtful).push(held);
    }

    /// What the reference was booked for before.
    async fn booked_before(
        &self,
        id: &CreditAccountId,
        wish: &CreditWish,
        words: &Words,
    ) -> Result<Option<Booked>, ServiceError> {
        let Some(reference) = &words.reference else { return Ok(None) };
        let Some(entry) = self.0.deps.store.credit_reference(reference).await? else { return Ok(None) };
        let same = entry.account == *id
            && entry.kind == wish.kind()
            && entry.hold.as_ref() == wish.hold()
            && wish.amount().is_none_or(|amount| amount == entry.amount);
        if !same {
            let Entry { id, kind, amount, account, .. } = &entry;
            let why = format!(
                "stands for {id} already: {} of ${} in {account}",
                kind.as_str(),
                usd_text(i128::from(amount.as_pico())),
            );
            return Err(ServiceError::conflict("reference", why));
        }
        Ok(Some(Booked { account: self.show(id).await?, entry, replayed: true }))
    }

    async fn order(&self, id: &CreditAccountId, wish: &CreditWish) -> Result<Order, ServiceError> {
        Ok(match wish {
            CreditWish::TopUp(amount) => Order::TopUp(*amount),
            CreditWish::Refund(amount) => Order::Refund(*amount),
            CreditWish::Hold(amount) => Order::Hold(*amount),
            CreditWish::AdjustUp(amount) => Order::AdjustUp(*amount),
            CreditWish::AdjustDown(amount) => Order::AdjustDown(*amount),
            CreditWish::Release(hold, amount) => Order::Release(self.open_hold(id, hold).await?, *amount),
            CreditWish::Capture(hold, amount) => Order::Capture(self.open_hold(id, hold).await?, *amount),
        })
    }

    async fn open_hold(&self, id: &CreditAccountId, hold: &CreditEntryId) -> Result<OpenHold, ServiceError> {
        let store = &self.0.deps.store;
        let entry = store.credit_entry(hold).await?;
        let entry = entry.filter(|entry| entry.account == *id && entry.kind == EntryKind::Hold);
        let entry = entry.ok_or_else(|| ServiceError::not_found("hold", hold))?;
        let left = i128::from(entry.amount.as_pico()) - store.credit_taken(hold).await?;
        Ok(OpenHold { id: entry.id, left })
    }

    async fn record(&self, id: &CreditAccountId) -> Result<AccountRecord, ServiceError> {
        let all = self.0.deps.store.credit_accounts().await?;
        let found = all.into_iter().find(|record| record.id == *id);
        found.ok_or_else(|| ServiceError::not_found("credit account", id))
    }

    /// The account and the budget that holds calls to it.
    async fn both(&self, id: &CreditAccountId) -> Result<(AccountRecord, BudgetRecord), ServiceError> {
        let account = self.record(id).await?;
        let budgets = self.0.deps.store.budgets().await?;
        let budget = budgets.into_iter().find(|budget| budget.id == account.budget);
        Ok((account, budget.ok_or_else(|| ServiceError::not_found("budget of credit account", id))?))
    }

    async fn standing(&self, record: AccountRecord) -> Result<Account, ServiceError> {
        let all = self.0.deps.budgets.standings_of_all(Some(&record.subject)).await?;
        let standing = all.into_iter().find(|standing| standing.record.id == record.budget);
        Ok(Account { record, standing })
    }
}

/// How an attempt to book ended.
enum Attempt {
    /// Somebody else's entry came before.
    Again,
    Failed(ServiceError),
}

impl From<ServiceError> for Attempt {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
}

fn check(words: &Words) -> Result<(), ServiceError> {
    if words.reference.as_deref().is_some_and(|reference| !is_reference(reference)) {
        return Err(ServiceError::invalid(
            "reference",
            "expected 1 to 200 printable ASCII characters without spaces",
        ));
    }
    if words.note.chars().count() > MAX_NOTE {
        return Err(ServiceError::invalid("note", format!("a note has at most {MAX_NOTE} characters")));
    }
    Ok(())
}

fn refused(refused: Refused) -> ServiceError {
    match refused {
        Refused::NotPositive => ServiceError::invalid("usd", refused.to_string()),
        Refused::TooLarge | Refused::Short { .. } | Refused::HoldShort { .. } => {
            ServiceError::conflict("credit account", refused.to_string())
        }
    }
}

fn booking(account: &AccountRecord, entry: &Entry) -> Change {
    Change::BookCredit(Box::new(NewEntry { account: account.clone(), entry: entry.clone() }))
}

/// The event, with what was booked.
fn told(event: AuditEvent, before: &AccountRecord, after: &AccountRecord, entry: &Entry) -> AuditEvent {
    let event = digests::with(event, Some(&as_json(before)), Some(&as_json(after)))
        .with("entry", entry.id.as_str())
        .with("amount_pusd", entry.amount.to_string());
    match &entry.reference {
        Some(reference) => event.with("reference", reference.as_str()),
        None => event,
    }
}

/// An account as audit records and digests have it.
fn as_json(record: &AccountRecord) -> Value {
    let amounts = Place::ALL.map(|place| (place.as_str().to_owned(), record.balances.of(place).to_string()));
    json!({
        "id": record.id.as_str(),
        "subject": record.subject.kind(),
        "subject_id": record.subject.id(),
        "budget": record.budget.as_str(),
        "entries": record.entries,
        "balances": Value::Object(amounts.into_iter().map(|(k, v)| (k, Value::String(v))).collect()),
    })
}
