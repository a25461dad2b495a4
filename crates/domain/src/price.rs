//! What tokens cost, as far as reports must know: rates by model, date and way of calling. The table itself is somebody
//! else's ([`Prices`]).

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, ledger::UsageCounts, money::usd_text};

/// Pico-dollars per token of each class, before the discount of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TokenRates {
    /// Input from no cache.
    pub input: i128,
    /// Written to the five-minute cache.
    pub cache_write_5m: i128,
    /// Written to the one-hour cache.
    pub cache_write_1h: i128,
    /// Read from a cache.
    pub cache_read: i128,
    /// Output.
    pub output: i128,
}

impl TokenRates {
    /// What tokens cost; web searches are not in it.
    #[must_use]
    pub fn price(&self, counts: &UsageCounts) -> i128 {
        self.input * i128::from(counts.input_tokens)
            + self.cache_write_5m * i128::from(counts.cache_write_5m_tokens)
            + self.cache_write_1h * i128::from(counts.cache_write_1h_tokens)
            + self.cache_read * i128::from(counts.cache_read_tokens)
            + self.output * i128::from(counts.output_tokens)
    }

    /// What they would cost with nothing cached: all that goes in at the rate of input.
    #[must_use]
    pub fn price_uncached(&self, counts: &UsageCounts) -> i128 {
        self.input * i128::from(counts.all_input_tokens()) + self.output * i128::from(counts.output_tokens)
    }
}

/// A call, as its price depends on it.
#[derive(Debug, Clone, Copy)]
pub struct PricedCall<'a> {
    /// The model that answered.
    pub model: &'a str,
    /// Tokens of the whole prompt.
    pub prompt: u64,
    /// In fast mode.
    pub fast: bool,
    /// In the US alone.
    pub us: bool,
    /// When it was made.
    pub at: Timestamp,
}

/// What a call's tokens cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The model whose row it is.
    pub model: String,
    /// When the row came into force; `None`: always.
    pub from: Option<Timestamp>,
    /// The rates, with everything in them but the discount of batches.
    pub rates: TokenRates,
    /// The model, or its fast mode, is not in the table: an upper guess.
    pub assumed: bool,
}

/// The price table in force.
pub trait Prices: Send + Sync + 'static {
    /// The rates of a call.
    fn quote(&self, call: &PricedCall<'_>) -> Quote;
    /// One web search, in pico-dollars.
    fn web_search(&self) -> i128;
    /// The versions of the files that the table was made of.
    fn version(&self) -> String;
}

/// A row of the table that a report was computed with, as printed: dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceUsed {
    /// The model whose row it is.
    pub model: String,
    /// When it came into force (RFC 3339); absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// In fast mode.
    pub fast: bool,
    /// With the surcharge for inference in the US.
    pub us: bool,
    /// Input from no cache.
    pub input_usd: String,
    /// Written to the five-minute cache.
    pub cache_write_5m_usd: String,
    /// Written to the one-hour cache.
    pub cache_write_1h_usd: String,
    /// Read from a cache.
    pub cache_read_usd: String,
    /// Output.
    pub output_usd: String,
}

impl PriceUsed {
    /// Of a call.
    #[must_use]
    pub fn of(call: &PricedCall<'_>, quote: &Quote) -> Self {
        let per_million = |rate: i128| usd_text(rate.saturating_mul(1_000_000));
        Self {
            model: quote.model.clone(),
            from: quote.from.map(Timestamp::to_rfc3339),
            fast: call.fast,
            us: call.us,
            input_usd: per_million(quote.rates.input),
            cache_write_5m_usd: per_million(quote.rates.cache_write_5m),
            cache_write_1h_usd: per_million(quote.rates.cache_write_1h),
            cache_read_usd: per_million(quote.rates.cache_read),
            output_usd: per_million(quote.rates.output),
        }
    }
}
