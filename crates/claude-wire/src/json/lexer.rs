//! The grammar: one state machine that can stop and go on at any byte.

mod number;
mod string;

use super::{Event, JsonError, MAX_CAPTURE, MAX_DEPTH, Position, Sink, Text};
use number::NumberState;
use string::StringState;

/// What the grammar allows next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// After `[`: a value or `]`.
    FirstItem,
    /// After `{`: a name or `}`.
    FirstKey,
    /// After `,` in an object.
    Key,
    Colon,
    /// After a value inside a container: `,` or the closing bracket.
    Next,
    /// After the outermost value: white space only.
    End,
}

/// A token that the chunks have split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    None,
    String { key: bool },
    Number,
    Literal(Literal),
}

/// `true`, `false` or `null`, and how much of it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Literal {
    word: &'static [u8],
    seen: usize,
}

/// Reads one JSON text pushed chunk by chunk.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    expect: Expect,
    partial: Partial,
    /// One bit a level: set for an object.
    objects: [u64; MAX_DEPTH.div_ceil(64)],
    depth: usize,
    /// Whether the innermost open container is an object.
    in_object: bool,
    /// Offset of the current chunk's first byte.
    base: u64,
    /// Offset of the first content byte of the token being read.
    start: u64,
    string: StringState,
    number: NumberState,
    /// The token's bytes from earlier chunks, up to [`MAX_CAPTURE`].
    capture: Vec<u8>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokenizer {
    /// A reader at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            expect: Expect::Value,
            partial: Partial::None,
            objects: [0; MAX_DEPTH.div_ceil(64)],
            depth: 0,
            in_object: false,
            base: 0,
            start: 0,
            string: StringState::new(),
            number: NumberState::Sign,
            capture: Vec::new(),
        }
    }

    /// Reads a whole text.
    ///
    /// # Errors
    /// The first fault of the text, or what the sink refused.
    pub fn read<S: Sink>(text: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let mut reader = Self::new();
        reader.feed(text, sink)?;
        reader.finish(sink)
    }

    /// Reads the next chunk.
    ///
    /// # Errors
    /// The first fault of the text, or what the sink refused. The reader must not be fed again after one.
    pub fn feed<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let mut at = self.resume(chunk, sink)?;
        while let Some(&byte) = chunk.get(at) {
            at = match byte {
                b' ' | b'\n' | b'\r' | b'\t' => at + 1,
                _ => self.token(chunk, at, byte, sink)?,
            };
        }
        self.base += chunk.len() as u64;
        Ok(())
    }

    /// Ends the text.
    ///
    /// # Errors
    /// [`JsonError::Truncated`] when the value is not complete.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if self.partial == Partial::Number && self.number.may_end() {
            self.end_number(&[], 0, sink)?;
        }
        if self.expect == Expect::End && self.partial == Partial::None {
            return Ok(());
        }
        Err(JsonError::Truncated { at: self.base }.into())
    }

    /// Whether the outermost value is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.expect == Expect::End && self.partial == Partial::None
    }

    /// Arrays and objects open at this point.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Goes on with the token that the last chunk broke off.
    fn resume<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<usize, S::Error> {
        match self.partial {
            Partial::None => Ok(0),
            Partial::String { key } => self.string_from(chunk, 0, key, sink),
            Partial::Number => self.number_from(chunk, 0, sink),
            Partial::Literal(literal) => self.literal_from(chunk, 0, literal, sink),
        }
    }

    /// Reads the token that begins with `byte` at `at`; returns the offset after it.
    #[inline]
    fn token<S: Sink>(&mut self, chunk: &[u8], at: usize, byte: u8, sink: &mut S) -> Result<usize, S::Error> {
        match self.expect {
            Expect::Value | Expect::FirstItem => self.value(chunk, at, byte, sink),
            Expect::FirstKey | Expect::Key if byte == b'"' => self.open_string(chunk, at, true, sink),
            Expect::FirstKey if byte == b'}' => self.close(at, sink),
            Expect::Colon if byte == b':' => {
                self.expect = Expect::Value;
                Ok(at + 1)
            }
            Expect::Next if byte == b',' => {
                self.expect = if self.in_object { Expect::Key } else { Expect::Value };
                Ok(at + 1)
            }
            Expect::Next if byte == if self.in_object { b'}' } else { b']' } => self.close(at, sink),
            Expect::FirstKey => Err(self.unexpected(at, "a member name or `}`")),
            Expect::Key => Err(self.unexpected(at, "a member name")),
            Expect::Colon => Err(self.unexpected(at, "`:`")),
            Expect::Next if self.in_object => Err(self.unexpected(at, "`,` or `}`")),
            Expect::Next => Err(self.unexpected(at, "`,` or `]`")),
            Expect::End => Err(self.unexpected(at, "nothing after the value")),
        }
    }

    #[inline]
    fn value<S: Sink>(&mut self, chunk: &[u8], at: usize, byte: u8, sink: &mut S) -> Result<usize, S::Error> {
        match byte {
            b'"' => self.open_string(chunk, at, false, sink),
            b'{' => self.open(at, true, sink),
            b'[' => self.open(at, false, sink),
            b'-' | b'0'..=b'9' => {
                self.begin(at);
                self.number = NumberState::Sign;
                self.number_from(chunk, at, sink)
            }
            b't' => self.open_literal(chunk, at, b"true", sink),
            b'f' => self.open_literal(chunk, at, b"false", sink),
            b'n' => self.open_literal(chunk, at, b"null", sink),
            b']' if self.expect == Expect::FirstItem => self.close(at, sink),
            _ => Err(self.unexpected(at, "a value")),
        }
    }

    fn open<S: Sink>(&mut self, at: usize, object: bool, sink: &mut S) -> Result<usize, S::Error> {
        let place = Position { depth: self.depth, at: self.base + at as u64 };
        let Some(word) = self.objects.get_mut(self.depth / 64).filter(|_| self.depth < MAX_DEPTH) else {
            return Err(JsonError::TooDeep { at: place.at }.into());
        };
        let bit = 1u64 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        self.in_object = object;
        self.expect = if object { Expect::FirstKey } else { Expect::FirstItem };
        sink.event(place, if object { Event::ObjectStart } else { Event::ArrayStart })?;
        Ok(at + 1)
    }

    fn close<S: Sink>(&mut self, at: usize, sink: &mut S) -> Result<usize, S::Error> {
        let event = if self.in_object { Event::ObjectEnd } else { Event::ArrayEnd };
        self.depth -= 1;
        let outer = self.depth.wrapping_sub(1);
        self.in_object = self.objects.get(outer / 64).is_some_and(|word| word >> (outer % 64) & 1 == 1);
        self.after_value();
        sink.event(Position { depth: self.depth, at: self.base + at as u64 }, event)?;
        Ok(at + 1)
    }

    const fn after_value(&mut self) {
        self.expect = if self.depth == 0 { Expect::End } else { Expect::Next };
    }

    /// Notes where the content of a token begins.
    fn begin(&mut self, content: usize) {
        self.start = self.base + content as u64;
        self.capture.clear();
    }

    fn open_literal<S: Sink>(
        &mut self,
        chunk: &[u8],
        at: usize,
        word: &'static [u8],
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        self.begin(at);
        self.literal_from(chunk, at, Literal { word, seen: 0 }, sink)
    }

    fn literal_from<S: Sink>(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        mut literal: Literal,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        while let Some(&wanted) = literal.word.get(literal.seen) {
            let Some(&byte) = chunk.get(at) else {
                self.partial = Partial::Literal(literal);
                return Ok(at);
            };
            if byte != wanted {
                return Err(self.unexpected(at, "`true`, `false` or `null`"));
            }
            at += 1;
            literal.seen += 1;
        }
        self.partial = Partial::None;
        self.after_value();
        let event = match literal.word {
            b"true" => Event::Bool(true),
            b"false" => Event::Bool(false),
            _ => Event::Null,
        };
        sink.event(Position { depth: self.depth, at: self.start }, event)?;
        Ok(at)
    }

    /// The token that ends before `end`: borrowed from the chunk if it began there, else what was kept.
    fn text<'t>(&'t mut self, chunk: &'t [u8], end: usize, escaped: bool) -> Text<'t> {
        let stop = self.base + end as u64;
        let raw = if self.start >= self.base {
            chunk.get(usize::try_from(self.start - self.base).unwrap_or(end)..end).unwrap_or_default()
        } else {
            self.keep(chunk.get(..end).unwrap_or_default());
            &self.capture
        };
        Text { raw, start: self.start, end: stop, escaped }
    }

    /// Keeps the part of an unfinished token that lies in this chunk.
    fn keep_tail(&mut self, chunk: &[u8]) {
        let from = usize::try_from(self.start.saturating_sub(self.base)).unwrap_or(chunk.len());
        self.keep(chunk.get(from..).unwrap_or_default());
    }

    fn keep(&mut self, part: &[u8]) {
        // A text with a hole would read as another text: what does not fit marks the whole as cut.
        let room = MAX_CAPTURE - self.capture.len();
        self.capture.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn unexpected<E: From<JsonError>>(&self, at: usize, expected: &'static str) -> E {
        JsonError::Syntax { at: self.base + at as u64, expected }.into()
    }
}
