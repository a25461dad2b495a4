//! Answers by request.

use super::*;
use crate::cache::Prompt as Cached;
use crate::config::WallClock;
use crate::usage::CacheCreation;

fn answer(body: &str, directives: &str) -> Answer {
    let config = SimConfig::stand_alone(WallClock::fixed(0));
    let request = MessagesRequest::of(body.as_bytes()).expect("reads");
    let mut steer = Directives::default();
    steer.add(directives).expect("reads");
    let planner = Planner {
        config: &config,
        prompt: &request.prompt(),
        request: &request,
        steer: &steer,
        model: "claude-opus-5-5",
        input: Cached { uncached: 10, read: 0, written: CacheCreation::default() },
        seed: 7,
        tools_on_request_only: false,
        in_batch: false,
    };
    planner.plan(&mut Rng::new(1))
}

fn body(extra: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":1000,"messages":[{{"role":"user","content":"hello"}}]{extra}}}"#)
}

#[test]
fn plain_answers_have_twenty_deltas() {
    let answer = answer(&body(""), "");
    let Block::Text(pieces) = &answer.blocks[0] else { panic!("text") };
    assert_eq!((pieces.count, pieces.chars), (20, 320));
    assert_eq!(answer.usage.plain().output_tokens, 80);
    assert_eq!(answer.stop.reason, "end_turn");
}

#[test]
fn deltas_are_exact_whatever_the_number() {
    for count in [0, 1, 2, 19, 500] {
        let answer = answer(&body(r#","max_tokens_":0"#), &format!("deltas={count}"));
        let Block::Text(pieces) = &answer.blocks[0] else { panic!("text") };
        assert_eq!(pieces.count, if count > 250 { 250 } else { count }, "max_tokens holds");
        assert_eq!((0..pieces.count).map(|nth| pieces.size_of(nth)).sum::<usize>(), pieces.chars);
    }
}

#[test]
fn max_tokens_is_respected() {
    let cut = answer(&body("").replace("1000", "5"), "");
    assert_eq!((cut.stop.reason.as_ref(), cut.usage.plain().output_tokens), ("max_tokens", 5));
    let none = answer(&body("").replace("1000", "0"), "");
    assert_eq!((none.blocks.len(), none.usage.plain().output_tokens), (0, 0));
    assert_eq!(none.stop.reason, "max_tokens");
}

#[test]
fn few_tools_are_used_unasked_and_not_again_after_the_result() {
    let tools = r#","tools":[{"name":"get_weather","input_schema":{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}]"#;
    let first = answer(&body(tools), "");
    let Block::ToolUse { name, input, .. } = &first.blocks[0] else { panic!("tool") };
    assert_eq!((name.as_str(), input.text.as_str()), ("get_weather", r#"{"city":"simulated"}"#));
    assert_eq!(first.stop.reason, "tool_use");
    let result = r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"sunny"}]}]"#;
    let last = answer(&format!("{result}{tools}}}"), "");
    let Block::Text(pieces) = &last.blocks[0] else { panic!("text") };
    assert_eq!(pieces.text, "The tool answered: sunny");
}

#[test]
fn many_tools_are_used_only_when_asked_or_forced() {
    let tools = r#","tools":[{"name":"A"},{"name":"B"},{"name":"C"},{"name":"D"}]"#;
    assert!(matches!(answer(&body(tools), "").blocks[0], Block::Text(_)));
    let asked = body(tools).replace("hello", r#"use the tool C {\"x\":1}"#);
    let Block::ToolUse { name, input, .. } = &answer(&asked, "").blocks[0] else { panic!("tool") };
    assert_eq!((name.as_str(), input.text.as_str()), ("C", r#"{"x":1}"#));
    let forced = body(&format!(r#"{tools},"tool_choice":{{"type":"tool","name":"D"}}"#));
    assert!(matches!(&answer(&forced, "").blocks[0], Block::ToolUse { name, .. } if name == "D"));
}

#[test]
fn thinking_follows_the_request() {
    let on = answer(&body(r#","thinking":{"type":"enabled","budget_tokens":1024}"#), "");
    let Block::Thinking { pieces, .. } = &on.blocks[0] else { panic!("thinking") };
    assert_eq!(pieces.chars, THINKING_CHARS);
    assert_eq!(on.usage.plain().output_tokens_details, Some(OutputDetails { thinking_tokens: 24 }));
    let omitted = answer(&body(r#","thinking":{"type":"adaptive","display":"omitted"}"#), "");
    assert!(matches!(&omitted.blocks[0], Block::Thinking { pieces, .. } if pieces.count == 0));
    assert!(matches!(answer(&body(""), "redacted").blocks[0], Block::Redacted { .. }));
}

#[test]
fn a_refusal_is_free_only_before_output() {
    let before = answer(&body(""), "refusal");
    assert!(before.blocks.is_empty() && !before.billed && before.stop.is_refusal());
    let mid = answer(&body(""), "refusal=mid");
    assert!(mid.billed && mid.stop.is_refusal());
    assert_eq!(mid.usage.plain().output_tokens, 40);
}

#[test]
fn structured_output_fits_its_schema() {
    let schema = r#","output_config":{"format":{"type":"json_schema","schema":{"type":"object","required":["title"],"properties":{"title":{"type":"string"}}}}}"#;
    let Block::Text(pieces) = &answer(&body(schema), "").blocks[0] else { panic!("text") };
    assert_eq!(pieces.text, r#"{"title":"simulated"}"#);
}
