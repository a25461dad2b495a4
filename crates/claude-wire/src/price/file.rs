//! The form of a price file, and its faults, each with its line and column.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::{Band, Class, Classed, Feature, MICROS_PER_DAY, Rates, Row, Status};

/// A fault in a price file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct PriceFileError {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong there.
    pub fault: PriceFault,
}

/// What is wrong in a price file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceFault {
    /// Not TOML, or not of this form; the text says what was expected.
    #[error("{0}")]
    Form(String),
    /// Not a price.
    #[error(
        "`{0}` is not a price: expected a quoted decimal of dollars, at most 1000000, in steps of 0.00002"
    )]
    Rate(String),
    /// Not a date.
    #[error("expected a date such as 2026-10-07")]
    Date,
    /// Two rows for one id and date.
    #[error("`{0}` has two rows of the same date")]
    Repeated(String),
    /// An alias that already names another model.
    #[error("`{0}` already names another model")]
    AliasTaken(String),
    /// No model at all.
    #[error("the file prices no model")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceFile {
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    web_search_per_1000: Option<Spanned<String>>,
    #[serde(default)]
    image_tokens: Option<u64>,
    #[serde(default)]
    overhead_tokens: Option<u64>,
    #[serde(default)]
    model: Vec<Spanned<FileRow>>,
    #[serde(default)]
    class: Vec<FileClass>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileClass {
    of: Feature,
    is: Class,
    names: Vec<String>,
    #[serde(default)]
    searches: bool,
    #[serde(default)]
    surcharge: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    id: Spanned<String>,
    #[serde(default)]
    from: Option<Spanned<Datetime>>,
    #[serde(default)]
    aliases: Vec<String>,
    context_window: u64,
    max_output: u64,
    geography: bool,
    #[serde(default)]
    status: Status,
    rates: FileRates,
    #[serde(default)]
    fast: Option<FileRates>,
    #[serde(default)]
    band: Option<FileBand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRates {
    input: Spanned<String>,
    output: Spanned<String>,
    cache_write_5m: Spanned<String>,
    cache_write_1h: Spanned<String>,
    cache_read: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBand {
    above: u64,
    rates: FileRates,
}

/// A file's rows, each with the place of its id for faults found later.
pub(super) struct Parsed {
    pub version: Option<String>,
    pub web_search_pico: Option<i128>,
    pub image_tokens: Option<u64>,
    pub overhead_tokens: Option<u64>,
    pub classes: Vec<Classed>,
    pub rows: Vec<(Row, Range<usize>)>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, PriceFileError> {
    let file: PriceFile = toml::from_str(text).map_err(|fault| {
        let at = fault.span().unwrap_or_default().start;
        located(text, at, PriceFault::Form(fault.message().to_owned()))
    })?;
    let web_search_pico = match &file.web_search_per_1000 {
        // Dollars per thousand are 10⁹ pico-dollars each, a thousand times the step of a token price.
        Some(price) => Some(rate(text, price)? * 1_000),
        None => None,
    };
    let rows = file.model.into_iter().map(|row| row.into_inner().read(text)).collect::<Result<_, _>>()?;
    let classes: Vec<Vec<Classed>> =
        file.class.into_iter().map(|class| class.read(text)).collect::<Result<_, _>>()?;
    Ok(Parsed {
        version: file.version,
        web_search_pico,
        image_tokens: file.image_tokens,
        overhead_tokens: file.overhead_tokens,
        classes: classes.concat(),
        rows,
    })
}

impl FileClass {
    fn read(self, text: &str) -> Result<Vec<Classed>, PriceFileError> {
        // A dollar is 10¹² pico-dollars, a million times the step of a token price.
        let surcharge_pico = match &self.surcharge {
            Some(price) => Some(rate(text, price)?.saturating_mul(1_000_000)),
            None => None,
        };
        let Self { of, is, names, searches, .. } = self;
        let line = |name: String| Classed { of, name: name.into(), class: is, searches, surcharge_pico };
        Ok(names.into_iter().map(line).collect())
    }
}

impl FileRow {
    fn read(self, text: &str) -> Result<(Row, Range<usize>), PriceFileError> {
        let band = match self.band {
            Some(band) => Some(Band { above: band.above, rates: band.rates.read(text)? }),
            None => None,
        };
        let row = Row {
            from_micros: self.from.as_ref().map(|date| midnight(text, date)).transpose()?,
            aliases: self.aliases,
            context_window: self.context_window,
            max_output: self.max_output,
            geography: self.geography,
            status: self.status,
            rates: self.rates.read(text)?,
            fast: self.fast.as_ref().map(|rates| rates.read(text)).transpose()?,
            band,
            id: self.id.get_ref().as_str().into(),
        };
        Ok((row, self.id.span()))
    }
}

impl FileRates {
    fn read(&self, text: &str) -> Result<Rates, PriceFileError> {
        Ok(Rates {
            input: rate(text, &self.input)?,
            output: rate(text, &self.output)?,
            cache_write_5m: rate(text, &self.cache_write_5m)?,
            cache_write_1h: rate(text, &self.cache_write_1h)?,
            cache_read: rate(text, &self.cache_read)?,
        })
    }
}

/// Dollars per million tokens as pico-dollars per token.
fn rate(text: &str, price: &Spanned<String>) -> Result<i128, PriceFileError> {
    let word = price.get_ref();
    decimal_millionths(word)
        .filter(|pico| pico % 20 == 0 && *pico <= 1_000_000_000_000)
        .ok_or_else(|| located(text, price.span().start, PriceFault::Rate(word.clone())))
}

/// A plain decimal times 10⁶, if that is whole.
fn decimal_millionths(word: &str) -> Option<i128> {
    let (whole, part) = word.split_once('.').unwrap_or((word, "0"));
    let digits = |s: &str| !s.is_empty() && s.len() <= 12 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let scale = 10_i128.checked_pow(6_u32.checked_sub(u32::try_from(part.len()).ok()?)?)?;
    let fraction = if part.is_empty() { 0 } else { part.parse::<i128>().ok()? * scale };
    Some(whole.parse::<i128>().ok()? * 1_000_000 + fraction)
}

/// Midnight UTC of a date, in microseconds since 1970.
fn midnight(text: &str, date: &Spanned<Datetime>) -> Result<i64, PriceFileError> {
    let fault = || located(text, date.span().start, PriceFault::Date);
    match date.get_ref() {
        Datetime { date: Some(day), time: None, offset: None } => {
            Ok(days_since_1970(i64::from(day.year), i64::from(day.month), i64::from(day.day))
                * MICROS_PER_DAY)
        }
        Datetime { .. } => Err(fault()),
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counting years from March so that the leap
/// day comes last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

pub(super) fn located(text: &str, at: usize, fault: PriceFault) -> PriceFileError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    PriceFileError { line: before.matches('\n').count() + 1, column, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_days() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2026, 10, 7), 20_733);
    }

    #[test]
    fn decimals_are_read_without_loss() {
        assert_eq!(decimal_millionths("0.125"), Some(125_000));
        assert_eq!(decimal_millionths("12.50"), Some(12_500_000));
        assert_eq!(decimal_millionths("0.0000010"), Some(1));
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "1_000", "0.0000001", "+1", "1234567890123"] {
            assert_eq!(decimal_millionths(bad), None, "{bad}");
        }
    }
}
