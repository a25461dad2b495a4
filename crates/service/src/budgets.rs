//! Budgets: what a call can cost is held back in this node's book before the call is made, and settled after it. The
//! book is memory; what it knows after a start comes from the ledger's totals and from what is still held back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use claviger_domain::{
    budget::{
        Ask, Book, BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Cover, Crossed, OverBudget,
        Period, Standing, Window, book::Settled,
    },
    clock::{Clock, Entropy, Timestamp},
    id::{BudgetId, KeyId, NodeId},
    ledger::Party,
    money::PicoUsd,
    ports::{Change, LedgerStore, Store, UsageBy, UsageQuery, budgets::NewBudget},
};
use serde_json::{Value, json};

pub(crate) use self::aside::SetAside;
use self::{batches::Batch, blocks::Blocks, learning::Learning};
pub use self::{blocks::Lacking, held::Held};
use crate::{Caller, ServiceError, digests, lock::lock};

/// Shares that were reached and not yet told, at most.
const UNTOLD: usize = 1_024;

/// What is asked of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetWish {
    /// Whose money.
    pub subject: BudgetSubject,
    /// How long until it begins anew.
    pub period: Period,
    /// An IANA time zone; `None`: as it is, or UTC.
    pub zone: Option<String>,
    /// The ceiling.
    pub limit: PicoUsd,
    /// Whether calls beyond it are refused.
    pub hard: bool,
    /// What of a call is held back.
    pub mode: BudgetMode,
}

/// A budget as it is given with a key: hard and strict, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBudget {
    /// The ceiling.
    pub limit: PicoUsd,
    /// How long until it begins anew.
    pub period: Period,
}

impl KeyBudget {
    /// From `AMOUNT/PERIOD`, such as `12.50/day`.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, ServiceError> {
        let (amount, period) = text.split_once('/').unwrap_or((text, ""));
        let period = Period::parse(period).ok_or_else(|| {
            invalid("budget", "expected AMOUNT/PERIOD, such as 12.50/day: day, week, month or life")
        })?;
        let limit = PicoUsd::from_usd(amount).map_err(|error| invalid("budget", &error.to_string()))?;
        Ok(Self { limit, period })
    }

    /// The same as a wish for a key's line.
    #[must_use]
    pub fn wish(self, key: &KeyId) -> BudgetWish {
        let subject = BudgetSubject::Key(key.clone());
        let Self { limit, period } = self;
        BudgetWish { subject, period, zone: None, limit, hard: true, mode: BudgetMode::Strict }
    }
}

/// What budgets need.
pub(crate) struct BudgetDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// Budgets. Cheap to clone.
#[derive(Clone)]
pub struct Budgets(Arc<Inner>);

struct Inner {
    deps: BudgetDeps,
    book: Mutex<Book>,
    /// One reads at a time, so that nobody puts back what another has seen changed.
    reading: tokio::sync::Mutex<()>,
    /// There is a budget at all: without one no call takes the lock.
    any: AtomicBool,
    batches: Mutex<HashMap<String, Batch>>,
    /// Where several nodes share budgets.
    blocks: Option<Blocks>,
    crossed: Mutex<VecDeque<Crossed>>,
    /// There is one in expected mode: without one nothing is learned.
    expects: AtomicBool,
    learning: Learning,
}

impl std::fmt::Debug for Budgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Budgets")
    }
}

