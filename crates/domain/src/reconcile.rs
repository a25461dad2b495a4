//! The provider's bill held against the ledger, in money: by UTC day, provider key, model, tier, speed and geography.
//!
//! [`Ledgers`] takes the ledger's rows, [`reconcile`] decides. Three things make honest books differ, and none of them
//! is a leak:
//!
//! - *The border of days.* The provider may bill a call on any UTC day between its arrival and its end, give or take
//!   [`SKEW_MICROS`]; items of batches within [`BATCH_MICROS`]. What is short on one day and too much on the next is the
//!   same, as far as calls at that border can explain it, class by class.
//! - *What was not seen to its end.* A stream that broke off has an estimated output; a call that a dead node left is
//!   booked at its reservation, with no tokens at all.
//! - *Delay.* The provider's report follows its traffic: a day is open until [`DELAY_MICROS`] after its end. On an open day
//!   what the provider has not billed yet is pending. What it has billed and we have not booked is a finding all the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::{ProviderApiKey, SealedKey, holders},
    id::CredentialId,
    ledger::{LedgerRow, Outcome, RowFlags, UsageCounts},
    price::{PricedCall, Prices, Quote},
};

/// How far the provider's clock may be from ours: five minutes.
pub const SKEW_MICROS: i64 = 5 * 60 * 1_000_000;
/// How far from its row an item of a batch may be billed: a batch may take a day.
pub const BATCH_MICROS: i64 = MICROS_PER_DAY;
/// How long after its end a day is open: six hours.
pub const DELAY_MICROS: i64 = 6 * 3_600 * 1_000_000;

/// What differs in price, beside the model's row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The model, as the price table calls it; as the provider does if the table does not know it.
    pub model: String,
    /// In a batch; else by itself, in whatever other tier.
    pub batch: bool,
    /// In fast mode.
    pub fast: bool,
    /// With the surcharge for inference in the US.
    pub us: bool,
}

/// What the provider billed to one key on one day, of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledPart {
    /// `apikey_…`; `None`: used without a key.
    pub api_key: Option<String>,
    /// UTC days since 1970.
    pub day: i64,
    /// The kind of call; the model as the provider calls it.
    pub lane: Lane,
    /// Tokens by class.
    pub usage: UsageCounts,
}

/// A line of the provider's cost report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostPart {
    /// UTC days since 1970.
    pub day: i64,
    /// Pico-dollars.
    pub cost: i128,
    /// For tokens or web searches; else for what no usage tells, such as the execution of code.
    pub is_metered: bool,
}

/// Why what was billed and what was booked differ on one day, of one kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They do not.
    Equal,
    /// Only on the border of days, where calls can explain it.
    Border,
    /// Not billed yet: the day is open.
    Pending,
    /// Streams that broke off were estimated: the output differs, and nothing else.
    Estimated,
    /// Calls without a known end were booked at their reservation, which covers it.
    Unknown,
    /// Less was billed than was booked.
    Short,
    /// More was billed than went through us.
    Leak,
}

impl Verdict {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Border => "border",
            Self::Pending => "pending",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
            Self::Short => "short",
            Self::Leak => "leak",
        }
    }
}

/// What stands in the ledger of one credential, kind of call and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Booked {
    /// Calls.
    pub requests: u64,
    /// Tokens by class.
    pub usage: UsageCounts,
    /// Pico-dollars.
    pub cost: i128,
    /// Calls among them whose output was estimated.
    pub estimated: u64,
    /// Calls without a known end.
    pub unknown: u64,
    /// What those were booked at.
    pub unknown_cost: i128,
    /// Of the tokens: those that may be billed on the day after.
    pub late: UsageCounts,
    /// Those that may be billed on the day before.
    pub early: UsageCounts,
}

impl Booked {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.usage = self.usage.plus(other.usage);
        self.cost += other.cost;
        self.estimated += other.estimated;
        self.unknown += other.unknown;
        self.unknown_cost += other.unknown_cost;
        self.late = self.late.plus(other.late);
        self.early = self.early.plus(other.early);
    }
}

type Days = BTreeMap<i64, Booked>;

/// The ledger's side in the making.
#[derive(Debug, Default)]
pub struct Ledgers(BTreeMap<(CredentialId, Lane), Days>);

