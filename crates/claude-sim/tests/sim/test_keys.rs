//! The simulator as the gateway uses it in-process, for test keys.

use bytes::Bytes;
use claviger_claude_sim::{SimConfig, Simulator, WallClock};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

fn request(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let builder = Request::post(path).header("x-api-key", "key_1").header("anthropic-version", "2026-10-21");
    builder.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

fn simulator() -> Simulator {
    Simulator::new(SimConfig::for_test_keys(WallClock::fixed(1_795_000_000_000))).unwrap()
}

#[tokio::test]
async fn the_text_says_that_it_is_simulated_and_free() {
    let body = r#"{"model":"claude-opus-5-5","max_tokens":500,"messages":[{"role":"user","content":"Hello, Claude"}]}"#;
    let answer = simulator().handle(request("/v1/messages", body)).await;
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    insta::assert_snapshot!(json["content"][0]["text"].as_str().unwrap(), @r#"This answer is simulated by Claviger: you used a test key, no model was called and no money was spent. You wrote: Hello, Claude"#);
}

#[tokio::test]
async fn nobody_can_see_the_calls_of_others() {
    let simulator = simulator();
    let answer = simulator.handle(request("/__sim/standing", "status=500")).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(simulator.log_lines(0), "");
}

#[tokio::test]
async fn a_break_on_demand_is_an_error_of_the_body() {
    let body = r#"{"model":"claude-opus-5-5","max_tokens":500,"stream":true,"messages":[{"role":"user","content":"[[sim: cut=2]]"}]}"#;
    let answer = simulator().handle(request("/v1/messages", body)).await;
    let mut body = answer.into_body();
    let mut frames = 0;
    while let Some(Ok(_)) = body.frame().await {
        frames += 1;
    }
    assert_eq!(frames, 2);
}