impl Budgets {
    /// Loads every budget and how it stands.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub(crate) async fn start(deps: BudgetDeps, node: &NodeId) -> Result<Self, ServiceError> {
        let blocks = deps.store.shared().map(|_| Blocks::of(node.clone()));
        let book = if blocks.is_some() { Book::shared() } else { Book::default() };
        let budgets = Self(Arc::new(Inner {
            deps,
            book: Mutex::new(book),
            blocks,
            reading: tokio::sync::Mutex::default(),
            any: AtomicBool::new(false),
            batches: Mutex::default(),
            crossed: Mutex::default(),
            expects: AtomicBool::new(false),
            learning: Learning::default(),
        }));
        budgets.reload().await?;
        budgets.begin_learning().await?;
        budgets.inherit_stored().await?;
        for batch in budgets.0.deps.store.held_batches().await? {
            budgets.hold_for(batch);
        }
        Ok(budgets)
    }

    /// Reads what others may have changed.
    pub(crate) async fn reload(&self) -> Result<(), ServiceError> {
        let Inner { deps, book, any, expects, reading, .. } = &*self.0;
        let _one = reading.lock().await;
        let records = deps.store.budgets().await?;
        let now = deps.clock.now();
        let known: HashMap<BudgetId, Arc<BudgetRecord>> =
            lock(book).records().map(|r| (r.id.clone(), Arc::clone(r))).collect();
        let new: Vec<Charge> =
            records.iter().filter(|r| !known.contains_key(&r.id)).map(|r| charge(r, now)).collect();
        let totals = deps.store.budget_totals(&new).await?;
        let settled: HashMap<BudgetId, i128> = new.into_iter().map(|c| c.budget).zip(totals).collect();
        any.store(!records.is_empty(), Ordering::Release);
        expects.store(records.iter().any(|r| r.mode == BudgetMode::Expected), Ordering::Release);
        let mut book = lock(book);
        for id in known.keys().filter(|id| !records.iter().any(|r| r.id == **id)) {
            book.remove(id);
        }
        for record in records {
            let settled = settled.get(&record.id).copied().unwrap_or_default();
            let crossed = book.put(record, now, settled);
            self.untold(crossed);
        }
        Ok(())
    }

    /// Holds back what a call can cost from every budget that it counts against; `None`: it counts against none. Of
    /// keys, `party` and `parent` name the first of their lines.
    ///
    /// # Errors
    /// [`OverBudget`]: nothing was held back.
    pub fn reserve(
        &self,
        party: &Party,
        parent: Option<&KeyId>,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Option<Held>, Box<OverBudget>> {
        if !self.any() {
            return Ok(None);
        }
        let holds = lock(&self.0.book).reserve(party, parent, ask, now).map_err(Box::new)?;
        if holds.is_empty() {
            return Ok(None);
        }
        let charges = holds.charges().collect();
        Ok(Some(Held { budgets: self.clone(), holds: Some(holds), charges, short_since: None }))
    }

    /// Whether there is a budget at all.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// Whether calls of this party count against any budget.
    #[must_use]
    pub fn cover(&self, party: &Party, parent: Option<&KeyId>) -> Cover {
        if self.any() { lock(&self.0.book).cover(party, parent) } else { Cover::None }
    }

    /// Whether there is a budget that holds back what calls will likely cost: without one nothing is learned of them.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.0.expects.load(Ordering::Acquire)
    }

    /// Whether calls of this party count against a budget that holds back what they will likely cost.
    #[must_use]
    pub fn expects(&self, party: &Party, parent: Option<&KeyId>) -> bool {
        self.learns() && lock(&self.0.book).expects(party, parent)
    }

    fn heard(&self, settled: Settled) {
        if settled.beyond_worst > 0 {
            tracing::error!(
                beyond_pusd = settled.beyond_worst,
                "a call cost more than the most that was reckoned for it"
            );
        }
        self.untold(settled.crossed);
    }

    fn untold(&self, crossed: Vec<Crossed>) {
        if crossed.is_empty() {
            return;
        }
        let mut untold = lock(&self.0.crossed);
        untold.extend(crossed);
        let beyond = untold.len().saturating_sub(UNTOLD);
        untold.drain(..beyond);
    }

    /// Whether a wish would loosen the budget that there is: a higher ceiling, one that refuses nobody or can be passed,
    /// other periods.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn would_loosen(&self, wish: &BudgetWish) -> Result<bool, ServiceError> {
        let known = self.find(&wish.subject, wish.period).await?;
        Ok(known.is_some_and(|known| {
            wish.limit > known.limit
                || (known.hard && !wish.hard)
                || (known.mode == BudgetMode::Strict && wish.mode == BudgetMode::Expected)
                || wish.zone.as_deref().is_some_and(|zone| zone != known.calendar.zone())
        }))
    }

    /// The change that gives a key that is being made its first budget, beside the one that inserts it; with the
    /// budget's id. [`Budgets::reload`] must follow once it is written.
    pub(crate) fn of_new_key(
        &self,
        key: &KeyId,
        plan: KeyBudget,
        now: Timestamp,
    ) -> Result<(Change, BudgetRecord), ServiceError> {
        let record = BudgetRecord {
            id: BudgetId::generate(self.0.deps.entropy.as_ref())?,
            subject: BudgetSubject::Key(key.clone()),
            calendar: Calendar::new(plan.period, "UTC")
                .map_err(|error| invalid("budget", &error.to_string()))?,
            limit: plan.limit,
            hard: true,
            mode: BudgetMode::Strict,
            created_at: now,
            dropped_at: None,
            credit: None,
            version: 1,
        };
        let charge = charge(&record, now);
        let new = NewBudget { record: record.clone(), charge, settled: 0 };
        Ok((Change::InsertBudget(Box::new(new)), record))
    }

    /// Sets the budget of a subject and a period, or changes it.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::Stale`]; [`ServiceError::Conflict`] when somebody
    /// else set it meanwhile.
    pub async fn set(
        &self,
        wish: BudgetWish,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<Standing, ServiceError> {
        let known = self.find(&wish.subject, wish.period).await?;
        let version = known.as_ref().map_or(0, |record| record.version);
        if expected_version.is_some_and(|expected| expected != version) {
            return Err(ServiceError::Stale { what: "budget", version });
        }
        if wish.limit < PicoUsd::ZERO {
            return Err(invalid("limit_pusd", "a budget is not less than nothing"));
        }
        let zone = wish.zone.as_deref().or(known.as_ref().map(|r| r.calendar.zone())).unwrap_or("UTC");
        let calendar = Calendar::new(wish.period, zone).map_err(|error| invalid("tz", &error.to_string()))?;
        let now = self.0.deps.clock.now();
        match known {
            Some(known) if known.calendar == calendar => {
                let changed =
                    BudgetRecord { limit: wish.limit, hard: wish.hard, mode: wish.mode, ..known.clone() };
                let event = caller.event(now, "budget.set", changed.id.as_str());
                let event = digests::with(event, Some(&as_json(&known)), Some(&as_json(&changed)))
                    .with("budget", as_json(&changed));
                self.0.deps.store.apply(vec![Change::UpdateBudget(Box::new(changed.clone()))], event).await?;
                self.reload().await?;
                self.standing(&changed.id).await
            }
            // In another zone its periods are others: it is a new budget.
            known => self.make(&wish, calendar, known, caller).await,
        }
    }

    async fn make(
        &self,
        wish: &BudgetWish,
        calendar: Calendar,
        former: Option<BudgetRecord>,
        caller: &Caller,
    ) -> Result<Standing, ServiceError> {
        let Inner { deps, .. } = &*self.0;
        let now = deps.clock.now();
        let record = BudgetRecord {
            id: BudgetId::generate(deps.entropy.as_ref())?,
            subject: wish.subject.clone(),
            calendar,
            limit: wish.limit,
            hard: wish.hard,
            mode: wish.mode,
            created_at: now,
            dropped_at: None,
            credit: None,
            version: 1,
        };
        let window = record.calendar.window_at(now);
        let settled = self.spent(&record.subject, window).await?;
        let event = caller.event(now, "budget.set", record.id.as_str());
        let event = digests::with(event, former.as_ref().map(as_json).as_ref(), Some(&as_json(&record)))
            .with("budget", as_json(&record))
            .with("settled_pusd", settled.to_string());
        let charge = charge(&record, now);
        let id = record.id.clone();
        let mut changes = Vec::with_capacity(2);
        if let Some(former) = former {
            changes.push(Change::UpdateBudget(Box::new(BudgetRecord { dropped_at: Some(now), ..former })));
        }
        changes.push(Change::InsertBudget(Box::new(NewBudget { record, charge, settled })));
        deps.store.apply(changes, event).await?;
        self.reload().await?;
        self.standing(&id).await
    }

    /// Drops the budget of a subject and a period.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Stale`].
    pub async fn remove(
        &self,
        subject: &BudgetSubject,
        period: Period,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<BudgetRecord, ServiceError> {
        let missing = || ServiceError::not_found("budget", format!("{} {}", subject.id(), period.as_str()));
        let known = self.find(subject, period).await?.ok_or_else(missing)?;
        if expected_version.is_some_and(|expected| expected != known.version) {
            return Err(ServiceError::Stale { what: "budget", version: known.version });
        }
        let now = self.0.deps.clock.now();
        let dropped = BudgetRecord { dropped_at: Some(now), ..known.clone() };
        let event = caller.event(now, "budget.drop", dropped.id.as_str());
        let event = digests::with(event, Some(&as_json(&known)), None);
        self.0.deps.store.apply(vec![Change::UpdateBudget(Box::new(dropped.clone()))], event).await?;
        self.reload().await?;
        Ok(dropped)
    }

    /// How every budget of a subject stands in this node's book, which knows of others what they have settled; `None`: of
    /// all subjects. See [`Budgets::standings_of_all`].
    #[must_use]
    pub fn standings(&self, subject: Option<&BudgetSubject>) -> Vec<Standing> {
        let now = self.0.deps.clock.now();
        let mut book = lock(&self.0.book);
        let wanted = |r: &&Arc<BudgetRecord>| subject.is_none_or(|subject| r.subject == *subject);
        let mut records: Vec<_> = book.records().filter(wanted).cloned().collect();
        records.sort_by(|a, b| {
            (&a.subject, a.calendar.period(), &a.id).cmp(&(&b.subject, b.calendar.period(), &b.id))
        });
        records.iter().filter_map(|record| book.standing(&record.id, now)).collect()
    }

    async fn standing(&self, id: &BudgetId) -> Result<Standing, ServiceError> {
        let standing = self.standings_of_all(None).await?.into_iter().find(|s| s.record.id == *id);
        standing.ok_or_else(|| ServiceError::not_found("budget", id))
    }

    async fn find(
        &self,
        subject: &BudgetSubject,
        period: Period,
    ) -> Result<Option<BudgetRecord>, ServiceError> {
        let all = self.0.deps.store.budgets().await?;
        let wanted = |r: &BudgetRecord| r.subject == *subject && r.calendar.period() == period;
        // What holds prepaid credit follows from what was paid in.
        Ok(all.into_iter().find(|r| r.credit.is_none() && wanted(r)))
    }

    /// What a subject has cost in a period up to now.
    async fn spent(&self, subject: &BudgetSubject, window: Window) -> Result<i128, ServiceError> {
        let keys = self.0.deps.store.keys_of(subject).await?;
        let from = (window.start > Timestamp::from_micros(0)).then_some(window.start);
        let query = UsageQuery { by: Some(UsageBy::Key), from, until: window.end, ..UsageQuery::default() };
        let totals = self.0.deps.ledger.usage(&query).await?;
        let ours = totals.iter().filter(|total| keys.iter().any(|key| key.as_str() == total.group));
        Ok(ours.map(|total| total.cost_pusd).sum())
    }
}

fn charge(record: &BudgetRecord, now: Timestamp) -> Charge {
    Charge { budget: record.id.clone(), window: record.calendar.window_at(now).start }
}

fn invalid(field: &'static str, why: &str) -> ServiceError {
    ServiceError::Invalid { field, why: why.to_owned() }
}

/// A budget as audit records and digests have it.
pub(crate) fn as_json(record: &BudgetRecord) -> Value {
    json!({
        "id": record.id.as_str(),
        "subject": record.subject.kind(),
        "subject_id": record.subject.id(),
        "period": record.calendar.period().as_str(),
        "tz": record.calendar.zone(),
        "limit_pusd": record.limit.to_string(),
        "hard": record.hard,
        "mode": record.mode.as_str(),
    })
}

mod aside;
mod batches;
mod blocks;
mod held;
mod holders;
mod learning;
mod nearest;
mod telling;

#[cfg(test)]
mod tests;
