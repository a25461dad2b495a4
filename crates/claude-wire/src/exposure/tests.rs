use super::*;
use serde_json::{Value, json};

fn read(body: &Value) -> Exposure {
    Exposure::read(body.to_string().as_bytes()).unwrap()
}

fn message(content: Value) -> Value {
    json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]})
}

#[test]
fn plain_text_exposes_nothing() {
    assert_eq!(read(&message(json!("hello"))), Exposure::default());
    let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object", "max_uses": 3}});
    let body = json!({"model": "m", "messages": [], "tools": [tool], "temperature": 1});
    assert_eq!(read(&body), Exposure::default());
}

#[test]
fn images_are_counted_with_their_bytes_whatever_the_order_of_members() {
    let first =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let body = message(json!([first]));
    let found = read(&body);
    assert_eq!((found.images, found.image_bytes, found.whole_window), (1, 4, false));
    let text = r#"{"messages":[{"content":[{"source":{"data":"AAAAAA","media_type":"image\/gif","type":"base64"},"type":"image"}]}]}"#;
    let found = Exposure::read(text.as_bytes()).unwrap();
    assert_eq!((found.images, found.image_bytes), (1, 6));
}

#[test]
fn images_inside_documents_and_tool_results_count_too() {
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let document = json!({"type": "document", "source": {"type": "content", "content": [image, image]}});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [image]});
    let found = read(&message(json!([document, result])));
    assert_eq!((found.images, found.image_bytes, found.whole_window), (3, 12, false));
}

#[test]
fn what_the_provider_fetches_or_unpacks_counts_as_the_whole_window() {
    for source in [
        json!({"type": "url", "url": "https://example.com/a.png"}),
        json!({"type": "file", "file_id": "file_1"}),
        json!({"type": "base64", "media_type": "application/pdf", "data": "AAAA"}),
        json!({"type": "something_new"}),
        json!({}),
    ] {
        let found = read(&message(json!([{"type": "document", "source": source}])));
        assert!(found.whole_window, "{source}");
        assert_eq!(found.image_bytes, 0);
    }
    let doubled = r#"{"messages":[{"content":[{"source":{"type":"base64","media_type":"image/png","data":"AAAA","type":"file"}}]}]}"#;
    assert!(Exposure::read(doubled.as_bytes()).unwrap().whole_window);
    let text =
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}});
    assert_eq!(read(&message(json!([text]))), Exposure::default());
}

#[test]
fn the_callers_own_data_is_no_image() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let used = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"source": source}});
    assert_eq!(read(&message(json!([used]))), Exposure::default());
}

#[test]
fn typed_tools_fallbacks_and_features_are_noted() {
    let body = json!({
        "model": "m",
        "tools": [
            {"type": "web_search_20260209", "name": "web_search", "max_uses": 3},
            {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5"},
            {"name": "own", "input_schema": {"type": "object"}},
        ],
        "fallbacks": [{"model": "claude-sonnet-5"}],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 3}}]},
        "mcp_servers": [{"type": "url", "url": "https://example.com"}],
        "messages": [],
    });
    let found = read(&body);
    assert_eq!(
        found.tools,
        [
            TypedTool { kind: "web_search_20260209".into(), max_uses: Some(3), model: None },
            TypedTool {
                kind: "advisor_20260301".into(),
                max_uses: None,
                model: Some("claude-opus-5-5".into())
            },
        ]
    );
    assert_eq!(found.fallbacks, ["claude-sonnet-5".into()]);
    let mut features = found.features;
    features.sort();
    assert_eq!(
        features.iter().map(|f| &**f).collect::<Vec<_>>(),
        ["context_management", "context_management.clear_tool_uses_20250919", "fallbacks", "mcp_servers"]
    );
    assert_eq!(read(&json!({"fallbacks": "default"})).fallbacks, ["default".into()]);
}

#[test]
fn more_than_is_noted_is_told() {
    let tools: Vec<Value> = (0..300).map(|n| json!({"type": format!("t_{n}"), "name": "x"})).collect();
    let found = read(&json!({"tools": tools}));
    assert!(found.overflows && found.tools.len() == MAX_NOTED);
    assert!(read(&json!({"x".repeat(200): 1})).overflows);
    let half = r#"{"tools":[{"type":"\ud800"}]}"#;
    assert!(Exposure::read(half.as_bytes()).unwrap().overflows);
}

proptest::proptest! {
    /// Whatever stands around it, an image is counted once, and nothing but its data is taken off.
    #[test]
    fn no_more_than_the_image_data_is_ever_taken_off(
        datas in proptest::collection::vec("[A-Za-z0-9+/]{0,40}", 0..6),
        noise in "[ -~]{0,60}",
    ) {
        let image = |data: &String| json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
        let mut content: Vec<Value> = datas.iter().map(image).collect();
        content.push(json!({"type": "text", "text": noise, "source": noise}));
        let found = read(&message(json!(content)));
        proptest::prop_assert_eq!(found.images, datas.len() as u64);
        proptest::prop_assert_eq!(found.image_bytes, datas.iter().map(|d| d.len() as u64).sum::<u64>());
    }
}
