use base64::{Engine, engine::general_purpose as alphabets};
use proptest::prelude::*;

use super::*;

const KNOWN: &str = "pa\"ss wörd/+&\\?";

fn scrub(text: &str) -> String {
    Scrubber::new(Brand::DEFAULT).text(text)
}

fn knowing(secret: &str) -> Scrubber {
    let scrubber = Scrubber::new(Brand::DEFAULT);
    scrubber.know(vec![SecretBytes::new(secret.as_bytes().to_vec())]);
    scrubber
}

#[derive(serde::Deserialize)]
struct Vectors {
    cases: Vec<Case>,
    known: Known,
    plain: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Known {
    secret: String,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    text: String,
    expect: String,
}

/// What clients keep out of their logs stays out of ours.
#[test]
fn texts_are_scrubbed_as_the_vectors_of_the_adapters_say() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/conformance/redaction.json");
    let vectors: Vectors = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let known = knowing(&vectors.known.secret);
    let plain = Scrubber::new(Brand::DEFAULT);
    let cases = vectors.cases.iter().map(|case| (&plain, case));
    for (scrubber, case) in cases.chain(vectors.known.cases.iter().map(|case| (&known, case))) {
        assert_eq!(
            scrubber.text(&case.text),
            case.expect.replace("[redacted]", "[scrubbed]"),
            "{}",
            case.name
        );
    }
    for text in &vectors.plain {
        assert_eq!(&plain.text(text), text);
    }
}

