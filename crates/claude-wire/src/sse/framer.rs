//! Framing: lines end with LF, CR or CRLF, events with a blank line (WHATWG HTML, section 9.2.5).

use std::borrow::Cow;

use super::{EventKind, MAX_EVENT, OpenEvent, SseEvent};

/// Finds the events of a stream that is fed frame by frame. An event that lies whole in one frame is read
/// in place; the parts of a split one are kept only while it can still matter to metering.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    open: Option<Split>,
    /// The open event's bytes from earlier frames.
    kept: Vec<u8>,
    /// Whether the line that the last frame ended in has begun.
    line_open: bool,
    /// Whether the last byte was a CR, to which an LF may still belong.
    after_cr: bool,
    /// Whether a CRLF has passed.
    crlf: bool,
    /// Whether an event has passed: a byte order mark may precede the first.
    begun: bool,
}

/// An event that the frames have split.
#[derive(Debug, Clone, Copy)]
struct Split {
    /// Where it begins in the last frame.
    begins: Option<usize>,
    kind: Option<EventKind>,
    keep: bool,
}

/// The fields of a complete event.
struct Block<'a> {
    kind: EventKind,
    data: Cow<'a, [u8]>,
    /// Where it ends, after its blank line.
    ends: usize,
    /// Whether it is a blank line and nothing else.
    empty: bool,
}

