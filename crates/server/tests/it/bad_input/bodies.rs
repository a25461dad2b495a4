//! Bodies that cannot be taken: refused in the API's envelope before anything is spent.

use std::time::Duration;

use super::Guarded;
use crate::wire::{Wire, post, post_with};

/// Each of these is a 400 by itself.
fn malformed() -> Vec<(&'static str, String)> {
    let start = r#"{"model":"claude-opus-5-5","max_tokens":8,"messages":[{"role":"user","content":"#;
    vec![
        ("empty", String::new()),
        ("no JSON", "model=claude".to_owned()),
        ("a number", "7".to_owned()),
        ("a list", "[]".to_owned()),
        ("cut off", format!("{start}\"hel")),
        ("a rest behind it", format!("{start}\"hello\"}}]}} x")),
        ("nested too deep", format!("{start}{}{}}}]}}", "[".repeat(100_000), "]".repeat(100_000))),
        ("no model", r#"{"max_tokens":8,"messages":[]}"#.to_owned()),
        ("a model that is none", r#"{"model":7,"max_tokens":8,"messages":[]}"#.to_owned()),
        ("model twice", format!(r#"{start}"hello"}}],"model":"claude-fable-5"}}"#)),
        ("model twice, escaped", format!(r#"{start}"hello"}}],"mod\u0065l":"claude-fable-5"}}"#)),
        ("stream twice", format!(r#"{start}"hello"}}],"stream":false,"stream":true}}"#)),
        ("max_tokens twice", format!(r#"{start}"hello"}}],"max_tokens":9}}"#)),
        ("a broken escape", format!(r#"{start}"\ud8\"}}]}}"#)),
        ("stream that is no bool", format!(r#"{start}"hello"}}],"stream":"yes"}}"#)),
        ("bytes that are no UTF-8 name", "{\"mo\u{0}del\":1}".to_owned()),
    ]
}

#[test]
fn what_is_no_request_is_refused_in_the_envelope() {
    let guarded = Guarded::start();
    for (name, body) in malformed() {
        let answer = guarded.ask(&post("/v1/messages", &guarded.key.key, &body));
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{name}");
        assert_eq!(answer.error().0, "invalid_request_error", "{name}");
        assert_eq!(answer.json()["request_id"], answer.request_id(), "{name}");
        assert!(!answer.error().1.is_empty(), "{name}");
    }
    guarded.nothing_was_spent();
}

#[test]
fn a_compressed_body_is_refused_by_name() {
    let guarded = Guarded::start();
    for coding in ["gzip", "br", "zstd", "identity, gzip"] {
        let headers = [("x-api-key", guarded.key.key.as_str()), ("content-encoding", coding)];
        let answer = guarded.ask(&post_with("/v1/messages", &headers, "\u{1f}garbage"));
        assert_eq!(answer.status, 400, "{coding}");
        let code = &answer.json()["error"]["details"]["error_code"];
        assert_eq!(code, "request_body_encoding_unsupported", "{coding}");
    }
    guarded.nothing_was_spent();
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let guarded = Guarded::start();
    let head = |length: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\ncontent-type: application/json\r\n{length}\r\n\r\n",
            guarded.key.key
        )
    };
    // Announced, and never sent.
    let answer = guarded.ask(head("content-length: 200000000").as_bytes());
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "request_too_large"));

    // Sent in chunks, so that nobody knows before.
    let mut wire = Wire::to(guarded.node.gateway());
    wire.send(head("transfer-encoding: chunked"));
    let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..40 {
        // It may answer and close before all of it was sent.
        if wire.try_send(&chunk).is_err() {
            break;
        }
    }
    if let Ok(answer) = wire.try_answer(false) {
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    guarded.nothing_was_spent();
}

#[test]
fn a_body_of_the_largest_size_passes() {
    let guarded = Guarded::start();
    let mut body = crate::wire::say("hello").to_string();
    body.push_str(&" ".repeat((32 << 20) - body.len()));
    let answer = guarded.ask(&post("/v1/messages", &guarded.key.key, &body));
    assert!(answer.error().1.contains("prompt is too long"), "upstream judges it: {}", answer.text());
    assert_eq!(guarded.sim.log()[0]["body_bytes"], body.len());
    body.push(' ');
    let answer = guarded.ask(&post("/v1/messages", &guarded.key.key, &body));
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let guarded = Guarded::start();
    let whole = post("/v1/messages", &guarded.key.key, &crate::wire::say("hello").to_string());
    for cut in [whole.len() - 1, whole.len() - 20] {
        let mut wire = Wire::to(guarded.node.gateway());
        wire.send(&whole[..cut]);
        wire.leave();
    }
    let chunked = "POST /v1/messages HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nx-api-key: ";
    for garbage in ["\r\n\r\nzz\r\n", "\r\n\r\n5\r\nabc", "\r\n\r\nffffffffffffffffff\r\n", "\r\n\r\n-1\r\n"]
    {
        let mut wire = Wire::to(guarded.node.gateway());
        wire.send(format!("{chunked}{}{garbage}", guarded.key.key));
        wire.patience(Duration::from_secs(1));
        if let Ok(answer) = wire.try_answer(false) {
            assert_eq!(answer.status, 400, "{garbage:?}: {}", answer.text());
        }
    }
    guarded.nothing_was_spent();
}

#[test]
fn count_tokens_and_batches_are_read_as_carefully() {
    let guarded = Guarded::start();
    for path in ["/v1/messages/count_tokens", "/v1/messages/batches"] {
        for body in ["", "{", "[]", r#"{"requests":7}"#] {
            let answer = guarded.ask(&post(path, &guarded.key.key, body));
            assert_eq!(answer.status, 400, "{path} {body:?}: {}", answer.text());
            assert_eq!(answer.error().0, "invalid_request_error");
        }
    }
    guarded.nothing_was_spent();
}