#[test]
fn no_secret_shape_leaves_in_a_log_line() {
    for (line, clean) in [
        ("k=cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb.", "k=[scrubbed]."),
        ("cut: cvg_live_0123456789abcdefghij", "cut: [scrubbed]"),
        ("x-api-key: sk-ant-api03-abcdefgh\"", "x-api-key: [scrubbed]\""),
        ("Authorization: Bearer abcdefghij\r\n", "Authorization: Bearer [scrubbed]\r\n"),
        ("got whsec_MfKQ9r8GKYqrTwjU/D8ILPZIo2L+aSw=,", "got [scrubbed],"),
        ("sent Bearer abcdefgh1j on", "sent Bearer [scrubbed] on"),
        ("t=eyJhbGciOiJFZERTQSJ9.e30.sig,", "t=[scrubbed],"),
        ("postgres://u:hunter2@h/d?x=1", "postgres://u:[scrubbed]@h/d?x=1"),
        (r#"{"e":"{\"password\":\"a b\"}"}"#, r#"{"e":"{\"password\":\"[scrubbed]\"}"}"#),
        ("Config { password: Some(\"a b\"), n: 1 }", "Config { password: Some(\"[scrubbed]\"), n: 1 }"),
        (r#"{"e":"x\nY3ZnX2xpdmVfMDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A"}"#, r#"{"e":"x[scrubbed]"}"#),
        (
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----\nso",
            "-----BEGIN PRIVATE KEY-----[scrubbed]-----END PRIVATE KEY-----\nso",
        ),
    ] {
        assert_eq!(scrub(line), clean);
    }
}

#[test]
fn words_about_secrets_stay() {
    for line in [
        "a cvg_live_ key, the Bearer is",
        "WWW-Authenticate: Bearer error=\"invalid_token\"",
        "the refresh token: not found",
        "unit_test_configuration1 and the_live_configuration",
        "https://[::1]:8080/a@b http://h:80 user@h",
        r#"{"max_tokens":1024,"input_tokens":5,"signature":null,"key":"key_0123456789"}"#,
        "\\u00e9 %e9 100% \\q \\u{110000} \\ud800",
    ] {
        assert_eq!(scrub(line), line);
    }
}

#[test]
fn a_line_of_json_stays_one_even_when_a_number_is_the_secret() {
    let scrubber = knowing("12345678");
    let out = scrubber.text(r#"{"n":12345678}"#);
    assert_eq!(out, "{\"scrubbed\":\"{\\\"n\\\":[scrubbed]}\"}\n");
}

#[test]
fn what_was_known_is_forgotten_but_for_the_settings() {
    let scrubber = Scrubber::new(Brand::DEFAULT);
    scrubber.know_settings(vec![SecretBytes::new(b"p@ss word!".to_vec())]);
    scrubber.know(vec![SecretBytes::new(b"old-provider".to_vec())]);
    scrubber.know(vec![SecretBytes::new(b"new-provider".to_vec())]);
    assert_eq!(
        scrubber.text("x p@ss word! y old-provider new-provider"),
        "x [scrubbed] y old-provider [scrubbed]"
    );
}

#[test]
fn a_long_line_is_cut_before_what_a_cut_could_have_split() {
    let scrubber = Scrubber::new(Brand::DEFAULT);
    let long = format!("{{\"a\":\"{}\"}}", "é".repeat(MAX_LINE));
    let line = scrubber.line(long.as_bytes());
    assert!(line.len() < MAX_LINE + 1024 && is_json(&line));
    assert!(std::str::from_utf8(&line).unwrap().ends_with("(cut)\"}\n"));
}

/// Texts that are made to be slow: every beginning is within a run that goes on.
#[test]
fn time_grows_with_length_and_not_faster() {
    let scrubber = knowing("hunter22");
    let known = alphabets::STANDARD_NO_PAD.encode("hunter22");
    let hex = hex::encode("sk-ant-");
    let parts = [
        "eyJ",
        "sk-ant-",
        "signature=",
        "://",
        "PRIVATE KEY-----",
        "c2stYW50L",
        "_live_",
        "49, ",
        "\\\\",
        "%255F",
    ];
    for part in parts.into_iter().chain([known.as_str(), hex.as_str()]) {
        let text = part.repeat(200_000 / part.len());
        let start = tokio::time::Instant::now();
        let _ = scrubber.scrub(text.as_bytes());
        assert!(start.elapsed().as_secs() < 5, "{part}: {:?}", start.elapsed());
    }
}

fn secrets() -> impl Strategy<Value = String> {
    let tag = prop::sample::select(&["live", "test", "oper", "wrap", "sign", "rfsh"][..]);
    prop_oneof![
        ("[a-z]{3}", tag, "[0-9A-Za-z]{43}").prop_map(|(brand, tag, body)| format!("{brand}_{tag}_{body}")),
        "sk-ant-(api03|oat01|admin01)-[0-9A-Za-z_-]{40,95}",
        "eyJ[0-9A-Za-z_-]{12,60}\\.eyJ[0-9A-Za-z_-]{12,90}\\.[0-9A-Za-z_-]{20,90}",
        "whsec_[0-9A-Za-z+/]{42,44}",
        Just(KNOWN.to_owned()),
    ]
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(text: &str, keep: fn(u8) -> bool) -> String {
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

type Encoding = (&'static str, fn(&str) -> String);

/// Every way in which a text gets into a log, with what stands around it where that changes its form.
fn encodings() -> Vec<Encoding> {
    vec![
        ("clear", |s| s.to_owned()),
        ("base64", |s| alphabets::STANDARD.encode(s)),
        ("base64, shifted", |s| alphabets::STANDARD.encode(format!("é{s}ab"))),
        ("base64url", |s| alphabets::URL_SAFE_NO_PAD.encode(s)),
        ("base64url, shifted", |s| alphabets::URL_SAFE_NO_PAD.encode(format!("u{s}~"))),
        ("hex", |s| hex::encode(s)),
        ("capital hex", |s| hex::encode_upper(s)),
        ("list", |s| format!("{:?}", s.as_bytes())),
        ("compact list", |s| serde_json::to_string(s.as_bytes()).unwrap()),
        ("percent", |s| percent(s, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))),
        ("percent, small", |s| s.bytes().map(|b| format!("%{b:02x}")).collect()),
        ("percent, all", |s| percent(s, |_| false)),
        ("form", |s| percent(s, |b| b == b' ' || b.is_ascii_alphanumeric()).replace(' ', "+")),
        ("JSON", json),
        ("JSON, all escaped", |s| s.encode_utf16().map(|u| format!("\\u{u:04x}")).collect()),
        ("JSON in JSON", |s| json(&json(s))),
        ("Rust", |s| format!("{s:?}")),
        ("bytes of Rust", |s| format!("\"{}\"", s.as_bytes().escape_ascii())),
        ("base64 in JSON in percent", |s| {
            percent(&json(&alphabets::STANDARD.encode(s)), |b| b.is_ascii_alphanumeric())
        }),
        ("in a URL", |s| format!("https://h/p?q={}", percent(s, |b| b.is_ascii_alphanumeric()))),
    ]
}

/// All texts that the secret can be read from again by undoing what [`encodings`] did.
fn readings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut levels = vec![text.to_vec()];
    while let Some(view) = levels.last().filter(|_| levels.len() < 6).and_then(|last| view::unescaped(last)) {
        levels.push(view.bytes().to_vec());
    }
    let mut all = levels.clone();
    for level in levels {
        let is_b64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
        for part in level.split(|b| !is_b64(b)).filter(|part| part.len() > 7) {
            let standard: Vec<u8> = part
                .iter()
                .map(|b| {
                    if *b == b'-' {
                        b'+'
                    } else if *b == b'_' {
                        b'/'
                    } else {
                        *b
                    }
                })
                .collect();
            for lead in 0..4 {
                let part = &standard[lead..];
                let part = &part[..part.len() / 4 * 4];
                all.extend(alphabets::STANDARD_NO_PAD.decode(part));
            }
            all.extend(hex::decode(&part[..part.len() / 2 * 2]));
        }
        let numbers =
            level.split(|b| !b.is_ascii_digit()).filter_map(|n| std::str::from_utf8(n).ok()?.parse().ok());
        all.push(numbers.collect());
    }
    all
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_secret_never_survives(secret in secrets(), before in "\\PC{0,40}", behind in "\\PC{0,40}") {
        let scrubber = knowing(KNOWN);
        for (name, encode) in encodings() {
            let line = format!("{before} {}{behind}", encode(&secret));
            let clean = scrubber.scrub(line.as_bytes());
            prop_assert!(std::str::from_utf8(&clean).is_ok());
            // The middle: what is left of an edge tells nothing.
            let core = &secret.as_bytes()[secret.len() / 4..][..secret.len() / 2];
            let left = readings(&clean).into_iter().any(|reading| holds(&reading, core));
            prop_assert!(!left, "{name}: {line:?} -> {:?}", String::from_utf8_lossy(&clean));
            prop_assert!(holds(&clean, MASK));
        }
    }

    #[test]
    fn json_stays_json(secret in secrets(), name in "[a-z]{1,9}", before in "\\PC{0,20}") {
        let scrubber = knowing(KNOWN);
        for (encoding, encode) in encodings() {
            let line = serde_json::json!({ name.clone(): format!("{before}{}", encode(&secret)), "n": 1 }).to_string();
            let clean = scrubber.scrub(line.as_bytes());
            prop_assert!(is_json(&clean), "{encoding}: {line} -> {}", String::from_utf8_lossy(&clean));
        }
    }

    #[test]
    fn text_without_a_secret_is_unchanged(text in "[a-zA-Z0-9 .,:;/?%(){}\\[\\]<>+*#'\"\\\\é密-]{0,200}") {
        let names = ["bearer", "basic", "dpop", "signature", "cookie", "token", "secret", "authorization"];
        prop_assume!(!text.contains("eyJ") && !text.contains("://"));
        prop_assume!(names.iter().all(|name| !text.to_lowercase().contains(name)));
        let scrubber = knowing(KNOWN);
        prop_assert_eq!(scrubber.text(&text), text);
    }

    #[test]
    fn any_bytes_are_scrubbed_once_and_for_all(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let scrubber = knowing(KNOWN);
        let once = scrubber.scrub(&bytes).into_owned();
        prop_assert_eq!(scrubber.scrub(&once).into_owned(), once.clone());
    }
}
