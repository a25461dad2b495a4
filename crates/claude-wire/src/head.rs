//! What the gateway must know of a messages or `count_tokens` body before it sends it on.

pub(crate) mod params;

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer, Unpaired, decode};
pub use params::MAX_REFERENCES;
use params::{Keep, Params};

/// The deciding fields of a request body. `null` counts as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// `model`
    pub model: Cow<'a, str>,
    /// Where the model's name stands in the body, inside the quotes: the place to splice an alias.
    pub model_span: Range<usize>,
    /// `stream`; absent is `false`.
    pub stream: bool,
    /// `max_tokens`
    pub max_tokens: Option<u64>,
    /// `speed`
    pub speed: Option<Cow<'a, str>>,
    /// `inference_geo`
    pub inference_geo: Option<Cow<'a, str>>,
    /// Every string that stands under the name `file_id`, at any depth, in order; but for tools' inputs and schemas,
    /// which are the caller's own data.
    pub file_ids: Vec<Cow<'a, str>>,
    /// `container`, or `container.id`.
    pub container_ids: Vec<Cow<'a, str>>,
    /// Every `skill_id` inside `container`; Anthropic's own skills included.
    pub skill_ids: Vec<Cow<'a, str>>,
    /// `previous_message_id` of `thread`: the conversation held by the provider that is continued.
    pub thread_ids: Vec<Cow<'a, str>>,
    /// Models that `tools` and `fallbacks` name.
    pub other_models: Vec<Cow<'a, str>>,
}

/// A fault in a field of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A required field is not there.
    #[error("{field}: Field required")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A deciding field stands there twice.
    #[error("{field}: given more than once")]
    Duplicate {
        /// The field.
        field: &'static str,
    },
    /// A value of the wrong type.
    #[error("{field}: expected {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A name longer than any name.
    #[error("{field}: longer than 256 characters")]
    TooLong {
        /// The field.
        field: &'static str,
    },
    /// A string that contains half of a surrogate pair.
    #[error("{field}: not valid Unicode")]
    NotText {
        /// The field.
        field: &'static str,
    },
    /// More ids than any request needs.
    #[error("more than {MAX_REFERENCES} files, skills or containers are named")]
    TooManyReferences,
}

/// Why a body cannot be sent on. The text is fit for the message of a 400 `invalid_request_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not JSON.
    #[error("The request body is not valid JSON: {0}")]
    NotJson(JsonError),
    /// JSON that ends too early.
    #[error("The request body is not valid JSON: it ends at byte {at}, inside a value")]
    Truncated {
        /// Its length.
        at: u64,
    },
    /// Nested more than [`MAX_DEPTH`](crate::json::MAX_DEPTH) levels deep.
    #[error("The request body is nested too deeply (more than {} levels)", crate::json::MAX_DEPTH)]
    TooDeep,
    /// JSON, but not an object.
    #[error("The request body must be a JSON object")]
    NotAnObject,
    /// A fault in a field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl From<JsonError> for HeadError {
    fn from(fault: JsonError) -> Self {
        match fault {
            JsonError::Syntax { .. } | JsonError::Utf8 { .. } => Self::NotJson(fault),
            JsonError::TooDeep { .. } => Self::TooDeep,
            JsonError::Truncated { at } => Self::Truncated { at },
        }
    }
}

impl<'a> RequestHead<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// [`HeadError`] when the body is not one JSON object or a deciding field is missing, doubled or of the
    /// wrong type.
    pub fn read(body: &'a [u8]) -> Result<Self, HeadError> {
        let mut reader = Reader { params: Params::default() };
        Tokenizer::read(body, &mut reader)?;
        let params = reader.params;
        params.finish()?;
        let text = |spot: Spot| spot.resolve(body);
        let all = |spots: Vec<Spot>| spots.into_iter().map(text).collect();
        let (model, span) = params.model.unwrap_or_default();
        Ok(Self {
            model: text(model),
            model_span: offset(span.start)..offset(span.end),
            stream: params.stream.unwrap_or(false),
            max_tokens: params.max_tokens,
            speed: params.speed.map(text),
            inference_geo: params.inference_geo.map(text),
            file_ids: all(params.file_ids),
            container_ids: all(params.container_ids),
            skill_ids: all(params.skill_ids),
            thread_ids: all(params.thread_ids),
            other_models: all(params.other_models),
        })
    }
}

/// A string's place in the body.
#[derive(Debug, Clone, Copy, Default)]
struct Spot {
    start: u64,
    end: u64,
    escaped: bool,
}

impl Keep for Spot {
    fn keep(text: &Text<'_>) -> Result<Self, Unpaired> {
        if text.is_escaped() {
            text.text()?;
        }
        let span = text.span();
        Ok(Self { start: span.start, end: span.end, escaped: text.is_escaped() })
    }
}

impl Spot {
    fn resolve(self, body: &[u8]) -> Cow<'_, str> {
        let raw = body.get(offset(self.start)..offset(self.end)).unwrap_or_default();
        decode(raw, self.escaped).unwrap_or_default()
    }
}

/// A whole body lies in memory, so its offsets fit.
fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

struct Reader {
    params: Params<Spot>,
}

impl Sink for Reader {
    type Error = HeadError;

    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), HeadError> {
        if position.depth > 0 {
            return Ok(self.params.event(position.depth, event)?);
        }
        if matches!(event, Event::ObjectStart | Event::ObjectEnd) {
            Ok(())
        } else {
            Err(HeadError::NotAnObject)
        }
    }
}

#[cfg(test)]
mod tests;
