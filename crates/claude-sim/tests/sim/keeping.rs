//! What the simulator keeps: models, batches, files, the log.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Sim, prompt};

#[tokio::test]
async fn models_are_listed_in_the_shape_of_the_version() {
    let sim = Sim::with(|config| config.extra_models = vec!["claude-new-9".into()]).await;
    let old = sim.get("/v1/models?limit=2").send().await;
    insta::assert_snapshot!(old.text(), @r#"{"data":[{"id":"claude-new-9","type":"model","display_name":"claude-new-9","created_at":"2026-11-01T00:00:00Z"},{"id":"claude-fable-5-2","type":"model","display_name":"Claude Fable 5.2","created_at":"2026-10-28T00:00:00Z"}],"has_more":true,"first_id":"claude-new-9","last_id":"claude-fable-5-2","next_page":"claude-fable-5-2"}"#);
    let new = sim.get("/v1/models/claude-sonnet-4-5").header("anthropic-version", "2026-10-21").send().await;
    insta::assert_snapshot!(new.text(), @r#"{"id":"claude-sonnet-4-5-20250929","type":"model","display_name":"Claude Sonnet 4.5","created_at":"2025-09-29T00:00:00Z","max_input_tokens":200000,"max_tokens":64000,"capabilities":{"batch":{"supported":true},"citations":{"supported":true},"image_input":{"supported":true},"pdf_input":{"supported":true},"thinking":{"supported":true}},"line":"sonnet","lifecycle":"deprecated","deprecated_at":"2026-06-30T00:00:00Z","retires_at":"2026-11-30T00:00:00Z"}"#);
    let retired = "/v1/models/claude-opus-4-1";
    assert_eq!(sim.get(retired).send().await.refusal(), "404 not_found_error: model: claude-opus-4-1");
    let list = sim.get("/v1/models?limit=1000").send().await.json();
    assert_eq!(list["has_more"], false);
    assert!(list["data"].as_array().unwrap().iter().all(|model| model["id"] != "claude-opus-4-1-20250805"));
    let next = sim.get("/v1/models?limit=1&after_id=claude-new-9").send().await.json();
    assert_eq!(next["data"][0]["id"], "claude-fable-5-2");
    assert_eq!(sim.ask(json!({"model": "claude-new-9"})).send().await.status, 200);
    assert_eq!(
        sim.ask(json!({"model": "claude-haiku-4-5"})).send().await.json()["model"],
        "claude-haiku-4-5-20251001"
    );
}

fn items(count: usize) -> Value {
    let item = |at: usize| json!({"custom_id": format!("item-{at}"), "params": prompt(json!({}))});
    json!({"requests": (0..count).map(item).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_batch_runs_to_its_end_with_the_asked_mix() {
    let sim = Sim::start().await;
    let call = sim.post("/v1/messages/batches", items(5).to_string());
    let created = call.fault("batch-mix=succeeded,errored,expired; batch-delay=1000").send().await.json();
    insta::assert_snapshot!(created.to_string(), @r#"{"archived_at":null,"cancel_initiated_at":null,"created_at":"2026-11-18T11:06:40Z","ended_at":null,"expires_at":"2026-11-19T11:06:40Z","id":"msgbatch_014uiJq4FzRaH5GxBEH3bD7V","processing_status":"in_progress","request_counts":{"canceled":0,"errored":0,"expired":0,"processing":5,"succeeded":0},"results_url":null,"type":"message_batch"}"#);
    let path = format!("/v1/messages/batches/{}", created["id"].as_str().unwrap());
    assert_eq!(sim.get(&format!("{path}/results")).send().await.status, 404);
    assert_eq!(sim.request(Method::DELETE, &path).send().await.status, 400);
    sim.advance_ms(1000);
    let ended = sim.get(&path).send().await.json();
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(
        ended["request_counts"],
        json!({"processing": 0, "succeeded": 2, "errored": 2, "canceled": 0, "expired": 1})
    );
    assert_eq!(ended["results_url"], format!("http://sim.test{path}/results"));
    let results = sim.get(&format!("{path}/results")).send().await;
    assert_eq!(results.header("content-type"), "application/x-jsonl");
    let lines: Vec<Value> = results.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    let good = lines.iter().find(|line| line["custom_id"] == "item-0").unwrap();
    assert_eq!(good["result"]["message"]["usage"]["service_tier"], "batch");
    assert_eq!(sim.get(&format!("{path}/results")).send().await.body, results.body, "read again");
    let billed: Vec<Value> =
        sim.lines().await.into_iter().filter(|line| line["kind"] == "batch_item").collect();
    assert_eq!(billed.len(), 2, "once for each item that succeeded");
    assert!(billed.iter().any(|line| line["inference"]["custom_id"] == "item-0"
        && line["inference"]["usage"] == good["result"]["message"]["usage"]));
    assert_eq!(sim.request(Method::DELETE, &path).send().await.json()["type"], "message_batch_deleted");
    assert_eq!(sim.get(&path).send().await.status, 404);
}

#[tokio::test]
async fn a_canceled_batch_keeps_what_was_through() {
    let sim = Sim::start().await;
    let created =
        sim.post("/v1/messages/batches", items(4).to_string()).fault("batch-delay=1000").send().await.json();
    let path = format!("/v1/messages/batches/{}", created["id"].as_str().unwrap());
    sim.advance_ms(500);
    let canceling = sim.post(&format!("{path}/cancel"), "").send().await.json();
    assert_eq!(canceling["processing_status"], "canceling");
    sim.advance_ms(250);
    let ended = sim.get(&path).send().await.json();
    assert_eq!(
        (&ended["request_counts"]["succeeded"], &ended["request_counts"]["canceled"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(sim.post(&format!("{path}/cancel"), "").send().await.status, 400);
}

#[tokio::test]
async fn batches_are_checked_paged_and_kept_apart() {
    let sim = Sim::start().await;
    let refused = |body: Value| sim.post("/v1/messages/batches", body.to_string()).send();
    assert_eq!(refused(json!({})).await.refusal(), "400 invalid_request_error: requests: Field required");
    let twice = json!({"requests": [{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}]});
    assert_eq!(
        refused(twice).await.refusal(),
        "400 invalid_request_error: requests.1.custom_id: duplicate custom_id 'a'"
    );
    let odd = json!({"requests": [{"custom_id": "a b", "params": {}}]});
    assert_eq!(refused(odd).await.status, 400);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let created = sim.post("/v1/messages/batches", items(1).to_string()).send().await.json();
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    let page = sim.get("/v1/messages/batches?limit=2").send().await.json();
    assert_eq!((&page["first_id"], &page["has_more"]), (&json!(ids[2]), &json!(true)));
    let rest = sim.get(&format!("/v1/messages/batches?after_id={}", ids[1])).send().await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    let foreign =
        sim.get(&format!("/v1/messages/batches/{}", ids[0])).header("x-api-key", "key-2").send().await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test]
async fn an_invalid_item_is_an_errored_result_and_items_steer_themselves() {
    let sim = Sim::start().await;
    let expired = prompt(json!({"system": "[[sim: outcome=expired]]"}));
    let tuned = prompt(json!({"system": r#"[[sim: usage={"output_tokens":77}]]"#}));
    let body = json!({"requests": [
        {"custom_id": "bad", "params": {"model": "nope", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}},
        {"custom_id": "late", "params": expired}, {"custom_id": "tuned", "params": tuned}
    ]});
    let created = sim.post("/v1/messages/batches", body.to_string()).send().await.json();
    sim.advance_ms(5000);
    let text = sim
        .get(&format!("/v1/messages/batches/{}/results", created["id"].as_str().unwrap()))
        .send()
        .await
        .text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[2]["result"]["error"]["error"]["message"], "model: nope");
    assert_eq!(lines[1]["result"]["type"], "expired");
    assert_eq!(lines[0]["result"]["message"]["usage"]["output_tokens"], 77);
}

const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--B--\r\n";

#[tokio::test]
async fn files_are_uploaded_listed_used_and_deleted() {
    let sim = Sim::start().await;
    let upload = || sim.post("/v1/files", FORM).header("content-type", "multipart/form-data; boundary=B");
    let file = upload().fault("downloadable").send().await;
    insta::assert_snapshot!(file.text(), @r#"{"id":"file_011C4uiJq4FzRaH5GxBEH3bD7V","type":"file","filename":"a.txt","mime_type":"text/plain","size_bytes":5,"created_at":"2026-11-18T11:06:40Z","downloadable":true}"#);
    let id = file.json()["id"].as_str().unwrap().to_owned();
    let content = sim.get(&format!("/v1/files/{id}/content")).send().await;
    assert_eq!((content.text().as_str(), content.header("content-type")), ("hello", "text/plain"));
    let kept = upload().send().await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sim.get(&format!("/v1/files/{kept}/content")).send().await.status, 400);
    assert_eq!(sim.get("/v1/files").send().await.json()["data"].as_array().unwrap().len(), 2);
    let document = |id: &str| {
        let source = json!({"type": "file", "file_id": id});
        json!({"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]})
    };
    assert_eq!(sim.ask(document(&id)).send().await.status, 200);
    assert_eq!(
        sim.request(Method::DELETE, &format!("/v1/files/{id}")).send().await.json()["type"],
        "file_deleted"
    );
    assert_eq!(
        sim.ask(document(&id)).send().await.refusal(),
        format!("404 not_found_error: File not found: {id}")
    );
    assert_eq!(sim.get(&format!("/v1/files/{kept}")).header("x-api-key", "key-2").send().await.status, 404);
}

#[tokio::test]
async fn the_log_holds_what_an_oracle_needs() {
    let sim = Sim::start().await;
    sim.ask(json!({"stream": true})).fault("deltas=2; delta-chars=4").send().await;
    let line = sim.last_line().await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap(), @r#"
{
  "at_ms": 1795000000000,
  "body_bytes": 106,
  "body_sha256": "8b79c10f302f061ac3cd874e74e9d9f6062bc419d81f1d31bf0f47e4cda025a6",
  "ending": "completed",
  "fault": "deltas=2; delta-chars=4",
  "headers": [
    [
      "host",
      "sim.test"
    ],
    [
      "content-type",
      "application/json"
    ],
    [
      "x-api-key",
      "key-1"
    ],
    [
      "anthropic-version",
      "2023-06-01"
    ],
    [
      "x-sim-fault",
      "deltas=2; delta-chars=4"
    ],
    [
      "content-length",
      "106"
    ]
  ],
  "inference": {
    "batch_id": null,
    "billed": true,
    "chars": 8,
    "custom_id": null,
    "message_id": "msg_014uiJq4FzRaH5GxBEH3bD7V",
    "model": "claude-opus-5-5",
    "requested_model": "claude-opus-5-5",
    "sent_chars": 8,
    "sent_delta": {
      "cache_creation_input_tokens": 0,
      "cache_read_input_tokens": 0,
      "input_tokens": 26,
      "output_tokens": 2
    },
    "sent_start": {
      "cache_creation": {
        "ephemeral_1h_input_tokens": 0,
        "ephemeral_5m_input_tokens": 0
      },
      "cache_creation_input_tokens": 0,
      "cache_read_input_tokens": 0,
      "inference_geo": "global",
      "input_tokens": 26,
      "output_tokens": 1,
      "service_tier": "standard",
      "speed": "standard"
    },
    "stop_reason": "end_turn",
    "stream": true,
    "usage": {
      "cache_creation": {
        "ephemeral_1h_input_tokens": 0,
        "ephemeral_5m_input_tokens": 0
      },
      "cache_creation_input_tokens": 0,
      "cache_read_input_tokens": 0,
      "inference_geo": "global",
      "input_tokens": 26,
      "output_tokens": 2,
      "service_tier": "standard",
      "speed": "standard"
    }
  },
  "kind": "request",
  "method": "POST",
  "path": "/v1/messages",
  "query": null,
  "request_id": "req_011CnLNjYMMRNwUfhD6E89YU2X",
  "route": "messages",
  "sent_bytes": 1210,
  "sent_events": 8,
  "seq": 1,
  "status": 200,
  "workspace": "key-1"
}
"#);
    let counters = sim.get("/__sim/counters").send().await.json();
    assert_eq!((&counters["inferences"], &counters["refused"]), (&json!(1), &json!(0)));
    assert_eq!(sim.request(Method::DELETE, "/__sim/log").send().await.status, 200);
    assert!(sim.lines().await.is_empty());
}

#[tokio::test]
async fn the_log_is_written_to_a_file_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let sim = Sim::with(|config| config.log.file = Some(path.clone())).await;
    sim.ask(json!({})).send().await;
    sim.ask(json!({})).fault("status=500").send().await;
    let text = std::fs::read_to_string(path).unwrap();
    let statuses: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone()).collect();
    assert_eq!(statuses, [json!(200), json!(500)]);
}
