//! Blocks: how several nodes keep one ceiling. The store holds what is settled and, for each node, a block: what this
//! node may spend without asking. A node holds back and spends from its block in memory; when that runs low it asks for
//! more, and what it does not use it gives back.
//!
//! # Why no ceiling is passed
//!
//! In one period of one budget let L be the limit, T what is settled in the store, H what is held back there for batches,
//! and A(n) the block of node n. A block grows only in a transaction that sees them all, and only as far as
//! T + H + Σ max(A, 0) ≤ L. What happens otherwise makes that sum no larger:
//!
//! - what calls have cost moves from A to T, in one transaction;
//! - what is held back for a batch moves from A to H when it is made, and from H to T when its items are billed;
//! - what a node gives back leaves A;
//! - the block of a node that died passes to the one which settles its calls.
//!
//! A node's own book knows G, all that it was ever given less what it gave back, and U, all that its calls have cost; of U
//! the part F has moved to T already. So A = G − F, and a call is made only while G − U − (what is held back) has room for it:
//! what calls cost and can cost at most is never more than A. A node that is held to be dead can write no intent any more, and
//! without a durable intent no call is sent.

use std::sync::Arc;

use super::{
    BudgetRecord, Charge,
    book::{Account, Book, Crossed},
};
use crate::clock::Timestamp;

/// What nodes ask for ahead is one part of so many of what is left, for each node.
const PART: i128 = 2;
/// A node gives back what it did not use for so long, in microseconds.
const IDLE_US: i64 = 5_000_000;

/// This node's block of one period of one budget, as its book knows it, in pico-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// All that was given, less what was given back.
    pub leased: i128,
    /// All that calls of this node have cost.
    pub spent: i128,
    /// What was given last: half of it used, more is asked for.
    pub last: i128,
    /// What is on its way back to the store.
    pub returning: i128,
    /// The number of the question that is asked now: one whose answer was lost is asked again under the same number.
    pub op: i64,
    /// What the store was told of calls in flight: held back, and what they can cost beyond.
    pub told: (i128, i128),
    /// It was asked, and the answer is not known.
    pub is_asking: bool,
}

impl Block {
    /// What calls did not cost yet.
    #[must_use]
    pub const fn unspent(&self) -> i128 {
        self.leased - self.spent
    }

    /// Whether nothing of it is left to give back.
    #[must_use]
    pub const fn is_returned(&self) -> bool {
        self.unspent() <= 0 && self.returning == 0
    }
}

impl Account {
    /// What is neither spent nor held back.
    fn idle(&self) -> i128 {
        (self.block.unspent() - self.reserved).max(0)
    }

    /// Whether more is to be asked for ahead.
    pub(super) fn is_low(&self) -> bool {
        self.block.last > 0 && self.idle() * 2 < self.block.last
    }

    /// What is not in use goes back.
    pub(super) fn give_up(&mut self) {
        let idle = self.idle();
        self.block.leased -= idle;
        self.block.returning += idle;
        self.block.last = 0;
    }
}

/// What a node asks of the store for one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockWish {
    /// The number of the question: it has an effect once.
    pub op: i64,
    /// What calls lack that wait; nothing if none does.
    pub lacks: i128,
    /// Whether more is wanted ahead.
    pub ahead: bool,
    /// What is given back.
    pub gives: i128,
    /// For others to know: what calls in flight hold back,
    pub reserved: i128,
    /// what they can cost beyond that,
    pub beyond: i128,
    /// and what is not in use.
    pub idle: i128,
}

/// One node's block in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// What it may spend, less what moved to the settled totals. Less than nothing: its calls cost more than it was given.
    pub amount: i128,
    /// As it said last: held back by calls in flight,
    pub reserved: i128,
    /// what those can cost beyond that,
    pub beyond: i128,
    /// and not in use.
    pub idle: i128,
    /// The number of the last question,
    pub op: i64,
    /// and what was given then, or given back.
    pub delta: i128,
}

