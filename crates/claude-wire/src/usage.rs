//! What a call used, as the API reports it: in a message body, in the events of a stream, in a line of
//! batch results. Numbers of a stream are cumulative: what is absent or `null` keeps its earlier value.

mod reader;

use crate::json::{JsonError, Tokenizer};
pub(crate) use reader::{Facts, FactsReader, Shape};

/// Tokens by price class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TokenCounts {
    /// Input that neither came from nor went into a cache.
    pub input: u64,
    /// Written to the five-minute cache.
    pub cache_write_5m: u64,
    /// Written to the one-hour cache.
    pub cache_write_1h: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Output, thinking included.
    pub output: u64,
}

impl TokenCounts {
    /// The whole prompt: what price bands are measured by.
    #[must_use]
    pub const fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.cache_read)
    }

    /// Class by class.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            output: self.output.saturating_add(other.output),
        }
    }

    fn apply(&mut self, said: &CountsPatch) {
        self.input = said.input.unwrap_or(self.input);
        self.cache_read = said.cache_read.unwrap_or(self.cache_read);
        self.output = said.output.unwrap_or(self.output);
        if said.cache_write_5m.is_some() || said.cache_write_1h.is_some() {
            self.cache_write_5m = said.cache_write_5m.unwrap_or(0);
            self.cache_write_1h = said.cache_write_1h.unwrap_or(0);
            let split = self.cache_write_5m.saturating_add(self.cache_write_1h);
            let unsplit = said.cache_write_total.unwrap_or(0).saturating_sub(split);
            self.cache_write_5m = self.cache_write_5m.saturating_add(unsplit);
        } else if let Some(total) = said.cache_write_total {
            // Later events give the sum only: what lies beyond the known hour part counts at five minutes.
            self.cache_write_1h = self.cache_write_1h.min(total);
            self.cache_write_5m = total - self.cache_write_1h;
        }
    }
}

/// What one usage object says of the price classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountsPatch {
    /// `input_tokens`
    pub input: Option<u64>,
    /// `cache_creation_input_tokens`
    pub cache_write_total: Option<u64>,
    /// `cache_creation.ephemeral_5m_input_tokens`
    pub cache_write_5m: Option<u64>,
    /// `cache_creation.ephemeral_1h_input_tokens`
    pub cache_write_1h: Option<u64>,
    /// `cache_read_input_tokens`
    pub cache_read: Option<u64>,
    /// `output_tokens`
    pub output: Option<u64>,
}

/// `usage.speed`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Speed {
    /// `standard`, or unsaid.
    #[default]
    Standard,
    /// `fast`
    Fast,
    /// A word of later days, priced as `fast`.
    Other,
}

/// One entry of `usage.iterations`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Iteration {
    /// `type`: `message`, `compaction`, `advisor_message`, `fallback_message`.
    pub kind: Box<str>,
    /// `model`; absent means the message's own.
    pub model: Option<Box<str>>,
    /// What it used.
    pub counts: TokenCounts,
}

/// Everything that decides the price of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// The top-level numbers. Not the sum to bill when there are [`iterations`](Self::iterations).
    pub counts: TokenCounts,
    /// Thinking tokens; they are part of the output already.
    pub thinking: u64,
    /// `server_tool_use.web_search_requests`
    pub web_search_requests: u64,
    /// `server_tool_use.web_fetch_requests`
    pub web_fetch_requests: u64,
    /// `service_tier`
    pub service_tier: Option<Box<str>>,
    /// `inference_geo`
    pub inference_geo: Option<Box<str>>,
    /// `speed`
    pub speed: Speed,
    /// `iterations`: when there are any, they are what is billed, each at its own model.
    pub iterations: Vec<Iteration>,
}

/// What one usage object says; what it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsagePatch {
    /// The price classes.
    pub counts: CountsPatch,
    /// `output_tokens_details.thinking_tokens`
    pub thinking: Option<u64>,
    /// `server_tool_use.web_search_requests`
    pub web_search_requests: Option<u64>,
    /// `server_tool_use.web_fetch_requests`
    pub web_fetch_requests: Option<u64>,
    /// `service_tier`
    pub service_tier: Option<Box<str>>,
    /// `inference_geo`
    pub inference_geo: Option<Box<str>>,
    /// `speed`
    pub speed: Option<Speed>,
    /// `iterations`
    pub iterations: Option<Vec<Iteration>>,
}

