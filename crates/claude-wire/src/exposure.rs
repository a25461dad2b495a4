//! What of a request's body can make a call dear beyond its own length: images, things the provider fetches, tools that
//! run there, other models. Read in one pass beside the deciding fields, of a whole body or of each item of a batch.

use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer};

/// Most server tools and features that are noted; more than these are as good as unbounded.
const MAX_NOTED: usize = 256;
/// The longest name that is noted, in bytes.
const MAX_NAME: usize = 128;
/// Fields that cost what they weigh.
const PLAIN: [&str; 13] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "tools",
    "tool_choice",
    "thinking",
];

/// A tool that is not the caller's own function.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypedTool {
    /// Its `type`.
    pub kind: Box<str>,
    /// Its `max_uses`.
    pub max_uses: Option<u64>,
    /// The model that it asks.
    pub model: Option<Box<str>>,
}

/// What a body holds beside text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposure {
    /// Images that stand in the body as base64.
    pub images: u64,
    /// The bytes that they take there.
    pub image_bytes: u64,
    /// Something's size cannot be told from the body: a URL, a file, a PDF.
    pub whole_window: bool,
    /// Tools with a `type` of their own, each as often as it is given.
    pub tools: Vec<TypedTool>,
    /// Models that `fallbacks` names.
    pub fallbacks: Vec<Box<str>>,
    /// Fields other than the everyday ones; inside `context_management`, `context_management.` and the edit's type.
    pub features: Vec<Box<str>>,
    /// There were more than are noted, or a name that is none.
    pub overflows: bool,
}

impl Exposure {
    /// Reads a whole body that is known to be a JSON object.
    ///
    /// # Errors
    /// [`JsonError`] when it is not.
    pub fn read(body: &[u8]) -> Result<Self, JsonError> {
        let mut reader = Reader(Meter::default());
        Tokenizer::read(body, &mut reader)?;
        Ok(reader.0.finish())
    }
}

struct Reader(Meter);

impl Sink for Reader {
    type Error = JsonError;

    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), JsonError> {
        if position.depth > 0 {
            self.0.event(position.depth, event);
        }
        Ok(())
    }
}

/// Where the reader stands at the top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Field {
    Messages,
    System,
    Tools,
    Fallbacks,
    ContextManagement,
    #[default]
    Other,
}

/// What the next value is, inside an object that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    Source,
    SourceType,
    MediaType,
    Data,
    ToolType,
    MaxUses,
    ToolModel,
    FallbackModel,
    EditType,
    #[default]
    Other,
}

/// What is known of a `source`.
#[derive(Debug, Clone, Default)]
struct Source {
    depth: usize,
    kind: Option<Kind>,
    is_image: bool,
    data_bytes: u64,
    /// A member that decides stands there twice.
    is_doubled: bool,
    seen: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Base64,
    Text,
    Content,
    Other,
}

/// Reads the events inside one request object; `depth` is 1 for its members.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    found: Exposure,
    field: Field,
    member: Member,
    sources: Vec<Source>,
    tool: TypedTool,
    /// The depth of the member whose value is the caller's own data; 0: none.
    opaque: usize,
}

impl Meter {
    pub(crate) fn event(&mut self, depth: usize, event: Event<'_>) {
        if self.opaque > 0 {
            if depth > self.opaque {
                return;
            }
            if depth < self.opaque || matches!(event, Event::Key(_)) {
                self.opaque = 0;
            }
        }
        match event {
            Event::Key(name) => self.key(depth, &name),
            Event::ObjectStart => self.open(depth),
            Event::ObjectEnd => self.close(depth),
            Event::String(text) => self.string(depth, &text),
            Event::Number(text) => {
                if std::mem::take(&mut self.member) == Member::MaxUses {
                    self.tool.max_uses = text.as_u64();
                }
            }
            Event::ArrayStart | Event::ArrayEnd | Event::Bool(_) | Event::Null => {
                self.member = Member::Other;
            }
        }
    }

    pub(crate) fn finish(self) -> Exposure {
        self.found
    }

    fn key(&mut self, depth: usize, name: &Text<'_>) {
        self.member = Member::Other;
        if depth == 1 {
            self.top(name);
            return;
        }
        let in_source = self.sources.last().is_some_and(|source| source.depth + 1 == depth);
        self.member = match self.field {
            Field::Messages if depth >= 5 && (name.is("input") || name.is("input_schema")) => {
                self.opaque = depth;
                Member::Other
            }
            Field::Messages | Field::System if in_source => self.source_member(name),
            Field::Messages | Field::System if name.is("source") => Member::Source,
            Field::Tools if depth == 3 && (name.is("input_schema") || name.is("input_examples")) => {
                self.opaque = depth;
                Member::Other
            }
            Field::Tools if depth == 3 && name.is("type") => Member::ToolType,
            Field::Tools if depth == 3 && name.is("max_uses") => Member::MaxUses,
            Field::Tools if depth == 3 && name.is("model") => Member::ToolModel,
            Field::Fallbacks if name.is("model") => Member::FallbackModel,
            Field::ContextManagement if depth == 4 && name.is("type") => Member::EditType,
            Field::Messages
            | Field::System
            | Field::Tools
            | Field::Fallbacks
            | Field::ContextManagement
            | Field::Other => Member::Other,
        };
    }

