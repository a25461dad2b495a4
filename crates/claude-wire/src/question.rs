//! What a request's body asks, however it is written: one digest for all bodies that say the same, and whether its
//! answer is words only.
//!
//! Two bodies say the same when they differ in white space, in the order of members, in how characters are escaped and
//! in nothing else. Numbers are taken as they are written: `1` and `1.0` are two questions, for the API takes the second
//! one nowhere that it wants a whole number.

use aws_lc_rs::digest::{Context, SHA256};

use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer};

/// Members that objects may have in all: what is kept of each until its object is over has a bound.
const MAX_MEMBERS: usize = 65_536;

/// Fields by which a call neither does anything nor fetches anything. What is not named here may do both.
const STILL: [&str; 19] = [
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
    "cache_control",
    "output_config",
    "output_format",
    "inference_geo",
    "service_tier",
    "speed",
];

/// A body, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The same for all bodies that say the same.
    pub digest: [u8; 32],
    /// Whether its answer is made of the body alone, and does nothing but say something: no tool of the provider's, no
    /// tool that reaches into a machine, no address and no file that the provider fetches, no field that is not known.
    /// Functions of the caller's own are still: the answer asks for them, and the caller does them or not.
    pub is_still: bool,
}

/// Why a body has no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// It is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It has more members than are kept.
    #[error("more than {MAX_MEMBERS} members")]
    TooWide,
}

impl Question {
    /// Reads a whole body, in one pass and without a tree.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn read(body: &[u8]) -> Result<Self, QuestionError> {
        let mut reader = Reader::default();
        Tokenizer::read(body, &mut reader)?;
        Ok(Self { digest: reader.root, is_still: !reader.watch.moves })
    }
}

type Digest = [u8; 32];

/// A container that is open.
enum Open {
    Array(Context),
    Object { members: Vec<(Digest, Digest)>, key: Digest },
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    members: usize,
    root: Digest,
    watch: Watch,
}

fn digest(tag: u8, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[tag]);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

fn finish(context: Context) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// A string by what it says; one that says nothing, for it holds half of a pair, by how it is written.
fn string(text: &Text<'_>) -> Digest {
    match text.bytes() {
        Ok(Some(bytes)) => digest(b's', &[&bytes]),
        Ok(None) | Err(_) => digest(b'u', &[text.raw()]),
    }
}

impl Reader {
    fn value(&mut self, value: Digest) -> Result<(), QuestionError> {
        match self.open.last_mut() {
            None => self.root = value,
            Some(Open::Array(items)) => items.update(&value),
            Some(Open::Object { members, key }) => {
                self.members += 1;
                if self.members > MAX_MEMBERS {
                    return Err(QuestionError::TooWide);
                }
                members.push((*key, value));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), QuestionError> {
        let done = match self.open.pop() {
            None => return Ok(()),
            Some(Open::Array(items)) => finish(items),
            Some(Open::Object { mut members, .. }) => {
                self.members -= members.len();
                // Stable: of two members of one name it matters which comes last.
                members.sort_by_key(|(key, _)| *key);
                let mut object = Context::new(&SHA256);
                object.update(b"o");
                for (key, value) in &members {
                    object.update(key);
                    object.update(value);
                }
                finish(object)
            }
        };
        self.value(done)
    }
}

impl Sink for Reader {
    type Error = QuestionError;

    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), QuestionError> {
        self.watch.event(position.depth, &event);
        match event {
            Event::ObjectStart => {
                self.open.push(Open::Object { members: Vec::new(), key: [0; 32] });
                Ok(())
            }
            Event::ArrayStart => {
                let mut items = Context::new(&SHA256);
                items.update(b"a");
                self.open.push(Open::Array(items));
                Ok(())
            }
            Event::ObjectEnd | Event::ArrayEnd => self.close(),
            Event::Key(name) => {
                if let Some(Open::Object { key, .. }) = self.open.last_mut() {
                    *key = string(&name);
                }
                Ok(())
            }
            Event::String(text) => self.value(string(&text)),
            Event::Number(text) => self.value(digest(b'n', &[text.raw()])),
            Event::Bool(flag) => self.value(digest(b'b', &[&[u8::from(flag)]])),
            Event::Null => self.value(digest(b'z', &[])),
        }
    }
}

/// What the next value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    #[default]
    Other,
    /// The `type` of a tool.
    ToolType,
    /// A `source`.
    Source,
    /// The `type` of a source.
    SourceType,
}

/// Looks for what may act.
#[derive(Debug, Default)]
struct Watch {
    in_tools: bool,
    next: Next,
    /// How deep the members of open sources stand.
    sources: Vec<usize>,
    moves: bool,
}

impl Watch {
    fn event(&mut self, depth: usize, event: &Event<'_>) {
        let next = std::mem::take(&mut self.next);
        match event {
            Event::Key(name) => self.key(depth, name),
            Event::ObjectStart => {
                if next == Next::Source {
                    self.sources.push(depth + 1);
                }
                self.moves |= next == Next::ToolType;
            }
            Event::ObjectEnd => {
                self.sources.pop_if(|members| *members == depth + 1);
            }
            Event::String(text) => match next {
                Next::ToolType => self.moves |= !text.is("custom"),
                // A link or a file: what stands there may be another thing tomorrow, or nothing.
                Next::SourceType => {
                    self.moves |= !["base64", "text", "content"].iter().any(|inline| text.is(inline));
                }
                Next::Source | Next::Other => {}
            },
            Event::Null => {}
            Event::ArrayStart | Event::ArrayEnd | Event::Number(_) | Event::Bool(_) => {
                self.moves |= next == Next::ToolType;
            }
        }
    }

    fn key(&mut self, depth: usize, name: &Text<'_>) {
        if depth == 1 {
            self.in_tools = name.is("tools");
            self.moves |= !STILL.iter().any(|still| name.is(still));
        } else if name.is("type") {
            if self.in_tools && depth == 3 {
                self.next = Next::ToolType;
            } else if self.sources.last() == Some(&depth) {
                self.next = Next::SourceType;
            }
        } else if name.is("source") {
            self.next = Next::Source;
        }
    }
}

#[cfg(test)]
mod tests;
