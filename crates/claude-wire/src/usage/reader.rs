//! Picks usage and its company out of the four shapes in which they come. A value of an unexpected type is
//! passed over, never an error: the API grows, and one odd field must not lose the others.

use smallvec::SmallVec;

use super::{CountsPatch, Iteration, Speed, UsagePatch};
use crate::json::{Event, JsonError, Position, Sink, Text};

/// What the JSON text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A message.
    Message,
    /// The data of `message_start`.
    StartEvent,
    /// The data of `message_delta`.
    DeltaEvent,
    /// A line of batch results.
    ResultLine,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    pub custom_id: Option<Box<str>>,
    pub result_type: Option<Box<str>>,
    pub id: Option<Box<str>>,
    pub model: Option<Box<str>>,
    pub stop_reason: Option<Box<str>>,
    pub has_content: bool,
    pub usage: Option<UsagePatch>,
}

/// An object or array whose members matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Message,
    Content,
    StartEvent,
    DeltaEvent,
    Delta,
    ResultLine,
    Result,
    Usage,
    CacheCreation,
    OutputDetails,
    ServerToolUse,
    Iterations,
    Iteration,
    IterationCacheCreation,
}

/// A member that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Other,
    /// Opens a place of its own.
    Opens(Place),
    Word(Word),
    Count(Count),
}

/// A member whose value is a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    CustomId,
    ResultType,
    Id,
    Model,
    StopReason,
    ServiceTier,
    InferenceGeo,
    Speed,
    IterationType,
    IterationModel,
}

/// A member whose value is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Input,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    CacheRead,
    Output,
    Thinking,
    WebSearch,
    WebFetch,
}

/// The receiver of the tokenizer's events.
#[derive(Debug, Clone)]
pub(crate) struct FactsReader {
    shape: Shape,
    /// The places around the current token. Deeper than that lies what does not matter.
    places: SmallVec<[Place; 8]>,
    member: Member,
    facts: Facts,
    iteration: Iteration,
    iteration_counts: CountsPatch,
}

impl FactsReader {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            places: SmallVec::new(),
            member: Member::Other,
            facts: Facts::default(),
            iteration: Iteration::default(),
            iteration_counts: CountsPatch::default(),
        }
    }

    pub(crate) fn into_facts(self) -> Facts {
        self.facts
    }

    fn usage(&mut self) -> &mut UsagePatch {
        self.facts.usage.get_or_insert_default()
    }

    /// The price classes that the current place speaks of.
    fn counts(&mut self) -> &mut CountsPatch {
        match self.places.last() {
            Some(Place::Iteration | Place::IterationCacheCreation) => &mut self.iteration_counts,
            _ => &mut self.usage().counts,
        }
    }

    fn open(&mut self, depth: usize, object: bool) {
        let place = match self.places.last() {
            None => Some(match self.shape {
                Shape::Message => Place::Message,
                Shape::StartEvent => Place::StartEvent,
                Shape::DeltaEvent => Place::DeltaEvent,
                Shape::ResultLine => Place::ResultLine,
            }),
            Some(Place::Iterations) => Some(Place::Iteration),
            Some(Place::Content) => {
                self.facts.has_content = true;
                None
            }
            Some(_) => match self.member {
                Member::Opens(place) => Some(place),
                Member::Other | Member::Word(_) | Member::Count(_) => None,
            },
        };
        let Some(place) = place.filter(|p| p.is_object() == object && depth == self.places.len()) else {
            return;
        };
        if place == Place::Usage {
            self.usage();
        } else if place == Place::Iterations {
            self.usage().iterations = Some(Vec::new());
        } else if place == Place::Iteration {
            self.iteration = Iteration::default();
            self.iteration_counts = CountsPatch::default();
        }
        self.places.push(place);
        self.member = Member::Other;
    }

    fn close(&mut self, depth: usize) {
        if self.places.len() != depth + 1 {
            return;
        }
        if self.places.pop() == Some(Place::Iteration) {
            let mut iteration = std::mem::take(&mut self.iteration);
            iteration.counts.apply(&self.iteration_counts);
            self.usage().iterations.get_or_insert_default().push(iteration);
        }
        self.member = Member::Other;
    }

    fn string(&mut self, text: &Text<'_>) {
        let Member::Word(member) = self.member else { return };
        // What no store can keep is no word of the API's.
        let Some(word) = text.text().ok().flatten().filter(|word| !word.contains('\0')) else { return };
        let kept = || Some(Box::from(&*word));
        match member {
            Word::CustomId => self.facts.custom_id = kept(),
            Word::ResultType => self.facts.result_type = kept(),
            Word::Id => self.facts.id = kept(),
            Word::Model => self.facts.model = kept(),
            Word::StopReason => self.facts.stop_reason = kept(),
            Word::ServiceTier => self.usage().service_tier = kept(),
            Word::InferenceGeo => self.usage().inference_geo = kept(),
            Word::Speed => self.usage().speed = Some(speed(&word)),
            Word::IterationType => self.iteration.kind = Box::from(&*word),
            Word::IterationModel => self.iteration.model = kept(),
        }
    }

    fn number(&mut self, text: &Text<'_>) {
        let Member::Count(member) = self.member else { return };
        let Some(count) = text.as_u64() else { return };
        match member {
            Count::Input => self.counts().input = Some(count),
            Count::CacheWrite => self.counts().cache_write_total = Some(count),
            Count::CacheWrite5m => self.counts().cache_write_5m = Some(count),
            Count::CacheWrite1h => self.counts().cache_write_1h = Some(count),
            Count::CacheRead => self.counts().cache_read = Some(count),
            Count::Output => self.counts().output = Some(count),
            Count::Thinking => self.usage().thinking = Some(count),
            Count::WebSearch => self.usage().web_search_requests = Some(count),
            Count::WebFetch => self.usage().web_fetch_requests = Some(count),
        }
    }
}