impl Usage {
    /// Takes over what a later usage object says.
    pub fn apply(&mut self, said: UsagePatch) {
        self.counts.apply(&said.counts);
        self.thinking = said.thinking.unwrap_or(self.thinking);
        self.web_search_requests = said.web_search_requests.unwrap_or(self.web_search_requests);
        self.web_fetch_requests = said.web_fetch_requests.unwrap_or(self.web_fetch_requests);
        self.service_tier = said.service_tier.or_else(|| self.service_tier.take());
        self.inference_geo = said.inference_geo.or_else(|| self.inference_geo.take());
        self.speed = said.speed.unwrap_or(self.speed);
        if let Some(iterations) = said.iterations {
            self.iterations = iterations;
        }
    }

    /// What is billed, summed over the iterations where there are any: the numbers for a ledger row.
    #[must_use]
    pub fn billed_counts(&self) -> TokenCounts {
        if self.iterations.is_empty() {
            return self.counts;
        }
        self.iterations.iter().fold(TokenCounts::default(), |sum, i| sum.plus(&i.counts))
    }

    /// Raises the output to the least that `characters` of text already sent must have cost: one token for
    /// every four, rounded up.
    pub fn raise_output_to_characters(&mut self, characters: u64) {
        let missing = characters.div_ceil(4).saturating_sub(self.billed_counts().output);
        let counts = match self.iterations.last_mut() {
            Some(last) => &mut last.counts,
            None => &mut self.counts,
        };
        counts.output = counts.output.saturating_add(missing);
    }
}

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageSummary {
    /// `id`
    pub id: Option<Box<str>>,
    /// `model`: the one that answered.
    pub model: Option<Box<str>>,
    /// `stop_reason`
    pub stop_reason: Option<Box<str>>,
    /// Whether it has any content block.
    pub has_content: bool,
    /// Whether a usage object was there at all.
    pub has_usage: bool,
    /// `usage`
    pub usage: Usage,
}

impl MessageSummary {
    /// Whether it is a refusal before any output: tokens are in its usage, yet nothing is billed.
    #[must_use]
    pub fn is_unbilled_refusal(&self) -> bool {
        !self.has_content && self.stop_reason.as_deref() == Some("refusal")
    }

    pub(crate) fn from_facts(facts: Facts) -> Self {
        let mut usage = Usage::default();
        let has_usage = facts.usage.is_some();
        usage.apply(facts.usage.unwrap_or_default());
        Self {
            id: facts.id,
            model: facts.model,
            stop_reason: facts.stop_reason,
            has_content: facts.has_content,
            has_usage,
            usage,
        }
    }
}

/// Reads a message body that passes in chunks of any size; nothing of its content is kept.
#[derive(Debug, Clone)]
pub struct MessageTap {
    tokenizer: Tokenizer,
    reader: FactsReader,
    fault: Option<JsonError>,
}

impl Default for MessageTap {
    fn default() -> Self {
        Self::new()
    }
}

impl MessageTap {
    /// A tap at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self { tokenizer: Tokenizer::new(), reader: FactsReader::new(Shape::Message), fault: None }
    }

    /// Reads the next bytes. A fault is kept for [`finish`](Self::finish); the bytes are relayed anyway.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.tokenizer.feed(chunk, &mut self.reader).err();
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`JsonError`] when the body was not one JSON value; its usage is then unknown.
    pub fn finish(mut self) -> Result<MessageSummary, JsonError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.tokenizer.finish(&mut self.reader)?;
        Ok(MessageSummary::from_facts(self.reader.into_facts()))
    }
}

/// Reads a whole message body.
///
/// # Errors
/// [`JsonError`] when it is not JSON.
pub fn read_message(body: &[u8]) -> Result<MessageSummary, JsonError> {
    let mut tap = MessageTap::new();
    tap.feed(body);
    tap.finish()
}

#[cfg(test)]
mod tests;
