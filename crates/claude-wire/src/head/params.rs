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
    Other,
}

impl Field {
    fn of(name: &Text<'_>) -> Self {
        const NAMED: [Field; 9] = [
            Field::Model,
            Field::Stream,
            Field::MaxTokens,
            Field::Speed,
            Field::InferenceGeo,
            Field::Container,
            Field::Tools,
            Field::Fallbacks,
            Field::Thread,
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
            Self::Tools | Self::Fallbacks | Self::Other => None,
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
            Self::Tools | Self::Fallbacks | Self::Other => 0,
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
        }
    }
}

impl<T: Keep> Params<T> {
    /// Takes an event inside the request object; `depth` is 1 for its members.
    pub(crate) fn event(&mut self, depth: usize, event: Event<'_>) -> Result<(), FieldError> {
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
