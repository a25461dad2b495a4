//! Prices: a dated data file, and integer arithmetic in pico-dollars (10⁻¹² $) that loses nothing.

mod ceiling;
mod file;
mod row;

use std::collections::HashMap;

use crate::usage::{Speed, TokenCounts, Usage};
pub use ceiling::{Call, Class, Classed, Feature, Unbounded};
pub use file::{PriceFault, PriceFileError};
pub use row::{Band, Rates, Row, Status};

const MICROS_PER_DAY: i64 = 86_400_000_000;
const BUILTIN: &str = include_str!("price/prices.toml");
/// The name that metrics give a model that is not in the table.
pub const OTHER: &str = "other";

/// How a call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// By itself.
    Single,
    /// In a batch: half price, but for web searches.
    Batch,
}

/// What a call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost<'t> {
    /// Pico-dollars.
    pub pico: i128,
    /// The model whose row was used; with several iterations, that of the message itself.
    pub priced_as: &'t str,
    /// A model, or its fast mode, is not in the table: the price is an upper guess, and an alarm is due.
    pub unknown_model: bool,
}

/// What one call's tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateQuote<'t> {
    /// The model whose row it is.
    pub priced_as: &'t str,
    /// When the row came into force, in microseconds since 1970; `None` is always.
    pub from_micros: Option<i64>,
    /// The rates.
    pub rates: Rates,
    /// The model, or its fast mode, is not in the table: an upper guess.
    pub assumed: bool,
}

/// The price table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    version: String,
    web_search_pico: i128,
    /// The most tokens that one image takes.
    image_tokens: u64,
    /// The most tokens that a prompt has beside what the body says: the provider's own words about tools.
    overhead_tokens: u64,
    /// The newest file's come first.
    classes: Vec<Classed>,
    /// All rows of one id stand together, oldest first.
    rows: Vec<Row>,
    /// Id or alias to the range of its rows.
    names: HashMap<Box<str>, (usize, usize)>,
}

impl PriceTable {
    /// The table that is built in.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the text is part of the program and parsed by a test")]
    pub fn builtin() -> Self {
        Self::parse(BUILTIN).expect("the built-in price file is valid")
    }

    /// Reads a whole table.
    ///
    /// # Errors
    /// [`PriceFileError`] with line and column.
    pub fn parse(text: &str) -> Result<Self, PriceFileError> {
        let empty = Self {
            version: String::new(),
            web_search_pico: 0,
            image_tokens: 0,
            overhead_tokens: 0,
            classes: Vec::new(),
            rows: Vec::new(),
            names: HashMap::new(),
        };
        let table = empty.with_override(text)?;
        if table.rows.is_empty() {
            return Err(file::located(text, 0, PriceFault::Empty));
        }
        Ok(table)
    }

    /// This table with an operator's rows in place of those of the same id and date, or beside them.
    ///
    /// # Errors
    /// [`PriceFileError`] with line and column.
    pub fn with_override(&self, text: &str) -> Result<Self, PriceFileError> {
        let parsed = file::parse(text)?;
        let same = |a: &Row, b: &Row| a.id == b.id && a.from_micros == b.from_micros;
        let mut rows = self.rows.clone();
        for (n, (row, place)) in parsed.rows.iter().enumerate() {
            if parsed.rows.iter().take(n).any(|(earlier, _)| same(earlier, row)) {
                return Err(file::located(text, place.start, PriceFault::Repeated(row.id.to_string())));
            }
            rows.retain(|old| !same(old, row));
            rows.push(row.clone());
        }
        rows.sort_by(|a, b| (&a.id, a.from_micros).cmp(&(&b.id, b.from_micros)));
        let names = index(&rows).map_err(|name| {
            let at = text.find(&format!("\"{name}\"")).unwrap_or_default();
            file::located(text, at, PriceFault::AliasTaken(name))
        })?;
        Ok(Self {
            version: joined(&self.version, parsed.version),
            web_search_pico: parsed.web_search_pico.unwrap_or(self.web_search_pico),
            image_tokens: parsed.image_tokens.unwrap_or(self.image_tokens),
            overhead_tokens: parsed.overhead_tokens.unwrap_or(self.overhead_tokens),
            classes: parsed.classes.into_iter().chain(self.classes.iter().cloned()).collect(),
            rows,
            names,
        })
    }

