use super::*;
use proptest::prelude::*;

const MESSAGE: &str = r#"{"model":"claude-haiku-4-5-20251001","id":"msg_01","type":"message","role":"assistant",
 "content":[{"type":"text","text":"x","usage":{"input_tokens":999}},{"type":"tool_use","input":{"model":"inner","usage":{"output_tokens":7}}}],
 "stop_reason":"tool_use","stop_sequence":null,
 "usage":{"input_tokens":10,"cache_creation_input_tokens":50,"cache_read_input_tokens":3,
  "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},"output_tokens":12,
  "output_tokens_details":{"thinking_tokens":5},"service_tier":"batch","inference_geo":"global","speed":"standard",
  "server_tool_use":{"web_search_requests":1,"web_fetch_requests":2},"iterations":null,"later":{"input_tokens":1}}}"#;

fn patch(usage: serde_json::Value) -> UsagePatch {
    let text = serde_json::json!({ "usage": usage }).to_string();
    let mut reader = FactsReader::new(Shape::Message);
    Tokenizer::read(text.as_bytes(), &mut reader).unwrap();
    reader.into_facts().usage.unwrap_or_default()
}

fn merged(steps: &[serde_json::Value]) -> Usage {
    let mut usage = Usage::default();
    steps.iter().for_each(|step| usage.apply(patch(step.clone())));
    usage
}

#[test]
fn a_message_is_read_without_its_content() {
    let message = read_message(MESSAGE.as_bytes()).unwrap();
    assert_eq!(message.id.as_deref(), Some("msg_01"));
    assert_eq!(message.model.as_deref(), Some("claude-haiku-4-5-20251001"));
    assert_eq!(message.stop_reason.as_deref(), Some("tool_use"));
    assert!(message.has_content && message.has_usage && !message.is_unbilled_refusal());
    let usage = message.usage;
    let counts = TokenCounts { input: 10, cache_write_5m: 20, cache_write_1h: 30, cache_read: 3, output: 12 };
    assert_eq!((usage.counts, usage.thinking), (counts, 5));
    assert_eq!((usage.web_search_requests, usage.web_fetch_requests), (1, 2));
    assert_eq!(
        (usage.service_tier.as_deref(), usage.inference_geo.as_deref()),
        (Some("batch"), Some("global"))
    );
    assert!(usage.iterations.is_empty());
}

#[test]
fn a_message_may_pass_in_any_pieces() {
    let whole = read_message(MESSAGE.as_bytes()).unwrap();
    for size in [1, 2, 3, 7, 64] {
        let mut tap = MessageTap::new();
        MESSAGE.as_bytes().chunks(size).for_each(|part| tap.feed(part));
        assert_eq!(tap.finish().unwrap(), whole);
    }
}

