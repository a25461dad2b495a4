//! An answer as server-sent events, written one at a time.

use bytes::{BufMut, BytesMut};

use crate::answer::{Answer, Block, Pieces};
use crate::directive::shape::Shape;
use crate::error::quoted;
use crate::seed::Rng;
use crate::text::prefix;

/// Widest padding of a delta, in spaces.
const MAX_PAD: usize = 16;
/// Padding is cut from this.
const SPACES: &[u8; MAX_PAD] = b"                ";

/// What the event just written was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// `message_start`: the first usage left.
    Start,
    /// `message_delta`: a later usage left.
    Delta,
    /// `message_stop`.
    Stop,
    /// Content; so many characters of output in it.
    Content { chars: usize },
}

/// Where the stream is: `Start => Open(0) => … => Sum => Stop => Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Start,
    Open(usize),
    Ping(usize),
    Odd(usize, u8),
    Piece(usize, usize),
    Signature(usize),
    Close(usize),
    Sum(u32),
    Stop,
    Done,
}

/// Writes the events of one answer in order.
#[derive(Debug)]
pub(crate) struct EventWriter {
    answer: Answer,
    point: Point,
    /// Byte offset of the next piece within its block.
    offset: usize,
    rng: Rng,
    newline: &'static str,
    odd: bool,
    pings: Option<u32>,
    since_ping: u32,
    sums: u32,
    /// Usage JSON of the last event that carried one.
    pub(crate) last_usage: String,
}

impl EventWriter {
    pub(crate) fn new(answer: Answer, shape: &Shape, seed: u64) -> Self {
        Self {
            answer,
            point: Point::Start,
            offset: 0,
            rng: Rng::new(seed),
            newline: if shape.crlf { "\r\n" } else { "\n" },
            odd: shape.odd_events,
            pings: shape.pings.filter(|every| *every > 0),
            since_ping: 0,
            sums: shape.message_deltas.unwrap_or(1).clamp(1, 1000),
            last_usage: String::new(),
        }
    }