    fn top(&mut self, name: &Text<'_>) {
        let named = |word: &str| name.is(word);
        self.field = match () {
            () if named("messages") => Field::Messages,
            () if named("system") => Field::System,
            () if named("tools") => Field::Tools,
            () if named("fallbacks") => Field::Fallbacks,
            () if named("context_management") => Field::ContextManagement,
            () => Field::Other,
        };
        if !PLAIN.into_iter().any(named) {
            self.note("", name);
        }
    }

    /// Notes a feature down.
    fn note(&mut self, prefix: &str, name: &Text<'_>) {
        let full = self.found.features.len() >= MAX_NOTED;
        match name.text() {
            Ok(Some(name)) if !full && name.len() <= MAX_NAME => {
                self.found.features.push(format!("{prefix}{name}").into());
            }
            Ok(_) | Err(_) => self.found.overflows = true,
        }
    }

    fn source_member(&mut self, name: &Text<'_>) -> Member {
        let (member, bit) = match () {
            () if name.is("type") => (Member::SourceType, 1),
            () if name.is("media_type") => (Member::MediaType, 2),
            () if name.is("data") => (Member::Data, 4),
            () if name.is("source") => return Member::Source,
            () => return Member::Other,
        };
        if let Some(source) = self.sources.last_mut() {
            source.is_doubled |= source.seen & bit != 0;
            source.seen |= bit;
        }
        member
    }

    fn open(&mut self, depth: usize) {
        if std::mem::take(&mut self.member) == Member::Source {
            self.sources.push(Source { depth, ..Source::default() });
        } else if self.field == Field::Tools && depth == 2 {
            self.tool = TypedTool::default();
        }
    }

    fn close(&mut self, depth: usize) {
        self.member = Member::Other;
        if let Some(source) = self.sources.pop_if(|source| source.depth == depth) {
            self.count(&source);
        } else if self.field == Field::Tools && depth == 2 && !self.tool.kind.is_empty() {
            let tool = std::mem::take(&mut self.tool);
            if self.found.tools.len() < MAX_NOTED {
                self.found.tools.push(tool);
            } else {
                self.found.overflows = true;
            }
        }
    }

    fn count(&mut self, source: &Source) {
        match source.kind {
            Some(Kind::Base64) if source.is_image && !source.is_doubled => {
                self.found.images += 1;
                self.found.image_bytes += source.data_bytes;
            }
            // Blocks inside it have sources of their own; text weighs what it weighs.
            Some(Kind::Text | Kind::Content) if !source.is_doubled => {}
            Some(_) | None => self.found.whole_window = true,
        }
    }

    fn string(&mut self, depth: usize, text: &Text<'_>) {
        let member = std::mem::take(&mut self.member);
        if member == Member::Other {
            // `fallbacks: "default"`: a model of the provider's choice.
            if self.field == Field::Fallbacks && depth == 1 {
                self.fallback(text);
            }
            return;
        }
        match member {
            Member::SourceType | Member::MediaType | Member::Data => self.source_value(member, text),
            Member::ToolType => self.tool.kind = self.name(text),
            Member::ToolModel => self.tool.model = Some(self.name(text)),
            Member::FallbackModel => self.fallback(text),
            Member::EditType => self.note("context_management.", text),
            Member::Source | Member::MaxUses | Member::Other => {}
        }
    }

    fn source_value(&mut self, member: Member, text: &Text<'_>) {
        let Some(source) = self.sources.last_mut() else { return };
        match member {
            Member::SourceType => {
                source.kind = Some(match () {
                    () if text.is("base64") => Kind::Base64,
                    () if text.is("text") => Kind::Text,
                    () if text.is("content") => Kind::Content,
                    () => Kind::Other,
                });
            }
            Member::MediaType => {
                let is_image = |t: std::borrow::Cow<'_, str>| t.starts_with("image/");
                source.is_image = text.text().ok().flatten().is_some_and(is_image);
            }
            Member::Data => {
                let span = text.span();
                source.data_bytes = span.end - span.start;
            }
            Member::Source
            | Member::ToolType
            | Member::MaxUses
            | Member::ToolModel
            | Member::FallbackModel
            | Member::EditType
            | Member::Other => {}
        }
    }

    fn fallback(&mut self, text: &Text<'_>) {
        if self.found.fallbacks.len() >= MAX_NOTED {
            self.found.overflows = true;
            return;
        }
        let name = self.name(text);
        self.found.fallbacks.push(name);
    }

    /// A name; what is none counts as one that nobody knows.
    fn name(&mut self, text: &Text<'_>) -> Box<str> {
        match text.text() {
            Ok(Some(name)) if name.len() <= MAX_NAME && !name.is_empty() => name.into(),
            Ok(_) | Err(_) => {
                self.found.overflows = true;
                "?".into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
