//! The fields of a messages request that decide something, read event by event. Serves whole bodies and
//! the items of a batch alike.

use std::ops::Range;

use super::FieldError;
use crate::json::{Event, Text, Unpaired};

/// Most ids that one request may name.
pub const MAX_REFERENCES: usize = 10_000;
/// Longest model name and id, in bytes as written (256 characters, each escaped).
const MAX_NAME: u64 = 1_536;

/// How a reader keeps a string: as its place in the body, or as text of its own.
pub(crate) trait Keep: Sized {
    /// Keeps a text that is at hand as a whole.
    fn keep(text: &Text<'_>) -> Result<Self, Unpaired>;
}

impl Keep for Box<str> {
    fn keep(text: &Text<'_>) -> Result<Self, Unpaired> {
        Ok(text.text()?.unwrap_or_default().into())
    }
}

/// A field whose meaning must not be in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    MaxTokens,
    Speed,
    InferenceGeo,
    Container,
    /// `tools` and `fallbacks` may name models of their own.
    Tools,
    Fallbacks,
    Thread,
    /// Content blocks hold what callers and models made up: the `input` of a tool's use.
    Messages,
    Other,
}

impl Field {
    fn of(name: &Text<'_>) -> Self {
        const NAMED: [Field; 10] = [
            Field::Model,
            Field::Stream,
            Field::MaxTokens,
            Field::Speed,
            Field::InferenceGeo,
            Field::Container,
            Field::Tools,
            Field::Fallbacks,
            Field::Thread,
            Field::Messages,
        ];
        NAMED.into_iter().find(|f| name.is(f.name())).unwrap_or(Self::Other)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::MaxTokens => "max_tokens",
            Self::Speed => "speed",
            Self::InferenceGeo => "inference_geo",
            Self::Container => "container",
            Self::Tools => "tools",
            Self::Fallbacks => "fallbacks",
            Self::Thread => "thread",
            Self::Messages => "messages",
            Self::Other => "",
        }
    }

    /// What the value must be; `None` if any value will do.
    const fn expected(self) -> Option<&'static str> {
        match self {
            Self::Model | Self::Speed | Self::InferenceGeo => Some("a string"),
            Self::Stream => Some("true or false"),
            Self::MaxTokens => Some("a whole number"),
            Self::Container => Some("a string or an object"),
            Self::Thread => Some("an object"),
            Self::Tools | Self::Fallbacks | Self::Messages | Self::Other => None,
        }
    }

    /// Whether a member somewhere inside this field is the caller's own data: the `input` of a content block
    /// (`messages: [ { content: [ { input`, or deeper), the schema and the examples of a tool's input. What looks
    /// like a reference there is an argument of some tool, not of the API.
    fn holds_data(self, depth: usize, name: &Text<'_>) -> bool {
        match self {
            Self::Messages => depth >= 5 && (name.is("input") || name.is("input_schema")),
            Self::Tools => depth == 3 && (name.is("input_schema") || name.is("input_examples")),
            Self::Model
            | Self::Stream
            | Self::MaxTokens
            | Self::Speed
            | Self::InferenceGeo
            | Self::Container
            | Self::Fallbacks
            | Self::Thread
            | Self::Other => false,
        }
    }

    /// A bit of its own for each field that may stand there once only.
    const fn bit(self) -> u8 {
        match self {
            Self::Model => 1,
            Self::Stream => 2,
            Self::MaxTokens => 4,
            Self::Speed => 8,
            Self::InferenceGeo => 16,
            Self::Container => 32,
            Self::Thread => 64,
            Self::Tools | Self::Fallbacks | Self::Messages | Self::Other => 0,
        }
    }
}

/// What the string that comes next would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    None,
    File,
    Container,
    Skill,
    Thread,
    Model,
}

impl Reference {
    /// The field that holds it.
    const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::File => "file_id",
            Self::Container => "container",
            Self::Skill => "skill_id",
            Self::Thread => "previous_message_id",
            Self::Model => "model",
        }
    }
}

/// The deciding fields, as far as they have been read.
#[derive(Debug, Clone)]
pub(crate) struct Params<T> {
    pub model: Option<(T, Range<u64>)>,
    pub stream: Option<bool>,
    pub max_tokens: Option<u64>,
    pub speed: Option<T>,
    pub inference_geo: Option<T>,
    pub file_ids: Vec<T>,
    pub container_ids: Vec<T>,
    pub skill_ids: Vec<T>,
    pub thread_ids: Vec<T>,
    pub other_models: Vec<T>,
    seen: u8,
    field: Field,
    next: Reference,
    /// The depth of the member whose value is the caller's own data, in which no word has a meaning; 0: none.
    opaque: usize,
}

impl<T> Default for Params<T> {
    fn default() -> Self {
        Self {
            model: None,
            stream: None,
            max_tokens: None,
            speed: None,
            inference_geo: None,
            file_ids: Vec::new(),
            container_ids: Vec::new(),
            skill_ids: Vec::new(),
            thread_ids: Vec::new(),
            other_models: Vec::new(),
            seen: 0,
            field: Field::Other,
            next: Reference::None,
            opaque: 0,
        }
    }
}

