//! Usage reports.

use std::sync::Arc;

use claviger_domain::{
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
    /// What it cost in pico-dollars, as a decimal string.
    pub cost_pusd: String,
    /// What it cost in dollars, as a decimal string without loss.
    pub cost_usd: String,
}

/// What a group without a name is called: requests without a model, such as listing files.
const NO_GROUP: &str = "none";

impl UsageRow {
    fn of(t: UsageTotal, by: Option<UsageBy>) -> Self {
        let unnamed = if by.is_some() { NO_GROUP } else { "total" };
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

    /// The rows of a report; without grouping exactly one.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn report(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, ServiceError> {
        Ok(self.0.usage(query).await?.into_iter().map(|t| UsageRow::of(t, query.by)).collect())
    }
}
