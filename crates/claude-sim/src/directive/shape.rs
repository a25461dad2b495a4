//! Directives that decide what an answer says and what it claims to have used.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::{DirectiveError, Field};

/// The content of the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) deltas: Option<usize>,
    pub(crate) delta_chars: Option<usize>,
    /// Volume of the text in characters.
    pub(crate) volume: Option<usize>,
    pub(crate) text: Option<String>,
    pub(crate) unicode: bool,
    pub(crate) tool: Option<String>,
    pub(crate) tool_input: Option<Value>,
    pub(crate) no_tool: bool,
    pub(crate) thinking: Option<Thinking>,
    pub(crate) refusal: Option<RefusalPoint>,
    pub(crate) stop: Option<String>,
    pub(crate) pings: Option<u32>,
    pub(crate) crlf: bool,
    pub(crate) odd_events: bool,
    pub(crate) message_deltas: Option<u32>,
    pub(crate) model: Option<String>,
    pub(crate) any_model: bool,
    pub(crate) downloadable: bool,
    /// Added to the answer, whatever it is.
    pub(crate) headers: HeaderMap,
}

/// What to do about a thinking block, whatever the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    Force,
    Forbid,
    Redact,
}

/// When the model refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalPoint {
    /// Before any output: not billed.
    Before,
    /// After half of the text: billed.
    Mid,
}

impl Shape {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        let text = || Some(field.value.to_owned());
        match field.name {
            "deltas" => self.deltas = Some(field.number()?),
            "delta-chars" => self.delta_chars = Some(field.number::<usize>()?.max(1)),
            "huge" => self.volume = Some(field.number::<usize>()?.saturating_mul(1 << 20)),
            "text" => self.text = text(),
            "unicode" => self.unicode = true,
            "tool" => self.tool = text(),
            "input" => self.tool_input = Some(field.json()?),
            "no-tool" => self.no_tool = true,
            "thinking" => self.thinking = Some(Thinking::Force),
            "no-thinking" => self.thinking = Some(Thinking::Forbid),
            "redacted" => self.thinking = Some(Thinking::Redact),
            "refusal" => {
                self.refusal = Some(match field.value {
                    "" | "before" => RefusalPoint::Before,
                    "mid" => RefusalPoint::Mid,
                    _ => return Err(field.bad()),
                });
            }
            "stop" => self.stop = text(),
            "pings" => self.pings = Some(field.number()?),
            "crlf" => self.crlf = true,
            "odd-events" => self.odd_events = true,
            "message-deltas" => self.message_deltas = Some(field.number()?),
            "model" => self.model = text(),
            "any-model" => self.any_model = true,
            "downloadable" => self.downloadable = true,
            "headers" => self.headers = headers(field)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn headers(field: Field<'_>) -> Result<HeaderMap, DirectiveError> {
    let fields: BTreeMap<String, String> = serde_json::from_str(field.value).map_err(|_| field.bad())?;
    fields
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| field.bad())?;
            Ok((name, HeaderValue::try_from(value.as_str()).map_err(|_| field.bad())?))
        })
        .collect()
}

/// Changes to the usage that is sent; what was changed is also what counts as billed.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsageEdit {
    pub(crate) both: Option<Value>,
    pub(crate) start: Option<Value>,
    pub(crate) delta: Option<Value>,
    pub(crate) omit: Vec<String>,
    pub(crate) web_searches: u32,
    pub(crate) iterations: Option<Iterations>,
}

/// Which second kind of iteration the usage lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Iterations {
    Compaction,
    Advisor,
    Fallback,
}

impl UsageEdit {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        match field.name {
            "usage" => self.both = Some(object(field)?),
            "usage-start" => self.start = Some(object(field)?),
            "usage-delta" => self.delta = Some(object(field)?),
            "usage-omit" => self.omit = field.value.split(',').map(|name| name.trim().to_owned()).collect(),
            "web-search" => self.web_searches = field.number()?,
            "iterations" => {
                self.iterations = Some(match field.value {
                    "compaction" => Iterations::Compaction,
                    "advisor" => Iterations::Advisor,
                    "fallback" => Iterations::Fallback,
                    _ => return Err(field.bad()),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True when numbers are merged or left out.
    pub(crate) fn rewrites(&self) -> bool {
        self.both.is_some() || self.start.is_some() || self.delta.is_some() || !self.omit.is_empty()
    }
}

fn object(field: Field<'_>) -> Result<Value, DirectiveError> {
    let value = field.json()?;
    if value.is_object() { Ok(value) } else { Err(field.bad()) }
}

/// How an item of a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Errored,
    Canceled,
    Expired,
}

/// Steering of batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchSteer {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) mix: Vec<Outcome>,
    pub(crate) delay: Option<Duration>,
}

impl BatchSteer {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        let outcome = |text: &str| match text.trim() {
            "succeeded" => Ok(Outcome::Succeeded),
            "errored" => Ok(Outcome::Errored),
            "canceled" => Ok(Outcome::Canceled),
            "expired" => Ok(Outcome::Expired),
            _ => Err(field.bad()),
        };
        match field.name {
            "outcome" => self.outcome = Some(outcome(field.value)?),
            "batch-mix" => self.mix = field.value.split(',').map(outcome).collect::<Result<_, _>>()?,
            "batch-delay" => self.delay = Some(field.millis()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
