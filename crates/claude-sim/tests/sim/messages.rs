//! JSON answers, count_tokens, usage, the prompt cache.

use http::Method;
use serde_json::json;

use crate::harness::{Sim, prompt};

#[tokio::test]
async fn a_plain_answer_has_the_shape_of_the_api() {
    let sim = Sim::with(|config| config.deltas = 3).await;
    let answer = sim.ask(json!({})).send().await;
    insta::assert_snapshot!(answer.text(), @r#"{"id":"msg_014uiJq4FzRaH5GxBEH3bD7V","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"Simulated answer fb1f768c. \"piece\" ends.\nThen an"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":23,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":12,"service_tier":"standard","inference_geo":"global","speed":"standard"}}"#);
    let names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    insta::assert_snapshot!(names.join("\n"), @r#"
anthropic-organization-id
server
cf-cache-status
via
vary
x-envoy-upstream-service-time
server-timing
strict-transport-security
x-robots-tag
content-security-policy
request-id
cf-ray
content-type
anthropic-workspace-id
anthropic-ratelimit-requests-limit
anthropic-ratelimit-requests-remaining
anthropic-ratelimit-requests-reset
anthropic-ratelimit-tokens-limit
anthropic-ratelimit-tokens-remaining
anthropic-ratelimit-tokens-reset
anthropic-ratelimit-input-tokens-limit
anthropic-ratelimit-input-tokens-remaining
anthropic-ratelimit-input-tokens-reset
anthropic-ratelimit-output-tokens-limit
anthropic-ratelimit-output-tokens-remaining
anthropic-ratelimit-output-tokens-reset
content-length
date
"#);
    assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), "3999");
    assert_eq!(answer.header("anthropic-ratelimit-requests-reset"), "2026-11-18T11:07:00Z");
}

#[tokio::test]
async fn equal_requests_get_equal_texts_and_different_ids() {
    let sim = Sim::start().await;
    let (first, second) = (sim.ask(json!({})).send().await, sim.ask(json!({})).send().await);
    assert_eq!(first.json()["content"], second.json()["content"]);
    assert_ne!(first.json()["id"], second.json()["id"]);
    assert_ne!(first.header("request-id"), second.header("request-id"));
    assert_ne!(sim.ask(json!({"max_tokens": 999})).send().await.json()["content"], first.json()["content"]);
}