#[test]
fn a_body_that_is_no_message_is_no_usage() {
    let error = read_message(br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#).unwrap();
    assert!(!error.has_usage);
    assert!(!read_message(b"[]").unwrap().has_usage);
    assert!(read_message(b"{\"usage\":{").is_err());
    assert!(read_message(b"<html>").is_err());
}

#[test]
fn names_that_no_store_can_keep_are_left_out() {
    let message = read_message(br#"{"id":"a\u0000","model":"m\u0000","usage":{"input_tokens":1}}"#).unwrap();
    assert_eq!((message.id, message.model), (None, None));
    assert!(message.has_usage);
}

#[test]
fn a_refusal_without_content_is_not_billed() {
    let message = |content: &str| {
        let text = format!(r#"{{"content":{content},"stop_reason":"refusal","usage":{{"input_tokens":1}}}}"#);
        read_message(text.as_bytes()).unwrap().is_unbilled_refusal()
    };
    assert!(message("[]"));
    assert!(message("null"));
    assert!(!message(r#"[{"type":"text","text":"I"}]"#));
}

#[test]
fn absent_and_null_keep_the_earlier_number() {
    let usage = merged(&[
        serde_json::json!({"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 1, "speed": "fast", "inference_geo": "us"}),
        serde_json::json!({"input_tokens": null, "output_tokens": 9, "speed": null}),
    ]);
    assert_eq!((usage.counts.input, usage.counts.cache_read, usage.counts.output), (5, 6, 9));
    assert_eq!((usage.speed, usage.inference_geo.as_deref()), (Speed::Fast, Some("us")));
}

#[test]
fn growth_beyond_the_split_counts_at_five_minutes() {
    let start = serde_json::json!({"cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}});
    let split = |later: serde_json::Value| {
        let counts = merged(&[start.clone(), later]).counts;
        (counts.cache_write_5m, counts.cache_write_1h)
    };
    assert_eq!(split(serde_json::json!({})), (10, 20));
    assert_eq!(split(serde_json::json!({"cache_creation_input_tokens": 30})), (10, 20));
    assert_eq!(split(serde_json::json!({"cache_creation_input_tokens": 37})), (17, 20));
    assert_eq!(split(serde_json::json!({"cache_creation_input_tokens": 15})), (0, 15));
    let unsplit = merged(&[serde_json::json!({"cache_creation_input_tokens": 8})]).counts;
    assert_eq!((unsplit.cache_write_5m, unsplit.cache_write_1h), (8, 0));
    let partly = merged(&[serde_json::json!({"cache_creation_input_tokens": 9,
        "cache_creation": {"ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": null}})]);
    assert_eq!((partly.counts.cache_write_5m, partly.counts.cache_write_1h), (5, 4));
}

#[test]
fn iterations_carry_their_own_model_and_split() {
    let usage = merged(&[serde_json::json!({"input_tokens": 1, "output_tokens": 2, "iterations": [
        {"type": "compaction", "model": "claude-haiku-4-5", "input_tokens": 100, "output_tokens": 10,
         "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 7, "ephemeral_5m_input_tokens": 0}},
        {"type": "message", "input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 3}]})]);
    assert_eq!(usage.iterations.len(), 2);
    assert_eq!(&*usage.iterations[0].kind, "compaction");
    assert_eq!(usage.iterations[0].model.as_deref(), Some("claude-haiku-4-5"));
    assert_eq!(usage.iterations[0].counts.cache_write_1h, 7);
    assert_eq!(usage.iterations[1].model, None);
    assert_eq!(usage.iterations[1].counts.cache_write_5m, 3);
    let sum = TokenCounts { input: 101, cache_write_5m: 3, cache_write_1h: 7, cache_read: 0, output: 12 };
    assert_eq!(usage.billed_counts(), sum);
    assert_eq!((usage.counts.input, usage.counts.output), (1, 2), "the top level is kept apart");
}

#[test]
fn one_odd_field_does_not_lose_the_others() {
    let usage = merged(&[
        serde_json::json!({"service_tier": {"name": "x"}, "speed": 7, "cache_creation": [1],
        "server_tool_use": "none", "iterations": {"a": 1}, "input_tokens": 4, "output_tokens": "5", "inference_geo": ["us"]}),
    ]);
    assert_eq!((usage.counts.input, usage.counts.output), (4, 0));
    assert_eq!((usage.service_tier, usage.inference_geo, usage.speed), (None, None, Speed::Standard));
}

#[test]
fn characters_raise_the_output_but_never_lower_it() {
    let raised = |output, characters| {
        let mut usage = merged(&[serde_json::json!({"output_tokens": output})]);
        usage.raise_output_to_characters(characters);
        usage.counts.output
    };
    assert_eq!((raised(1, 0), raised(1, 4), raised(1, 5), raised(9, 5)), (1, 1, 2, 9));
    let mut usage = merged(&[
        serde_json::json!({"output_tokens": 2, "iterations": [{"output_tokens": 2}, {"output_tokens": 3}]}),
    ]);
    usage.raise_output_to_characters(40);
    assert_eq!(usage.billed_counts().output, 10);
}

proptest! {
    #[test]
    fn the_split_always_sums_to_the_last_total(totals in prop::collection::vec(0u64..1_000, 1..6), hour in 0u64..1_000) {
        let mut usage = Usage::default();
        let first = totals[0];
        usage.apply(patch(serde_json::json!({"cache_creation_input_tokens": first,
            "cache_creation": {"ephemeral_1h_input_tokens": hour.min(first), "ephemeral_5m_input_tokens": first - hour.min(first)}})));
        for total in &totals {
            usage.apply(patch(serde_json::json!({"cache_creation_input_tokens": total})));
            prop_assert_eq!(usage.counts.cache_write_5m + usage.counts.cache_write_1h, *total);
        }
    }

    #[test]
    fn any_json_is_survived(bytes in crate::json::tests::hostile_json()) {
        let wrapped = [b"{\"message\":{\"usage\":", &bytes[..], b"},\"usage\":", &bytes, b"}"].concat();
        for shape in [Shape::Message, Shape::StartEvent, Shape::DeltaEvent, Shape::ResultLine] {
            let ours = Tokenizer::read(&wrapped, &mut FactsReader::new(shape)).is_ok();
            prop_assert_eq!(ours, serde_json::from_slice::<&serde_json::value::RawValue>(&wrapped).is_ok());
        }
    }
}
