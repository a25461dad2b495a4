//! The book of a node: what of each budget is settled and what is held back by calls in flight. A call holds back from
//! all budgets that it counts against, or from none.
//!
//! # By how much a budget can be passed
//!
//! In one period of one budget let S be what is settled, R what calls in flight hold back, and B what they can cost beyond
//! that: for each the most that it can cost, less what it holds back. In strict mode a call holds the most back, so B is
//! nothing. Of all that happens to a call only its beginning makes S + R + B larger, by the most that it can cost:
//!
//! - what it spends moves from R, and when that is used up from B, to S;
//! - what it holds back more when it needs more moves from B to R;
//! - what is left when it ends leaves R and B.
//!
//! So at every moment, if L is the limit: what will be settled once all calls that are in flight now have ended is at most
//! S + R + B, and passes the limit by at most S + R + B − L. That is [`Standing::overshoot_bound`]. A call begins only
//! while something is left of a hard budget, and holds back no more than is left: S + R does not pass L by it, and in
//! strict mode, where B is nothing, never does. Lowering the limit raises the bound by as much as is spent and held back
//! already.

mod nearest;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Block, BudgetMode, BudgetRecord, BudgetSubject, THRESHOLDS, Window};
use crate::{
    clock::Timestamp,
    id::{BudgetId, KeyId},
    ledger::Party,
    money::PicoUsd,
};
pub use nearest::Nearest;

/// What a call can cost, before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What it will hardly cost less than: where not as much is left of a budget in expected mode, it is refused. Never
    /// more than what is likely.
    pub least: PicoUsd,
    /// What it will likely cost: held back by budgets in expected mode, if they have as much. Never more than the worst.
    pub likely: PicoUsd,
    /// The most that it can cost: held back by budgets in strict mode.
    pub worst: PicoUsd,
}

impl Ask {
    /// A call of which only the most is known.
    #[must_use]
    pub const fn at_most(worst: PicoUsd) -> Self {
        Self { least: worst, likely: worst, worst }
    }
}

/// One period of one budget that a call counts against, as its intent and its row in the ledger keep it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Charge {
    /// The budget.
    pub budget: BudgetId,
    /// The beginning of the period in which the call was made.
    pub window: Timestamp,
}

/// What one call holds back from one budget.
#[derive(Debug)]
struct Hold {
    record: Arc<BudgetRecord>,
    window: Timestamp,
    /// Pico-dollars held back and not yet spent.
    held: i128,
    /// What the call can cost beyond that.
    beyond: i128,
}

/// What one call holds back. It must be given back to the book: by [`Book::settle`] or [`Book::release`].
#[derive(Debug, Default)]
#[must_use = "what is held back is given back by settling or releasing it"]
pub struct Holds(Vec<Hold>);

impl Holds {
    /// Whether a hard budget is among them: the call's intent must be durable before it is sent.
    #[must_use]
    pub fn bind(&self) -> bool {
        self.0.iter().any(|hold| hold.record.hard)
    }

    /// Whether the call counts against no budget.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The periods of budgets that the call counts against.
    pub fn charges(&self) -> impl Iterator<Item = Charge> + '_ {
        self.0.iter().map(|hold| Charge { budget: hold.record.id.clone(), window: hold.window })
    }

    /// Each hold's budget, period, what is held back, and what the call can cost beyond.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (Arc<BudgetRecord>, Timestamp, i128, i128)> {
        self.0.into_iter().map(|hold| (hold.record, hold.window, hold.held, hold.beyond))
    }

    /// The least that is held back by a hard budget which does not hold back the most that the call can cost: what may
    /// be spent before [`Book::stretch`] must be asked. `None`: the call cannot cost more than is held back for it.
    #[must_use]
    pub fn room(&self) -> Option<i128> {
        self.0.iter().filter(|hold| hold.record.hard && hold.beyond > 0).map(|hold| hold.held).min()
    }
}