impl Sink for FactsReader {
    type Error = JsonError;

    #[inline]
    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), JsonError> {
        if position.depth > self.places.len() {
            return Ok(());
        }
        match event {
            Event::Key(name) => {
                self.member = self.places.last().map_or(Member::Other, |place| place.member(&name));
            }
            Event::ObjectStart => self.open(position.depth, true),
            Event::ArrayStart => self.open(position.depth, false),
            Event::ObjectEnd | Event::ArrayEnd => self.close(position.depth),
            Event::String(text) => self.string(&text),
            Event::Number(text) => self.number(&text),
            Event::Bool(_) | Event::Null => {}
        }
        Ok(())
    }
}

impl Place {
    const fn is_object(self) -> bool {
        !matches!(self, Self::Content | Self::Iterations)
    }

    fn member(self, name: &Text<'_>) -> Member {
        let Ok(Some(name)) = name.bytes() else { return Member::Other };
        match self {
            Self::Message => match &*name {
                b"id" => Member::Word(Word::Id),
                b"model" => Member::Word(Word::Model),
                b"stop_reason" => Member::Word(Word::StopReason),
                b"content" => Member::Opens(Self::Content),
                b"usage" => Member::Opens(Self::Usage),
                _ => Member::Other,
            },
            Self::StartEvent if &*name == b"message" => Member::Opens(Self::Message),
            Self::DeltaEvent => match &*name {
                b"delta" => Member::Opens(Self::Delta),
                b"usage" => Member::Opens(Self::Usage),
                _ => Member::Other,
            },
            Self::Delta if &*name == b"stop_reason" => Member::Word(Word::StopReason),
            Self::ResultLine => match &*name {
                b"custom_id" => Member::Word(Word::CustomId),
                b"result" => Member::Opens(Self::Result),
                _ => Member::Other,
            },
            Self::Result => match &*name {
                b"type" => Member::Word(Word::ResultType),
                b"message" => Member::Opens(Self::Message),
                _ => Member::Other,
            },
            Self::Usage => usage_member(&name),
            Self::Iteration => match &*name {
                b"type" => Member::Word(Word::IterationType),
                b"model" => Member::Word(Word::IterationModel),
                b"cache_creation" => Member::Opens(Self::IterationCacheCreation),
                other => count_member(other),
            },
            Self::CacheCreation | Self::IterationCacheCreation => match &*name {
                b"ephemeral_5m_input_tokens" => Member::Count(Count::CacheWrite5m),
                b"ephemeral_1h_input_tokens" => Member::Count(Count::CacheWrite1h),
                _ => Member::Other,
            },
            Self::OutputDetails if &*name == b"thinking_tokens" => Member::Count(Count::Thinking),
            Self::ServerToolUse => match &*name {
                b"web_search_requests" => Member::Count(Count::WebSearch),
                b"web_fetch_requests" => Member::Count(Count::WebFetch),
                _ => Member::Other,
            },
            Self::StartEvent | Self::Delta | Self::OutputDetails | Self::Content | Self::Iterations => {
                Member::Other
            }
        }
    }
}

fn usage_member(name: &[u8]) -> Member {
    match name {
        b"cache_creation" => Member::Opens(Place::CacheCreation),
        b"output_tokens_details" => Member::Opens(Place::OutputDetails),
        b"server_tool_use" => Member::Opens(Place::ServerToolUse),
        b"iterations" => Member::Opens(Place::Iterations),
        b"service_tier" => Member::Word(Word::ServiceTier),
        b"inference_geo" => Member::Word(Word::InferenceGeo),
        b"speed" => Member::Word(Word::Speed),
        other => count_member(other),
    }
}

fn count_member(name: &[u8]) -> Member {
    match name {
        b"input_tokens" => Member::Count(Count::Input),
        b"cache_creation_input_tokens" => Member::Count(Count::CacheWrite),
        b"cache_read_input_tokens" => Member::Count(Count::CacheRead),
        b"output_tokens" => Member::Count(Count::Output),
        _ => Member::Other,
    }
}

fn speed(word: &str) -> Speed {
    match word {
        "standard" => Speed::Standard,
        "fast" => Speed::Fast,
        _ => Speed::Other,
    }
}