/// How one period of one budget stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ground {
    /// The ceiling.
    pub limit: i128,
    /// Whether calls beyond it are refused.
    pub hard: bool,
    /// What is settled in the totals.
    pub settled: i128,
    /// What is held back for batches.
    pub batches: i128,
    /// The asking node's block.
    pub own: Held,
    /// Those of all others.
    pub others: Vec<Held>,
    /// Nodes that live, the asking one included.
    pub nodes: u32,
}

impl Ground {
    fn of_others(&self) -> i128 {
        self.others.iter().map(|held| held.amount.max(0)).sum()
    }

    /// Both together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.limit += other.limit;
        self.hard |= other.hard;
        self.settled += other.settled;
        self.batches += other.batches;
        self.nodes += other.nodes;
        self.others.extend(other.others);
        if other.own != Held::default() {
            self.own = other.own;
        }
        self
    }

    /// By how much the own block may grow.
    #[must_use]
    pub fn room(&self) -> i128 {
        let most = self.limit - self.settled - self.batches - self.of_others();
        most.max(0) - self.own.amount.max(0) + (-self.own.amount).max(0)
    }

    /// What nodes could give back.
    #[must_use]
    pub fn idle_elsewhere(&self) -> i128 {
        self.others.iter().map(|held| held.idle.clamp(0, held.amount.max(0))).sum()
    }

    /// By how much the block changes. What is lacking is given whole or not at all; ahead, a node's share of what is left.
    /// Near the ceiling that share is less than a call needs: then just what calls lack.
    #[must_use]
    pub fn answer(&self, wish: &BlockWish) -> i128 {
        let given_back = wish.gives.max(0);
        if !self.hard {
            return -given_back;
        }
        let room = self.room() + given_back;
        let share = (room / (PART * i128::from(self.nodes.max(1)))).max(0);
        let wanted = wish.lacks.max(0);
        let more = match () {
            () if wanted > 0 && wanted <= room => wanted.max(share),
            () if wanted > 0 => 0,
            () if wish.ahead => (share - wish.idle.max(0)).max(0),
            () => 0,
        };
        more - given_back
    }
}

/// What came of a question for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it stands in the store, after it.
    pub ground: Ground,
    /// By how much the block changed.
    pub delta: i128,
}

impl Answer {
    /// Whether calls that lack so much need not wait: not even with all that other nodes do not use is it enough.
    #[must_use]
    pub fn is_hopeless(&self, lacks: i128) -> bool {
        lacks > self.ground.room() + self.ground.idle_elsewhere()
    }

    /// What is left of the ceiling for anybody.
    #[must_use]
    pub fn left(&self) -> i128 {
        self.ground.room().max(0)
    }
}

impl Book {
    /// A book for one of several nodes that share the budgets.
    #[must_use]
    pub fn shared() -> Self {
        Self { shares: true, ..Self::default() }
    }

    /// Which blocks are to grow, and what calls lack of each.
    pub fn take_wanted(&mut self) -> Vec<(Charge, i128)> {
        std::mem::take(&mut self.wanted).into_iter().collect()
    }

    /// The question for one block. What is on its way back goes along. `None`: there is no such account.
    pub fn wish(&mut self, charge: &Charge, lacks: i128, now: Timestamp) -> Option<BlockWish> {
        let entry = self.entries.get_mut(&charge.budget)?;
        let account = entry.accounts.get_mut(&charge.window)?;
        // Also after an account was forgotten its numbers only grow.
        if !account.block.is_asking {
            account.block.op = (account.block.op + 1).max(now.as_micros());
            account.block.is_asking = true;
        }
        Some(BlockWish {
            op: account.block.op,
            lacks,
            ahead: entry.record.hard && (lacks > 0 || account.is_low()),
            gives: account.block.returning,
            reserved: account.reserved,
            beyond: account.beyond,
            idle: account.idle(),
        })
    }

    /// Takes the store's answer in.
    pub fn answered(&mut self, charge: &Charge, wish: &BlockWish, answer: &Answer) -> Vec<Crossed> {
        let Some(entry) = self.entries.get_mut(&charge.budget) else { return Vec::new() };
        let account = entry.accounts.entry(charge.window).or_default();
        account.block.is_asking = false;
        account.block.told = (wish.reserved, wish.beyond);
        account.block.returning -= wish.gives;
        let given = answer.delta + wish.gives;
        account.block.leased += given;
        if given > 0 {
            account.block.last = account.idle();
        } else if wish.ahead {
            account.block.last = 0;
        }
        // What is folded into the totals later is already known here.
        account.settled = account.settled.max(answer.ground.settled);
        entry.crossed(charge.window)
    }