/// A budget has not as much left as the call needs. Nothing was held back.
#[derive(Debug, Clone)]
pub struct OverBudget {
    /// The budget that has the least left of what is needed.
    pub record: Arc<BudgetRecord>,
    /// Its period.
    pub window: Window,
    /// What the call needs of it, in pico-dollars.
    pub needed: i128,
    /// What is left of it, in pico-dollars; less than nothing if a limit was lowered.
    pub left: i128,
}

/// A share of a budget was reached for the first time in its period.
#[derive(Debug, Clone)]
pub struct Crossed {
    /// The budget.
    pub record: Arc<BudgetRecord>,
    /// The beginning of its period.
    pub window: Timestamp,
    /// The share, in per cent: one of [`THRESHOLDS`].
    pub percent: u8,
    /// What is settled, in pico-dollars.
    pub settled: i128,
}

/// What settling a call brought to light.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Shares that were reached.
    pub crossed: Vec<Crossed>,
    /// The call cost more than what was held to be the most, by so many pico-dollars: the reckoning is wrong.
    pub beyond_worst: i128,
}

/// What binds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// It counts against no budget.
    None,
    /// Only against budgets that refuse nobody.
    Soft,
    /// Against a budget that refuses.
    Hard,
}

/// How a budget stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The budget.
    pub record: Arc<BudgetRecord>,
    /// Its period.
    pub window: Window,
    /// What calls have cost, in pico-dollars.
    pub settled: i128,
    /// What calls in flight hold back.
    pub reserved: i128,
    /// What is left; never less than nothing.
    pub left: i128,
    /// By how much the limit is passed at most once the calls that are in flight now have ended.
    pub overshoot_bound: i128,
}

/// One period of one budget.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    /// What calls have cost: of all nodes, as far as this one knows.
    pub settled: i128,
    pub reserved: i128,
    pub beyond: i128,
    /// How many of [`THRESHOLDS`] were told.
    pub told: usize,
    /// Where several nodes share budgets: this node's block. See [`super::blocks`].
    pub block: Block,
}

impl Account {
    /// What is left of the ceiling; on one of several nodes, of its block.
    fn left(&self, record: &BudgetRecord, shares: bool) -> i128 {
        if shares {
            self.block.unspent() - self.reserved
        } else {
            i128::from(record.limit.as_pico()) - self.settled - self.reserved
        }
    }

    fn book(&mut self, cost: i128) {
        self.settled += cost;
        self.block.spent += cost;
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub record: Arc<BudgetRecord>,
    /// The newest period that was seen: a clock that is set back opens no old one again.
    pub window: Window,
    /// By the beginning of the period; old ones stay while calls of theirs are in flight.
    pub accounts: BTreeMap<Timestamp, Account>,
    /// When a call last held something back.
    pub used_at: Timestamp,
    /// Several nodes share it: calls are made from this node's block.
    shares: bool,
}

impl Entry {
    pub(super) fn roll(&mut self, now: Timestamp) {
        if self.window.contains(now) || now < self.window.start {
            return;
        }
        self.window = self.record.calendar.window_at(now);
        let current = self.window.start;
        let has_ended = |account: &Account| account.reserved == 0 && account.block.is_returned();
        let shares = self.shares;
        self.accounts.retain(|start, account| {
            *start >= current || if shares { !has_ended(account) } else { account.reserved != 0 }
        });
        self.accounts.entry(current).or_default();
    }

    fn account(&self) -> Account {
        self.accounts.get(&self.window.start).copied().unwrap_or_default()
    }

    fn left(&self) -> i128 {
        self.account().left(&self.record, self.shares)
    }

    /// What must be left for a call.
    fn need(&self, ask: Ask) -> i128 {
        let worst = i128::from(ask.worst.as_pico());
        match self.record.mode {
            BudgetMode::Strict => worst,
            // Something must be left for anything that can cost something.
            BudgetMode::Expected => i128::from(ask.least.as_pico()).max(1).min(worst),
        }
    }

