use super::*;
use crate::json::tests::parts;
use crate::usage::{Speed, TokenCounts};
use proptest::prelude::*;

/// A stream with every event of the API, as upstream writes it (padded JSON included).
const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":30,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"standard","inference_geo":"us","speed":"fast"}}        }

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

: a comment

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hmm é😀"}   }

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi \"you\"\n"}}

event: a_later_event
data: {"anything": 1}

data: {"type":"unnamed"}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":42,"input_tokens":null,"cache_creation_input_tokens":35,"output_tokens_details":{"thinking_tokens":9},"server_tool_use":{"web_search_requests":2,"web_fetch_requests":1}}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn spelled(ending: &str) -> Vec<u8> {
    STREAM.replace('\n', ending).into_bytes()
}

/// An event with its place in the whole stream, whatever the frames were.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    kind: EventKind,
    begins: Option<usize>,
    ends: usize,
    data: Option<Vec<u8>>,
}

fn scan<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> Vec<Placed> {
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    let mut base = 0;
    for frame in frames {
        scanner.feed(frame, &mut |event| {
            out.push(Placed {
                kind: event.kind,
                begins: event.begins.map(|b| base + b),
                ends: base + event.ends,
                data: event.data.as_deref().map(<[u8]>::to_vec),
            });
        });
        base += frame.len();
    }
    out
}

fn meter<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> StreamMeter {
    let mut tap = StreamTap::new();
    for frame in frames {
        tap.feed(frame);
    }
    tap.into_meter()
}

/// Split events lose their beginning and, if not metered, their data; a CR that ends a frame leaves its LF
/// to the next. All else must not depend on the frames.
fn assert_same(split: &[Placed], whole: &[Placed], what: &str) {
    assert_eq!(split.len(), whole.len(), "{what}");
    for (s, w) in split.iter().zip(whole) {
        assert_eq!(s.kind, w.kind, "{what}");
        assert!(s.ends == w.ends || s.ends + 1 == w.ends, "{what}: {} / {}", s.ends, w.ends);
        if let Some(begins) = s.begins {
            assert_eq!(Some(begins), w.begins, "{what}");
        }
        if s.begins.is_some() || s.kind.is_metered() {
            assert_eq!(s.data, w.data, "{what}");
        }
    }
}

#[test]
fn every_split_in_two_and_in_single_bytes_reads_alike() {
    for ending in ["\n", "\r", "\r\n"] {
        let stream = spelled(ending);
        let whole = scan([&stream[..]]);
        assert_eq!(whole.len(), 12, "{ending:?}");
        let metered = meter([&stream[..]]);
        for cut in 0..=stream.len() {
            let frames = [&stream[..cut], &stream[cut..]];
            assert_same(&scan(frames), &whole, &format!("{ending:?} cut at {cut}"));
            assert_eq!(meter(frames), metered, "{ending:?} cut at {cut}");
        }
        assert_same(&scan(stream.chunks(1)), &whole, "single bytes");
        assert_eq!(meter(stream.chunks(1)), metered);
    }
}

#[test]
fn borders_join_without_gap() {
    let stream = spelled("\n");
    let mut at = 0;
    for event in scan([&stream[..]]) {
        assert_eq!(event.begins, Some(at));
        at = event.ends;
    }
    assert_eq!(at, stream.len());
}

#[test]
fn a_whole_event_is_not_copied() {
    let stream = spelled("\n");
    Scanner::new().feed(&stream, &mut |event| {
        assert!(matches!(event.data, Some(Cow::Borrowed(_))), "{:?}", event.kind);
    });
}

#[test]
fn usage_is_merged_over_the_stream() {
    let meter = meter([STREAM.as_bytes()]);
    let usage = &meter.message.usage;
    assert_eq!(meter.message.model.as_deref(), Some("claude-opus-5-5"));
    assert_eq!(meter.message.id.as_deref(), Some("msg_01"));
    assert_eq!(meter.message.stop_reason.as_deref(), Some("end_turn"));
    let counts = TokenCounts { input: 25, cache_write_5m: 15, cache_write_1h: 20, cache_read: 7, output: 42 };
    assert_eq!(usage.counts, counts);
    assert_eq!((usage.thinking, usage.web_search_requests, usage.web_fetch_requests), (9, 2, 1));
    assert_eq!((usage.speed, usage.inference_geo.as_deref()), (Speed::Fast, Some("us")));
    assert_eq!((meter.deltas, meter.pings, meter.unread), (3, 1, 0));
    assert_eq!(meter.characters, 6 + 9);
    let settled = meter.settle();
    assert!(settled.billed && !settled.estimated && settled.has_usage);
    assert_eq!(settled.usage, *usage);
}

#[test]
fn a_cut_stream_costs_what_was_sent() {
    let cut = STREAM.find("event: message_delta").unwrap();
    let settled = meter([&STREAM.as_bytes()[..cut]]).settle();
    assert!(settled.estimated);
    assert_eq!(settled.usage.counts.output, 4, "15 characters are four tokens");
    assert_eq!(settled.usage.counts.input, 25);
    let before_stop = STREAM.find("event: message_stop").unwrap();
    let settled = meter([&STREAM.as_bytes()[..before_stop]]).settle();
    assert!(settled.estimated);
    assert_eq!(settled.usage.counts.output, 42, "the last usage is more");
}

#[test]
fn a_refusal_before_any_output_is_not_billed_and_one_after_it_is() {
    let start = "event: message_start\ndata: {\"message\":{\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
    let block = "event: content_block_start\ndata: {\"content_block\":{\"type\":\"text\"}}\n\n";
    let end = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"refusal\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {}\n\n";
    let bare = format!("{start}{end}");
    assert!(!meter([bare.as_bytes()]).settle().billed);
    let late = format!("{start}{block}{end}");
    assert!(meter([late.as_bytes()]).settle().billed);
}

