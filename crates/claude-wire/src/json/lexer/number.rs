//! Numbers: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.

use super::{Event, JsonError, Partial, Position, Sink, Tokenizer};

/// What of a number has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberState {
    /// Nothing: a sign or a digit may come.
    Sign,
    /// `-`: a digit must come.
    Minus,
    /// `0`: no digit may follow.
    Zero,
    Integer,
    /// `.`: a digit must come.
    Point,
    Fraction,
    /// `e`: a sign or a digit must come.
    Exponent,
    /// `e+`: a digit must come.
    ExponentSign,
    ExponentDigits,
}

impl NumberState {
    /// The state after `byte`; `None` if the number ends before it.
    const fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Sign, b'-') => Some(Self::Minus),
            (Self::Sign | Self::Minus, b'0') => Some(Self::Zero),
            (Self::Sign | Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Some(Self::ExponentDigits)
            }
            (
                Self::Sign
                | Self::Minus
                | Self::Zero
                | Self::Integer
                | Self::Point
                | Self::Fraction
                | Self::Exponent
                | Self::ExponentSign
                | Self::ExponentDigits,
                _,
            ) => None,
        }
    }

    pub(super) const fn may_end(self) -> bool {
        match self {
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits => true,
            Self::Sign | Self::Minus | Self::Point | Self::Exponent | Self::ExponentSign => false,
        }
    }
}

impl Tokenizer {
    pub(super) fn number_from<S: Sink>(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        while let Some(&byte) = chunk.get(at) {
            match self.number.step(byte) {
                Some(next) => self.number = next,
                None => return self.end_number(chunk, at, sink),
            }
            at += 1;
        }
        self.partial = Partial::Number;
        self.keep_tail(chunk);
        Ok(at)
    }

    /// The number ends before `at`. Whether the byte there may follow it is the grammar's to say.
    pub(super) fn end_number<S: Sink>(
        &mut self,
        chunk: &[u8],
        at: usize,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        self.partial = Partial::None;
        if !self.number.may_end() {
            let at = self.base + at as u64;
            return Err(JsonError::Syntax { at, expected: "a digit" }.into());
        }
        self.after_value();
        let place = Position { depth: self.depth, at: self.start };
        let text = self.text(chunk, at, false);
        sink.event(place, Event::Number(text))?;
        Ok(at)
    }
}
