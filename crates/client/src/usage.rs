//! What an answer says it used, read from its bytes as they pass.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

/// What is held of an answer to read its usage; a longer one is not metered.
const MOST_JSON: usize = 8 << 20;
const MOST_LINE: usize = 1 << 20;
/// How far into an event its type stands.
const TYPE_WITHIN: usize = 64;

/// What one answer used, in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// The model that answered.
    pub model: String,
    /// Input, but for what came from or went to the cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Cache writes that live 5 minutes.
    pub cache_write_5m: u64,
    /// Cache writes that live an hour.
    pub cache_write_1h: u64,
    /// Cache reads.
    pub cache_read: u64,
}

impl Usage {
    /// The whole input side.
    #[must_use]
    pub const fn prompt(&self) -> u64 {
        self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read
    }
}

/// `usage` of an answer; what is absent or null says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<WireSplit>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireSplit {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

impl WireUsage {
    /// Puts what was said over what was known. Without the split, cache writes count as those of 5 minutes.
    pub fn apply(&self, usage: &mut Usage) {
        let set = |place: &mut u64, value: Option<u64>| *place = value.unwrap_or(*place);
        set(&mut usage.input, self.input_tokens);
        set(&mut usage.output, self.output_tokens);
        set(&mut usage.cache_read, self.cache_read_input_tokens);
        let known = usage.cache_write_5m + usage.cache_write_1h;
        if let Some(split) = &self.cache_creation {
            usage.cache_write_5m = split.ephemeral_5m_input_tokens;
            usage.cache_write_1h = split.ephemeral_1h_input_tokens;
        } else if let Some(writes) = self.cache_creation_input_tokens.filter(|writes| *writes != known) {
            (usage.cache_write_5m, usage.cache_write_1h) = (writes, 0);
        }
    }
}

/// Reads one answer.
#[derive(Debug)]
pub(crate) enum Meter {
    /// It says nothing of usage.
    None,
    Json(JsonMeter),
    Stream(StreamMeter),
}

impl Meter {
    pub(crate) fn of(path: &str, status: StatusCode, headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if status != StatusCode::OK || headers.contains_key(header::CONTENT_ENCODING) {
            Self::None
        } else if kind.starts_with("text/event-stream") {
            Self::Stream(StreamMeter::default())
        } else if kind.starts_with("application/json") && path.ends_with("/v1/messages") {
            Self::Json(JsonMeter::default())
        } else {
            Self::None
        }
    }

    pub(crate) fn write(&mut self, text: &[u8]) {
        match self {
            Self::None => {}
            Self::Json(meter) => meter.write(text),
            Self::Stream(meter) => meter.write(text),
        }
    }

    pub(crate) fn end(&mut self) -> Option<Usage> {
        match self {
            Self::None => None,
            Self::Json(meter) => meter.end(),
            Self::Stream(meter) => meter.usage.take(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct JsonMeter {
    text: Vec<u8>,
    too_long: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    model: String,
    usage: WireUsage,
}

impl JsonMeter {
    fn write(&mut self, text: &[u8]) {
        self.too_long |= self.text.len() + text.len() > MOST_JSON;
        if self.too_long {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(text);
        }
    }

    fn end(&mut self) -> Option<Usage> {
        let answer: Answer = serde_json::from_slice(&std::mem::take(&mut self.text)).ok()?;
        let mut usage = Usage { model: answer.model, ..Usage::default() };
        answer.usage.apply(&mut usage);
        Some(usage)
    }
}

/// Reads the events `message_start`, `message_delta` and `message_stop`. An event counts once the empty line after it
/// has come.
#[derive(Debug, Default)]
pub struct StreamMeter {
    line: Vec<u8>,
    skip: bool,
    after_cr: bool,
    data: Vec<u8>,
    usage: Option<Usage>,
    stopped: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    MessageDelta {
        #[serde(default)]
        usage: WireUsage,
    },
    MessageStop,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: WireUsage,
}

impl StreamMeter {
    /// The next piece, of whatever size.
    pub fn write(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(length) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
                self.hold(rest);
                return;
            };
            self.hold(&rest[..length]);
            self.after_cr = rest[length] == b'\r';
            rest = &rest[length + 1..];
            self.end_line();
        }
    }

    /// What is known now, and whether the message has ended.
    #[must_use]
    pub fn read(&self) -> (Option<&Usage>, bool) {
        (self.usage.as_ref(), self.stopped)
    }

    /// Keeps a part of a line, unless the line is too long to be of interest.
    fn hold(&mut self, part: &[u8]) {
        self.skip |= self.line.len() + part.len() > MOST_LINE;
        if !self.skip {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skip) {
            return;
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.apply(&data);
        } else if let Some(data) = line.strip_prefix(b"data:")
            && is_of_interest(data)
        {
            self.data = data.to_vec();
        }
        // The buffer is used again.
        self.line = line;
        self.line.clear();
    }

    fn apply(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        match serde_json::from_slice(data) {
            Ok(Event::MessageStart { message }) => {
                let usage = self.usage.insert(Usage { model: message.model, ..Usage::default() });
                message.usage.apply(usage);
            }
            Ok(Event::MessageDelta { usage }) => usage.apply(self.usage.get_or_insert_default()),
            Ok(Event::MessageStop) => self.stopped = true,
            Ok(Event::Other) | Err(_) => {}
        }
    }
}

/// Most lines are deltas of text; they are not kept.
fn is_of_interest(data: &[u8]) -> bool {
    let head = &data[..data.len().min(TYPE_WITHIN)];
    head.windows(9).any(|window| window == b"\"message_")
}
