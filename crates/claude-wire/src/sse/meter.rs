//! The tap on a message stream: usage, model, ends, and where the relay must hold back.

use serde::Deserialize;

use super::{EventKind, OpenEvent, Scanner, SseEvent, characters};
use crate::json::Tokenizer;
use crate::usage::{FactsReader, MessageSummary, Shape, Usage};

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By `message_stop`.
    Stop,
    /// By an `error` event.
    Error,
}

/// What an `error` event said; empty where it did not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamError {
    /// `error.type`
    pub kind: Box<str>,
    /// `error.message`
    pub message: Box<str>,
}

/// What has passed so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamMeter {
    /// Id, model, stop reason and usage, merged over `message_start` and every `message_delta`.
    pub message: MessageSummary,
    /// Characters of text, thinking and tool input.
    pub characters: u64,
    /// Events of type `content_block_delta`.
    pub deltas: u32,
    /// Pings of the upstream.
    pub pings: u32,
    /// Events that are metered but could not be read: too long, or not JSON.
    pub unread: u32,
    /// The end, once it has passed.
    pub ended: Option<Ended>,
    /// What the `error` event said.
    pub error: Option<StreamError>,
}

/// What to bill of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered {
    /// The usage.
    pub usage: Usage,
    /// Whether the output is an estimate: the stream did not reach `message_stop`.
    pub estimated: bool,
    /// Whether it is billed at all: a refusal before any output is not.
    pub billed: bool,
    /// Whether the upstream said any usage: without it the input is unknown too.
    pub has_usage: bool,
}

/// The borders inside one frame, for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameBorders {
    /// Events that end in this frame.
    pub events: u32,
    /// Offset after the last event that ends in this frame.
    pub last_border: Option<usize>,
    /// First byte to hold back until the record is committed: from there on the bytes belong, or may
    /// belong, to the event that ends the stream. What earlier frames held goes with it: 0 means hold on,
    /// anything else (or `None`) that the bytes held so far may go.
    pub hold_from: Option<usize>,
}

/// Reads a message stream as it is relayed.
#[derive(Debug, Clone, Default)]
pub struct StreamTap {
    scanner: Scanner,
    meter: StreamMeter,
}

impl StreamTap {
    /// A tap at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next frame.
    pub fn feed(&mut self, frame: &[u8]) -> FrameBorders {
        let Self { scanner, meter } = self;
        let mut borders = FrameBorders { hold_from: meter.ended.map(|_| 0), ..FrameBorders::default() };
        scanner.feed(frame, &mut |event| {
            borders.events += 1;
            borders.last_border = Some(event.ends);
            if event.kind.ends_stream() && borders.hold_from.is_none() {
                borders.hold_from = Some(event.begins.unwrap_or(0));
            }
            meter.take(event);
        });
        if borders.hold_from.is_none() {
            borders.hold_from = match scanner.open_event() {
                OpenEvent::Unnamed | OpenEvent::Ending => Some(scanner.open_begins().unwrap_or(0)),
                OpenEvent::None | OpenEvent::Passing => None,
            };
        }
        borders
    }

    /// Whether an event of ours may go in after the last frame.
    #[must_use]
    pub const fn at_border(&self) -> bool {
        self.scanner.at_border()
    }

    /// What has passed so far.
    #[must_use]
    pub const fn meter(&self) -> &StreamMeter {
        &self.meter
    }

    /// The meter, when the stream is over.
    #[must_use]
    pub fn into_meter(self) -> StreamMeter {
        self.meter
    }
}

impl StreamMeter {
    /// What to bill, the stream being over now, however it ended.
    #[must_use]
    pub fn settle(&self) -> Metered {
        let mut usage = self.message.usage.clone();
        let estimated = self.ended != Some(Ended::Stop);
        if estimated {
            usage.raise_output_to_characters(self.characters);
        }
        let billed = !self.message.is_unbilled_refusal();
        Metered { usage, estimated, billed, has_usage: self.message.has_usage }
    }

    fn take(&mut self, event: &SseEvent<'_>) {
        match event.kind {
            EventKind::ContentBlockDelta => {
                self.deltas = self.deltas.saturating_add(1);
                match &event.data {
                    Some(data) => self.characters += characters::in_delta(data),
                    None => self.unread += 1,
                }
            }
            EventKind::MessageStart => self.read(Shape::StartEvent, event),
            EventKind::MessageDelta => self.read(Shape::DeltaEvent, event),
            EventKind::ContentBlockStart => self.message.has_content = true,
            EventKind::Ping => self.pings = self.pings.saturating_add(1),
            EventKind::MessageStop => self.ended = Some(Ended::Stop),
            EventKind::Error => {
                self.ended = Some(Ended::Error);
                self.error = Some(event.data.as_deref().map(StreamError::read).unwrap_or_default());
            }
            EventKind::ContentBlockStop | EventKind::Other | EventKind::Unnamed => {}
        }
    }

    fn read(&mut self, shape: Shape, event: &SseEvent<'_>) {
        let mut reader = FactsReader::new(shape);
        let read = event.data.as_deref().map(|data| Tokenizer::read(data, &mut reader));
        if !matches!(read, Some(Ok(()))) {
            self.unread += 1;
            return;
        }
        let facts = reader.into_facts();
        let message = &mut self.message;
        message.id = facts.id.or_else(|| message.id.take());
        message.model = facts.model.or_else(|| message.model.take());
        message.stop_reason = facts.stop_reason.or_else(|| message.stop_reason.take());
        message.has_content |= facts.has_content;
        if let Some(said) = facts.usage {
            message.has_usage = true;
            message.usage.apply(said);
        }
    }
}

impl StreamError {
    fn read(data: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            #[serde(rename = "type", default)]
            kind: Box<str>,
            #[serde(default)]
            message: Box<str>,
        }
        serde_json::from_slice::<Envelope>(data)
            .map(|e| Self { kind: e.error.kind, message: e.error.message })
            .unwrap_or_default()
    }
}