    /// What is held back for a call for which enough is left, and what it can cost beyond that.
    fn share(&self, ask: Ask) -> (i128, i128) {
        let worst = i128::from(ask.worst.as_pico());
        let likely = i128::from(ask.likely.as_pico()).min(worst);
        match (self.record.mode, self.record.hard) {
            (BudgetMode::Strict, _) => (worst, 0),
            (BudgetMode::Expected, false) => (likely, worst - likely),
            (BudgetMode::Expected, true) => {
                let held = likely.min(self.left()).max(0);
                (held, worst - held)
            }
        }
    }

    /// Which shares were reached and not told.
    pub(super) fn crossed(&mut self, window: Timestamp) -> Vec<Crossed> {
        let limit = i128::from(self.record.limit.as_pico());
        let Some(account) = self.accounts.get_mut(&window) else { return Vec::new() };
        let reached = |percent: u8| account.settled * 100 >= limit * i128::from(percent) && limit > 0;
        let count = THRESHOLDS.iter().take_while(|percent| reached(**percent)).count();
        let new = THRESHOLDS.get(account.told..count).unwrap_or_default();
        account.told = account.told.max(count);
        let settled = account.settled;
        let record = &self.record;
        new.iter()
            .map(|percent| Crossed { record: Arc::clone(record), window, percent: *percent, settled })
            .collect()
    }
}

/// All budgets that live, and how each stands on this node.
#[derive(Debug, Default)]
pub struct Book {
    pub(super) entries: HashMap<BudgetId, Entry>,
    /// Which budgets a subject has.
    pub(super) subjects: HashMap<BudgetSubject, Vec<BudgetId>>,
    /// Several nodes share the budgets.
    pub(super) shares: bool,
    /// What calls lack that wait for a larger block, and blocks that are to grow ahead of need.
    pub(super) wanted: BTreeMap<Charge, i128>,
}

impl Book {
    /// Puts a budget in, or its changed record. `settled` is what its period has cost so far, for a budget that is
    /// not yet there. The shares that this reaches may have been told before; under another limit they count anew.
    pub fn put(&mut self, record: BudgetRecord, now: Timestamp, settled: i128) -> Vec<Crossed> {
        let record = Arc::new(record);
        if let Some(entry) = self.entries.get_mut(&record.id)
            && entry.record.calendar == record.calendar
            && entry.record.subject == record.subject
        {
            let has_other_limit = entry.record.limit != record.limit;
            if record.limit < entry.record.limit {
                entry.accounts.values_mut().for_each(Account::give_up);
            }
            entry.record = record;
            let window = entry.window.start;
            if has_other_limit && let Some(account) = entry.accounts.get_mut(&window) {
                account.told = 0;
                return entry.crossed(window);
            }
            return Vec::new();
        }
        self.remove(&record.id);
        self.subjects.entry(record.subject.clone()).or_default().push(record.id.clone());
        let window = record.calendar.window_at(now);
        let accounts = BTreeMap::from([(window.start, Account { settled, ..Account::default() })]);
        let mut entry = Entry { record, window, accounts, used_at: now, shares: self.shares };
        let crossed = entry.crossed(window.start);
        self.entries.insert(entry.record.id.clone(), entry);
        crossed
    }

    /// Takes a budget out. What calls in flight hold back from it is forgotten with it.
    pub fn remove(&mut self, id: &BudgetId) {
        let Some(entry) = self.entries.remove(id) else { return };
        if let Some(ids) = self.subjects.get_mut(&entry.record.subject) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.subjects.remove(&entry.record.subject);
            }
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All budgets, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<BudgetRecord>> {
        self.entries.values().map(|entry| &entry.record)
    }

    /// The budgets that a call of this party counts against. `parent` is the key above a child key.
    fn of(&self, party: &Party, parent: Option<&KeyId>) -> Vec<BudgetId> {
        let subjects = [
            Some(BudgetSubject::Key(party.key.clone())),
            parent.map(|parent| BudgetSubject::Key(parent.clone())),
            Some(BudgetSubject::Owner(party.owner.clone())),
            Some(BudgetSubject::Workspace(party.workspace.clone())),
            Some(BudgetSubject::All),
        ];
        let ids = subjects.iter().flatten().filter_map(|subject| self.subjects.get(subject));
        ids.flatten().cloned().collect()
    }