#[test]
fn an_error_event_ends_the_stream_and_is_read() {
    let stream = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},\"request_id\":\"r\"}\n\n";
    let meter = meter([stream.as_bytes()]);
    assert_eq!(meter.ended, Some(Ended::Error));
    let error = meter.error.clone().unwrap();
    assert_eq!((&*error.kind, &*error.message), ("overloaded_error", "Overloaded"));
    let settled = meter.settle();
    assert!(settled.estimated && !settled.has_usage);
}

#[test]
fn an_event_too_long_to_keep_is_framed_and_counted_as_unread() {
    let long = format!(
        "event: content_block_delta\ndata: {{\"delta\":{{\"text\":\"{}\"}}}}\n\n",
        "x".repeat(MAX_EVENT)
    );
    let stream = format!("{long}event: message_stop\ndata: {{}}\n\n");
    let split = meter(stream.as_bytes().chunks(16 * 1024));
    assert_eq!((split.ended, split.unread, split.deltas), (Some(Ended::Stop), 1, 1));
    let whole = meter([stream.as_bytes()]);
    assert_eq!((whole.unread, whole.characters), (0, MAX_EVENT as u64));
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let events = |text: &str| scan([text.as_bytes()]);
    let one = |text: &str| events(text).remove(0);
    let data = |text: &str| String::from_utf8(one(text).data.unwrap()).unwrap();
    assert_eq!(one("event:ping\ndata:x\n\n").kind, EventKind::Ping);
    assert_eq!(one("event: ping\nevent: error\n\n").kind, EventKind::Ping);
    assert_eq!(one("\u{feff}event: ping\n\n").kind, EventKind::Ping);
    assert_eq!(one("eventually: ping\n\n").kind, EventKind::Unnamed);
    assert_eq!(one("event\n\n").kind, EventKind::Unnamed);
    assert_eq!(data("data: a\ndata\ndata:  b\nid: 7\n\n"), "a\n\n b");
    assert_eq!(one("data: x\nevent: message_stop\n\n").kind, EventKind::MessageStop);
    assert_eq!(events("\n\n\nevent: ping\n\n\n").len(), 1);
    assert_eq!(events("event: ping\ndata: x\n"), []);
}

#[test]
fn an_event_of_ours_goes_in_between_events_only() {
    let mut scanner = Scanner::new();
    let mut at_border = |part: &str| {
        scanner.feed(part.as_bytes(), &mut |_| {});
        scanner.at_border()
    };
    assert!(at_border(""));
    assert!(!at_border("event: ping\n"));
    assert!(at_border("\n"));
    assert!(!at_border("event: ping\r"));
    assert!(!at_border("\ndata: x\r\n\r"), "the LF of this CRLF is on its way");
    assert!(at_border("\n"));
}

/// Applies `hold_from` as the relay does; returns for each frame how many bytes have left in all.
fn released(frames: &[&[u8]]) -> Vec<usize> {
    let mut tap = StreamTap::new();
    let (mut base, mut out, mut left) = (0, Vec::new(), 0);
    for frame in frames {
        let borders = tap.feed(frame);
        left = match borders.hold_from {
            None => base + frame.len(),
            Some(0) => left,
            Some(at) => base + at,
        };
        base += frame.len();
        out.push(left);
    }
    out
}

#[test]
fn nothing_of_the_ending_event_leaves_before_the_commit_and_nothing_else_waits() {
    for ending in ["\n", "\r\n", "\r"] {
        let stream = spelled(ending);
        let end = scan([&stream[..]]).last().and_then(|e| e.begins).unwrap();
        for cut in 0..=stream.len() {
            let left = released(&[&stream[..cut], &stream[cut..]]);
            assert!(left[1] == end || left[1] + 1 == end, "{ending:?} cut at {cut}: {} of {end}", left[1]);
            assert!(left[0] <= end);
            let held = cut - left[0];
            assert!(held < 90 || cut > end, "{ending:?} cut at {cut}: {held} bytes wait");
        }
    }
}

proptest! {
    #[test]
    fn any_split_reads_alike(lengths in prop::collection::vec(1usize..200, 1..8), ending in prop::sample::select(vec!["\n", "\r", "\r\n"])) {
        let stream = spelled(ending);
        let frames = parts(&stream, &lengths);
        assert_same(&scan(frames.iter().copied()), &scan([&stream[..]]), "random frames");
        prop_assert_eq!(meter(frames), meter([&stream[..]]));
    }

    #[test]
    fn any_bytes_are_framed_alike(
        text in prop::collection::vec(prop::sample::select(vec![&b"\n"[..], b"\r", b"\r\n", b"data: ", b"event: ", b"error", b"message_stop", b"ping", b":", b"\xff\x00", b"{\"", b"\xEF\xBB\xBF"]), 0..40),
        lengths in prop::collection::vec(1usize..7, 1..8),
    ) {
        let stream = text.concat();
        let frames = parts(&stream, &lengths);
        let whole = scan([&stream[..]]);
        let split = scan(frames.iter().copied());
        prop_assert_eq!(split.len(), whole.len());
        for (s, w) in split.iter().zip(&whole) {
            prop_assert_eq!(s.kind, w.kind);
        }
        let left = released(&frames);
        prop_assert!(left.windows(2).all(|w| w[0] <= w[1]));
        if let Some(end) = whole.iter().find(|e| e.kind.ends_stream()) {
            prop_assert!(left.iter().all(|&l| l <= end.begins.unwrap_or(0)));
        }
    }
}
