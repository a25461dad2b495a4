//! The price table as reports ask it: the one that calls are priced with, also after settings were read again.

use std::sync::{Arc, PoisonError, RwLock};

use claviger_claude_wire::{price::PriceTable, usage::Speed};
use claviger_domain::{
    clock::Timestamp,
    price::{PricedCall, Prices, Quote, TokenRates},
};

/// Holds the table in force.
pub struct PriceBoard(RwLock<Arc<PriceTable>>);

impl PriceBoard {
    /// Begins with a table.
    #[must_use]
    pub const fn new(table: Arc<PriceTable>) -> Self {
        Self(RwLock::new(table))
    }

    /// From now on another one holds.
    pub fn put(&self, table: Arc<PriceTable>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Arc<PriceTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Prices for PriceBoard {
    fn quote(&self, call: &PricedCall<'_>) -> Quote {
        let table = self.table();
        let speed = if call.fast { Speed::Fast } else { Speed::Standard };
        let Some(quote) = table.quote(call.model, call.prompt, (speed, call.us), call.at.as_micros()) else {
            let rates = TokenRates::default();
            return Quote { model: String::new(), from: None, rates, assumed: true };
        };
        let rates = TokenRates {
            input: quote.rates.input,
            cache_write_5m: quote.rates.cache_write_5m,
            cache_write_1h: quote.rates.cache_write_1h,
            cache_read: quote.rates.cache_read,
            output: quote.rates.output,
        };
        Quote {
            model: quote.priced_as.to_owned(),
            from: quote.from_micros.map(Timestamp::from_micros),
            rates,
            assumed: quote.assumed,
        }
    }

    fn web_search(&self) -> i128 {
        self.table().web_search_pico()
    }

    fn version(&self) -> String {
        self.table().version().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEARER: &str = r#"
version = "mine"
[[model]]
id = "claude-opus-5-5"
context_window = 1_000_000
max_output = 128_000
geography = true
status = "active"
rates = { input = "40", output = "200", cache_write_5m = "50", cache_write_1h = "80", cache_read = "2" }
"#;

    #[test]
    fn a_new_table_holds_at_once() {
        let board = PriceBoard::new(Arc::new(PriceTable::builtin()));
        let call = PricedCall {
            model: "claude-opus-5-5",
            prompt: 1,
            fast: false,
            us: true,
            at: Timestamp::from_secs(1_795_305_600),
        };
        assert_eq!(board.quote(&call).rates.input, 4_400_000);
        board.put(Arc::new(PriceTable::builtin().with_override(DEARER).unwrap()));
        assert_eq!(board.quote(&call).rates.input, 44_000_000);
        assert!(board.version().ends_with("+mine"), "{}", board.version());
    }
}
