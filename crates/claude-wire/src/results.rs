//! Batch results, JSON Lines in any order, read as they are relayed: which request, how it ended, what it
//! used. Lines are read in place; only the facts of the current one are kept.

use crate::json::{JsonError, Tokenizer};
use crate::usage::{Facts, FactsReader, MessageSummary, Shape};

/// Longest line that is read, in bytes.
pub const MAX_LINE: u64 = 64 * 1024 * 1024;

/// How a request of a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultKind {
    /// With a message: billed.
    Succeeded,
    /// Free.
    Errored,
    /// Free.
    Canceled,
    /// Free.
    Expired,
    /// A word of later days.
    Other,
}

/// One line of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchResult {
    /// `custom_id`
    pub custom_id: Box<str>,
    /// `result.type`
    pub kind: ResultKind,
    /// `result.message`: model, usage and the rest; empty unless it succeeded.
    pub message: MessageSummary,
}

/// A line that could not be read. `line` counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not JSON.
    #[error("line {line}: {fault}")]
    NotJson {
        /// Which line.
        line: u64,
        /// What is wrong with it.
        fault: JsonError,
    },
    /// No `custom_id` or no `result.type`.
    #[error("line {line}: not a batch result")]
    NotAResult {
        /// Which line.
        line: u64,
    },
    /// Longer than [`MAX_LINE`].
    #[error("line {line}: longer than {MAX_LINE} bytes")]
    TooLong {
        /// Which line.
        line: u64,
    },
}

/// What a line says, or why it could not be read; the lines after it are read all the same.
pub type Line = Result<BatchResult, LineError>;

/// Reads results chunk by chunk.
#[derive(Debug, Clone)]
pub struct ResultsScanner {
    line: u64,
    length: u64,
    blank: bool,
    tokenizer: Tokenizer,
    reader: FactsReader,
    fault: Option<JsonError>,
}

impl Default for ResultsScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ResultsScanner {
    /// A scanner at the start of the results.
    #[must_use]
    pub fn new() -> Self {
        Self {
            line: 1,
            length: 0,
            blank: true,
            tokenizer: Tokenizer::new(),
            reader: FactsReader::new(Shape::ResultLine),
            fault: None,
        }
    }

    /// Reads the next chunk and hands on each line that ends in it.
    pub fn feed(&mut self, chunk: &[u8], each: &mut dyn FnMut(Line)) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.part(rest.get(..end).unwrap_or_default());
            self.end_line(each);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        self.part(rest);
    }

    /// Ends the results: the last line need not end with a newline.
    pub fn finish(mut self, each: &mut dyn FnMut(Line)) {
        self.end_line(each);
    }

    fn part(&mut self, part: &[u8]) {
        self.length += part.len() as u64;
        self.blank &= part.trim_ascii().is_empty();
        if self.fault.is_none() && self.length <= MAX_LINE {
            self.fault = self.tokenizer.feed(part, &mut self.reader).err();
        }
    }

    fn end_line(&mut self, each: &mut dyn FnMut(Line)) {
        let next = Self { line: self.line + 1, ..Self::new() };
        let ended = std::mem::replace(self, next);
        if !ended.blank {
            each(ended.into_line());
        }
    }

    fn into_line(mut self) -> Line {
        let line = self.line;
        if self.length > MAX_LINE {
            return Err(LineError::TooLong { line });
        }
        let read = self.fault.map_or(Ok(()), Err).and_then(|()| self.tokenizer.finish(&mut self.reader));
        read.map_err(|fault| LineError::NotJson { line, fault })?;
        BatchResult::from_facts(self.reader.into_facts()).ok_or(LineError::NotAResult { line })
    }
}

impl BatchResult {
    fn from_facts(mut facts: Facts) -> Option<Self> {
        let kind = ResultKind::of(&facts.result_type.take()?);
        Some(Self { custom_id: facts.custom_id.take()?, kind, message: MessageSummary::from_facts(facts) })
    }
}

impl ResultKind {
    fn of(word: &str) -> Self {
        match word {
            "succeeded" => Self::Succeeded,
            "errored" => Self::Errored,
            "canceled" => Self::Canceled,
            "expired" => Self::Expired,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
