//! Usage reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use claviger_domain::{
    budget::{Calendar, Period, Window},
    clock::{MICROS_PER_DAY, Timestamp},
    money::usd_text,
    ports::{LedgerStore, UsageBy, UsageQuery, UsageTotal},
};
use serde::Serialize;

use crate::ServiceError;

/// One row of a usage report, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// The group: a key id, model, `YYYY-MM-DD`, workspace id, `none`, or `total`.
    pub group: String,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that ended in an error or were cut.
    pub errors: u64,
    /// Uncached input tokens.
    pub input_tokens: u64,
    /// Tokens written to the 5-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Tokens written to the 1-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Web searches.
    pub web_search_requests: u64,
    /// Requests whose output was estimated.
    pub estimated: u64,
    /// Requests that were answered out of the response cache; they cost nothing.
    pub response_cache_hits: u64,
    /// What it cost in pico-dollars, as a decimal string.
    pub cost_pusd: String,
    /// What it cost in dollars, as a decimal string without loss.
    pub cost_usd: String,
}

/// What rows of a report stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// One thing each.
    By(UsageBy),
    /// One day, week or month each, as the calendar of a time zone has them.
    Per(Calendar),
}

/// The most periods that one report has: two and a half years of days.
const MOST_PERIODS: usize = 1_000;
/// What a group without a name is called: requests without a model, such as listing files.
const NO_GROUP: &str = "none";

impl UsageRow {
    fn of(t: UsageTotal, is_grouped: bool) -> Self {
        let unnamed = if is_grouped { NO_GROUP } else { "total" };
        Self {
            group: if t.group.is_empty() { unnamed.to_owned() } else { t.group },
            requests: t.requests,
            errors: t.errors,
            input_tokens: t.input_tokens,
            cache_write_5m_tokens: t.cache_write_5m_tokens,
            cache_write_1h_tokens: t.cache_write_1h_tokens,
            cache_read_tokens: t.cache_read_tokens,
            output_tokens: t.output_tokens,
            web_search_requests: t.web_search_requests,
            estimated: t.estimated,
            response_cache_hits: t.recalled,
            cost_pusd: t.cost_pusd.to_string(),
            cost_usd: usd_text(t.cost_pusd),
        }
    }
}

/// Usage reports.
#[derive(Clone)]
pub struct Usage(Arc<dyn LedgerStore>);

impl Usage {
    pub(crate) fn new(ledger: Arc<dyn LedgerStore>) -> Self {
        Self(ledger)
    }

    /// The rows of a report; without grouping exactly one. `query.by` is set by the grouping.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; [`ServiceError::Invalid`] for too many periods.
    pub async fn report(
        &self,
        grouping: Option<&Grouping>,
        query: UsageQuery,
    ) -> Result<Vec<UsageRow>, ServiceError> {
        let totals = match grouping {
            None => self.0.usage(&UsageQuery { by: None, ..query }).await?,
            Some(Grouping::By(by)) => self.0.usage(&UsageQuery { by: Some(*by), ..query }).await?,
            Some(Grouping::Per(calendar)) => self.per_period(calendar, query).await?,
        };
        Ok(totals.into_iter().map(|t| UsageRow::of(t, grouping.is_some())).collect())
    }

    /// Periods that begin with UTC days are made of them. Of others each is asked for by itself: whole UTC days in it
    /// come from daily totals, what is cut off at its ends from single rows.
    async fn per_period(
        &self,
        calendar: &Calendar,
        query: UsageQuery,
    ) -> Result<Vec<UsageTotal>, ServiceError> {
        let days = self.0.usage(&UsageQuery { by: Some(UsageBy::Day), ..query.clone() }).await?;
        let days: Vec<(Timestamp, UsageTotal)> =
            days.into_iter().filter_map(|t| Some((midnight(&t.group)?, t))).collect();
        let mut totals: BTreeMap<String, UsageTotal> = BTreeMap::new();
        if calendar.zone() == "UTC" {
            for (at, total) in &days {
                totals.entry(calendar.name_at(*at)).or_default().add(total);
            }
        } else {
            for window in windows(calendar, days.iter().map(|(at, _)| *at))? {
                let query = UsageQuery { by: None, ..clipped(&query, window) };
                for total in self.0.usage(&query).await?.iter().filter(|t| t.requests > 0) {
                    totals.entry(calendar.name_at(window.start)).or_default().add(total);
                }
            }
        }
        Ok(totals.into_iter().map(|(group, total)| UsageTotal { group, ..total }).collect())
    }
}

fn midnight(day: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z"))
}

/// The periods that some UTC days lie in.
fn windows(
    calendar: &Calendar,
    days: impl Iterator<Item = Timestamp>,
) -> Result<BTreeSet<Window>, ServiceError> {
    let mut windows = BTreeSet::new();
    for day in days {
        let end = day.plus_micros(MICROS_PER_DAY);
        let mut at = Some(day).filter(|_| calendar.period() != Period::Life);
        while let Some(moment) = at.filter(|moment| *moment < end) {
            let window = calendar.window_at(moment);
            windows.insert(window);
            at = window.end;
        }
        if windows.len() > MOST_PERIODS {
            let why = format!("more than {MOST_PERIODS} periods: ask for less, or for weeks or months");
            return Err(ServiceError::invalid("since", why));
        }
    }
    Ok(windows)
}

fn clipped(query: &UsageQuery, window: Window) -> UsageQuery {
    let from = query.from.map_or(window.start, |from| from.max(window.start));
    let until = match (query.until, window.end) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    UsageQuery { from: Some(from), until, ..query.clone() }
}

#[cfg(test)]
mod tests;
