//! How many characters of output a `content_block_delta` carries: the floor of what a cut stream cost.

/// Counts the characters of `text`, `thinking`, `partial_json` and `content` in a delta's data. The data is
/// not validated: in JSON a bare quote only ever opens or closes a string, so walking from quote to quote
/// finds every member name.
pub(super) fn in_delta(data: &[u8]) -> u64 {
    let mut total = 0;
    let mut rest = data;
    while let Some((word, after)) = next_string(rest) {
        rest = after;
        if !matches!(word, b"text" | b"thinking" | b"partial_json" | b"content") {
            continue;
        }
        let Some(value) = after.trim_ascii_start().strip_prefix(b":") else { continue };
        let value = value.trim_ascii_start();
        if value.first() == Some(&b'"')
            && let Some((text, after)) = next_string(value)
        {
            total += in_string(text);
            rest = after;
        }
    }
    total
}

/// The next string, without its quotes, and what follows it.
fn next_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let open = bytes.iter().position(|&b| b == b'"')?;
    let content = bytes.get(open + 1..)?;
    // Names are short and plain: most end here, without a wide search.
    let mut at = content.iter().take(24).take_while(|&&b| b != b'"' && b != b'\\').count();
    loop {
        at += memchr::memchr2(b'"', b'\\', content.get(at..)?)?;
        if content.get(at) == Some(&b'"') {
            return Some((content.get(..at)?, content.get(at + 1..)?));
        }
        at += 2;
    }
}

/// Characters (Unicode scalar values) of a JSON string as written.
fn in_string(raw: &[u8]) -> u64 {
    let bytes = raw.iter().filter(|&&b| b & 0xC0 != 0x80).count() as u64;
    let mut spare = 0;
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let escape = rest.get(at + 1..).unwrap_or_default();
        let length = if escape.first() == Some(&b'u') { 5 } else { 1 };
        spare += length;
        // The second half of a surrogate pair adds no character of its own.
        if let [b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] = escape {
            spare += 1;
        }
        rest = escape.get(usize::try_from(length).unwrap_or_default()..).unwrap_or_default();
    }
    bytes.saturating_sub(spare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delta(kind: &str, member: &str, text: &str) -> String {
        let data = serde_json::json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": kind, member: text}});
        data.to_string()
    }

    #[test]
    fn only_what_the_model_wrote_is_counted() {
        assert_eq!(in_delta(delta("text_delta", "text", "").as_bytes()), 0);
        assert_eq!(in_delta(delta("text_delta", "text", "Häß\n\"😀\"").as_bytes()), 7);
        assert_eq!(in_delta(delta("thinking_delta", "thinking", "abc").as_bytes()), 3);
        assert_eq!(in_delta(delta("input_json_delta", "partial_json", "{\"text\": \"abc").as_bytes()), 13);
        assert_eq!(in_delta(delta("signature_delta", "signature", "abcdef").as_bytes()), 0);
        let padded = br#"{"type":"content_block_delta",  "delta" : { "type":"text_delta","text" : "a\ud83d\ude00b" } }"#;
        assert_eq!(in_delta(padded), 3);
    }

    #[test]
    fn broken_data_counts_nothing_and_ends() {
        for data in
            [&b""[..], b"\"", b"\"text", b"\"text\":", b"\"text\":\"abc", b"\"text\":\"abc\\", b"\"text\":7"]
        {
            assert_eq!(in_delta(data), 0);
        }
    }

    proptest! {
        #[test]
        fn characters_equal_those_of_the_decoded_text(text in "\\PC{0,40}|[\\x00-\\x40\"\\\\]{0,40}", escape in any::<bool>()) {
            let mut data = delta("text_delta", "text", &text);
            if escape {
                let units: String = text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
                data = format!(r#"{{"delta":{{"text":"{units}"}}}}"#);
            }
            prop_assert_eq!(in_delta(data.as_bytes()), text.chars().count() as u64);
        }
    }
}