impl Ledgers {
    /// Takes a row. What was not sent with a credential, or not billed, is passed over.
    pub fn add(&mut self, row: &LedgerRow, prices: &dyn Prices) {
        let Some(credential) = row.route.credential.as_ref() else { return };
        let cost = i128::from(row.cost.as_pico());
        if row.outcome == Outcome::Refused || row.flags.has(RowFlags::RECALLED) || cost == 0 {
            return;
        }
        let lane = Lane {
            model: canonical(&row.model, row.at, prices),
            batch: row.flags.has(RowFlags::BATCH),
            fast: row.flags.has(RowFlags::FAST),
            us: row.flags.has(RowFlags::GEO),
        };
        let (before, after) =
            if lane.batch { (BATCH_MICROS, BATCH_MICROS) } else { (SKEW_MICROS, SKEW_MICROS) };
        let day = row.at.utc_day();
        let end = row.at.plus_micros(row.duration_us.max(0)).plus_micros(after);
        let part = |is_at_border: bool| if is_at_border { row.usage } else { UsageCounts::default() };
        let is_unknown = row.usage == UsageCounts::default();
        let booked = Booked {
            requests: 1,
            usage: row.usage,
            cost,
            estimated: u64::from(row.flags.has(RowFlags::ESTIMATED)),
            unknown: u64::from(is_unknown),
            unknown_cost: if is_unknown { cost } else { 0 },
            late: part(end.utc_day() > day),
            early: part(row.at.plus_micros(-before).utc_day() < day),
        };
        self.0.entry((credential.clone(), lane)).or_default().entry(day).or_default().add(&booked);
    }
}

/// One kind of call on one day, with one of the provider's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// UTC days since 1970.
    pub day: i64,
    /// `apikey_…`; `None`: used without a key.
    pub api_key: Option<String>,
    /// The sealed credentials that hold it.
    pub credentials: Vec<CredentialId>,
    /// The kind of call.
    pub lane: Lane,
    /// What the provider billed.
    pub billed: UsageCounts,
    /// What stands in the ledger.
    pub booked: Booked,
    /// Beyond the ledger, after what the border of days explains.
    pub excess: UsageCounts,
    /// What the excess costs, in pico-dollars.
    pub excess_cost: i128,
    /// Less than the ledger, likewise.
    pub missing: UsageCounts,
    /// What that costs.
    pub missing_cost: i128,
    /// What was billed on this day and stands in the ledger on one beside it, less the reverse.
    pub moved_cost: i128,
    /// The price depends on more than the provider's report tells (the length of prompts, an unknown model): the amounts
    /// are a guess.
    pub is_guess: bool,
    /// Why they differ.
    pub verdict: Verdict,
}

/// One day of the whole account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountDay {
    /// What the provider's cost report says for tokens and searches.
    pub billed_cost: i128,
    /// What it says for everything else, of which no usage tells.
    pub other_cost: i128,
    /// What the ledger says, of the account's keys.
    pub booked_cost: i128,
    /// Findings: leaks.
    pub leak_cost: i128,
    /// Findings: more was billed, and it is explained.
    pub explained_cost: i128,
    /// Findings: less was billed; and what calls at their reservation hold too much.
    pub missing_cost: i128,
    /// Billed on this day and booked on one beside it, less the reverse.
    pub moved_cost: i128,
    /// It is still open.
    pub is_open: bool,
}

impl AccountDay {
    /// What is left when the findings are taken from the difference of the two bills: priced by the provider otherwise
    /// than by us.
    #[must_use]
    pub const fn rest(&self) -> i128 {
        let found = self.leak_cost + self.explained_cost + self.moved_cost - self.missing_cost;
        self.billed_cost - self.booked_cost - found
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciliation {
    /// Every kind of call of every key on every day.
    pub findings: Vec<Finding>,
    /// The account by day.
    pub days: BTreeMap<i64, AccountDay>,
}

/// What is compared.
pub struct Sides<'a> {
    /// The account's keys.
    pub keys: &'a [ProviderApiKey],
    /// What it billed: a day more on either side than is asked for, if there is one.
    pub billed: &'a [BilledPart],
    /// The cost report.
    pub costs: &'a [CostPart],
    /// What went through us, of the same days.
    pub ledgers: &'a Ledgers,
    /// Our credentials.
    pub sealed: &'a [SealedKey<'a>],
    /// From the first UTC day on, before the second.
    pub days: (i64, i64),
    /// When the provider was asked.
    pub now: Timestamp,
}

