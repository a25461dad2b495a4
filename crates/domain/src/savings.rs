//! What prompt caching, batches and the response cache saved, from single rows of the ledger and from what was worked out
//! of those that retention took ([`SavedDay`]).
//!
//! Each row is taken apart from the outside in, so that the parts add up: what it would have cost by itself and with
//! nothing cached, less what prompt caching saved, less what the batch saved, less what an answer from the response
//! cache saved, is what it was booked at. A part may be negative: a cache write that is never read costs more than it
//! saves.

mod days;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ledger::{LedgerRow, Outcome, RowFlags, UsageCounts},
    price::{PriceUsed, PricedCall, Prices, Quote},
};
pub use days::{DaySavings, SavedDay, SavedDays};

/// Caches that did not pay back that are named; the rest is counted.
pub const MOST_UNPAID: usize = 100;
/// Rows of the price table that are named.
const MOST_PRICES: usize = 500;

/// How each figure is computed, in words for the reader of a report.
pub const HOW: [&str; 7] = [
    "every figure is the sum over single calls, each at the prices of its own moment (`prices`, dollars per million tokens)",
    "would_have_cost = cost + prompt_cache_saved + batch_saved + response_cache_saved",
    "prompt_cache_saved = cache_reads_saved - cache_writes_extra; negative when writes cost more than reads saved",
    "cache_reads_saved = cache read tokens x (input price - cache read price)",
    "cache_writes_extra = 5-minute write tokens x (their price - input price) + 1-hour write tokens x (their price - input price)",
    "batch_saved = half of the tokens' price with the cache's prices; web searches are not discounted",
    "response_cache_saved = what the answer had cost if it had been asked for again; it was booked at 0",
];

/// What was saved on some calls. Pico-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// Calls that were looked at.
    pub requests: u64,
    /// What they were booked at.
    #[serde(with = "days::pico")]
    pub cost: i128,
    /// What reading from the cache saved.
    #[serde(with = "days::pico")]
    pub cache_reads: i128,
    /// What writing to it cost more than plain input.
    #[serde(with = "days::pico")]
    pub cache_writes_extra: i128,
    /// Items of batches.
    pub batch_items: u64,
    /// What the discount of batches saved.
    #[serde(with = "days::pico")]
    pub batch: i128,
    /// Answers from the response cache.
    pub recalled: u64,
    /// What they saved.
    #[serde(with = "days::pico")]
    pub response_cache: i128,
    /// Calls whose booked cost is not what their tokens cost at these prices: several models in one call, cut off and
    /// charged at the reservation, or prices changed since. Nothing is claimed for them.
    pub unexplained: u64,
    /// What those were booked at; it is in `cost`.
    #[serde(with = "days::pico")]
    pub unexplained_cost: i128,
}

impl Saved {
    /// What prompt caching saved, or cost.
    #[must_use]
    pub const fn prompt_cache(&self) -> i128 {
        self.cache_reads - self.cache_writes_extra
    }

    /// Everything.
    #[must_use]
    pub const fn total(&self) -> i128 {
        self.prompt_cache() + self.batch + self.response_cache
    }

    /// What the calls would have cost by themselves, with nothing cached.
    #[must_use]
    pub const fn would_have_cost(&self) -> i128 {
        self.cost + self.total()
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.cost += other.cost;
        self.cache_reads += other.cache_reads;
        self.cache_writes_extra += other.cache_writes_extra;
        self.batch_items += other.batch_items;
        self.batch += other.batch;
        self.recalled += other.recalled;
        self.response_cache += other.response_cache;
        self.unexplained += other.unexplained;
        self.unexplained_cost += other.unexplained_cost;
    }

    /// Of one row.
    fn of(row: &LedgerRow, quote: &Quote, web_search: i128) -> Self {
        let cost = i128::from(row.cost.as_pico());
        let mut saved = Self { requests: 1, cost, ..Self::default() };
        let usage = &row.usage;
        let tokens = quote.rates.price(usage);
        let searches = web_search * i128::from(usage.web_search_requests);
        if row.flags.has(RowFlags::RECALLED) {
            saved.recalled = 1;
            // Whatever the first answer saved by caching is not saved again: the second one was not sent at all.
            let priced = tokens + searches - cost;
            saved.response_cache = row.recalled.as_ref().map_or(priced, |r| i128::from(r.saved.as_pico()));
            return saved;
        }
        let is_batch = row.flags.has(RowFlags::BATCH);
        let discount = if is_batch { tokens / 2 } else { 0 };
        if tokens - discount + searches != cost {
            saved.unexplained = 1;
            saved.unexplained_cost = cost;
            return saved;
        }
        let rates = &quote.rates;
        saved.cache_reads = (rates.input - rates.cache_read) * i128::from(usage.cache_read_tokens);
        saved.cache_writes_extra = (rates.cache_write_5m - rates.input)
            * i128::from(usage.cache_write_5m_tokens)
            + (rates.cache_write_1h - rates.input) * i128::from(usage.cache_write_1h_tokens);
        saved.batch_items = u64::from(is_batch);
        saved.batch = discount;
        saved
    }
}

