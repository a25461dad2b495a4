use super::*;
use proptest::prelude::*;
use serde_json::value::RawValue;

/// An event that owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Open(bool),
    Close(bool),
    Key(String),
    String(String),
    Number(String),
    Literal(Option<bool>),
    /// Half of a surrogate pair: valid grammar without a text.
    Unpaired,
}

#[derive(Debug, Default)]
struct Recorder(Vec<(Position, Seen)>);

impl Sink for Recorder {
    type Error = JsonError;
    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), JsonError> {
        let text = |t: Text<'_>| t.text().map(|t| t.expect("short enough to be whole").into_owned());
        let seen = match event {
            Event::ObjectStart => Seen::Open(true),
            Event::ArrayStart => Seen::Open(false),
            Event::ObjectEnd => Seen::Close(true),
            Event::ArrayEnd => Seen::Close(false),
            Event::Key(t) => text(t).map_or(Seen::Unpaired, Seen::Key),
            Event::String(t) => text(t).map_or(Seen::Unpaired, Seen::String),
            Event::Number(t) => text(t).map_or(Seen::Unpaired, Seen::Number),
            Event::Bool(b) => Seen::Literal(Some(b)),
            Event::Null => Seen::Literal(None),
        };
        self.0.push((position, seen));
        Ok(())
    }
}

type Outcome = (Vec<(Position, Seen)>, Result<(), JsonError>);

fn read_parts<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut recorder = Recorder::default();
    let mut tokenizer = Tokenizer::new();
    for part in parts {
        if let Err(fault) = tokenizer.feed(part, &mut recorder) {
            return (recorder.0, Err(fault));
        }
    }
    let end = tokenizer.finish(&mut recorder);
    (recorder.0, end)
}

fn read(text: &[u8]) -> Outcome {
    read_parts([text])
}

/// The tree that the events describe, as serde_json would build it.
fn tree(events: &[(Position, Seen)]) -> Option<serde_json::Value> {
    use serde_json::Value;
    let mut stack: Vec<(Value, Option<String>)> = vec![(Value::Array(vec![]), None)];
    for (_, event) in events {
        let value = match event {
            Seen::Open(true) => {
                stack.push((Value::Object(serde_json::Map::new()), None));
                continue;
            }
            Seen::Open(false) => {
                stack.push((Value::Array(vec![]), None));
                continue;
            }
            Seen::Close(_) => stack.pop()?.0,
            Seen::Key(k) => {
                stack.last_mut()?.1 = Some(k.clone());
                continue;
            }
            Seen::String(s) => Value::String(s.clone()),
            Seen::Number(n) => serde_json::from_str(n).ok()?,
            Seen::Literal(b) => b.map_or(Value::Null, Value::Bool),
            Seen::Unpaired => return None,
        };
        match stack.last_mut()? {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(members), key) => {
                members.insert(key.take()?, value);
            }
            _ => return None,
        }
    }
    stack.pop()?.0.as_array_mut()?.pop()
}

const SAMPLE: &str = "\u{20}{\"a\\u0062\\n\":[1,-0.5e+10,0,\"é😀\\ud83d\\ude00\\\\\",true,false,null,{},[]],\r\n\t\"\":\"\\/\"} ";

