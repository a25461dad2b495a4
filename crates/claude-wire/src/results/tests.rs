use super::*;
use crate::usage::TokenCounts;

const LINES: &str = concat!(
    r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1","model":"claude-haiku-4-5","content":[{"type":"text","text":"{\"custom_id\":\"no\"}"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}}}"#,
    "\n",
    r#"{"result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"x"}}},"custom_id":"b"}"#,
    "\r\n\n",
    r#"{"custom_id":"c","result":{"type":"canceled"}}"#,
    "\n{broken\n",
    r#"{"custom_id":"d","result":{"type":"expired"}}"#,
    "\n",
    r#"{"custom_id":"e"}"#,
    "\n",
    r#"{"custom_id":"f","result":{"type":"postponed"}}"#,
);

fn scan<'p>(chunks: impl IntoIterator<Item = &'p [u8]>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut scanner = ResultsScanner::new();
    for chunk in chunks {
        scanner.feed(chunk, &mut |line| lines.push(line));
    }
    scanner.finish(&mut |line| lines.push(line));
    lines
}

#[test]
fn each_line_says_how_its_request_ended_and_what_it_used() {
    let lines = scan([LINES.as_bytes()]);
    let kinds: Vec<_> = lines.iter().map(|l| l.as_ref().map(|r| (r.custom_id.to_string(), r.kind))).collect();
    let id = |id: &str, kind| Ok((id.to_owned(), kind));
    assert_eq!(kinds[0], id("a", ResultKind::Succeeded));
    assert_eq!(kinds[1], id("b", ResultKind::Errored));
    assert_eq!(kinds[2], id("c", ResultKind::Canceled));
    assert_eq!(kinds[3].as_ref().unwrap_err().to_string(), "line 5: expected a member name or `}` at byte 1");
    assert_eq!(kinds[4], id("d", ResultKind::Expired));
    assert_eq!(kinds[5].as_ref().unwrap_err().to_string(), "line 7: not a batch result");
    assert_eq!(kinds[6], id("f", ResultKind::Other));
    assert_eq!(kinds.len(), 7);
    let message = &lines[0].as_ref().unwrap().message;
    assert_eq!(message.model.as_deref(), Some("claude-haiku-4-5"));
    assert_eq!(message.usage.counts, TokenCounts { input: 3, output: 4, ..TokenCounts::default() });
}

#[test]
fn every_split_reads_alike() {
    let whole = scan([LINES.as_bytes()]);
    for cut in 0..=LINES.len() {
        let (left, right) = LINES.as_bytes().split_at(cut);
        assert_eq!(scan([left, right]), whole, "cut at {cut}");
    }
    assert_eq!(scan(LINES.as_bytes().chunks(1)), whole);
    assert_eq!(scan([LINES.as_bytes(), b"\n"]), whole, "a last newline adds nothing");
    assert_eq!(scan([&b""[..]]), []);
}

#[test]
fn a_line_beyond_the_cap_is_skipped_and_the_next_is_read() {
    let mut lines = Vec::new();
    let mut scanner = ResultsScanner::new();
    let megabyte = vec![b' '; 1024 * 1024];
    for _ in 0..=MAX_LINE / 1024 / 1024 {
        scanner.feed(&megabyte, &mut |line| lines.push(line));
    }
    scanner.feed(b"1\n{\"custom_id\":\"z\",\"result\":{\"type\":\"expired\"}}", &mut |line| lines.push(line));
    scanner.finish(&mut |line| lines.push(line));
    assert_eq!(lines[0], Err(LineError::TooLong { line: 1 }));
    assert_eq!(&*lines[1].as_ref().unwrap().custom_id, "z");
}
