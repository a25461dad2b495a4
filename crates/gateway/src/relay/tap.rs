//! What reads along while an answer passes that is no event stream, or one in a coding that nobody asked for.

use std::io::Write;

use bytes::Bytes;
use claviger_claude_wire::{
    sse::{StreamMeter, StreamTap},
    usage::{MessageSummary, MessageTap, read_message},
};
use flate2::write::GzDecoder;

/// Decoded bytes after which a compressed answer is taken for a bomb and no longer read (256 MB).
const MOST_DECODED: u64 = 256 * 1024 * 1024;
/// A count of tokens is far smaller.
const MOST_COUNT: usize = 1024;

/// Reads along.
pub enum Tap {
    /// Nothing to read.
    None,
    /// The answer comes in a coding that nobody asked for.
    Unreadable,
    /// A message, of which nothing has come yet.
    Fresh,
    /// A message.
    Message(Box<MessageTap>),
    /// A compressed message, or an event stream of one.
    Gzip(Box<GzDecoder<Decoded>>),
    /// A message that came in one piece.
    Read(Option<Box<MessageSummary>>),
    /// How many tokens a prompt has.
    Count(Vec<u8>),
}

/// What was read of an answer in the end.
#[derive(Debug)]
pub enum Reading {
    /// Nothing was to be read.
    Nothing,
    /// This.
    Message(Box<MessageSummary>),
    /// This, as a stream.
    Stream(Box<StreamMeter>),
    /// A prompt has so many tokens.
    Tokens(u64),
    /// It could not be read.
    Failed,
}

/// Takes decoded bytes.
pub struct Decoded {
    reader: Reader,
    left: u64,
}

/// Reads what was decoded.
enum Reader {
    Message(Box<MessageTap>),
    Stream(Box<StreamTap>),
}

impl Reader {
    fn finish(self) -> Reading {
        match self {
            Self::Message(tap) => {
                tap.finish().map_or(Reading::Failed, |read| Reading::Message(Box::new(read)))
            }
            Self::Stream(tap) => Reading::Stream(Box::new(tap.into_meter())),
        }
    }
}

