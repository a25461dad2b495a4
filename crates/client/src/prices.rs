//! What calls cost, by the table that the client carries: an estimate, the gateway's ledger is what counts.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::usage::Usage;

/// Pico-dollars in a dollar per million tokens, for one token.
const MICRO: u128 = 1_000_000;
const DECIMALS: usize = 6;
const DATE_DIGITS: usize = 8;

/// A price table.
#[derive(Debug, Clone, Default)]
pub struct Prices(BTreeMap<String, Row>);

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not the JSON that is expected.
    #[error("not a price table")]
    Json(#[from] serde_json::Error),
    /// A price that is no decimal number of at most six places.
    #[error("the price of {0} is not a decimal number of at most six places")]
    Number(String),
}

/// Pico-dollars per token.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    input: u128,
    output: u128,
    cache_write_5m: u128,
    cache_write_1h: u128,
    cache_read: u128,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    base: Rates,
    /// For prompts of more tokens than this.
    above: Option<(u64, Rates)>,
}

#[derive(Deserialize)]
struct File {
    models: BTreeMap<String, FileRow>,
}

#[derive(Deserialize)]
struct FileRow {
    #[serde(flatten)]
    base: FileRates,
    above: Option<FileAbove>,
}

#[derive(Deserialize)]
struct FileAbove {
    prompt_tokens: u64,
    #[serde(flatten)]
    rates: FileRates,
}

#[derive(Deserialize)]
struct FileRates {
    input: String,
    output: String,
    cache_write_5m: String,
    cache_write_1h: String,
    cache_read: String,
}

impl FileRates {
    fn read(&self) -> Option<Rates> {
        Some(Rates {
            input: pico_per_token(&self.input)?,
            output: pico_per_token(&self.output)?,
            cache_write_5m: pico_per_token(&self.cache_write_5m)?,
            cache_write_1h: pico_per_token(&self.cache_write_1h)?,
            cache_read: pico_per_token(&self.cache_read)?,
        })
    }
}

/// Reads USD per million tokens, exactly.
fn pico_per_token(text: &str) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > DECIMALS || part.len() > DECIMALS || !digits(whole) || !digits(part)
    {
        return None;
    }
    let part: u128 = format!("{part:0<DECIMALS$}").parse().ok()?;
    Some(whole.parse::<u128>().ok()? * MICRO + part)
}

impl Prices {
    /// The table that this version carries.
    #[must_use]
    pub fn builtin() -> Self {
        Self::parse(include_str!("prices.json")).unwrap_or_default()
    }

    /// Reads `{"models": {NAME: {"input": "4", …, "above": {"prompt_tokens": N, …}}}}`, in USD per million tokens.
    ///
    /// # Errors
    /// [`PriceError`].
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let file: File = serde_json::from_str(text)?;
        let row = |(name, row): (String, FileRow)| {
            let wrong = || PriceError::Number(name.clone());
            let base = row.base.read().ok_or_else(wrong)?;
            let above = match &row.above {
                Some(above) => Some((above.prompt_tokens, above.rates.read().ok_or_else(wrong)?)),
                None => None,
            };
            Ok((name, Row { base, above }))
        };
        Ok(Self(file.models.into_iter().map(row).collect::<Result<_, PriceError>>()?))
    }

    /// Pico-dollars (10⁻¹²) of one answer; `None` for a model without a price. A model's name may end in a date.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<u128> {
        let row = self.0.get(&usage.model).or_else(|| self.0.get(without_date(&usage.model)?))?;
        let rates = match &row.above {
            Some((threshold, rates)) if usage.prompt() > *threshold => rates,
            Some(_) | None => &row.base,
        };
        let classes = [
            (usage.input, rates.input),
            (usage.output, rates.output),
            (usage.cache_write_5m, rates.cache_write_5m),
            (usage.cache_write_1h, rates.cache_write_1h),
            (usage.cache_read, rates.cache_read),
        ];
        Some(classes.iter().map(|(tokens, rate)| u128::from(*tokens) * rate).sum())
    }
}

fn without_date(model: &str) -> Option<&str> {
    let (name, date) = model.rsplit_once('-')?;
    (date.len() == DATE_DIGITS && date.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}
