use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn question(body: &str) -> Question {
    Question::read(body.as_bytes()).unwrap()
}

fn same(one: &str, two: &str) -> bool {
    question(one).digest == question(two).digest
}

#[test]
fn white_space_the_order_of_members_and_escapes_make_no_other_question() {
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"é/\"x\" 😀"}],"max_tokens":5}"#;
    for other in [
        " {\n \"max_tokens\" : 5 ,\t\"messages\":[ {\"content\":\"é/\\\"x\\\" 😀\",\"role\":\"user\"}],\r\n\"model\":\"m\"} ",
        r#"{"model":"\u006d","m\u0065ssages":[{"role":"user","content":"\u00E9\/\"x\" \ud83d\ude00"}],"max_tokens":5}"#,
    ] {
        assert!(same(plain, other), "{other}");
    }
}

#[test]
fn whatever_matters_makes_another_question() {
    let bodies = [
        r#"{"a":[1,2]}"#,
        r#"{"a":[2,1]}"#,
        r#"{"a":[12]}"#,
        r#"{"a":[[1,2]]}"#,
        r#"{"a":[1],"b":2}"#,
        r#"{"a":[1,2],"b":null}"#,
        r#"{"a":[1,"2"]}"#,
        r#"{"a":[1,2.0]}"#,
        r#"{"a":{}}"#,
        r#"{"a":[]}"#,
        r#"{"a":null}"#,
        r#"{"a":false}"#,
        r#"{"a":true}"#,
        r#"{"a":""}"#,
        r#"{"a":"true"}"#,
        r#"{"a":" "}"#,
        r#"{"a":"1","a":"2"}"#,
        r#"{"a":"2","a":"1"}"#,
        r#"{"a":{"b":{"c":1}}}"#,
        r#"{"a":{"b":1},"c":1}"#,
        r#"{"A":{"b":1},"c":1}"#,
        r#"{"a":"é"}"#,
        r#"{"a":"e\u0301"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud801"}"#,
        r"{}",
    ];
    for (at, one) in bodies.iter().enumerate() {
        for two in &bodies[..at] {
            assert!(!same(one, two), "{one} {two}");
        }
    }
}

#[test]
fn only_what_says_something_is_still() {
    let still = |field: &str, value: Value| {
        let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        question(&body.to_string()).is_still
    };
    assert!(still("system", json!("s")));
    assert!(still(
        "tools",
        json!([{"name": "f", "input_schema": {"type": "object", "properties": {"type": {"type": "string"}}}}])
    ));
    assert!(still("tools", json!([{"type": "custom", "name": "f", "input_schema": {}}])));
    assert!(still("tools", json!([{"type": null, "name": "f", "input_schema": {}}])));
    let image = |source: Value| json!([{"role": "user", "content": [{"type": "image", "source": source}]}]);
    assert!(still("messages", image(json!({"type": "base64", "media_type": "image/png", "data": "AA=="}))));
    assert!(still("messages", image(json!({"type": "text", "media_type": "text/plain", "data": "x"}))));
    for kind in [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250825",
        "mcp_toolset",
        "bash_20250124",
    ] {
        assert!(
            !still("tools", json!([{"name": "f", "input_schema": {}}, {"type": kind, "name": "x"}])),
            "{kind}"
        );
    }
    for odd in [json!(7), json!(["custom"]), json!({"custom": 1})] {
        assert!(!still("tools", json!([{"type": odd, "name": "x"}])));
    }
    for (field, value) in [
        ("mcp_servers", json!([])),
        ("container", json!("c")),
        ("fallbacks", json!("default")),
        ("thread", json!({})),
        ("context_management", json!({})),
        ("of_tomorrow", json!(1)),
    ] {
        assert!(!still(field, value), "{field}");
    }
    assert!(!still("messages", image(json!({"type": "url", "url": "https://example.com/a.png"}))));
    assert!(!still("messages", image(json!({"url": "https://example.com/a.png", "type": "url"}))));
    assert!(!still("messages", image(json!({"type": "file", "file_id": "file_1"}))));
    let nested =
        json!({"type": "content", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]});
    assert!(!still("messages", image(nested)));
    let after = json!({"content": [{"source": {"type": "base64", "data": ""}}], "type": "url"});
    assert!(!still("messages", image(after)), "a source is one to its end");
}

#[test]
fn what_is_no_json_or_too_wide_has_no_digest() {
    assert!(matches!(Question::read(b"{\"a\":"), Err(QuestionError::Json(_))));
    let wide = |n: usize| format!("{{{}}}", vec!["\"a\":1"; n].join(","));
    assert!(Question::read(wide(MAX_MEMBERS).as_bytes()).is_ok());
    assert_eq!(Question::read(wide(MAX_MEMBERS + 1).as_bytes()), Err(QuestionError::TooWide));
    // What is over counts no more.
    let rows = format!("[{}]", vec![wide(100); 1_000].join(","));
    assert!(Question::read(rows.as_bytes()).is_ok());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        "[a-c\"\\\\/é😀\u{1}]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-cé]{0,2}", inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Writes a value in one of its many ways, as `dice` says.
fn write(value: &Value, dice: &mut impl FnMut() -> u32, out: &mut String) {
    let space = |dice: &mut dyn FnMut() -> u32, out: &mut String| {
        out.push_str(["", " ", "\n", "\t\r"][dice() as usize % 4]);
    };
    space(dice, out);
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(item, dice, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_cached_key(|_| dice());
            out.push('{');
            for (at, (name, item)) in members.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(&Value::from(name.as_str()), dice, out);
                out.push(':');
                write(item, dice, out);
            }
            out.push('}');
        }
        Value::String(text) => {
            out.push('"');
            for c in text.chars() {
                let must = c < ' ' || c == '"' || c == '\\';
                if must || dice().is_multiple_of(3) {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        let low = format!("\\u{unit:04x}");
                        out.push_str(&if dice().is_multiple_of(2) { low } else { format!("\\u{unit:04X}") });
                    }
                } else {
                    out.push(c);
                }
            }
            out.push('"');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    space(dice, out);
}

fn written(value: &Value, seed: u32) -> String {
    let (mut state, mut out) = (seed, String::new());
    let mut dice = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    write(value, &mut dice, &mut out);
    out
}

proptest! {
    #[test]
    fn equal_values_have_one_digest_however_they_are_written(value in value(), seeds: [u32; 2]) {
        let [one, two] = seeds.map(|seed| written(&value, seed));
        prop_assert!(same(&one, &two), "{} {}", one, two);
    }

    #[test]
    fn other_values_have_other_digests(one in value(), two in value(), seeds: [u32; 2]) {
        prop_assume!(one != two);
        prop_assert!(!same(&written(&one, seeds[0]), &written(&two, seeds[1])));
    }
}
