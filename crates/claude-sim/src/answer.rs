//! What the model "says": the blocks of one answer, decided by the request, its directives and the seed.

mod tool;

use std::borrow::Cow;

use serde_json::Value;

use crate::cache::Prompt as CachedPrompt;
use crate::config::{SimConfig, Voice};
use crate::directive::Directives;
use crate::directive::shape::{RefusalPoint, Thinking};
use crate::request::{MessagesRequest, Prompt};
use crate::seed::Rng;
use crate::text::{example, filler, prefix};
use crate::usage::{OutputDetails, Usage, UsagePlan};

/// Characters of an unsteered thinking block.
const THINKING_CHARS: usize = 96;
/// Characters that make one output token.
const CHARS_PER_TOKEN: usize = 4;

/// Text that leaves in a number of deltas.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    pub(crate) text: String,
    pub(crate) chars: usize,
    pub(crate) count: usize,
}

impl Pieces {
    pub(crate) fn new(text: String, count: usize) -> Self {
        let chars = text.chars().count();
        Self { text, chars, count: if chars == 0 { 0 } else { count.clamp(1, chars) } }
    }

    fn by_size(text: String, size: usize) -> Self {
        let chars = text.chars().count();
        Self { text, chars, count: chars.div_ceil(size.max(1)) }
    }

    /// Keeps the first `chars` characters, in deltas of the same size.
    fn truncate(&mut self, chars: usize) {
        if chars < self.chars {
            let size = self.chars.div_ceil(self.count.max(1));
            self.text.truncate(prefix(&self.text, chars).len());
            (self.chars, self.count) = (chars, chars.div_ceil(size.max(1)));
        }
    }

    /// Characters of delta number `nth` (from 0).
    pub(crate) fn size_of(&self, nth: usize) -> usize {
        let border = |at: usize| at * self.chars / self.count.max(1);
        border(nth + 1) - border(nth)
    }
}

/// One content block.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Thinking { pieces: Pieces, signature: String },
    Redacted { data: String },
    Text(Pieces),
    ToolUse { id: String, name: String, input: Pieces },
    ServerToolUse { id: String, query: String },
    WebSearchResult { id: String },
}

impl Block {
    /// Characters that count as output.
    fn chars(&self) -> usize {
        match self {
            Self::Thinking { pieces, .. } | Self::Text(pieces) | Self::ToolUse { input: pieces, .. } => {
                pieces.chars
            }
            Self::Redacted { data } => data.len(),
            Self::ServerToolUse { query, .. } => query.len(),
            Self::WebSearchResult { .. } => 0,
        }
    }
}

/// Why the answer ended.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) sequence: Option<String>,
}

impl Stop {
    fn because(reason: &'static str) -> Self {
        Self { reason: Cow::Borrowed(reason), sequence: None }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.reason == "refusal"
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop: Stop,
    pub(crate) usage: UsagePlan,
    /// False for a refusal before any output: its usage is reported and not billed.
    pub(crate) billed: bool,
}

impl Answer {
    /// Characters of all blocks.
    pub(crate) fn chars(&self) -> u64 {
        u64::try_from(self.blocks.iter().map(Block::chars).sum::<usize>()).unwrap_or(u64::MAX)
    }
}

/// Everything an answer is made from.
pub(crate) struct Planner<'a> {
    pub(crate) config: &'a SimConfig,
    pub(crate) request: &'a MessagesRequest<'a>,
    pub(crate) prompt: &'a Prompt,
    pub(crate) steer: &'a Directives,
    /// Canonical model id.
    pub(crate) model: &'a str,
    pub(crate) input: CachedPrompt,
    /// Hash of the request.
    pub(crate) seed: u64,
    /// Claude Code has many tools, and helper calls with one that must not be used unasked.
    pub(crate) tools_on_request_only: bool,
    pub(crate) in_batch: bool,
}

