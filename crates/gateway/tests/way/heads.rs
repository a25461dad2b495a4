//! Heads that are not HTTP, or too large: told in the usual envelope.

use serde_json::Value;

use super::json_upstream;
use crate::house::House;

#[test]
fn a_head_that_cannot_be_read_is_refused_in_the_usual_envelope() {
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    let target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(140_000));
    let one = house.message(false);
    for (request, status) in [
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("GET /v1/messages HTTP/1.1\r\nbad header\r\n\r\n", 400),
        ("{\"model\": 1}\r\n\r\n", 400),
        (&target, 431),
        (&header, 431),
        (&format!("{one}\x01\x02\r\n\r\n"), 400),
    ] {
        let (text, _) = house.send(request).rest();
        let text = &text[text.rfind("HTTP/1.1 ").unwrap()..];
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&"error".into(), &"invalid_request_error".into())
        );
        let id = body["request_id"].as_str().unwrap();
        assert!(
            head.contains(&format!("request-id: {id}\r\n")) && head.contains("connection: close"),
            "{head}"
        );
        assert!(head.contains("x-should-retry: false") && head.contains("date: "), "{head}");
    }
    let metrics = house.gateway.metrics_text();
    assert!(metrics.contains("reason=\"head_unreadable\"} 4"), "{metrics}");
    assert_eq!(upstream.requests().len(), 1);
}