    /// Appends the next event to `out`; `None` after `message_stop`.
    pub(crate) fn write(&mut self, out: &mut BytesMut) -> Option<Sent> {
        match self.point {
            Point::Start => self.start(out),
            Point::Open(at) => self.open(out, at),
            Point::Ping(at) => {
                self.event(out, "ping", &[r#"{"type":"ping"}"#]);
                self.point = if self.odd { Point::Odd(at, 0) } else { Point::Piece(at, 0) };
                Some(Sent::Content { chars: 0 })
            }
            Point::Odd(at, nth) => self.odd(out, at, nth),
            Point::Piece(at, nth) => self.piece(out, at, nth),
            Point::Signature(at) => self.signature(out, at),
            Point::Close(at) => {
                let index = at.to_string();
                self.event(
                    out,
                    "content_block_stop",
                    &[r#"{"type":"content_block_stop","index":"#, &index, "}"],
                );
                self.point = self.after_block(at + 1);
                Some(Sent::Content { chars: 0 })
            }
            Point::Sum(nth) => self.sum(out, nth),
            Point::Stop => {
                self.event(out, "message_stop", &[r#"{"type":"message_stop""#, self.pad(), "}"]);
                self.point = Point::Done;
                Some(Sent::Stop)
            }
            Point::Done => None,
        }
    }

    /// Appends `event: error`.
    pub(crate) fn error(&mut self, out: &mut BytesMut, kind: &str, request_id: &str) {
        let (kind, id) = (quoted(kind), quoted(request_id));
        let parts = [
            r#"{"type":"error","error":{"type":"#,
            &kind,
            r#","message":"Simulated error inside the stream"},"request_id":"#,
            &id,
            "}",
        ];
        self.event(out, "error", &parts);
        self.point = Point::Done;
    }

    fn event(&self, out: &mut BytesMut, name: &str, data: &[&str]) {
        for part in ["event: ", name, self.newline, "data: "] {
            out.put_slice(part.as_bytes());
        }
        for part in data {
            out.put_slice(part.as_bytes());
        }
        out.put_slice(self.newline.as_bytes());
        out.put_slice(self.newline.as_bytes());
    }

    /// Upstream pads against traffic analysis. Not random for one position of one stream.
    fn pad(&self) -> &'static str {
        let spaces = self.rng.clone().below(MAX_PAD);
        std::str::from_utf8(&SPACES[..spaces]).unwrap_or("")
    }

    fn after_block(&self, next: usize) -> Point {
        if next < self.answer.blocks.len() { Point::Open(next) } else { Point::Sum(1) }
    }

    fn start(&mut self, out: &mut BytesMut) -> Option<Sent> {
        self.last_usage = self.answer.usage.start();
        let (id, model) = (quoted(&self.answer.id), quoted(&self.answer.model));
        let parts = [
            r#"{"type":"message_start","message":{"id":"#,
            &id,
            r#","type":"message","role":"assistant","model":"#,
            &model,
            r#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#,
            &self.last_usage,
            "}",
            self.pad(),
            "}",
        ];
        self.event(out, "message_start", &parts);
        self.point = self.after_block(0);
        Some(Sent::Start)
    }

    fn open(&mut self, out: &mut BytesMut, at: usize) -> Option<Sent> {
        let (block, chars) = opening(self.answer.blocks.get(at)?);
        let index = at.to_string();
        let parts =
            [r#"{"type":"content_block_start","index":"#, &index, r#","content_block":"#, &block, "}"];
        self.event(out, "content_block_start", &parts);
        self.offset = 0;
        self.point = if at == 0 { Point::Ping(0) } else { Point::Piece(at, 0) };
        Some(Sent::Content { chars })
    }

    fn odd(&mut self, out: &mut BytesMut, at: usize, nth: u8) -> Option<Sent> {
        if nth == 0 {
            self.event(out, "simulated_novelty", &[r#"{"type":"simulated_novelty","index":99}"#]);
            self.point = Point::Odd(at, 1);
        } else {
            for part in [": a comment", self.newline, self.newline] {
                out.put_slice(part.as_bytes());
            }
            self.point = Point::Piece(at, 0);
        }
        Some(Sent::Content { chars: 0 })
    }

    fn piece(&mut self, out: &mut BytesMut, at: usize, nth: usize) -> Option<Sent> {
        let (kind, field, pieces) = match self.answer.blocks.get(at)? {
            Block::Text(pieces) => ("text_delta", "text", pieces),
            Block::Thinking { pieces, .. } => ("thinking_delta", "thinking", pieces),
            Block::ToolUse { input, .. } => ("input_json_delta", "partial_json", input),
            Block::Redacted { .. } | Block::ServerToolUse { .. } | Block::WebSearchResult { .. } => {
                self.point = Point::Close(at);
                return self.write(out);
            }
        };
        if nth >= pieces.count {
            let signed = matches!(self.answer.blocks.get(at), Some(Block::Thinking { .. }));
            self.point = if signed { Point::Signature(at) } else { Point::Close(at) };
            return self.write(out);
        }
        if self.pings.is_some_and(|every| self.since_ping >= every) {
            self.since_ping = 0;
            self.event(out, "ping", &[r#"{"type":"ping"}"#]);
            return Some(Sent::Content { chars: 0 });
        }
        let chars = pieces.size_of(nth);
        let text = pieces_at(pieces, self.offset, chars);
        self.offset += text.len();
        self.rng.next();
        write_delta(out, &Delta { index: at, kind, field, text, newline: self.newline, pad: self.pad() });
        self.since_ping += 1;
        self.point = Point::Piece(at, nth + 1);
        Some(Sent::Content { chars })
    }

    fn signature(&mut self, out: &mut BytesMut, at: usize) -> Option<Sent> {
        if let Some(Block::Thinking { signature, .. }) = self.answer.blocks.get(at) {
            let (kind, field) = ("signature_delta", "signature");
            let delta =
                Delta { index: at, kind, field, text: signature, newline: self.newline, pad: self.pad() };
            write_delta(out, &delta);
        }
        self.point = Point::Close(at);
        Some(Sent::Content { chars: 0 })
    }

    fn sum(&mut self, out: &mut BytesMut, nth: u32) -> Option<Sent> {
        self.last_usage = self.answer.usage.delta(nth, self.sums);
        let last = nth >= self.sums;
        let stop = if last {
            stop_fields(&self.answer)
        } else {
            r#""stop_reason":null,"stop_sequence":null"#.to_owned()
        };
        let parts = [
            r#"{"type":"message_delta","delta":{"#,
            &stop,
            r#"},"usage":"#,
            &self.last_usage,
            self.pad(),
            "}",
        ];
        self.event(out, "message_delta", &parts);
        self.point = if last { Point::Stop } else { Point::Sum(nth + 1) };
        Some(Sent::Delta)
    }
}

/// One `content_block_delta`.
struct Delta<'a> {
    index: usize,
    kind: &'static str,
    field: &'static str,
    text: &'a str,
    newline: &'static str,
    pad: &'static str,
}

fn write_delta(out: &mut BytesMut, delta: &Delta<'_>) {
    let index = delta.index.to_string();
    let head = [
        "event: content_block_delta",
        delta.newline,
        r#"data: {"type":"content_block_delta","index":"#,
        &index,
        r#","delta":{"type":""#,
        delta.kind,
        r#"",""#,
        delta.field,
        r#"":"#,
    ];
    for part in head {
        out.put_slice(part.as_bytes());
    }
    // Writing a string to memory does not fail.
    let _ = serde_json::to_writer((&mut *out).writer(), delta.text);
    for part in ["}", delta.pad, "}", delta.newline, delta.newline] {
        out.put_slice(part.as_bytes());
    }
}

fn pieces_at(pieces: &Pieces, offset: usize, chars: usize) -> &str {
    prefix(pieces.text.get(offset..).unwrap_or(""), chars)
}

/// `content_block` of `content_block_start`, and the output characters in it.
fn opening(block: &Block) -> (String, usize) {
    match block {
        Block::Text(_) => (r#"{"type":"text","text":""}"#.to_owned(), 0),
        Block::Thinking { .. } => (r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned(), 0),
        Block::ToolUse { id, name, .. } => {
            (format!(r#"{{"type":"tool_use","id":{},"name":{},"input":{{}}}}"#, quoted(id), quoted(name)), 0)
        }
        Block::Redacted { .. } | Block::ServerToolUse { .. } | Block::WebSearchResult { .. } => {
            let whole = block_json(block);
            let chars = match block {
                Block::Redacted { data } => data.len(),
                Block::ServerToolUse { query, .. } => query.len(),
                Block::Text(_)
                | Block::Thinking { .. }
                | Block::ToolUse { .. }
                | Block::WebSearchResult { .. } => 0,
            };
            (whole, chars)
        }
    }
}

/// `stop_reason`, `stop_sequence`, and `stop_details` for a refusal.
fn stop_fields(answer: &Answer) -> String {
    let stop = &answer.stop;
    let sequence = stop.sequence.as_deref().map_or_else(|| "null".to_owned(), quoted);
    let details = if stop.is_refusal() {
        r#","stop_details":{"type":"refusal","category":"cyber","explanation":"Simulated refusal"}"#
    } else {
        ""
    };
    format!(r#""stop_reason":{},"stop_sequence":{sequence}{details}"#, quoted(&stop.reason))
}

/// A whole content block.
fn block_json(block: &Block) -> String {
    match block {
        Block::Text(pieces) => format!(r#"{{"type":"text","text":{}}}"#, quoted(&pieces.text)),
        Block::Thinking { pieces, signature } => format!(
            r#"{{"type":"thinking","thinking":{},"signature":{}}}"#,
            quoted(&pieces.text),
            quoted(signature)
        ),
        Block::Redacted { data } => format!(r#"{{"type":"redacted_thinking","data":{}}}"#, quoted(data)),
        Block::ToolUse { id, name, input } => format!(
            r#"{{"type":"tool_use","id":{},"name":{},"input":{}}}"#,
            quoted(id),
            quoted(name),
            input.text
        ),
        Block::ServerToolUse { id, query } => format!(
            r#"{{"type":"server_tool_use","id":{},"name":"web_search","input":{{"query":{}}}}}"#,
            quoted(id),
            quoted(query)
        ),
        Block::WebSearchResult { id } => format!(
            r#"{{"type":"web_search_tool_result","tool_use_id":{},"content":[{{"type":"web_search_result","title":"Simulated page","url":"https://example.com/","encrypted_content":"c2ltdWxhdGVk","page_age":null}}]}}"#,
            quoted(id)
        ),
    }
}

/// The JSON answer.
pub(crate) fn message_json(answer: &Answer) -> String {
    let blocks: Vec<String> = answer.blocks.iter().map(block_json).collect();
    format!(
        r#"{{"id":{},"type":"message","role":"assistant","model":{},"content":[{}],{},"usage":{}}}"#,
        quoted(&answer.id),
        quoted(&answer.model),
        blocks.join(","),
        stop_fields(answer),
        answer.usage.whole()
    )
}