#[tokio::test]
async fn caches_are_written_then_read_per_workspace_and_expire() {
    let sim = Sim::start().await;
    let text = "x".repeat(4000);
    let body = json!({"system": [
        {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
    ]});
    let usage = |answer: crate::harness::Answer| answer.json()["usage"].clone();
    let written = usage(sim.ask(body.clone()).send().await);
    assert_eq!(
        written["cache_creation"],
        json!({"ephemeral_5m_input_tokens": 1006, "ephemeral_1h_input_tokens": 1006})
    );
    assert_eq!(
        (&written["cache_creation_input_tokens"], &written["cache_read_input_tokens"]),
        (&json!(2012), &json!(0))
    );
    let read = usage(sim.ask(body.clone()).send().await);
    assert_eq!(
        (&read["cache_creation_input_tokens"], &read["cache_read_input_tokens"]),
        (&json!(0), &json!(2012))
    );
    assert_eq!(read["input_tokens"], written["input_tokens"]);
    let other = usage(sim.ask(body.clone()).header("x-api-key", "key-2").send().await);
    assert_eq!(other["cache_read_input_tokens"], 0);
    sim.advance_ms(6 * 60 * 1000);
    let partly = usage(sim.ask(body).send().await);
    assert_eq!(
        (&partly["cache_creation"]["ephemeral_5m_input_tokens"], &partly["cache_read_input_tokens"]),
        (&json!(1006), &json!(1006))
    );
}

#[tokio::test]
async fn speed_region_and_tier_are_reported() {
    let sim = Sim::start().await;
    let usage = sim.ask(json!({"speed": "fast", "inference_geo": "us"})).send().await.json()["usage"].clone();
    assert_eq!((&usage["speed"], &usage["inference_geo"]), (&json!("fast"), &json!("us")));
    let refused = sim.ask(json!({"speed": "fast", "model": "claude-sonnet-5-5"})).send().await;
    assert_eq!(refused.status, 400);
    let beta = sim
        .ask(json!({"speed": "fast", "model": "claude-opus-5"}))
        .header("anthropic-beta", "fast-mode-2026-02-01");
    assert_eq!(beta.send().await.status, 200);
}

#[tokio::test]
async fn usage_can_be_given_any_shape() {
    let sim = Sim::start().await;
    let fault = r#"usage={"input_tokens":5,"cache_creation":null,"iterations":[{"type":"message"}]}; usage-omit=speed"#;
    let usage = sim.ask(json!({})).fault(fault).send().await.json()["usage"].clone();
    assert_eq!(usage["input_tokens"], 5);
    assert!(usage["cache_creation"].is_null() && usage.get("speed").is_none());
    assert_eq!(usage["iterations"], json!([{"type": "message"}]));
    assert_eq!(sim.last_line().await["inference"]["usage"], usage);
    let compaction = sim.ask(json!({})).fault("iterations=compaction").send().await.json()["usage"].clone();
    assert_eq!(compaction["iterations"][0]["type"], "compaction");
    assert_eq!(compaction["iterations"][1]["output_tokens"], compaction["output_tokens"]);
}

#[tokio::test]
async fn web_search_and_refusal_on_demand() {
    let sim = Sim::start().await;
    let search = sim.ask(json!({})).fault("web-search=2").send().await.json();
    assert_eq!(search["usage"]["server_tool_use"]["web_search_requests"], 2);
    assert_eq!(search["content"][1]["type"], "web_search_tool_result");
    let refusal = sim.ask(json!({})).fault("refusal").send().await.json();
    assert_eq!((&refusal["stop_reason"], &refusal["content"]), (&json!("refusal"), &json!([])));
    assert_eq!(refusal["stop_details"]["type"], "refusal");
    assert_eq!(sim.last_line().await["inference"]["billed"], false);
}

#[tokio::test]
async fn max_tokens_zero_warms_the_cache_only() {
    let sim = Sim::start().await;
    let warm = sim.ask(json!({"max_tokens": 0})).send().await.json();
    assert_eq!((&warm["content"], &warm["usage"]["output_tokens"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn a_tool_loop_ends_with_the_tools_answer() {
    let sim = Sim::start().await;
    let tools = json!([{"name": "get_weather", "input_schema": {"type": "object", "required": ["city"],
        "properties": {"city": {"type": "string"}}}}]);
    let first = sim.ask(json!({"tools": tools})).send().await.json();
    assert_eq!(first["stop_reason"], "tool_use");
    let call = &first["content"][0];
    assert_eq!(call["input"], json!({"city": "simulated"}));
    let messages = json!([
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "18 degrees"}]}
    ]);
    let last = sim.ask(json!({"tools": tools, "messages": messages})).send().await.json();
    assert_eq!(last["content"][0]["text"], "The tool answered: 18 degrees");
    assert_eq!(last["stop_reason"], "end_turn");
}

#[tokio::test]
async fn tokens_are_counted_free_and_without_rate_limits() {
    let sim = Sim::start().await;
    let body = prompt(json!({})).to_string();
    let expected = body.len() / 4;
    let counted = sim.post("/v1/messages/count_tokens?beta=true", body).send().await;
    assert_eq!(counted.json(), json!({"input_tokens": expected}));
    assert_eq!(counted.header("anthropic-ratelimit-requests-limit"), "");
    assert!(sim.last_line().await["inference"].is_null());
}

#[tokio::test]
async fn probes_are_answered_without_a_key() {
    let sim = Sim::start().await;
    for (method, path) in [(Method::HEAD, "/"), (Method::HEAD, "/api/hello"), (Method::GET, "/api/hello")] {
        let answer = sim.request(method, path).without("x-api-key").without("anthropic-version").send().await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_megabyte_is_accepted() {
    let sim = Sim::start().await;
    let content = "y".repeat(1 << 20);
    let answer = sim.ask(json!({"messages": [{"role": "user", "content": content}]})).send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["usage"]["input_tokens"].as_u64().unwrap() > 260_000);
    let line = sim.last_line().await;
    assert_eq!(line["body_sha256"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn http2_works_as_well() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).send_h2().await;
    assert_eq!(answer.events().last().unwrap(), "message_stop");
    let cut = sim.ask(json!({"stream": true})).fault("cut=4").send_h2().await;
    assert!(cut.broken);
}