impl Scanner {
    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next frame and reports each event that ends in it, in order.
    pub fn feed(&mut self, frame: &[u8], each: &mut dyn FnMut(&SseEvent<'_>)) {
        let mut at = self.join_crlf(frame);
        if let Some(split) = self.open.as_mut() {
            split.begins = None;
        }
        while at < frame.len() {
            at = match self.open {
                Some(split) => self.go_on(frame, at, split, each),
                None => self.begin(frame, at, each),
            };
        }
    }

    /// Whether the stream stands between two events: only there may an event of ours go in.
    #[must_use]
    pub const fn at_border(&self) -> bool {
        self.open.is_none() && !(self.after_cr && self.crlf)
    }

    /// The event that is still open.
    #[must_use]
    pub const fn open_event(&self) -> OpenEvent {
        match self.open {
            None => OpenEvent::None,
            Some(Split { kind: None, .. }) => OpenEvent::Unnamed,
            Some(Split { kind: Some(kind), .. }) if kind.ends_stream() => OpenEvent::Ending,
            Some(_) => OpenEvent::Passing,
        }
    }

    /// Where the open event begins in the last frame; `None` if it began earlier or none is open.
    #[must_use]
    pub fn open_begins(&self) -> Option<usize> {
        self.open.and_then(|split| split.begins)
    }

    /// Takes the LF that belongs to the CR with which the last frame ended.
    fn join_crlf(&mut self, frame: &[u8]) -> usize {
        let Some(&first) = frame.first() else { return 0 };
        if !std::mem::take(&mut self.after_cr) || first != b'\n' {
            return 0;
        }
        self.crlf = true;
        if let Some(mut split) = self.open {
            self.keep(b"\n", &mut split);
            self.open = Some(split);
        }
        1
    }

    /// Reads the event that begins at `at`; returns where it ends.
    fn begin(&mut self, frame: &[u8], at: usize, each: &mut dyn FnMut(&SseEvent<'_>)) -> usize {
        let rest = frame.get(at..).unwrap_or_default();
        if let Some(block) = read_block(rest, !self.begun) {
            let ends = at + block.ends;
            self.after_cr = ends == frame.len() && frame.last() == Some(&b'\r');
            if !block.empty {
                self.begun = true;
                each(&SseEvent { kind: block.kind, begins: Some(at), ends, data: Some(block.data) });
            }
            return ends;
        }
        self.line_open = false;
        let mut split = Split { begins: Some(at), kind: None, keep: true };
        self.find_end(frame, at);
        self.keep(rest, &mut split);
        self.open = Some(split);
        frame.len()
    }

    /// Goes on with the event that the last frame broke off.
    fn go_on(
        &mut self,
        frame: &[u8],
        at: usize,
        mut split: Split,
        each: &mut dyn FnMut(&SseEvent<'_>),
    ) -> usize {
        let end = self.find_end(frame, at);
        let stop = end.unwrap_or(frame.len());
        self.keep(frame.get(at..stop).unwrap_or_default(), &mut split);
        let Some(ends) = end else {
            self.open = Some(split);
            return stop;
        };
        self.open = None;
        let first = !std::mem::replace(&mut self.begun, true);
        // Taken out for the call, so that the event may borrow from it; put back to keep its room.
        let mut kept = std::mem::take(&mut self.kept);
        let block = if split.keep { read_block(&kept, first) } else { None };
        let kind = split.kind.or(block.as_ref().map(|b| b.kind)).unwrap_or(EventKind::Unnamed);
        each(&SseEvent { kind, begins: None, ends, data: block.map(|b| b.data) });
        kept.clear();
        self.kept = kept;
        ends
    }

    /// Looks for the blank line that ends the open event; returns the offset after it.
    fn find_end(&mut self, frame: &[u8], mut at: usize) -> Option<usize> {
        loop {
            let rest = frame.get(at..).unwrap_or_default();
            let Some((length, after)) = line_end(rest) else {
                self.line_open |= !rest.is_empty();
                return None;
            };
            let blank = length == 0 && !self.line_open;
            self.line_open = false;
            self.crlf |= after - length == 2;
            at += after;
            self.after_cr = at == frame.len() && frame.last() == Some(&b'\r');
            if blank {
                return Some(at);
            }
        }
    }

    /// Keeps a part of a split event while it may matter, and learns its name from it.
    fn keep(&mut self, part: &[u8], split: &mut Split) {
        if !split.keep {
            return;
        }
        if self.kept.len() + part.len() > MAX_EVENT {
            split.keep = false;
        } else {
            self.kept.extend_from_slice(part);
            split.kind = split.kind.or_else(|| early_kind(&self.kept, !self.begun));
            split.keep = split.kind.is_none_or(EventKind::is_metered);
        }
        if !split.keep {
            self.kept.clear();
        }
    }
}

/// The line at the start of `rest`: its length, and the offset after its ending.
#[inline]
fn line_end(rest: &[u8]) -> Option<(usize, usize)> {
    let length = memchr::memchr2(b'\n', b'\r', rest)?;
    let crlf = rest.get(length) == Some(&b'\r') && rest.get(length + 1) == Some(&b'\n');
    Some((length, length + if crlf { 2 } else { 1 }))
}

/// Reads the event at the start of `bytes`; `None` if it does not end there.
fn read_block(bytes: &[u8], first: bool) -> Option<Block<'_>> {
    let mut at = 0;
    let mut kind = None;
    let mut data: Option<Cow<'_, [u8]>> = None;
    let mut empty = true;
    loop {
        let rest = bytes.get(at..)?;
        let (length, after) = line_end(rest)?;
        at += after;
        if length == 0 {
            let kind = kind.unwrap_or(EventKind::Unnamed);
            return Some(Block { kind, data: data.unwrap_or(Cow::Borrowed(&[])), ends: at, empty });
        }
        empty = false;
        let line = without_mark(rest.get(..length)?, first && at == after);
        if let Some(value) = field(line, b"data") {
            data = Some(match data {
                None => Cow::Borrowed(value),
                Some(earlier) => Cow::Owned([&*earlier, b"\n", value].concat()),
            });
        } else if let Some(value) = field(line, b"event") {
            // The standard lets the last name win, but a split event is judged by its first; no upstream
            // names one twice, and both readings must agree.
            kind = kind.or(Some(EventKind::of(value)));
        }
    }
}

/// The kind of an event whose `event:` line has passed before any `data:`.
fn early_kind(bytes: &[u8], first: bool) -> Option<EventKind> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let (length, after) = line_end(rest)?;
        let line = without_mark(rest.get(..length)?, first && at == 0);
        if let Some(value) = field(line, b"event") {
            return Some(EventKind::of(value));
        }
        // A name may still follow the data; so long as it does not, the event is kept and read at its end.
        if field(line, b"data").is_some() {
            return None;
        }
        at += after;
    }
}

/// The first line of a stream without its byte order mark.
fn without_mark(line: &[u8], first: bool) -> &[u8] {
    line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| first).unwrap_or(line)
}

/// The value of a line if its field is `name`: what follows the colon, without one leading space.
#[inline]
fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [..] => None,
    }
}
