use super::*;
use crate::json::MAX_DEPTH;
use proptest::prelude::*;

fn head(body: &str) -> Result<RequestHead<'_>, HeadError> {
    RequestHead::read(body.as_bytes())
}

fn fault(body: &str) -> String {
    head(body).unwrap_err().to_string()
}

#[test]
fn deciding_fields_are_found_behind_the_messages() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_011"}},
        {"type":"text","text":"\"model\":\"x\", \"file_id\":\"no\""}]}],
        "container":{"id":"container_01","skills":[{"type":"custom","skill_id":"skill_01","version":"1"},{"type":"anthropic","skill_id":"pptx"}]},
        "tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-5-5"},{"name":"f","input_schema":{"properties":{"model":{"type":"string"}},"x":{"model":"not-this"}}}],
        "max_tokens":1024,"speed":"fast","inference_geo":"us","stream":true,"model":"claude-haiku-4-5","metadata":{"model":"inner","stream":7}}"#;
    let head = head(body).unwrap();
    assert_eq!(head.model, "claude-haiku-4-5");
    assert_eq!(&body[head.model_span.clone()], "claude-haiku-4-5");
    assert!(head.stream);
    assert_eq!(head.max_tokens, Some(1024));
    assert_eq!(head.speed.as_deref(), Some("fast"));
    assert_eq!(head.inference_geo.as_deref(), Some("us"));
    assert_eq!(head.file_ids, ["file_011"]);
    assert_eq!(head.container_ids, ["container_01"]);
    assert_eq!(head.skill_ids, ["skill_01", "pptx"]);
    assert_eq!(head.other_models, ["claude-opus-5-5"]);
    assert!(matches!(head.model, Cow::Borrowed(_)), "a plain name is not copied");
}

#[test]
fn a_continued_thread_and_default_fallbacks_are_named() {
    let body = r#"{"model":"m","thread":{"type":"continue","previous_message_id":"msg_01"},"fallbacks":"default",
        "diagnostics":{"previous_message_id":"msg_02"}}"#;
    let head = head(body).unwrap();
    assert_eq!((head.thread_ids.len(), &*head.thread_ids[0]), (1, "msg_01"));
    assert_eq!(head.other_models, ["default"]);
}

#[test]
fn absent_and_null_fields_are_absent() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","stream":null,"max_tokens":null,"speed":null,"container":null,"inference_geo":null}"#,
    ] {
        let head = head(body).unwrap();
        assert!(!head.stream && head.max_tokens.is_none() && head.speed.is_none());
        assert!(head.container_ids.is_empty() && head.inference_geo.is_none());
    }
}

#[test]
fn names_and_values_are_read_after_unescaping() {
    let body = r#"{"mod\u0065l":"claude\u002dopus","messages":[{"f\u0069le_id":"file_\u0031"}],"container":"c\u0031"}"#;
    let head = head(body).unwrap();
    assert_eq!(head.model, "claude-opus");
    assert_eq!(&body[head.model_span], r"claude\u002dopus");
    assert_eq!(head.file_ids, ["file_1"]);
    assert_eq!(head.container_ids, ["c1"]);
}

