//! Stage 7, reserve, in expected mode: what a call will likely cost, by what was learned of the calls before it, and what
//! is learned from this one. Calls are learned from by the key that pays for them: the first of its line, and of a child
//! the one above it.

use std::sync::Arc;

use claviger_claude_wire::{
    content,
    price::{CallKind, PriceTable},
    usage::{MessageSummary, Usage},
};
use claviger_domain::{
    budget::Ask,
    clock::Timestamp,
    estimate::{Content, Terms},
    id::KeyId,
    money::PicoUsd,
};
use claviger_service::budgets::Budgets;

use crate::authorize::MessageFacts;

/// What is known of a call before it is made.
#[derive(Debug)]
pub struct Outlook {
    payer: KeyId,
    model: Arc<str>,
    content: Content,
    terms: Terms,
    at: Timestamp,
}

impl Outlook {
    /// Of a message. `None`: nothing is known of what its model costs, or the body cannot be read.
    #[must_use]
    pub fn of_message(
        prices: &PriceTable,
        (facts, body): (&MessageFacts, &[u8]),
        payer: KeyId,
        worst: PicoUsd,
        at: Timestamp,
    ) -> Option<Box<Self>> {
        let row = prices.row(&facts.model, at.as_micros())?;
        let terms = Terms {
            input_pico: row.rates.input,
            output_pico: row.rates.output,
            max_output: facts.max_tokens.unwrap_or(row.max_output),
            worst,
        };
        let content = units(&content::Content::read(body).ok()?);
        Some(Box::new(Self { payer, model: Arc::clone(&facts.model), content, terms, at }))
    }

    /// What to ask of budgets.
    #[must_use]
    pub fn ask(&self, budgets: &Budgets) -> Ask {
        budgets.ask(&self.payer, &self.model, &self.content, &self.terms)
    }

    /// What an output token costs, in pico-dollars.
    #[must_use]
    pub const fn output_pico(&self) -> i128 {
        self.terms.output_pico
    }

    /// The provider has said what it read.
    pub fn learn_input(&self, budgets: &Budgets, prices: &PriceTable, message: &MessageSummary) {
        let (input, _) = self.parts(prices, message);
        let tokens = message.usage.counts.prompt();
        budgets.learn(&self.payer, &self.model, |known| {
            known.learn_input(&self.content, tokens, input, &self.terms);
        });
    }

    /// The provider has counted the tokens of a prompt.
    pub fn learn_tokens(&self, budgets: &Budgets, tokens: u64) {
        budgets.learn(&self.payer, &self.model, |known| known.learn_tokens(&self.content, tokens));
    }

    /// The answer came to its end.
    pub fn learn_output(&self, budgets: &Budgets, prices: &PriceTable, message: &MessageSummary) {
        let (_, output) = self.parts(prices, message);
        budgets.learn(&self.payer, &self.model, |known| known.learn_output(output, &self.terms));
    }

    /// What input and output of a usage cost, in pico-dollars.
    fn parts(&self, prices: &PriceTable, message: &MessageSummary) -> (i128, i128) {
        let model = message.model.as_deref().unwrap_or(&self.model);
        let cost = |usage: &Usage| prices.cost(model, usage, CallKind::Single, self.at.as_micros()).pico;
        let mut read = message.usage.clone();
        read.counts.output = 0;
        read.iterations.iter_mut().for_each(|iteration| iteration.counts.output = 0);
        let input = cost(&read);
        (input, cost(&message.usage) - input)
    }
}

/// The classes in their order.
#[must_use]
pub const fn units(content: &content::Content) -> Content {
    let content::Content {
        plain_bytes,
        wide_bytes,
        escaped_bytes,
        tool_bytes,
        document_bytes,
        picture_tokens,
    } = *content;
    Content { units: [plain_bytes, wide_bytes, escaped_bytes, tool_bytes, document_bytes, picture_tokens] }
}