    /// The block of a node that died, which this one settles the calls of.
    pub fn adopt(&mut self, charge: &Charge, amount: i128) {
        let Some(entry) = self.entries.get_mut(&charge.budget) else { return };
        entry.accounts.entry(charge.window).or_default().block.leased += amount;
    }

    /// What was held back in this node's block is held back for a batch in the store from now on.
    pub fn hand_over(&mut self, holds: super::Holds) {
        for hold in holds.into_parts() {
            let Some(entry) = self.entries.get_mut(&hold.0.id) else { continue };
            let account = entry.accounts.entry(hold.1).or_default();
            account.reserved -= hold.2;
            account.beyond -= hold.3;
            account.block.leased -= hold.2;
        }
    }

    /// Gives up what is not in use: of accounts that others want, of those that nobody used for a while, and of periods that
    /// are over. Which are to be told to the store.
    pub fn give_back(&mut self, demanded: &[Charge], now: Timestamp) -> Vec<Charge> {
        let mut changed = Vec::new();
        for (id, entry) in &mut self.entries {
            entry.roll(now);
            let rests = now.micros_since(entry.used_at) >= IDLE_US;
            let current = entry.window.start;
            for (window, account) in &mut entry.accounts {
                let charge = Charge { budget: id.clone(), window: *window };
                let is_wanted = self.wanted.contains_key(&charge);
                if (rests || *window < current || demanded.contains(&charge))
                    && !is_wanted
                    && account.idle() > 0
                {
                    account.give_up();
                }
                if account.block.returning > 0 {
                    changed.push(charge);
                }
            }
        }
        changed
    }

    /// Gives up everything that is not in use: the node stops.
    pub fn give_all_back(&mut self) -> Vec<Charge> {
        let mut changed = Vec::new();
        for (id, entry) in &mut self.entries {
            for (window, account) in &mut entry.accounts {
                account.give_up();
                if account.block.returning > 0 {
                    changed.push(Charge { budget: id.clone(), window: *window });
                }
            }
        }
        changed
    }

    /// Whether there is anything that others may want back.
    #[must_use]
    pub fn has_idle(&self) -> bool {
        self.entries.values().flat_map(|entry| entry.accounts.values()).any(|account| account.idle() > 0)
    }

    /// Whether the period is in the book.
    #[must_use]
    pub fn has(&self, charge: &Charge) -> bool {
        self.entries.get(&charge.budget).is_some_and(|entry| entry.accounts.contains_key(&charge.window))
    }

    /// Accounts used within so many microseconds, and those of which others were told something else.
    pub fn busy(&self, now: Timestamp, within_us: i64) -> Vec<Charge> {
        let mut busy = Vec::new();
        for (id, entry) in &self.entries {
            let is_fresh = now.micros_since(entry.used_at) < within_us;
            let accounts = entry.accounts.iter().filter(|(window, account)| {
                account.block.told != (account.reserved, account.beyond)
                    || (is_fresh && **window == entry.window.start)
            });
            busy.extend(accounts.map(|(window, _)| Charge { budget: id.clone(), window: *window }));
        }
        busy
    }

    /// What calls in flight on this node hold back of a period, and what they can cost beyond.
    #[must_use]
    pub fn in_flight(&self, charge: &Charge) -> (i128, i128) {
        let account = self.entries.get(&charge.budget).and_then(|entry| entry.accounts.get(&charge.window));
        account.map(|account| (account.reserved, account.beyond)).unwrap_or_default()
    }

    /// The budget's record.
    #[must_use]
    pub fn record(&self, id: &crate::id::BudgetId) -> Option<Arc<BudgetRecord>> {
        self.entries.get(id).map(|entry| Arc::clone(&entry.record))
    }
}

#[cfg(test)]
mod tests;