/// One key's calls of one kind.
#[derive(Default)]
struct Line {
    billed: BTreeMap<i64, UsageCounts>,
    booked: Days,
}

/// Holds the bill against the ledger.
#[must_use]
pub fn reconcile(sides: &Sides<'_>, prices: &dyn Prices) -> Reconciliation {
    let holding = holders(sides.keys, sides.sealed);
    let mut lines: BTreeMap<(Option<String>, Lane), Line> = BTreeMap::new();
    for part in sides.billed {
        let at = Timestamp::from_micros(part.day.saturating_mul(MICROS_PER_DAY));
        let lane = Lane { model: canonical(&part.lane.model, at, prices), ..part.lane.clone() };
        let line = lines.entry((part.api_key.clone(), lane)).or_default();
        let sum = line.billed.entry(part.day).or_default();
        *sum = sum.plus(part.usage);
    }
    for ((credential, lane), days) in &sides.ledgers.0 {
        let Some((_, key)) = holding.iter().find(|(id, _)| *id == credential) else { continue };
        let line = lines.entry((Some((*key).to_owned()), lane.clone())).or_default();
        days.iter().for_each(|(day, booked)| line.booked.entry(*day).or_default().add(booked));
    }
    let mut result = Reconciliation::default();
    for ((api_key, lane), line) in &lines {
        let of_key =
            |(id, key): &(&CredentialId, &str)| (Some(*key) == api_key.as_deref()).then(|| (*id).clone());
        let credentials: Vec<CredentialId> = holding.iter().filter_map(of_key).collect();
        for day in line.days(sides.days) {
            let finding = line.judge(day, lane, sides.now, prices);
            result.findings.push(Finding {
                api_key: api_key.clone(),
                credentials: credentials.clone(),
                ..finding
            });
        }
    }
    result.findings.sort_by(|a, b| (b.verdict, a.day, &a.api_key).cmp(&(a.verdict, b.day, &b.api_key)));
    result.add_days(sides);
    result
}

impl Reconciliation {
    fn add_days(&mut self, sides: &Sides<'_>) {
        let in_span = |day: i64| sides.days.0 <= day && day < sides.days.1;
        for part in sides.costs.iter().filter(|part| in_span(part.day)) {
            let day = self.days.entry(part.day).or_default();
            *(if part.is_metered { &mut day.billed_cost } else { &mut day.other_cost }) += part.cost;
        }
        for finding in &self.findings {
            let day = self.days.entry(finding.day).or_default();
            day.booked_cost += finding.booked.cost;
            day.moved_cost += finding.moved_cost;
            day.missing_cost += finding.missing_cost + finding.booked.unknown_cost;
            let is_leak = finding.verdict == Verdict::Leak;
            *(if is_leak { &mut day.leak_cost } else { &mut day.explained_cost }) += finding.excess_cost;
        }
        for (day, sum) in &mut self.days {
            sum.is_open = is_open(*day, sides.now);
        }
    }

    /// Everything that leaked, in pico-dollars.
    #[must_use]
    pub fn leaked(&self) -> i128 {
        self.days.values().map(|day| day.leak_cost).sum()
    }

    /// What no finding explains on days that are closed.
    #[must_use]
    pub fn unexplained(&self) -> i128 {
        self.days.values().filter(|day| !day.is_open).map(AccountDay::rest).sum()
    }
}

impl Line {
    fn days(&self, span: (i64, i64)) -> BTreeSet<i64> {
        self.billed
            .keys()
            .chain(self.booked.keys())
            .copied()
            .filter(|d| span.0 <= *d && *d < span.1)
            .collect()
    }

    fn billed(&self, day: i64) -> UsageCounts {
        self.billed.get(&day).copied().unwrap_or_default()
    }

    fn booked(&self, day: i64) -> Booked {
        self.booked.get(&day).copied().unwrap_or_default()
    }