impl Write for Decoded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| std::io::Error::other("the decoded answer is too large"))?;
        match &mut self.reader {
            Reader::Message(tap) => tap.feed(bytes),
            Reader::Stream(tap) => drop(tap.feed(bytes)),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Tap {
    /// A tap on a message in this content coding.
    #[must_use]
    pub fn message(coding: Option<&[u8]>) -> Self {
        match coding {
            None => Self::Fresh,
            Some(c) if c.eq_ignore_ascii_case(b"identity") => Self::Fresh,
            Some(c) if c.eq_ignore_ascii_case(b"gzip") => {
                Self::gzip(Reader::Message(Box::new(MessageTap::new())))
            }
            Some(_) => Self::Unreadable,
        }
    }

    /// A tap on an event stream in a coding: streams are asked for without one.
    #[must_use]
    pub fn coded_stream(coding: Option<&[u8]>) -> Self {
        match coding {
            Some(c) if c.eq_ignore_ascii_case(b"gzip") => {
                Self::gzip(Reader::Stream(Box::new(StreamTap::new())))
            }
            Some(_) | None => Self::Unreadable,
        }
    }

    fn gzip(reader: Reader) -> Self {
        Self::Gzip(Box::new(GzDecoder::new(Decoded { reader, left: MOST_DECODED })))
    }

    /// A tap on a count of tokens, which nobody pays for: one that comes in a coding is not read.
    #[must_use]
    pub fn count(coding: Option<&[u8]>) -> Self {
        let plain = coding.is_none_or(|c| c.eq_ignore_ascii_case(b"identity"));
        if plain { Self::Count(Vec::new()) } else { Self::None }
    }

    /// Reads the next bytes; `last` when nothing follows.
    pub fn feed(&mut self, bytes: &Bytes, last: bool) {
        match self {
            Self::None | Self::Unreadable | Self::Read(_) => {}
            Self::Fresh if last => *self = Self::Read(read_message(bytes).ok().map(Box::new)),
            Self::Fresh => {
                let mut tap = Box::new(MessageTap::new());
                tap.feed(bytes);
                *self = Self::Message(tap);
            }
            Self::Message(tap) => tap.feed(bytes),
            Self::Count(read) if read.len() + bytes.len() <= MOST_COUNT => read.extend_from_slice(bytes),
            Self::Count(_) => *self = Self::None,
            Self::Gzip(decoder) => {
                if decoder.write_all(bytes).is_err() {
                    *self = Self::Unreadable;
                }
            }
        }
    }

    /// What was read. `self` reads no more.
    pub fn finish(&mut self) -> Reading {
        let read = match std::mem::replace(self, Self::None) {
            Self::None | Self::Fresh => return Reading::Nothing,
            Self::Unreadable => None,
            Self::Message(tap) => tap.finish().ok().map(Box::new),
            Self::Gzip(decoder) => return decoder.finish().map_or(Reading::Failed, |d| d.reader.finish()),
            Self::Read(message) => message,
            Self::Count(read) => return told(&read).map_or(Reading::Nothing, Reading::Tokens),
        };
        read.map_or(Reading::Failed, Reading::Message)
    }

    /// Whether it is worth reading to the end after the client went away: what the answer cost stands there.
    #[must_use]
    pub const fn is_metering(&self) -> bool {
        match self {
            Self::None | Self::Count(_) => false,
            Self::Unreadable | Self::Fresh | Self::Message(_) | Self::Gzip(_) | Self::Read(_) => true,
        }
    }
}

/// What a count of tokens says.
fn told(answer: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(answer).ok()?.get("input_tokens")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        br#"{"id":"msg_1","model":"claude-opus-5-5","content":[{"type":"text"}],"usage":{"input_tokens":3,"output_tokens":4}}"#;

    fn output(reading: Reading) -> Option<u64> {
        match reading {
            Reading::Message(m) => Some(m.usage.counts.output),
            Reading::Nothing | Reading::Failed | Reading::Tokens(_) | Reading::Stream(_) => None,
        }
    }

    #[test]
    fn a_message_is_read_whole_in_pieces_and_compressed() {
        let mut whole = Tap::message(None);
        whole.feed(&Bytes::from_static(BODY), true);
        assert_eq!(output(whole.finish()), Some(4));
        let mut pieces = Tap::message(Some(b"identity"));
        for (n, piece) in BODY.chunks(7).enumerate() {
            pieces.feed(&Bytes::copy_from_slice(piece), (n + 1) * 7 >= BODY.len());
        }
        assert_eq!(output(pieces.finish()), Some(4));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(BODY).unwrap();
        let packed = encoder.finish().unwrap();
        let mut gzip = Tap::message(Some(b"gzip"));
        for piece in packed.chunks(5) {
            gzip.feed(&Bytes::copy_from_slice(piece), false);
        }
        assert_eq!(output(gzip.finish()), Some(4));
    }

    #[test]
    fn a_count_of_tokens_is_read_if_it_is_one() {
        let told = |answer: &[u8], coding| {
            let mut tap = Tap::count(coding);
            assert!(!tap.is_metering());
            answer.chunks(5).for_each(|piece| tap.feed(&Bytes::copy_from_slice(piece), false));
            tap.finish()
        };
        assert!(matches!(told(br#"{"input_tokens": 2095}"#, None), Reading::Tokens(2_095)));
        assert!(matches!(told(br#"{"input_tokens": 2095}"#, Some(b"gzip")), Reading::Nothing));
        assert!(matches!(told(br#"{"type":"error"}"#, None), Reading::Nothing));
        assert!(matches!(told(&[b' '; 2_000], None), Reading::Nothing));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let mut other = Tap::message(Some(b"br"));
        assert!(other.is_metering(), "its end is not free of charge when the client leaves");
        other.feed(&Bytes::from_static(b"xx"), true);
        assert!(matches!(other.finish(), Reading::Failed));
        let mut broken = Tap::message(None);
        broken.feed(&Bytes::from_static(b"{\"usage\":"), true);
        assert!(matches!(broken.finish(), Reading::Failed));
    }
}