    /// The versions of the files it was made of.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every row, by id and date.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The most input tokens that an image takes which stands in a body.
    #[must_use]
    pub const fn image_tokens(&self) -> u64 {
        self.image_tokens
    }

    /// The row of a model (by id, alias or dated id) at a time in microseconds since 1970.
    #[must_use]
    pub fn row(&self, model: &str, at_unix_micros: i64) -> Option<&Row> {
        let (start, end) = self.resolve(model)?;
        let rows = self.rows.get(start..end)?;
        let holds = |row: &&Row| row.from_micros.is_none_or(|from| from <= at_unix_micros);
        rows.iter().rev().find(holds).or_else(|| rows.first())
    }

    /// The model's id if the table knows it, else [`OTHER`]: few enough values for a metric.
    #[must_use]
    pub fn label(&self, model: &str) -> &str {
        let row = self.resolve(model).and_then(|(start, _)| self.rows.get(start));
        row.map_or(OTHER, |row| &row.id)
    }

    /// What a call cost, exactly. `model` is the one that answered.
    #[must_use]
    pub fn cost(&self, model: &str, usage: &Usage, kind: CallKind, at_unix_micros: i64) -> Cost<'_> {
        let mut cost = Cost { pico: 0, priced_as: OTHER, unknown_model: false };
        if usage.iterations.is_empty() {
            cost = self.part(model, &usage.counts, usage, at_unix_micros);
        } else {
            for iteration in &usage.iterations {
                let model = iteration.model.as_deref().unwrap_or(model);
                let part = self.part(model, &iteration.counts, usage, at_unix_micros);
                cost.pico = cost.pico.saturating_add(part.pico);
                cost.unknown_model |= part.unknown_model;
            }
            cost.priced_as = self.part(model, &TokenCounts::default(), usage, at_unix_micros).priced_as;
        }
        if kind == CallKind::Batch {
            // Exact: every rate is a multiple of 20, and of 22 with the surcharge.
            cost.pico /= 2;
        }
        let searches = self.web_search_pico.saturating_mul(i128::from(usage.web_search_requests));
        cost.pico = cost.pico.saturating_add(searches);
        cost
    }

    /// The most that a call's tokens can cost: the dearest input rate for every byte of the body that the
    /// context window can hold, and the dearest output rate for `max_tokens`, or for the model's most.
    /// Price the call at the same time, so that a new price cannot come in between.
    #[must_use]
    pub fn worst_case(
        &self,
        model: &str,
        body_len: u64,
        max_tokens: Option<u64>,
        at_unix_micros: i64,
    ) -> i128 {
        let listed = self.row(model, at_unix_micros).map(|row| row.worst_case(body_len, max_tokens));
        listed
            .or_else(|| Some(self.unlisted(at_unix_micros)?.1.worst_case(body_len, max_tokens)))
            .unwrap_or_default()
    }

    /// The most that a call can cost that may be answered, and billed, by any of several models: the one that was
    /// asked for, those that it falls back on, those that its tools ask. As [`PriceTable::worst_case`] of the
    /// dearest.
    #[must_use]
    pub fn dearest_case<'m>(
        &self,
        models: impl IntoIterator<Item = &'m str>,
        body_len: u64,
        max_tokens: Option<u64>,
        at_unix_micros: i64,
    ) -> i128 {
        let cases = models.into_iter().map(|m| self.worst_case(m, body_len, max_tokens, at_unix_micros));
        cases.max().unwrap_or_default()
    }

    /// The rates of one call, the discount of batches not in them.
    #[must_use]
    pub fn quote(
        &self,
        model: &str,
        prompt: u64,
        (speed, us): (Speed, bool),
        at_unix_micros: i64,
    ) -> Option<RateQuote<'_>> {
        let told = |row: &Row| row.quote(prompt, speed, us);
        if let Some(row) = self.row(model, at_unix_micros) {
            let (rates, assumed) = told(row);
            return Some(RateQuote { priced_as: &row.id, from_micros: row.from_micros, rates, assumed });
        }
        let (priced_as, row) = self.unlisted(at_unix_micros)?;
        Some(RateQuote { priced_as, from_micros: row.from_micros, rates: told(&row).0, assumed: true })
    }

    /// One web search, in pico-dollars.
    #[must_use]
    pub const fn web_search_pico(&self) -> i128 {
        self.web_search_pico
    }

    /// What some tokens of one model cost by themselves, without discount and searches.
    fn part(&self, model: &str, counts: &TokenCounts, usage: &Usage, at: i64) -> Cost<'_> {
        let us = usage.inference_geo.as_deref() == Some("us");
        if let Some(row) = self.row(model, at) {
            let (pico, assumed) = row.price(counts, usage.speed, us);
            return Cost { pico, priced_as: &row.id, unknown_model: assumed };
        }
        let Some((priced_as, row)) = self.unlisted(at) else {
            return Cost { pico: 0, priced_as: OTHER, unknown_model: true };
        };
        Cost { pico: row.price(counts, usage.speed, us).0, priced_as, unknown_model: true }
    }

    fn resolve(&self, model: &str) -> Option<(usize, usize)> {
        let found = self.names.get(model).or_else(|| self.names.get(undated(model)?));
        found.copied()
    }

    /// A row for models that are not listed: the dearest that holds, with the dearest fast mode, the widest
    /// window and the surcharge; and the id of the dearest.
    fn unlisted(&self, at: i64) -> Option<(&str, Row)> {
        let holding = || self.rows.iter().filter(move |row| self.row(&row.id, at) == Some(*row));
        let dearest = holding().max_by_key(|row| (row.rates.output, row.rates.input))?;
        let fast = holding().filter_map(|row| row.fast).fold(dearest.rates, |a, b| a.dearer(&b));
        let row = Row {
            context_window: holding().map(|row| row.context_window).max()?,
            max_output: holding().map(|row| row.max_output).max()?,
            geography: true,
            fast: Some(fast),
            ..dearest.clone()
        };
        Some((&dearest.id, row))
    }
}

/// A dated id without its date: `claude-haiku-4-5-20251001`.
fn undated(model: &str) -> Option<&str> {
    let (name, date) = model.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

/// Ids and aliases of rows that are sorted by id.
///
/// # Errors
/// The name that would mean two models.
fn index(rows: &[Row]) -> Result<HashMap<Box<str>, (usize, usize)>, String> {
    let mut names = HashMap::new();
    let groups = rows.chunk_by(|a, b| a.id == b.id);
    let mut start = 0;
    for group in groups {
        let range = (start, start + group.len());
        start = range.1;
        let own = group.iter().flat_map(|row| row.aliases.iter().map(String::as_str).chain([&*row.id]));
        for name in own {
            let earlier = names.insert(Box::from(name), range);
            if earlier.is_some_and(|e| e != range) {
                return Err(name.to_owned());
            }
        }
    }
    Ok(names)
}

fn joined(base: &str, added: Option<String>) -> String {
    match added {
        None if base.is_empty() => "unnamed".to_owned(),
        None => format!("{base}+override"),
        Some(version) if base.is_empty() => version,
        Some(version) => format!("{base}+{version}"),
    }
}

#[cfg(test)]
mod quotes;
#[cfg(test)]
mod tests;