    fn judge(&self, day: i64, lane: &Lane, now: Timestamp, prices: &dyn Prices) -> Finding {
        let (billed, booked) = (self.billed(day), self.booked(day));
        let raw = (billed.beyond(booked.usage), booked.usage.beyond(billed));
        let moved_in = self.moved(day - 1).plus(self.moved_back(day + 1));
        let moved_out = self.moved(day).plus(self.moved_back(day));
        let (excess, missing) = (raw.0.beyond(moved_in), raw.1.beyond(moved_out));
        let at = Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
        let (cost_of, is_guess) = pricing(lane, at, prices);
        let mut finding = Finding {
            day,
            api_key: None,
            credentials: Vec::new(),
            lane: lane.clone(),
            billed,
            booked,
            excess,
            excess_cost: cost_of(&excess),
            missing,
            missing_cost: cost_of(&missing),
            moved_cost: cost_of(&moved_in) - cost_of(&moved_out),
            is_guess,
            verdict: Verdict::Equal,
        };
        finding.verdict = finding.judged(raw != (excess, missing), is_open(day, now));
        finding
    }

    /// What stands on a day in the ledger and was billed on the day after it.
    fn moved(&self, day: i64) -> UsageCounts {
        let booked = self.booked(day);
        let missing = booked.usage.beyond(self.billed(day));
        let next = self.billed(day + 1).beyond(self.booked(day + 1).usage);
        least(least(missing, next), booked.late)
    }

    /// What stands on a day and was billed on the day before it.
    fn moved_back(&self, day: i64) -> UsageCounts {
        let booked = self.booked(day);
        let missing = booked.usage.beyond(self.billed(day)).beyond(self.moved(day));
        let before = self.billed(day - 1).beyond(self.booked(day - 1).usage).beyond(self.moved(day - 2));
        least(least(missing, before), booked.early)
    }
}

impl Finding {
    fn judged(&self, has_moved: bool, is_open: bool) -> Verdict {
        let none = UsageCounts::default();
        let is_output_alone = UsageCounts { output_tokens: 0, ..self.excess } == none;
        if self.excess != none {
            return if self.booked.estimated > 0 && is_output_alone {
                Verdict::Estimated
            } else if self.booked.unknown > 0 && self.excess_cost <= self.booked.unknown_cost {
                Verdict::Unknown
            } else {
                Verdict::Leak
            };
        }
        let is_output_alone = UsageCounts { output_tokens: 0, ..self.missing } == none;
        match self.missing == none {
            true if self.booked.unknown > 0 => Verdict::Unknown,
            true if has_moved => Verdict::Border,
            true => Verdict::Equal,
            false if is_open => Verdict::Pending,
            false if self.booked.estimated > 0 && is_output_alone => Verdict::Estimated,
            false => Verdict::Short,
        }
    }
}

fn is_open(day: i64, now: Timestamp) -> bool {
    let end = Timestamp::from_micros((day + 1).saturating_mul(MICROS_PER_DAY));
    now < end.plus_micros(DELAY_MICROS)
}

const fn least(a: UsageCounts, b: UsageCounts) -> UsageCounts {
    a.beyond(a.beyond(b))
}

/// The model as the price table calls it.
fn canonical(model: &str, at: Timestamp, prices: &dyn Prices) -> String {
    let call = PricedCall { model, prompt: 0, fast: false, us: false, at };
    let quote = prices.quote(&call);
    if quote.assumed { model.to_owned() } else { quote.model }
}

/// How tokens of a lane are priced, and whether that is a guess.
fn pricing<'a>(
    lane: &Lane,
    at: Timestamp,
    prices: &'a dyn Prices,
) -> (impl Fn(&UsageCounts) -> i128 + use<'a>, bool) {
    let quote = |prompt| -> Quote {
        let call = PricedCall { model: &lane.model, prompt, fast: lane.fast, us: lane.us, at };
        prices.quote(&call)
    };
    let (small, large) = (quote(0), quote(u64::MAX));
    let is_guess = small.assumed || small.rates != large.rates;
    let is_batch = lane.batch;
    let cost_of = move |usage: &UsageCounts| {
        let tokens = small.rates.price(usage);
        let searches = prices.web_search() * i128::from(usage.web_search_requests);
        searches + if is_batch { tokens / 2 } else { tokens }
    };
    (cost_of, is_guess)
}

#[cfg(test)]
mod tests;
