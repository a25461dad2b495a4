//! Bodies of `POST /v1/messages/batches`: up to 256 MB, read in one pass while they are spooled. What is
//! kept at any time is one item and the ids that have been given out.

use std::collections::HashSet;
use std::ops::Range;

use crate::exposure::{Exposure, Meter};
use crate::head::params::Params;
use crate::head::{FieldError, HeadError};
use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer};

/// Most requests in one batch.
pub const MAX_REQUESTS: u32 = 100_000;

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// `custom_id`: well-formed and not given before.
    pub custom_id: Box<str>,
    /// `params.model`
    pub model: Box<str>,
    /// Where the model's name stands in the whole body, inside the quotes.
    pub model_span: Range<u64>,
    /// `params.stream`; absent is `false`.
    pub stream: bool,
    /// `params.max_tokens`
    pub max_tokens: Option<u64>,
    /// `params.speed`
    pub speed: Option<Box<str>>,
    /// `params.inference_geo`
    pub inference_geo: Option<Box<str>>,
    /// Length of `params` in bytes, which bounds its input tokens.
    pub params_len: u64,
    /// Every string under the name `file_id`, at any depth of `params`, but for tools' inputs and schemas.
    pub file_ids: Vec<Box<str>>,
    /// `params.container`, or `params.container.id`.
    pub container_ids: Vec<Box<str>>,
    /// Every `skill_id` inside `params.container`.
    pub skill_ids: Vec<Box<str>>,
    /// Conversations held by the provider that are continued.
    pub thread_ids: Vec<Box<str>>,
    /// Models that `params.tools` and `params.fallbacks` name.
    pub other_models: Vec<Box<str>>,
    /// What `params` holds beside text.
    pub exposure: Exposure,
}

/// Why a batch cannot be sent on. The text is fit for the message of a 400 `invalid_request_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not one JSON object, or the field `requests` itself is at fault.
    #[error(transparent)]
    Body(#[from] HeadError),
    /// A fault in one request.
    #[error("requests.{index}.{fault}")]
    Item {
        /// Which one, from 0.
        index: u32,
        /// What is wrong with it.
        fault: ItemError,
    },
    /// More than [`MAX_REQUESTS`].
    #[error("requests: more than {MAX_REQUESTS} in one batch")]
    TooManyRequests,
}

/// A fault in one request of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// A fault in `params`.
    #[error("params.{0}")]
    Params(FieldError),
    /// A fault in `custom_id` or in what `params` is.
    #[error("{0}")]
    Field(FieldError),
    /// `custom_id` is not of the form `^[a-zA-Z0-9_-]{1,64}$`.
    #[error("custom_id: must match ^[a-zA-Z0-9_-]{{1,64}}$")]
    BadCustomId,
    /// `custom_id` was given before.
    #[error("custom_id: given more than once")]
    RepeatedCustomId,
}

impl From<JsonError> for BatchError {
    fn from(fault: JsonError) -> Self {
        Self::Body(fault.into())
    }
}

/// Reads a batch body chunk by chunk.
#[derive(Debug, Default)]
pub struct BatchScanner {
    tokenizer: Tokenizer,
    requests: Requests,
}

impl BatchScanner {
    /// A scanner at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next chunk and hands on each request that ends in it.
    ///
    /// # Errors
    /// The first fault; the scanner must not be fed again after one.
    pub fn feed(&mut self, chunk: &[u8], each: &mut dyn FnMut(BatchItem)) -> Result<(), BatchError> {
        self.tokenizer.feed(chunk, &mut Reader { requests: &mut self.requests, each })
    }

    /// Ends the body; returns how many requests it has.
    ///
    /// # Errors
    /// [`BatchError::Body`] when the body ends too early or has no `requests`.
    pub fn finish(mut self) -> Result<u32, BatchError> {
        self.tokenizer.finish(&mut Reader { requests: &mut self.requests, each: &mut |_| {} })?;
        if !self.requests.seen {
            return Err(body(FieldError::Missing { field: REQUESTS }));
        }
        Ok(self.requests.index)
    }
}

const REQUESTS: &str = "requests";
const CUSTOM_ID: &str = "custom_id";
const PARAMS: &str = "params";
const WRONG_ITEM: FieldError = FieldError::WrongType { field: "request", expected: "an object" };

/// A member of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    #[default]
    Other,
    CustomId,
    Params,
}

/// The request being read.
#[derive(Debug, Default)]
struct Item {
    custom_id: Option<Box<str>>,
    params: Option<Params<Box<str>>>,
    meter: Meter,
    params_span: Range<u64>,
    member: Member,
}

#[derive(Debug, Default)]
struct Requests {
    /// `requests` has been named.
    seen: bool,
    /// The member being read is `requests`.
    named: bool,
    /// The reader is inside its array.
    listing: bool,
    index: u32,
    item: Item,
    given: HashSet<Box<str>>,
}

struct Reader<'r> {
    requests: &'r mut Requests,
    each: &'r mut dyn FnMut(BatchItem),
}