impl<T: Keep> Params<T> {
    /// Takes an event inside the request object; `depth` is 1 for its members.
    pub(crate) fn event(&mut self, depth: usize, event: Event<'_>) -> Result<(), FieldError> {
        if self.opaque > 0 {
            if depth > self.opaque {
                return Ok(());
            }
            if depth < self.opaque || matches!(event, Event::Key(_)) {
                self.opaque = 0;
            }
        }
        match event {
            Event::Key(name) => self.key(depth, &name),
            Event::String(text) if self.next != Reference::None => self.reference(&text),
            Event::ObjectEnd | Event::ArrayEnd => Ok(()),
            Event::ObjectStart
            | Event::ArrayStart
            | Event::String(_)
            | Event::Number(_)
            | Event::Bool(_)
            | Event::Null => {
                self.next = Reference::None;
                if depth == 1 { self.value(event) } else { Ok(()) }
            }
        }
    }

    /// Ends the request object.
    pub(crate) fn finish(&self) -> Result<(), FieldError> {
        match self.model {
            Some(_) => Ok(()),
            None => Err(FieldError::Missing { field: Field::Model.name() }),
        }
    }

    fn key(&mut self, depth: usize, name: &Text<'_>) -> Result<(), FieldError> {
        if depth == 1 {
            self.field = Field::of(name);
            let bit = self.field.bit();
            if self.seen & bit != 0 {
                return Err(FieldError::Duplicate { field: self.field.name() });
            }
            self.seen |= bit;
        }
        if self.field.holds_data(depth, name) {
            self.opaque = depth;
        }
        self.next = match self.field {
            _ if name.is("file_id") => Reference::File,
            Field::Container if depth == 2 && name.is("id") => Reference::Container,
            Field::Container if name.is("skill_id") => Reference::Skill,
            // A conversation whose state the provider holds goes by the id of its last message.
            Field::Thread if name.is("previous_message_id") => Reference::Thread,
            // A tool is an item of the array `tools`; deeper down, `model` is the caller's own word.
            Field::Tools if depth == 3 && name.is("model") => Reference::Model,
            Field::Fallbacks if depth > 1 && name.is("model") => Reference::Model,
            Field::Model
            | Field::Stream
            | Field::MaxTokens
            | Field::Speed
            | Field::InferenceGeo
            | Field::Container
            | Field::Tools
            | Field::Fallbacks
            | Field::Thread
            | Field::Messages
            | Field::Other => Reference::None,
        };
        Ok(())
    }

    /// A string that names something else. One that no id can be (too long, half a pair) names nothing.
    fn reference(&mut self, text: &Text<'_>) -> Result<(), FieldError> {
        let kind = std::mem::replace(&mut self.next, Reference::None);
        if text.has_nul() {
            return Err(FieldError::NotText { field: kind.name() });
        }
        if let Some(kept) = short(text).and_then(|t| T::keep(t).ok()) {
            match kind {
                Reference::File => push(&mut self.file_ids, kept)?,
                Reference::Container => push(&mut self.container_ids, kept)?,
                Reference::Skill => push(&mut self.skill_ids, kept)?,
                Reference::Thread => push(&mut self.thread_ids, kept)?,
                Reference::Model => push(&mut self.other_models, kept)?,
                Reference::None => {}
            }
        }
        Ok(())
    }

    /// The value of a top-level field. `null` counts as absent, but for the model.
    fn value(&mut self, event: Event<'_>) -> Result<(), FieldError> {
        let field = self.field;
        if let (Field::Fallbacks, Event::String(text)) = (field, &event) {
            // `"default"`: models of the provider's choice, which must be allowed under that name.
            return push(&mut self.other_models, named(field, text)?);
        }
        let Some(expected) = field.expected() else { return Ok(()) };
        match (field, event) {
            (Field::Model, Event::String(text)) => {
                self.model = Some((named(field, &text)?, text.span()));
            }
            (Field::Speed, Event::String(text)) => self.speed = Some(named(field, &text)?),
            (Field::InferenceGeo, Event::String(text)) => self.inference_geo = Some(named(field, &text)?),
            (Field::Container, Event::String(text)) => push(&mut self.container_ids, named(field, &text)?)?,
            (Field::Container | Field::Thread, Event::ObjectStart) => {}
            (Field::Stream, Event::Bool(on)) => self.stream = Some(on),
            (Field::MaxTokens, Event::Number(text)) => {
                let count = text.as_u64().ok_or(FieldError::WrongType { field: field.name(), expected })?;
                self.max_tokens = Some(count);
            }
            (
                Field::Stream
                | Field::MaxTokens
                | Field::Speed
                | Field::InferenceGeo
                | Field::Container
                | Field::Thread,
                Event::Null,
            ) => {}
            _ => return Err(FieldError::WrongType { field: field.name(), expected }),
        }
        Ok(())
    }
}

fn short<'t, 'a>(text: &'t Text<'a>) -> Option<&'t Text<'a>> {
    (text.is_whole() && text.span().end - text.span().start <= MAX_NAME).then_some(text)
}

fn named<T: Keep>(field: Field, text: &Text<'_>) -> Result<T, FieldError> {
    let text = short(text).ok_or(FieldError::TooLong { field: field.name() })?;
    let not_text = FieldError::NotText { field: field.name() };
    if text.has_nul() { Err(not_text) } else { T::keep(text).map_err(|Unpaired| not_text) }
}

fn push<T>(list: &mut Vec<T>, id: T) -> Result<(), FieldError> {
    if list.len() >= MAX_REFERENCES {
        return Err(FieldError::TooManyReferences);
    }
    list.push(id);
    Ok(())
}