impl Planner<'_> {
    /// Decides the answer; ids are drawn from `ids`.
    pub(crate) fn plan(&self, ids: &mut Rng) -> Answer {
        let mut stop = Stop::because("end_turn");
        let mut blocks = self.blocks(ids, &mut stop);
        let shape = &self.steer.shape;
        let max_tokens = self.request.max_tokens.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        if cut_to(&mut blocks, max_tokens.saturating_mul(CHARS_PER_TOKEN)) {
            stop = Stop::because("max_tokens");
        }
        match shape.refusal {
            Some(RefusalPoint::Before) => {
                blocks.clear();
                stop = Stop::because("refusal");
            }
            Some(RefusalPoint::Mid) => {
                let half = blocks.iter().map(Block::chars).sum::<usize>() / 2;
                cut_to(&mut blocks, half);
                stop = Stop::because("refusal");
            }
            None => {}
        }
        if let Some(reason) = &shape.stop {
            stop = Stop { reason: Cow::Owned(reason.clone()), sequence: None };
            if reason == "stop_sequence" {
                stop.sequence = self.request.stop_sequences.as_ref().and_then(|all| all.first().cloned());
            }
        }
        let usage = UsagePlan::new(self.usage(&blocks, &stop), &self.steer.usage, self.model);
        Answer {
            id: ids.id("msg_01"),
            model: shape.model.clone().unwrap_or_else(|| self.model.to_owned()),
            billed: shape.refusal != Some(RefusalPoint::Before),
            blocks,
            stop,
            usage,
        }
    }

    fn blocks(&self, ids: &mut Rng, stop: &mut Stop) -> Vec<Block> {
        let mut blocks = Vec::with_capacity(3);
        blocks.extend(self.thinking());
        for _ in 0..self.steer.usage.web_searches {
            let id = ids.id("srvtoolu_01");
            blocks.push(Block::ServerToolUse { id: id.clone(), query: "simulated search".to_owned() });
            blocks.push(Block::WebSearchResult { id });
        }
        let tools = self.tool_uses(ids);
        if tools.is_empty() {
            blocks.push(Block::Text(self.text()));
        } else {
            blocks.extend(tools);
            *stop = Stop::because("tool_use");
        }
        blocks
    }

    fn thinking(&self) -> Option<Block> {
        let config = self.request.thinking.as_ref();
        let asked = config.is_some_and(|config| matches!(config.kind.as_str(), "enabled" | "adaptive"));
        let mut rng = Rng::new(self.seed.rotate_left(8));
        let mut opaque = |length: usize| {
            let mut text = String::with_capacity(length);
            while text.len() < length {
                text.push_str(&rng.id(""));
            }
            text.truncate(length);
            text
        };
        match self.steer.shape.thinking {
            Some(Thinking::Forbid) => return None,
            Some(Thinking::Redact) => return Some(Block::Redacted { data: opaque(256) }),
            None if !asked => return None,
            Some(Thinking::Force) | None => {}
        }
        let omitted = config.and_then(|config| config.display.as_deref()) == Some("omitted");
        let text = if omitted { String::new() } else { filler(self.seed, THINKING_CHARS, false) };
        Some(Block::Thinking {
            pieces: Pieces::by_size(text, self.config.delta_chars),
            signature: opaque(344),
        })
    }

    fn text(&self) -> Pieces {
        let shape = &self.steer.shape;
        let size = shape.delta_chars.unwrap_or(self.config.delta_chars);
        if let Some(schema) =
            self.request.schema().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
        {
            return Pieces::by_size(example(&schema).to_string(), size);
        }
        if let Some(text) = &shape.text {
            return shape.deltas.map_or_else(
                || Pieces::by_size(text.clone(), size),
                |count| Pieces::new(text.clone(), count),
            );
        }
        let intro = self.intro();
        let least = match (shape.volume, shape.deltas) {
            (Some(volume), _) => volume,
            (None, Some(deltas)) => deltas.saturating_mul(size),
            (None, None) if self.config.voice == Voice::TestKeys || self.prompt.tool_result.is_some() => 0,
            (None, None) => self.config.deltas.saturating_mul(size),
        };
        let chars = least.min(self.config.limits.text_chars);
        if chars == 0 && shape.deltas == Some(0) {
            return Pieces::default();
        }
        let text = if chars == 0 { intro } else { pad(&intro, self.seed, chars, shape.unicode) };
        shape
            .deltas
            .map_or_else(|| Pieces::by_size(text.clone(), size), |count| Pieces::new(text.clone(), count))
    }

    fn intro(&self) -> String {
        if let Some(result) = &self.prompt.tool_result {
            return format!("The tool answered: {}", prefix(result, 400));
        }
        match self.config.voice {
            Voice::Plain => format!("Simulated answer {:08x}. ", self.seed & 0xffff_ffff),
            Voice::TestKeys => {
                let quote = prefix(self.prompt.said.trim(), 120);
                format!(
                    "This answer is simulated by Claviger: you used a test key, no model was called and no money \
                     was spent. You wrote: {quote}"
                )
            }
        }
    }

    fn usage(&self, blocks: &[Block], stop: &Stop) -> Usage {
        let tokens = |block: &Block| u64::try_from(block.chars().div_ceil(CHARS_PER_TOKEN)).unwrap_or(0);
        let thinking: u64 =
            blocks.iter().filter(|block| matches!(block, Block::Thinking { .. })).map(tokens).sum();
        let output: u64 = blocks.iter().map(tokens).sum();
        let fast = self.request.speed.as_deref() == Some("fast");
        let us = self.request.inference_geo.as_deref() == Some("us");
        Usage {
            input_tokens: self.input.uncached,
            cache_creation_input_tokens: self.input.written.ephemeral_5m_input_tokens
                + self.input.written.ephemeral_1h_input_tokens,
            cache_read_input_tokens: self.input.read,
            cache_creation: self.input.written,
            output_tokens: if blocks.is_empty() && stop.is_refusal() { 1 } else { output },
            output_tokens_details: (thinking > 0).then_some(OutputDetails { thinking_tokens: thinking }),
            server_tool_use: None,
            service_tier: if self.in_batch { "batch" } else { "standard" },
            inference_geo: if us { "us" } else { "global" },
            speed: if fast { "fast" } else { "standard" },
            iterations: None,
        }
    }
}

/// `intro`, then filler up to `chars` characters; cut when it is longer.
fn pad(intro: &str, seed: u64, chars: usize, wide: bool) -> String {
    let intro = prefix(intro, chars);
    let missing = chars - intro.chars().count();
    let mut text = String::with_capacity(intro.len() + missing);
    text.push_str(intro);
    text.push_str(&filler(seed, missing, wide));
    text
}

/// Keeps `budget` characters over all blocks; a tool_use that does not fit is dropped. True when something was lost.
fn cut_to(blocks: &mut Vec<Block>, budget: usize) -> bool {
    let mut left = budget;
    let mut lost = false;
    blocks.retain_mut(|block| {
        if left == 0 && block.chars() > 0 {
            lost = true;
            return false;
        }
        let chars = block.chars();
        if chars > left {
            lost = true;
            match block {
                Block::Thinking { pieces, .. } | Block::Text(pieces) => pieces.truncate(left),
                Block::Redacted { .. }
                | Block::ToolUse { .. }
                | Block::ServerToolUse { .. }
                | Block::WebSearchResult { .. } => return false,
            }
        }
        left -= chars.min(left);
        true
    });
    lost
}

#[cfg(test)]
mod tests;
