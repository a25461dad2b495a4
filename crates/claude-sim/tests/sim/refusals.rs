//! Validation and authentication.

use std::collections::HashMap;

use claviger_claude_sim::KeyRing;
use http::Method;
use serde_json::json;

use crate::harness::Sim;

#[tokio::test]
async fn keys_are_demanded_in_either_header() {
    let ring = HashMap::from([("good".to_owned(), "w1".to_owned()), ("twin".to_owned(), "w1".to_owned())]);
    let sim = Sim::with(|config| config.keys = KeyRing::Only(ring)).await;
    let missing = sim.ask(json!({})).without("x-api-key").send().await;
    assert_eq!(missing.refusal(), "401 authentication_error: x-api-key header is required");
    assert_eq!((missing.header("x-should-retry"), missing.header("anthropic-workspace-id")), ("false", ""));
    assert_eq!(sim.ask(json!({})).send().await.refusal(), "401 authentication_error: invalid x-api-key");
    let bearer = sim.ask(json!({})).without("x-api-key").header("authorization", "Bearer good").send().await;
    assert_eq!(bearer.status, 200);
    let twin = sim.ask(json!({})).header("x-api-key", "twin").send().await;
    assert_eq!(
        twin.header("anthropic-workspace-id"),
        bearer.header("anthropic-workspace-id"),
        "one workspace"
    );
}

#[tokio::test]
async fn requests_are_checked_like_upstream() {
    let sim = Sim::start().await;
    let mut said = Vec::new();
    let mut note = async |call: crate::harness::Call<'_>| said.push(call.send().await.refusal());
    note(sim.ask(json!({})).without("anthropic-version")).await;
    note(sim.ask(json!({})).header("anthropic-version", "2020-01-01")).await;
    note(sim.ask(json!({})).header("anthropic-beta", "claude-code-20250219,made-up")).await;
    note(sim.post("/v1/messages", "{")).await;
    note(sim.post("/v1/messages", r#"{"model":"claude-opus-5-5","max_tokens":"x"}"#)).await;
    note(sim.ask(json!({"max_tokens": null}))).await;
    note(sim.ask(json!({"model": "claude-nope"}))).await;
    note(sim.ask(json!({"messages": []}))).await;
    note(sim.ask(json!({"top_p": 1})).header("anthropic-version", "2026-10-21")).await;
    note(sim.ask(json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}))).await;
    note(sim.get("/v1/messages")).await;
    note(sim.get("/v1/nowhere")).await;
    note(sim.get("/v1/models?limit=1001")).await;
    note(sim.get("/v1/messages/batches/msgbatch_x")).await;
    note(sim.post("/v1/files", "x")).await;
    insta::assert_snapshot!(said.join("\n"), @r#"
400 invalid_request_error: anthropic-version: header is required
400 invalid_request_error: anthropic-version: "2020-01-01" is not a valid version
400 invalid_request_error: Unexpected value(s) `made-up` for the `anthropic-beta` header. Please consult our documentation at docs.claude.com or try again without the header.
400 invalid_request_error: The request body is not valid JSON: EOF while parsing an object at line 1 column 1
400 invalid_request_error: Input could not be read: invalid type: string "x", expected i64 at line 1 column 43
400 invalid_request_error: max_tokens: Field required
404 not_found_error: model: claude-nope
400 invalid_request_error: messages: at least one message is required
400 invalid_request_error: top_p: Extra inputs are not permitted
400 invalid_request_error: `max_tokens` must be greater than `thinking.budget_tokens`
405 invalid_request_error: Method Not Allowed
404 not_found_error: Not found
400 invalid_request_error: limit: Input should be between 1 and 1000
404 not_found_error: Message Batch msgbatch_x was not found
400 invalid_request_error: Content-Type: multipart/form-data with a boundary is required
"#);
}

#[tokio::test]
async fn large_bodies_are_refused_before_and_while_reading() {
    let sim = Sim::with(|config| config.limits.message_bytes = 1000).await;
    let announced = sim.post("/v1/messages", "x".repeat(1001)).send().await;
    assert_eq!(announced.refusal(), "413 request_too_large: Request exceeds the maximum size");
    let exact = sim.post("/v1/messages", "x".repeat(1000)).send().await;
    assert_eq!(exact.status, 400, "read, and found not to be JSON");
}

#[tokio::test]
async fn a_prompt_beyond_the_context_window_is_refused() {
    let sim = Sim::start().await;
    let content = "z".repeat(900_000);
    let body = json!({"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": content}]});
    let refusal = sim.ask(body).send().await.refusal();
    assert!(
        refusal.starts_with("400 invalid_request_error: prompt is too long: 2250")
            && refusal.ends_with("> 200000 maximum"),
        "{refusal}"
    );
}

#[tokio::test]
async fn rate_limits_bind_per_workspace_and_minute() {
    let sim = Sim::with(|config| config.requests_per_minute = Some(2)).await;
    let statuses = async || {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(sim.ask(json!({})).send().await.status.as_u16());
        }
        seen
    };
    assert_eq!(statuses().await, [200, 200, 429]);
    assert_eq!(sim.ask(json!({})).send().await.header("retry-after"), "20");
    assert_eq!(sim.ask(json!({})).header("x-api-key", "key-2").send().await.status, 200);
    sim.advance_ms(20_000);
    assert_eq!(statuses().await, [200, 200, 429]);
}

#[tokio::test]
async fn stores_are_bounded_and_say_so() {
    let sim = Sim::with(|config| config.limits.objects = 1).await;
    let batch = json!({"requests": [{"custom_id": "a", "params": {}}]}).to_string();
    assert_eq!(sim.post("/v1/messages/batches", batch.clone()).send().await.status, 200);
    assert_eq!(sim.post("/v1/messages/batches", batch).send().await.status, 529);
    assert_eq!(sim.request(Method::DELETE, "/v1/files/file_x").send().await.status, 404);
}