#[test]
fn events_do_not_depend_on_where_the_text_is_cut() {
    let text = SAMPLE.as_bytes();
    let whole = read(text);
    assert_eq!(whole.1, Ok(()));
    for cut in 0..=text.len() {
        assert_eq!(read_parts([&text[..cut], &text[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(read_parts(text.chunks(1)), whole);
    assert_eq!(tree(&whole.0).unwrap(), serde_json::from_str::<serde_json::Value>(SAMPLE).unwrap());
}

#[test]
fn every_proper_prefix_is_truncated() {
    let text = SAMPLE.trim_ascii().as_bytes();
    for end in 0..text.len() {
        let (_, fault) = read(&text[..end]);
        assert_eq!(fault, Err(JsonError::Truncated { at: end as u64 }), "prefix of {end}");
    }
}

#[test]
fn nesting_is_followed_to_its_bound_and_no_further() {
    let nested = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
    assert_eq!(read(&nested(MAX_DEPTH)).1, Ok(()));
    let fault = read(&nested(MAX_DEPTH + 1)).1;
    assert_eq!(fault, Err(JsonError::TooDeep { at: MAX_DEPTH as u64 }));
    let objects = "{\"a\":".repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
    assert_eq!(read(objects.as_bytes()).1, Ok(()));
}

#[test]
fn faults_name_their_place_and_what_was_expected() {
    let cases: [(&[u8], &str); 16] = [
        (b"", "the text ends at byte 0, inside a value"),
        (b"\xEF\xBB\xBF{}", "expected a value at byte 0"),
        (b"{} x", "expected nothing after the value at byte 3"),
        (b"{,}", "expected a member name or `}` at byte 1"),
        (b"{\"a\":1,}", "expected a member name at byte 7"),
        (b"{\"a\" 1}", "expected `:` at byte 5"),
        (b"{\"a\":1 2}", "expected `,` or `}` at byte 7"),
        (b"[1,]", "expected a value at byte 3"),
        (b"[1}", "expected `,` or `]` at byte 2"),
        (b"[01]", "expected `,` or `]` at byte 2"),
        (b"[-]", "expected a digit at byte 2"),
        (b"[trux]", "expected `true`, `false` or `null` at byte 4"),
        (b"\"\\x\"", "expected an escape character at byte 2"),
        (b"\"\\u12g4\"", "expected a hexadecimal digit at byte 5"),
        (b"\"a\nb\"", "expected no control character in a string at byte 2"),
        (b"\"a\xC3\"", "a string is not valid UTF-8 at byte 3"),
    ];
    for (text, message) in cases {
        assert_eq!(read(text).1.unwrap_err().to_string(), message, "{}", text.escape_ascii());
    }
}

#[test]
fn utf8_is_checked_across_a_cut() {
    for bad in [
        &b"\"\xE2\x82\""[..],
        b"\"\xF0\x9F\x98\\n\"",
        b"\"\xC0\x80\"",
        b"\"\xED\xA0\x80\"",
        b"\"\xF5\x80\x80\x80\"",
        b"\"\x80\"",
    ] {
        for cut in 0..=bad.len() {
            let fault = read_parts([&bad[..cut], &bad[cut..]]).1;
            assert!(
                matches!(fault, Err(JsonError::Utf8 { .. })),
                "{} cut at {cut}: {fault:?}",
                bad.escape_ascii()
            );
        }
    }
}

/// Keeps only whether a text was whole.
struct Whole(Vec<bool>);
impl Sink for Whole {
    type Error = JsonError;
    fn event(&mut self, _: Position, event: Event<'_>) -> Result<(), JsonError> {
        if let Event::String(text) | Event::Number(text) = event {
            assert_eq!(text.text().unwrap().is_some(), text.is_whole());
            self.0.push(text.is_whole());
        }
        Ok(())
    }
}

#[test]
fn a_long_text_is_whole_in_one_chunk_and_never_shortened_in_two() {
    let long = format!("[\"{}\",{}]", "x".repeat(MAX_CAPTURE + 1), "1".repeat(MAX_CAPTURE + 1));
    let mut whole = Whole(vec![]);
    Tokenizer::read(long.as_bytes(), &mut whole).unwrap();
    assert_eq!(whole.0, [true, true]);
    let mut split = Whole(vec![]);
    let mut tokenizer = Tokenizer::new();
    for part in long.as_bytes().chunks(100) {
        tokenizer.feed(part, &mut split).unwrap();
    }
    tokenizer.finish(&mut split).unwrap();
    assert_eq!(split.0, [false, false]);
}

#[test]
fn names_compare_after_unescaping() {
    let is = |raw: &'static str, name: &str| {
        let text = Text { raw: raw.as_bytes(), start: 0, end: raw.len() as u64, escaped: raw.contains('\\') };
        text.is(name)
    };
    assert!(is("model", "model"));
    assert!(is("mod\\u0065l", "model"));
    assert!(is("\\u006d\\u006f\\u0064\\u0065\\u006c", "model"));
    assert!(!is("mod\\u0065", "model"));
    assert!(!is("models", "model"));
    assert!(!is("mod\\ud800l", "model"));
    assert!(is("\\ud83d\\ude00", "😀"));
}

#[test]
fn unsigned_integers_only() {
    let number = |raw: &'static str| {
        Text { raw: raw.as_bytes(), start: 0, end: raw.len() as u64, escaped: false }.as_u64()
    };
    assert_eq!(number("0"), Some(0));
    assert_eq!(number("18446744073709551615"), Some(u64::MAX));
    for bad in ["18446744073709551616", "-1", "1.0", "1e3", "-0"] {
        assert_eq!(number(bad), None, "{bad}");
    }
}

/// JSON texts in many spellings, valid before mutation.
fn json_text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n", "\t\r"]);
    let string = prop_oneof![
        "[a-z_]{0,8}".prop_map(|s| format!("\"{s}\"")),
        "\\PC{0,12}".prop_map(|s| serde_json::to_string(&s).unwrap()),
        prop::collection::vec(any::<u16>(), 0..6).prop_map(|units| format!(
            "\"{}\"",
            units.iter().map(|u| format!("\\u{u:04X}")).collect::<String>()
        )),
        prop::sample::select(vec![
            "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
            "\"\u{7f}é\u{2028}😀\"",
            "\"\\ud83d\\ude00\""
        ])
        .prop_map(str::to_owned),
    ];
    let number =
        prop::sample::select(vec!["0", "-0", "1", "12.5", "-1e5", "0.0E-0", "9007199254740993", "1e400"]);
    let leaf = prop_oneof![
        string.clone(),
        number.prop_map(str::to_owned),
        prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            (prop::collection::vec((inner.clone(), space()), 0..5)).prop_map(|items| {
                let items: Vec<String> = items.into_iter().map(|(v, s)| format!("{s}{v}{s}")).collect();
                format!("[{}]", items.join(","))
            }),
            (prop::collection::vec((string.clone(), inner, space()), 0..5)).prop_map(|items| {
                let items: Vec<String> =
                    items.into_iter().map(|(k, v, s)| format!("{s}{k}{s}:{s}{v}{s}")).collect();
                format!("{{{}}}", items.join(","))
            }),
        ]
    })
}

