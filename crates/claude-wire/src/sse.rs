//! Server-sent events as they pass: where each begins and ends, and what a stream of the API uses. Bytes
//! are never held or changed here; the frames may be split anywhere.

mod characters;
mod framer;
mod meter;

use std::borrow::Cow;

pub use framer::Scanner;
pub use meter::{Ended, FrameBorders, Metered, StreamError, StreamMeter, StreamTap};

/// Longest event that is kept for reading when frames split it; a longer one is framed, not read.
pub const MAX_EVENT: usize = 256 * 1024;

/// The events of the API, by the name in their `event:` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `message_start`
    MessageStart,
    /// `content_block_start`
    ContentBlockStart,
    /// `content_block_delta`
    ContentBlockDelta,
    /// `content_block_stop`
    ContentBlockStop,
    /// `message_delta`
    MessageDelta,
    /// `message_stop`: the good end.
    MessageStop,
    /// `ping`
    Ping,
    /// `error`: the bad end.
    Error,
    /// Any other name.
    Other,
    /// No name: the SDKs skip it. Comments alone are such an event too.
    Unnamed,
}

impl EventKind {
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            b"message_start" => Self::MessageStart,
            b"content_block_start" => Self::ContentBlockStart,
            b"content_block_delta" => Self::ContentBlockDelta,
            b"content_block_stop" => Self::ContentBlockStop,
            b"message_delta" => Self::MessageDelta,
            b"message_stop" => Self::MessageStop,
            b"ping" => Self::Ping,
            b"error" => Self::Error,
            b"" => Self::Unnamed,
            _ => Self::Other,
        }
    }

    /// Whether nothing follows it.
    #[must_use]
    pub const fn ends_stream(self) -> bool {
        match self {
            Self::MessageStop | Self::Error => true,
            Self::MessageStart
            | Self::ContentBlockStart
            | Self::ContentBlockDelta
            | Self::ContentBlockStop
            | Self::MessageDelta
            | Self::Ping
            | Self::Other
            | Self::Unnamed => false,
        }
    }

    /// Whether its data is read for metering, and therefore kept when frames split it.
    const fn is_metered(self) -> bool {
        match self {
            Self::MessageStart | Self::ContentBlockDelta | Self::MessageDelta | Self::Error => true,
            Self::ContentBlockStart
            | Self::ContentBlockStop
            | Self::MessageStop
            | Self::Ping
            | Self::Other
            | Self::Unnamed => false,
        }
    }
}

/// An event that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// Its name.
    pub kind: EventKind,
    /// Where it begins in this frame; `None` if it began in an earlier one.
    pub begins: Option<usize>,
    /// Where it ends in this frame, after its blank line.
    pub ends: usize,
    /// Its `data:` lines joined by newlines; `None` if they were not kept, because frames split an event
    /// that is not metered or is longer than [`MAX_EVENT`].
    pub data: Option<Cow<'a, [u8]>>,
}

/// The event that is still open where a frame ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenEvent {
    /// None: the frame ends at a border.
    None,
    /// Its name has not passed yet.
    Unnamed,
    /// One that ends the stream.
    Ending,
    /// Any other.
    Passing,
}

#[cfg(test)]
mod tests;
