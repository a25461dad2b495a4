//! Streams: the order of events, what each carries, and steering of their shape.

use serde_json::json;

use crate::harness::{Answer, Sim};

/// Padding changes nothing; it is taken out to keep snapshots readable.
fn squeezed(answer: &Answer) -> String {
    let mut text = answer.text();
    while text.contains(" }") {
        text = text.replace(" }", "}");
    }
    text
}

#[tokio::test]
async fn a_text_stream_has_every_event_in_order() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("deltas=3; delta-chars=8").send().await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    insta::assert_snapshot!(squeezed(&answer), @r#"
event: message_start
data: {"type":"message_start","message":{"id":"msg_014uiJq4FzRaH5GxBEH3bD7V","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":26,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard","inference_geo":"global","speed":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Simulate"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"d answer"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" 852b6cf"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":26,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":6}}

event: message_stop
data: {"type":"message_stop"}
"#);
}

#[tokio::test]
async fn thinking_and_tools_come_in_their_own_deltas() {
    let sim = Sim::start().await;
    let body = json!({
        "stream": true, "thinking": {"type": "adaptive"},
        "tools": [{"name": "run", "input_schema": {"type": "object", "required": ["cmd"], "properties": {"cmd": {"const": "ls"}}}}]
    });
    let answer = sim.ask(body).send().await;
    let shape: Vec<String> = answer
        .data()
        .iter()
        .map(|event| {
            let kind =
                event["delta"]["type"].as_str().or(event["content_block"]["type"].as_str()).unwrap_or("");
            format!("{} {} {kind}", event["type"].as_str().unwrap(), event["index"])
        })
        .collect();
    insta::assert_snapshot!(shape.join("\n"), @r#"
message_start null 
content_block_start 0 thinking
ping null 
content_block_delta 0 thinking_delta
content_block_delta 0 thinking_delta
content_block_delta 0 thinking_delta
content_block_delta 0 thinking_delta
content_block_delta 0 thinking_delta
content_block_delta 0 thinking_delta
content_block_delta 0 signature_delta
content_block_stop 0 
content_block_start 1 tool_use
content_block_delta 1 input_json_delta
content_block_stop 1 
message_delta null 
message_stop null
"#);
    let end = &answer.data()[answer.data().len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "tool_use");
    assert_eq!(end["usage"]["output_tokens_details"]["thinking_tokens"], 24);
}

#[tokio::test]
async fn omitted_thinking_sends_only_its_signature() {
    let sim = Sim::start().await;
    let answer =
        sim.ask(json!({"stream": true, "thinking": {"type": "adaptive", "display": "omitted"}})).send().await;
    let kinds: Vec<_> = answer.data().iter().map(|event| event["delta"]["type"].clone()).collect();
    assert!(!kinds.contains(&json!("thinking_delta")));
    assert_eq!(kinds.iter().filter(|kind| **kind == "signature_delta").count(), 1);
}

#[tokio::test]
async fn the_streamed_text_is_the_text_of_the_json_answer() {
    let sim = Sim::start().await;
    for fault in ["", "deltas=7", "unicode; deltas=5; delta-chars=33", "text=short; deltas=2"] {
        let whole = sim.ask(json!({"stop_sequences": []})).fault(fault).send().await.json();
        let stream = sim.ask(json!({"stop_sequences": [], "stream": true})).fault(fault).send().await;
        let joined: String =
            stream.data().iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
        let text = whole["content"][0]["text"].as_str().unwrap();
        // The seed is in the text, and `stream` changes the seed.
        assert_eq!(joined.chars().count(), text.chars().count(), "{fault}");
        let end = stream.data().iter().rev().find(|event| event["type"] == "message_delta").unwrap().clone();
        assert_eq!(end["usage"]["output_tokens"], whole["usage"]["output_tokens"], "{fault}");
    }
}

#[tokio::test]
async fn deltas_pings_and_sums_are_as_many_as_asked() {
    let sim = Sim::start().await;
    let fault = "deltas=500; delta-chars=4; pings=100; message-deltas=3";
    let answer = sim.ask(json!({"stream": true})).fault(fault).send().await;
    let count = |name: &str| answer.events().iter().filter(|event| *event == name).count();
    assert_eq!(count("content_block_delta"), 500);
    assert_eq!(count("ping"), 5, "one after the first block began, four between the deltas");
    assert_eq!(count("message_delta"), 3);
    let outputs: Vec<u64> = answer
        .data()
        .iter()
        .filter(|event| event["type"] == "message_delta")
        .filter_map(|event| event["usage"]["output_tokens"].as_u64())
        .collect();
    assert_eq!(outputs, [166, 333, 500]);
}

#[tokio::test]
async fn odd_events_and_crlf_stay_within_the_standard() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("odd-events; crlf; deltas=2").send().await;
    let text = answer.text();
    assert!(text.contains("event: simulated_novelty\r\n") && text.contains(": a comment\r\n\r\n"));
    assert!(!text.replace("\r\n", "").contains('\n'));
    assert_eq!(answer.events().last().unwrap(), "message_stop");
}

#[tokio::test]
async fn usage_edits_reach_start_and_delta_apart() {
    let sim = Sim::start().await;
    let fault = r#"usage-start={"input_tokens":11}; usage-delta={"input_tokens":null,"output_tokens":13}"#;
    let answer = sim.ask(json!({"stream": true})).fault(fault).send().await;
    let data = answer.data();
    assert_eq!(data[0]["message"]["usage"]["input_tokens"], 11);
    let delta = &data[data.len() - 2]["usage"];
    assert!(delta["input_tokens"].is_null());
    assert_eq!(delta["output_tokens"], 13);
    let line = sim.last_line().await;
    let usage = &line["inference"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(11), &json!(13)),
        "as the client merges it"
    );
    assert_eq!(line["inference"]["sent_start"], data[0]["message"]["usage"]);
    assert_eq!(&line["inference"]["sent_delta"], delta);
}

#[tokio::test]
async fn a_refusal_before_output_is_start_delta_stop() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("refusal").send().await;
    assert_eq!(answer.events(), ["message_start", "message_delta", "message_stop"]);
    assert_eq!(answer.data()[1]["delta"]["stop_details"]["type"], "refusal");
}