    /// Whether a call of this party counts against a budget that holds back what it will likely cost.
    #[must_use]
    pub fn expects(&self, party: &Party, parent: Option<&KeyId>) -> bool {
        let expects = |id: &BudgetId| self.entries.get(id).map(|entry| entry.record.mode);
        self.of(party, parent).iter().any(|id| expects(id) == Some(BudgetMode::Expected))
    }

    /// Whether a call of this party counts against any budget, and whether against a hard one.
    #[must_use]
    pub fn cover(&self, party: &Party, parent: Option<&KeyId>) -> Cover {
        if self.entries.is_empty() {
            return Cover::None;
        }
        let ids = self.of(party, parent);
        let hard = |id: &BudgetId| self.entries.get(id).is_some_and(|entry| entry.record.hard);
        match () {
            () if ids.is_empty() => Cover::None,
            () if ids.iter().any(hard) => Cover::Hard,
            () => Cover::Soft,
        }
    }

    /// Holds back what a call can cost from all budgets that it counts against.
    ///
    /// # Errors
    /// [`OverBudget`] names the hard budget that lacks most; nothing was held back then.
    pub fn reserve(
        &mut self,
        party: &Party,
        parent: Option<&KeyId>,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Holds, OverBudget> {
        if self.entries.is_empty() {
            return Ok(Holds::default());
        }
        let ids = self.of(party, parent);
        let mut short: Option<OverBudget> = None;
        for id in &ids {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            entry.roll(now);
            let (needed, left) = (entry.need(ask), entry.left());
            if !entry.record.hard || needed <= left {
                continue;
            }
            if self.shares {
                let charge = Charge { budget: id.clone(), window: entry.window.start };
                let lacks = self.wanted.entry(charge).or_default();
                *lacks = (*lacks).max(needed - left);
            }
            if short.as_ref().is_none_or(|other| left - needed < other.left - other.needed) {
                let (record, window) = (Arc::clone(&entry.record), entry.window);
                short = Some(OverBudget { record, window, needed, left });
            }
        }
        if let Some(over) = short {
            return Err(over);
        }
        let mut holds = Vec::with_capacity(ids.len());
        for id in &ids {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let (held, beyond) = entry.share(ask);
            let window = entry.window.start;
            let account = entry.accounts.entry(window).or_default();
            account.reserved += held;
            account.beyond += beyond;
            if entry.shares {
                entry.used_at = now;
                if entry.record.hard && account.is_low() {
                    self.wanted.entry(Charge { budget: id.clone(), window }).or_default();
                }
            }
            holds.push(Hold { record: Arc::clone(&entry.record), window, held, beyond });
        }
        Ok(Holds(holds))
    }

    /// Holds back again what an earlier start held back, such as for a batch that is not billed yet: whatever is left.
    /// Budgets that were dropped meanwhile are left out.
    pub fn hold_again(&mut self, charges: &[Charge], amount: PicoUsd) -> Holds {
        let amount = i128::from(amount.as_pico()).max(0);
        let mut holds = Vec::with_capacity(charges.len());
        for Charge { budget, window } in charges {
            let Some(entry) = self.entries.get_mut(budget) else { continue };
            entry.accounts.entry(*window).or_default().reserved += amount;
            holds.push(Hold { record: Arc::clone(&entry.record), window: *window, held: amount, beyond: 0 });
        }
        Holds(holds)
    }

    /// Holds back as much as a call that is under way has come to by now, and `ahead` for what comes next, as far as that
    /// is left.
    ///
    /// # Errors
    /// [`OverBudget`]: a hard budget has not as much left as the call has come to; what was held back stays.
    pub fn stretch(&mut self, holds: &mut Holds, come_to: PicoUsd, ahead: PicoUsd) -> Result<(), OverBudget> {
        let (come_to, ahead) = (i128::from(come_to.as_pico()), i128::from(ahead.as_pico()));
        let left = |entry: &Entry, window: &Timestamp| {
            let account = entry.accounts.get(window).copied().unwrap_or_default();
            account.left(&entry.record, entry.shares)
        };
        for hold in holds.0.iter().filter(|hold| hold.record.hard) {
            let Some(entry) = self.entries.get(&hold.record.id) else { continue };
            let (needed, left) = (come_to - hold.held, left(entry, &hold.window));
            if needed > 0 && needed > left {
                if self.shares {
                    let charge = Charge { budget: hold.record.id.clone(), window: hold.window };
                    let lacks = self.wanted.entry(charge).or_default();
                    *lacks = (*lacks).max(needed - left);
                }
                let record = Arc::clone(&entry.record);
                return Err(OverBudget { record, window: entry.window, needed, left });
            }
        }
        for hold in &mut holds.0 {
            let Some(entry) = self.entries.get_mut(&hold.record.id) else { continue };
            let left = if hold.record.hard { left(entry, &hold.window) } else { i128::MAX };
            let more = (come_to + ahead - hold.held).min(hold.beyond).min(left).max(0);
            let account = entry.accounts.entry(hold.window).or_default();
            account.reserved += more;
            account.beyond -= more;
            if entry.shares && hold.record.hard && account.is_low() {
                let charge = Charge { budget: hold.record.id.clone(), window: hold.window };
                self.wanted.entry(charge).or_default();
            }
            hold.held += more;
            hold.beyond -= more;
        }
        Ok(())
    }

    /// Books what a part of the call has cost; the rest stays held back.
    pub fn spend(&mut self, holds: &mut Holds, cost: PicoUsd) -> Settled {
        let cost = i128::from(cost.as_pico()).max(0);
        let mut settled = Settled::default();
        for hold in &mut holds.0 {
            settled.beyond_worst = settled.beyond_worst.max(cost - hold.held - hold.beyond);
            let Some(entry) = self.entries.get_mut(&hold.record.id) else { continue };
            let account = entry.accounts.entry(hold.window).or_default();
            let from_held = cost.min(hold.held);
            let from_beyond = (cost - from_held).min(hold.beyond);
            account.reserved -= from_held;
            account.beyond -= from_beyond;
            account.book(cost);
            hold.held -= from_held;
            hold.beyond -= from_beyond;
            settled.crossed.extend(entry.crossed(hold.window));
        }
        settled
    }

    /// Books what the call has cost, and gives the rest back.
    pub fn settle(&mut self, mut holds: Holds, cost: PicoUsd) -> Settled {
        let settled = self.spend(&mut holds, cost);
        self.release(holds);
        settled
    }

    /// Gives back what is still held back.
    pub fn release(&mut self, holds: Holds) {
        for hold in holds.0 {
            let Some(entry) = self.entries.get_mut(&hold.record.id) else { continue };
            let current = entry.window.start;
            let Some(account) = entry.accounts.get_mut(&hold.window) else { continue };
            account.reserved -= hold.held;
            account.beyond -= hold.beyond;
            if hold.window < current && account.reserved == 0 && !entry.shares {
                entry.accounts.remove(&hold.window);
            }
        }
    }

    /// Books a cost that nothing was held back for, such as a batch's item whose creation an earlier start saw.
    pub fn charge(&mut self, charges: &[Charge], cost: PicoUsd) -> Settled {
        let mut settled = Settled::default();
        for charge in charges {
            let Some(entry) = self.entries.get_mut(&charge.budget) else { continue };
            // A period that is over and forgotten has no account any more; the store keeps its total.
            let Some(account) = entry.accounts.get_mut(&charge.window) else { continue };
            account.book(i128::from(cost.as_pico()));
            settled.crossed.extend(entry.crossed(charge.window));
        }
        settled
    }

    /// How a budget stands.
    pub fn standing(&mut self, id: &BudgetId, now: Timestamp) -> Option<Standing> {
        let entry = self.entries.get_mut(id)?;
        entry.roll(now);
        let Account { settled, reserved, beyond, .. } = entry.account();
        let left = entry.left();
        let overshoot_bound = (beyond - left).max(0);
        let (record, window) = (Arc::clone(&entry.record), entry.window);
        Some(Standing { record, window, settled, reserved, left: left.max(0), overshoot_bound })
    }
}

#[cfg(test)]
mod tests;
