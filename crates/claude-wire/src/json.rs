//! An incremental JSON tokenizer: bytes are pushed in chunks of any size and come out as events. It accepts
//! exactly the grammar of RFC 8259 (UTF-8 checked, nothing after the value), keeps no tree, and copies
//! nothing but short strings that straddle two chunks.

mod lexer;
mod text;

pub use lexer::Tokenizer;
pub(crate) use text::decode;
pub use text::{Text, Unpaired, escape_into};

/// Deepest nesting of arrays and objects that is followed.
pub const MAX_DEPTH: usize = 1_000;

/// Longest raw text (bytes between the quotes) that is kept together when chunks split it.
pub const MAX_CAPTURE: usize = 4_096;

/// What the tokenizer saw.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// A member name.
    Key(Text<'a>),
    /// A string value.
    String(Text<'a>),
    /// A number, as it was written.
    Number(Text<'a>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`
    Null,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Arrays and objects open around the token: 0 for the outermost value, 1 for its members. The
    /// brackets of a container stand where the container stands.
    pub depth: usize,
    /// Offset of the token's first byte from the start of the text.
    pub at: u64,
}

/// Who receives the events.
pub trait Sink {
    /// What ends the reading early; JSON errors become one.
    type Error: From<JsonError>;

    /// Takes one event.
    ///
    /// # Errors
    /// Whatever the receiver refuses; the tokenizer stops there.
    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), Self::Error>;
}

/// Why a text is not acceptable JSON. Offsets are in bytes from the start of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// A byte that the grammar does not allow there.
    #[error("expected {expected} at byte {at}")]
    Syntax {
        /// Offset of the byte.
        at: u64,
        /// What could have stood there.
        expected: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("a string is not valid UTF-8 at byte {at}")]
    Utf8 {
        /// Offset at which the run that is not UTF-8 begins.
        at: u64,
    },
    /// More than [`MAX_DEPTH`] arrays and objects inside one another.
    #[error("more than {MAX_DEPTH} nested arrays and objects at byte {at}")]
    TooDeep {
        /// Offset of the bracket.
        at: u64,
    },
    /// The text ended inside the value.
    #[error("the text ends at byte {at}, inside a value")]
    Truncated {
        /// Length of the text.
        at: u64,
    },
}

#[cfg(test)]
pub(crate) mod tests;