impl Sink for Reader<'_> {
    type Error = BatchError;

    /// The depths: `0 { 1 requests: [ 2 { 3 params: { 4`.
    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), BatchError> {
        let requests = &mut *self.requests;
        match position.depth {
            0 if matches!(event, Event::ObjectStart | Event::ObjectEnd) => Ok(()),
            0 => Err(HeadError::NotAnObject.into()),
            1 => requests.top(&event),
            _ if !requests.listing => Ok(()),
            2 => match event {
                Event::ObjectStart => requests.open_item(),
                Event::ObjectEnd => requests.close_item().map(&mut *self.each),
                Event::ArrayStart
                | Event::ArrayEnd
                | Event::Key(_)
                | Event::String(_)
                | Event::Number(_)
                | Event::Bool(_)
                | Event::Null => Err(requests.fault(ItemError::Field(WRONG_ITEM))),
            },
            3 => requests.item.member(position.at, &event).map_err(|fault| requests.fault(fault)),
            deeper => requests.item.deeper(deeper, event).map_err(|fault| requests.fault(fault)),
        }
    }
}

impl Requests {
    fn fault(&self, fault: ItemError) -> BatchError {
        BatchError::Item { index: self.index, fault }
    }

    fn top(&mut self, event: &Event<'_>) -> Result<(), BatchError> {
        match event {
            Event::Key(name) => {
                self.named = name.is(REQUESTS);
                if self.named && std::mem::replace(&mut self.seen, true) {
                    return Err(body(FieldError::Duplicate { field: REQUESTS }));
                }
            }
            Event::ArrayStart => self.listing = self.named,
            Event::ArrayEnd => self.listing = false,
            Event::ObjectStart
            | Event::ObjectEnd
            | Event::String(_)
            | Event::Number(_)
            | Event::Bool(_)
            | Event::Null => {
                if self.named {
                    return Err(body(FieldError::WrongType { field: REQUESTS, expected: "an array" }));
                }
            }
        }
        Ok(())
    }

    fn open_item(&mut self) -> Result<(), BatchError> {
        if self.index == MAX_REQUESTS {
            return Err(BatchError::TooManyRequests);
        }
        self.item = Item::default();
        Ok(())
    }

    fn close_item(&mut self) -> Result<BatchItem, BatchError> {
        let item = std::mem::take(&mut self.item);
        let missing = |field| ItemError::Field(FieldError::Missing { field });
        let custom_id = item.custom_id.ok_or_else(|| self.fault(missing(CUSTOM_ID)))?;
        let params = item.params.ok_or_else(|| self.fault(missing(PARAMS)))?;
        params.finish().map_err(|fault| self.fault(ItemError::Params(fault)))?;
        if !self.given.insert(custom_id.clone()) {
            return Err(self.fault(ItemError::RepeatedCustomId));
        }
        let (model, model_span) = params.model.unwrap_or_default();
        let index = self.index;
        self.index += 1;
        Ok(BatchItem {
            index,
            custom_id,
            model,
            model_span,
            stream: params.stream.unwrap_or(false),
            max_tokens: params.max_tokens,
            speed: params.speed,
            inference_geo: params.inference_geo,
            params_len: item.params_span.end - item.params_span.start,
            file_ids: params.file_ids,
            container_ids: params.container_ids,
            skill_ids: params.skill_ids,
            thread_ids: params.thread_ids,
            other_models: params.other_models,
            exposure: item.meter.finish(),
        })
    }
}

impl Item {
    /// Takes an event of the request object itself.
    fn member(&mut self, at: u64, event: &Event<'_>) -> Result<(), ItemError> {
        match (self.member, event) {
            (_, Event::Key(name)) => return self.named(name),
            (Member::CustomId, Event::String(text)) => self.custom_id = Some(custom_id(text)?),
            (Member::Params, Event::ObjectStart) => {
                self.params = Some(Params::default());
                self.params_span = at..at;
            }
            (Member::Params, Event::ObjectEnd) => self.params_span.end = at + 1,
            (Member::CustomId, _) => return Err(wrong_type(CUSTOM_ID, "a string")),
            (Member::Params, _) => return Err(wrong_type(PARAMS, "an object")),
            (Member::Other, _) => {}
        }
        Ok(())
    }

    fn named(&mut self, name: &Text<'_>) -> Result<(), ItemError> {
        let (member, field, given) = if name.is(CUSTOM_ID) {
            (Member::CustomId, CUSTOM_ID, self.custom_id.is_some())
        } else if name.is(PARAMS) {
            (Member::Params, PARAMS, self.params.is_some())
        } else {
            (Member::Other, "", false)
        };
        self.member = member;
        if given { Err(ItemError::Field(FieldError::Duplicate { field })) } else { Ok(()) }
    }

    /// Takes an event inside one of the request's members.
    fn deeper(&mut self, depth: usize, event: Event<'_>) -> Result<(), ItemError> {
        match (self.member, &mut self.params) {
            (Member::Params, Some(params)) => {
                self.meter.event(depth - 3, event);
                params.event(depth - 3, event).map_err(ItemError::Params)
            }
            (Member::Params | Member::CustomId | Member::Other, _) => Ok(()),
        }
    }
}

fn custom_id(text: &Text<'_>) -> Result<Box<str>, ItemError> {
    let Ok(Some(id)) = text.text() else { return Err(ItemError::BadCustomId) };
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
        return Err(ItemError::BadCustomId);
    }
    Ok(id.into())
}

fn wrong_type(field: &'static str, expected: &'static str) -> ItemError {
    ItemError::Field(FieldError::WrongType { field, expected })
}

fn body(fault: FieldError) -> BatchError {
    BatchError::Body(HeadError::Field(fault))
}

#[cfg(test)]
mod tests;