/// One call, taken apart.
struct SavedCall {
    saved: Saved,
    price: Option<PriceUsed>,
}

impl SavedCall {
    /// What was never sent and what the simulator answered is none.
    fn of(row: &LedgerRow, prices: &dyn Prices) -> Option<Self> {
        if row.outcome == Outcome::Refused || row.flags.has(RowFlags::SIMULATED) {
            return None;
        }
        let call = call_of(row);
        let quote = prices.quote(&call);
        let price = (row.usage.all_tokens() > 0).then(|| PriceUsed::of(&call, &quote));
        Some(Self { saved: Saved::of(row, &quote, prices.web_search()), price })
    }

    const fn is_cached(&self) -> bool {
        self.saved.cache_reads != 0 || self.saved.cache_writes_extra != 0
    }
}

/// Writes to the prompt cache by one key for one model that cost more than reads of it saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpaid {
    /// The key.
    pub key: String,
    /// The model.
    pub model: String,
    /// Tokens written for five minutes.
    pub write_5m_tokens: u64,
    /// Tokens written for one hour.
    pub write_1h_tokens: u64,
    /// Tokens read.
    pub read_tokens: u64,
    /// What it all lost, in pico-dollars: above zero.
    pub lost: i128,
}

/// A report in the making: takes rows one by one.
#[derive(Debug, Default)]
pub struct SavingsBook {
    groups: BTreeMap<String, Saved>,
    caches: BTreeMap<(String, String), (UsageCounts, i128)>,
    prices: BTreeSet<PriceUsed>,
}

/// What the rows of a report stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Savings {
    /// All calls.
    pub total: Saved,
    /// By group.
    pub groups: Vec<(String, Saved)>,
    /// Caches that did not pay back, the worst first.
    pub unpaid: Vec<Unpaid>,
    /// How many there are.
    pub unpaid_count: u64,
    /// The prices that were used.
    pub prices: Vec<PriceUsed>,
}

impl SavingsBook {
    /// Counts a row for a group. What was never sent and what the simulator answered is none.
    pub fn add(&mut self, row: &LedgerRow, group: &str, prices: &dyn Prices) {
        let Some(call) = SavedCall::of(row, prices) else { return };
        let cache = Some((&row.usage, call.saved.prompt_cache())).filter(|_| call.is_cached());
        self.count(group, &call.saved, (row.party.key.as_str(), &row.model), cache);
        if let Some(price) = call.price.filter(|_| self.prices.len() < MOST_PRICES) {
            self.prices.insert(price);
        }
    }

    /// Counts what was worked out of rows that are gone.
    pub fn add_day(&mut self, day: &SavedDay, group: &str) {
        let DaySavings { saved, cached, prices } = &day.savings;
        let is_cached = saved.cache_reads != 0 || saved.cache_writes_extra != 0;
        let cache = Some((cached, saved.prompt_cache())).filter(|_| is_cached);
        self.count(group, saved, (day.key.as_str(), &day.model), cache);
        let room = MOST_PRICES.saturating_sub(self.prices.len());
        self.prices.extend(prices.iter().take(room).cloned());
    }

    fn count(
        &mut self,
        group: &str,
        saved: &Saved,
        (key, model): (&str, &str),
        cache: Option<(&UsageCounts, i128)>,
    ) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), Saved::default());
        }
        if let Some(sum) = self.groups.get_mut(group) {
            sum.add(saved);
        }
        if let Some((used, net)) = cache {
            let (usage, sum) = self.caches.entry((key.to_owned(), model.to_owned())).or_default();
            *usage = usage.plus(*used);
            *sum += net;
        }
    }

    /// The report.
    #[must_use]
    pub fn finish(self) -> Savings {
        let mut total = Saved::default();
        self.groups.values().for_each(|saved| total.add(saved));
        let lost = |((key, model), (usage, net)): ((String, String), (UsageCounts, i128))| Unpaid {
            key,
            model,
            write_5m_tokens: usage.cache_write_5m_tokens,
            write_1h_tokens: usage.cache_write_1h_tokens,
            read_tokens: usage.cache_read_tokens,
            lost: -net,
        };
        let mut unpaid: Vec<Unpaid> =
            self.caches.into_iter().filter(|(_, (_, net))| *net < 0).map(lost).collect();
        unpaid.sort_by(|a, b| (b.lost, &a.key, &a.model).cmp(&(a.lost, &b.key, &b.model)));
        let unpaid_count = unpaid.len() as u64;
        unpaid.truncate(MOST_UNPAID);
        Savings {
            total,
            groups: self.groups.into_iter().collect(),
            unpaid,
            unpaid_count,
            prices: self.prices.into_iter().collect(),
        }
    }
}

/// A row as its price depends on it.
#[must_use]
pub fn call_of(row: &LedgerRow) -> PricedCall<'_> {
    PricedCall {
        model: &row.model,
        prompt: row.usage.all_input_tokens(),
        fast: row.flags.has(RowFlags::FAST),
        us: row.flags.has(RowFlags::GEO),
        at: row.at,
    }
}

#[cfg(test)]
mod tests;
