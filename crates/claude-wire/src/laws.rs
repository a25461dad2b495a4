//! What must hold for any bytes whatever: each law is a plain function that panics where it is broken. The
//! fuzz targets call them, and so do the tests over the committed seeds.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::batch::{BatchItem, BatchScanner};
use crate::head::{HeadError, RequestHead};
use crate::json::MAX_DEPTH;
use crate::resource::{read_page, read_resource};
use crate::results::{Line, ResultsScanner};
use crate::sse::{EventKind, Scanner, StreamMeter, StreamTap};
use crate::usage::{MessageTap, read_message};

/// The first byte says how long the pieces are, the rest is the body.
fn pieces(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(&first, rest)| (usize::from(first).max(1), rest))
}

/// Bodies: what we accept is JSON, the head says what serde_json reads, and no reader's answer depends on
/// where the bytes were cut.
pub fn request_head(data: &[u8]) {
    let (size, body) = pieces(data);
    let head = RequestHead::read(body);
    let is_json = serde_json::from_slice::<&RawValue>(body).is_ok();
    match &head {
        Ok(head) => {
            assert!(is_json, "accepted what is not JSON");
            head_equals_tree(head, body);
        }
        Err(HeadError::NotJson(_) | HeadError::Truncated { .. }) => assert!(!is_json, "refused what is JSON"),
        Err(HeadError::TooDeep) => assert!(body.len() > MAX_DEPTH, "too deep for its length"),
        Err(HeadError::NotAnObject | HeadError::Field(_)) => {}
    }
    assert_eq!(batch(body.chunks(size)), batch([body].into_iter()), "batch");
    assert_eq!(results(body.chunks(size)), results([body].into_iter()), "results");
    let mut tap = MessageTap::new();
    body.chunks(size).for_each(|piece| tap.feed(piece));
    assert_eq!(tap.finish().ok(), read_message(body).ok(), "message");
    spans_lie_inside(body);
}

fn head_equals_tree(head: &RequestHead<'_>, body: &[u8]) {
    // serde_json refuses deep nesting and half surrogates, which are grammar all the same.
    let Ok(tree) = serde_json::from_slice::<Value>(body) else { return };
    let member = |name: &str| tree.get(name);
    assert_eq!(Some(&*head.model), member("model").and_then(Value::as_str));
    assert_eq!(head.stream, member("stream").and_then(Value::as_bool).unwrap_or(false));
    assert_eq!(head.max_tokens, member("max_tokens").and_then(Value::as_u64));
    assert_eq!(head.speed.as_deref(), member("speed").and_then(Value::as_str));
    assert_eq!(head.inference_geo.as_deref(), member("inference_geo").and_then(Value::as_str));
    let span = body.get(head.model_span.clone()).unwrap_or_default();
    let quoted = [b"\"", span, b"\""].concat();
    assert_eq!(serde_json::from_slice::<String>(&quoted).ok().as_deref(), Some(&*head.model));
}

fn batch<'p>(mut pieces: impl Iterator<Item = &'p [u8]>) -> Option<(Vec<BatchItem>, u32)> {
    let mut items = Vec::new();
    let mut scanner = BatchScanner::new();
    pieces.try_for_each(|piece| scanner.feed(piece, &mut |item| items.push(item))).ok()?;
    let count = scanner.finish().ok()?;
    Some((items, count))
}

fn results<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Vec<Option<Line>> {
    let mut lines = Vec::new();
    let mut scanner = ResultsScanner::new();
    // Where a line is at fault the place may differ (a sequence is judged when it is complete), not the fact.
    let keep = |line: Line| line.is_ok().then_some(line);
    pieces.for_each(|piece| scanner.feed(piece, &mut |line| lines.push(keep(line))));
    scanner.finish(&mut |line| lines.push(keep(line)));
    lines
}

fn spans_lie_inside(body: &[u8]) {
    let one = read_resource(body).into_iter();
    for resource in one.chain(read_page(body).into_iter().flat_map(|page| page.items)) {
        assert!(body.get(resource.span).is_some_and(|span| span.starts_with(b"{") && span.ends_with(b"}")));
        assert!(resource.results_url.is_none_or(|span| body.get(span).is_some()));
    }
}

/// Streams: events and meter do not depend on the frames, borders ascend, and no byte of the event that ends
/// the stream is let go.
pub fn sse(data: &[u8]) {
    let (size, stream) = pieces(data);
    let whole = scan([stream].into_iter());
    let split = scan(stream.chunks(size));
    assert_eq!(whole.kinds, split.kinds, "kinds");
    assert_eq!(whole.meter, split.meter, "meter");
    for (a, b) in whole.ends.iter().zip(&split.ends) {
        // A CR at a frame's end leaves its LF to the next.
        assert!(*a == *b || *a == b + 1, "border {a} moved to {b}");
    }
    assert!(split.ends.is_sorted() && split.ends.last().is_none_or(|end| *end <= stream.len()));
    if let (Some(first), Some(released)) = (whole.ending, split.released.last()) {
        assert!(*released <= first, "let go {released} bytes, the end begins at {first}");
    }
    assert!(split.released.is_sorted());
}

#[derive(Default)]
struct Scanned {
    kinds: Vec<EventKind>,
    ends: Vec<usize>,
    /// Where the event that ends the stream begins, if it began in the frame in which it ended.
    ending: Option<usize>,
    /// Bytes let go after each frame, as a relay does it.
    released: Vec<usize>,
    meter: StreamMeter,
}

fn scan<'f>(frames: impl Iterator<Item = &'f [u8]>) -> Scanned {
    let mut out = Scanned::default();
    let mut scanner = Scanner::new();
    let mut tap = StreamTap::new();
    let (mut base, mut released) = (0, 0);
    for frame in frames {
        scanner.feed(frame, &mut |event| {
            out.kinds.push(event.kind);
            out.ends.push(base + event.ends);
            if event.kind.ends_stream() && out.ending.is_none() {
                out.ending = event.begins.map(|begins| base + begins);
            }
        });
        released = match tap.feed(frame).hold_from {
            None => base + frame.len(),
            Some(0) => released,
            Some(at) => base + at,
        };
        base += frame.len();
        out.released.push(released);
    }
    out.meter = tap.into_meter();
    out
}