/// What an attacker might do to a text.
#[derive(Debug, Clone)]
enum Mutation {
    Cut(prop::sample::Index),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Replace(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || {
        prop_oneof![
            prop::sample::select(b"\"\\{}[],:0-+.eEtfnu \n\x00\x1f\x7f\x80\xC3\xF0\xFF".to_vec()),
            any::<u8>()
        ]
    };
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        any::<prop::sample::Index>().prop_map(Mutation::Remove),
        (any::<prop::sample::Index>(), byte()).prop_map(|(i, b)| Mutation::Insert(i, b)),
        (any::<prop::sample::Index>(), byte()).prop_map(|(i, b)| Mutation::Replace(i, b)),
    ]
}

fn mutated(text: String, mutations: Vec<Mutation>) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Mutation::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
            Mutation::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
    }
    bytes
}

pub(crate) fn hostile_json() -> impl Strategy<Value = Vec<u8>> {
    (json_text(), prop::collection::vec(mutation(), 0..3))
        .prop_map(|(text, mutations)| mutated(text, mutations))
}

/// Cuts bytes into parts of the given lengths, over and over.
pub(crate) fn parts<'b>(bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut out = Vec::new();
    let mut rest = bytes;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at(length.clamp(1, rest.len()));
        out.push(part);
        rest = after;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn valid_for_us_is_valid_for_serde_json(bytes in hostile_json(), lengths in prop::collection::vec(1usize..9, 1..6)) {
        let (events, ours) = read(&bytes);
        let theirs = serde_json::from_slice::<&RawValue>(&bytes);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} / {:?}", bytes.escape_ascii(), ours, theirs);
        let (split_events, split) = read_parts(parts(&bytes, &lengths));
        prop_assert_eq!(split.is_ok(), ours.is_ok());
        if ours.is_ok() {
            prop_assert_eq!(&split_events, &events);
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) {
                prop_assert_eq!(tree(&events), Some(value));
            }
        }
    }

    #[test]
    fn escaped_text_comes_back(text in "\\PC{0,30}|[\\x00-\\x7f]{0,30}") {
        let mut json = vec![b'"'];
        escape_into(&text, &mut json);
        json.push(b'"');
        prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text.clone());
        prop_assert_eq!(&read(&json).0[0].1, &Seen::String(text));
    }
}
