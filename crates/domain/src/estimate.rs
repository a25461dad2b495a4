//! What a call will likely cost, learned from what the calls of the same key and model before it have cost. Budgets in
//! expected mode hold that back.
//!
//! The input is estimated from the bytes of the body, class by class. What each class takes is learned from what the
//! provider says of each call; how far the estimates are off, and which part of the input comes from caches, is learned
//! as a spread of what was billed against what was estimated. The output is learned as a spread, too.
//!
//! Nothing here bounds what a call costs: that is what its worst case is for.

mod spread;

use serde::{Deserialize, Serialize};

use crate::{budget::Ask, money::PicoUsd};
pub use spread::Spread;

/// Classes of content that take tokens.
pub const CLASSES: usize = 6;
/// Tokens that a unit of each class takes before anything was learned: a byte, for pictures a token by their size.
const BEFORE: [f64; CLASSES] = [0.28, 0.40, 0.22, 0.26, 0.02, 1.0];
/// By how much what a class takes may be corrected.
const CORRECTIONS: (f64, f64) = (0.2, 5.0);
/// How far one call moves a correction towards what it says.
const STEP: f64 = 0.3;
/// Tokens of an empty message, and what the provider says about tools.
const FRAME_TOKENS: f64 = 8.0;
const TOOL_FRAME_TOKENS: f64 = 340.0;
/// The share of calls that cost no more than what is held back for them.
const LIKELY: f64 = 0.9;
/// The share of calls that cost less than what must be left for them.
const LEAST: f64 = 0.02;
/// Of the input's price, what is due at least before anything was learned: all of it from a cache, and half of what was
/// estimated.
const LEAST_SHARE: f64 = 0.05;
/// Units in which shares of the input's price are counted: a spread begins at one.
const SHARE_UNIT: f64 = 1024.0;

/// What a body holds, class by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes of ASCII text; of other text; of text as `\u` escapes; of tools; of PDFs in base64; and tokens that pictures
    /// take by their size.
    pub units: [u64; CLASSES],
}

impl Content {
    /// Bytes of tools.
    const TOOLS: usize = 3;

    /// What each class takes before anything was learned.
    fn before(&self) -> [f64; CLASSES] {
        std::array::from_fn(|class| {
            let units = self.units.get(class).copied().unwrap_or_default();
            approximately(units) * BEFORE.get(class).copied().unwrap_or_default()
        })
    }

    fn frame(&self) -> f64 {
        let has_tools = self.units.get(Self::TOOLS).is_some_and(|bytes| *bytes > 0);
        if has_tools { FRAME_TOKENS + TOOL_FRAME_TOKENS } else { FRAME_TOKENS }
    }
}

/// What a model's tokens cost, and what bounds the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Pico-dollars of an input token that no cache has.
    pub input_pico: i128,
    /// Pico-dollars of an output token.
    pub output_pico: i128,
    /// The most that the answer can have.
    pub max_output: u64,
    /// The most that the call can cost.
    pub worst: PicoUsd,
}

/// What is known of the calls of one key to one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimator {
    /// By how much what each class takes is corrected.
    corrections: [f64; CLASSES],
    /// What the input was billed at, in parts of what was estimated at the model's plain price.
    input: Spread,
    /// What the output was billed at, in tokens at the model's plain price.
    output: Spread,
}

impl Default for Estimator {
    fn default() -> Self {
        Self { corrections: [1.0; CLASSES], input: Spread::default(), output: Spread::default() }
    }
}

impl Estimator {
    /// The input tokens that a body takes.
    #[must_use]
    pub fn tokens(&self, content: &Content) -> f64 {
        let parts = content.before();
        content.frame() + parts.iter().zip(&self.corrections).map(|(part, by)| part * by).sum::<f64>()
    }

    /// What a call will cost: at least, likely and at most. Without enough calls to learn from, what is likely is the
    /// most, and the least is next to nothing.
    #[must_use]
    pub fn ask(&self, content: &Content, terms: &Terms) -> Ask {
        let price = approximately_pico(terms.input_pico) * self.tokens(content);
        let share = |part: Option<f64>| part.map(|share| price * share / SHARE_UNIT);
        let output = |tokens: f64| tokens.min(approximately(terms.max_output));
        let output = |tokens: f64| output(tokens) * approximately_pico(terms.output_pico);
        let most_output = output(f64::MAX);
        let likely = share(self.input.below(LIKELY))
            .map(|input| input + self.output.below(LIKELY).map_or(most_output, output));
        let least = share(self.input.above(LEAST)).unwrap_or(price * LEAST_SHARE)
            + self.output.above(LEAST).map_or(0.0, output);
        let likely = likely.map_or(terms.worst, pico).min(terms.worst);
        Ask { least: pico(least).min(likely), likely, worst: terms.worst }
    }

    /// The provider has said what the input of a call was. `billed_pico` is what it costs.
    pub fn learn_input(&mut self, content: &Content, tokens: u64, billed_pico: i128, terms: &Terms) {
        let estimated = self.tokens(content);
        let price = estimated * approximately_pico(terms.input_pico);
        if price > 0.0 {
            self.input.add(approximately_pico(billed_pico) / price * SHARE_UNIT);
        }
        self.learn_tokens(content, tokens);
    }

    /// The provider has said how many tokens a body takes.
    pub fn learn_tokens(&mut self, content: &Content, tokens: u64) {
        let error = approximately(tokens) - self.tokens(content);
        let parts = content.before();
        let weight: f64 = parts.iter().map(|part| part * part).sum();
        if weight <= 0.0 {
            return;
        }
        for (by, part) in self.corrections.iter_mut().zip(parts) {
            let moved = *by + STEP * error * part / weight;
            // Four digits, so that what is kept is what is read.
            *by = (moved.clamp(CORRECTIONS.0, CORRECTIONS.1) * 1e4).round() / 1e4;
        }
    }

    /// An answer came to its end. `billed_pico` is what its output costs.
    pub fn learn_output(&mut self, billed_pico: i128, terms: &Terms) {
        if terms.output_pico > 0 {
            self.output.add(approximately_pico(billed_pico) / approximately_pico(terms.output_pico));
        }
    }

    /// How many calls were learned from; old ones fade.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.input.count()
    }
}

/// Counts here are far below 2⁵², and need no more digits.
#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more digits")]
const fn approximately(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more digits")]
const fn approximately_pico(pico: i128) -> f64 {
    pico as f64
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and money has a bound of its own")]
fn pico(amount: f64) -> PicoUsd {
    PicoUsd::saturating(amount.ceil() as i128)
}

#[cfg(test)]
mod tests;