#[test]
fn a_doubled_deciding_field_is_refused_however_it_is_spelled() {
    for field in ["model", "stream", "max_tokens", "speed", "container", "inference_geo"] {
        let value = match field {
            "stream" => "true",
            "max_tokens" => "1",
            _ => "\"x\"",
        };
        let model = if field == "model" { "" } else { "\"model\":\"m\"," };
        let hidden: String = field.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
        let body = format!(r#"{{{model}"{field}":{value},"other":1,"{hidden}":{value}}}"#);
        assert_eq!(fault(&body), format!("{field}: given more than once"));
        // Inside another member the same name decides nothing.
        let inner = format!(r#"{{"model":"m","metadata":{{"{field}":{value},"{field}":{value}}}}}"#);
        assert!(head(&inner).is_ok(), "{inner}");
    }
    assert!(
        head(r#"{"model":"m","messages":[],"messages":[]}"#).is_ok(),
        "other fields are upstream's to judge"
    );
}

#[test]
fn faults_say_what_is_wrong() {
    let deep = format!("{{\"model\":\"m\",\"a\":{}", "[".repeat(MAX_DEPTH));
    let cases = [
        (r#"{}"#, "model: Field required"),
        (r#"{"model":null}"#, "model: expected a string"),
        (r#"{"model":7}"#, "model: expected a string"),
        (r#"{"model":["m"]}"#, "model: expected a string"),
        (r#"{"model":"m","stream":"true"}"#, "stream: expected true or false"),
        (r#"{"model":"m","stream":{}}"#, "stream: expected true or false"),
        (r#"{"model":"m","max_tokens":"1"}"#, "max_tokens: expected a whole number"),
        (r#"{"model":"m","max_tokens":1.5}"#, "max_tokens: expected a whole number"),
        (r#"{"model":"m","max_tokens":-1}"#, "max_tokens: expected a whole number"),
        (r#"{"model":"m","speed":true}"#, "speed: expected a string"),
        (r#"{"model":"m","container":["c"]}"#, "container: expected a string or an object"),
        (r#"{"model":"m","inference_geo":1}"#, "inference_geo: expected a string"),
        (r#"{"model":"\ud800"}"#, "model: not valid Unicode"),
        (r#"{"model":"m","thread":"msg_1"}"#, "thread: expected an object"),
        (r#"{"model":"m","thread":null,"thread":{}}"#, "thread: given more than once"),
        (r#"{"model":"a\u0000b"}"#, "model: not valid Unicode"),
        (r#"{"model":"m","container":"\u0000"}"#, "container: not valid Unicode"),
        (r#"{"model":"m","a":{"file_id":"f\u0000"}}"#, "file_id: not valid Unicode"),
        (r#"[]"#, "The request body must be a JSON object"),
        (r#""x""#, "The request body must be a JSON object"),
        ("", "The request body is not valid JSON: it ends at byte 0, inside a value"),
        (r#"{"model":"m""#, "The request body is not valid JSON: it ends at byte 12, inside a value"),
        (
            r#"{"model":"m"}}"#,
            "The request body is not valid JSON: expected nothing after the value at byte 13",
        ),
        (r#"{model:1}"#, "The request body is not valid JSON: expected a member name or `}` at byte 1"),
        (&deep, "The request body is nested too deeply (more than 1000 levels)"),
    ];
    for (body, message) in cases {
        assert_eq!(fault(body), message, "{body:.60}");
    }
    let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(fault(&long), "model: longer than 256 characters");
}

#[test]
fn more_ids_than_any_request_needs_are_refused() {
    let list = |n| format!(r#"{{"model":"m","a":[{}]}}"#, vec![r#"{"file_id":"f"}"#; n].join(","));
    assert_eq!(head(&list(MAX_REFERENCES)).unwrap().file_ids.len(), MAX_REFERENCES);
    assert_eq!(head(&list(MAX_REFERENCES + 1)), Err(FieldError::TooManyReferences.into()));
}

#[test]
fn a_file_id_that_is_no_string_or_no_id_names_nothing() {
    let body = format!(
        r#"{{"model":"m","a":{{"file_id":7}},"b":{{"file_id":["x"]}},"c":{{"file_id":{{"d":"y"}}}},"e":{{"file_id":"\ud800"}},"f":{{"file_id":"{}"}},"file_id":"top"}}"#,
        "x".repeat(5_000)
    );
    assert_eq!(head(&body).unwrap().file_ids, ["top"]);
}

#[test]
fn a_tools_own_data_names_nothing_and_references_around_it_do() {
    let body = r#"{"model":"m","tools":[
        {"name":"t","input_schema":{"properties":{"x":{"examples":[{"file_id":"no"}],"default":{"file_id":"no"}}}},
         "input_examples":[{"file_id":"no"}],"model":"dear"},
        {"input_schema":7,"file_id":"tool"}],
      "messages":[
        {"role":"assistant","content":[
          {"type":"tool_use","input":{"file_id":"no","deep":[[{"file_id":"no"}],{"input":{"file_id":"no"}}]},"id":"t1"},
          {"input":"text","type":"server_tool_use","file_id":"a"},
          {"inp\u0075t":[{"file_id":"no"}],"type":"tool_use"}, [{"file_id":"b"}]]},
        {"role":"user","content":[
          {"type":"tool_result","content":[
             {"type":"document","source":{"type":"file","file_id":"c"}},
             {"type":"image","source":{"file_id":"d","type":"file"}},
             {"type":"tool_use","input":{"file_id":"no"}},
             {"type":"document","source":{"type":"file","file_id":"e"}}]},
          {"type":"container_upload","file_id":"f"}]}],
      "input":{"file_id":"g"}}"#;
    let head = head(body).unwrap();
    assert_eq!(head.file_ids, ["tool", "a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(head.other_models, ["dear"]);
}

/// All strings under `file_id`, by serde_json's tree.
fn file_ids(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                if let (true, Some(id)) = (name == "file_id", member.as_str()) {
                    found.push(id.to_owned());
                }
                file_ids(member, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| file_ids(item, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// A value for a body: often of the right type, sometimes not.
fn member() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "model",
        "mod\\u0065l",
        "stream",
        "max_tokens",
        "speed",
        "container",
        "inference_geo",
        "file_id",
        "messages",
        "id",
    ]);
    let value = prop::sample::select(vec![
        "\"m\"",
        "\"\\u006d\\n\"",
        "true",
        "false",
        "7",
        "-7",
        "1e2",
        "null",
        "[]",
        "{\"id\":\"c\"}",
        "{\"file_id\":\"f1\"}",
        "[{\"file_id\":\"f2\",\"model\":3},{\"stream\":1}]",
        "\"\\ud800\"",
    ]);
    (name, value).prop_map(|(n, v)| format!("\"{n}\":{v}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_head_equals_what_serde_json_reads(members in prop::collection::vec(member(), 0..6), model in any::<bool>()) {
        let mut members = members;
        if model {
            members.retain(|m| !m.starts_with("\"mod"));
            members.push("\"model\":\"claude-x\"".to_owned());
        }
        let body = format!("{{{}}}", members.join(","));
        let Ok(head) = head(&body) else { return Ok(()) };
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&body) else {
            // serde_json refuses half surrogates anywhere; we only where they decide.
            prop_assert!(body.contains("\\ud800"));
            return Ok(());
        };
        prop_assert_eq!(Some(&*head.model), value["model"].as_str());
        prop_assert_eq!(head.stream, value["stream"].as_bool().unwrap_or(false));
        prop_assert_eq!(head.max_tokens, value["max_tokens"].as_u64());
        prop_assert_eq!(head.speed.as_deref(), value["speed"].as_str());
        prop_assert_eq!(head.inference_geo.as_deref(), value["inference_geo"].as_str());
        let container = value["container"].as_str().or(value["container"]["id"].as_str());
        prop_assert_eq!(head.container_ids.first().map(|c| &**c), container);
        let mut theirs = Vec::new();
        file_ids(&value, &mut theirs);
        for id in theirs {
            prop_assert!(head.file_ids.iter().any(|ours| *ours == id), "{} of {}", id, body);
        }
        let spliced = format!("{}ALIAS{}", &body[..head.model_span.start], &body[head.model_span.end..]);
        let again: serde_json::Value = serde_json::from_str(&spliced).unwrap();
        prop_assert_eq!(again["model"].as_str(), Some("ALIAS"));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in crate::json::tests::hostile_json()) {
        let ours = RequestHead::read(&bytes).is_ok();
        let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
        prop_assert!(!ours || theirs);
    }
}
