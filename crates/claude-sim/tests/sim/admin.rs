//! The Admin API: who used which key.

use std::collections::HashMap;

use claviger_claude_sim::KeyRing;
use serde_json::{Value, json};

use crate::harness::{Answer, Call, Sim};

const ADMIN: &str = "sk-ant-admin01-of-the-tests";
const ONE: &str = "sk-ant-api03-one0123456789012345678901234567890-oneAA";
const TWO: &str = "sk-ant-api03-two0123456789012345678901234567890-twoAA";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const REPORT: &str = "/v1/organizations/usage_report/messages";

fn admin(call: Call<'_>) -> Call<'_> {
    call.header("x-api-key", ADMIN)
}

async fn report(sim: &Sim, query: &str) -> Answer {
    admin(sim.get(&format!("{REPORT}?{query}"))).send().await
}

/// `(api_key_id, uncached, output)` of each day.
fn by_key(report: &Value) -> Vec<Vec<(String, u64, u64)>> {
    let result = |r: &Value| {
        let number = |name: &str| r[name].as_u64().unwrap();
        let key = r["api_key_id"].as_str().unwrap_or("-").to_owned();
        (key, number("uncached_input_tokens"), number("output_tokens"))
    };
    let days = report["data"].as_array().unwrap().iter();
    days.map(|day| day["results"].as_array().unwrap().iter().map(result).collect()).collect()
}

#[tokio::test]
async fn a_report_tells_what_each_key_used_by_day() {
    let sim = Sim::start().await;
    sim.ask(json!({})).header("x-api-key", ONE).send().await;
    sim.ask(json!({"stream": true})).header("x-api-key", TWO).send().await;
    sim.advance_ms(2 * DAY_MS);
    sim.ask(json!({})).header("x-api-key", ONE).send().await;
    sim.ask(json!({"metadata": {"user_id": "sim:refusal=before"}})).header("x-api-key", ONE).send().await;

    let keys = admin(sim.get("/v1/organizations/api_keys?limit=1")).send().await.json();
    assert_eq!((keys["has_more"].as_bool(), keys.get("next_page")), (Some(true), None));
    let after = keys["last_id"].as_str().unwrap();
    let rest = admin(sim.get(&format!("/v1/organizations/api_keys?after_id={after}"))).send().await.json();
    assert_eq!(rest["has_more"], false);
    let hints =
        [&keys["data"][0], &rest["data"][0]].map(|key| key["partial_key_hint"].as_str().unwrap().to_owned());
    assert!(hints.contains(&"sk-ant-api03-one...neAA".to_owned()), "{hints:?}");
    assert!(keys["data"][0].get("workspace_id").is_some() && keys["data"][0].get("scope").is_none());
    let one = if hints[0].contains("one") { &keys["data"][0] } else { &rest["data"][0] };
    let one = one["id"].as_str().unwrap();

    let query = "starting_at=2026-11-17T00:00:00Z&bucket_width=1d&group_by[]=api_key_id";
    let first = report(&sim, &format!("{query}&limit=3")).await.json();
    assert_eq!(first["has_more"], true);
    let next = first["next_page"].as_str().unwrap();
    let second = report(&sim, &format!("{query}&limit=3&page={next}")).await.json();
    assert_eq!((&second["has_more"], &second["next_page"]), (&json!(false), &Value::Null));
    let days = [by_key(&first), by_key(&second)].concat();
    assert_eq!(days.iter().map(Vec::len).collect::<Vec<_>>(), [0, 2, 0, 1], "empty days are listed");
    assert_eq!(second["data"][0]["starting_at"], "2026-11-20T00:00:00Z");
    assert_eq!(second["data"][0]["ending_at"], "2026-11-21T00:00:00Z");
    let once = days[1].iter().find(|(key, ..)| key == one).unwrap();
    assert_eq!((&days[3][0], once.1 > 0, once.2 > 0), (once, true, true), "a refused call is not billed");

    let all = report(&sim, "starting_at=2026-11-17T00:00:00Z&limit=31").await.json();
    let all = by_key(&all);
    assert_eq!(all[1], [("-".to_owned(), days[1][0].1 + days[1][1].1, days[1][0].2 + days[1][1].2)]);
}

#[tokio::test]
async fn a_result_has_every_field_of_the_api() {
    let sim = Sim::start().await;
    sim.ask(json!({})).header("x-api-key", ONE).send().await;
    let query = "starting_at=2026-11-18T00:00:00Z&group_by[]=model&group_by[]=speed&models[]=claude-opus-5-5";
    let report = report(&sim, query).await.json();
    insta::assert_snapshot!(report["data"][0]["results"][0].to_string(), @r#"{"account_id":null,"api_key_id":null,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0},"cache_read_input_tokens":0,"context_window":null,"inference_geo":null,"model":"claude-opus-5-5","output_tokens":80,"server_tool_use":{"web_search_requests":0},"service_account_id":null,"service_tier":null,"speed":"standard","uncached_input_tokens":23,"workspace_id":null}"#);
}

#[tokio::test]
async fn items_of_a_batch_are_billed_to_the_key_that_made_it() {
    let sim = Sim::start().await;
    let item = json!({"custom_id": "a", "params": {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}});
    sim.post("/v1/messages/batches", json!({"requests": [item]}).to_string())
        .header("x-api-key", ONE)
        .send()
        .await;
    sim.advance_ms(60_000);
    let report = report(&sim, "starting_at=2026-11-18T00:00:00Z&group_by[]=service_tier").await.json();
    assert_eq!(report["data"][0]["results"][0]["service_tier"], "batch");
}

#[tokio::test]
async fn each_kind_of_key_opens_its_own_side() {
    let ring = HashMap::from([(ONE.to_owned(), "prod".to_owned())]);
    let sim = Sim::with(|config| {
        config.keys = KeyRing::Only(ring);
        config.admin_keys = vec![ADMIN.to_owned()];
    })
    .await;
    let keys =
        admin(sim.get("/v1/organizations/api_keys").header("anthropic-version", "2026-10-21")).send().await;
    assert_eq!(keys.json()["data"][0]["name"], "prod");
    assert_eq!(keys.json()["data"][0]["scope"]["type"], "workspace");
    let refused = "401 authentication_error: invalid x-api-key";
    for call in [
        admin(sim.ask(json!({}))),
        sim.get("/v1/organizations/api_keys").header("x-api-key", ONE),
        sim.get("/v1/organizations/api_keys").header("x-api-key", "sk-ant-admin01-another"),
    ] {
        assert_eq!(call.send().await.refusal(), refused);
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let sim = Sim::start().await;
    let mut said = Vec::new();
    for query in [
        "",
        "starting_at=yesterday",
        "starting_at=2026-11-18T00:00:00Z&bucket_width=1w",
        "starting_at=2026-11-18T00:00:00Z&limit=32",
        "starting_at=2026-11-18T00:00:00Z&group_by[]=key",
        "starting_at=2026-11-18T00:00:00Z&ending_at=2026-11-17T00:00:00Z",
        "starting_at=2026-11-18T00:00:00Z&page=x",
    ] {
        said.push(report(&sim, query).await.refusal());
    }
    insta::assert_snapshot!(said.join("\n"), @r"
400 invalid_request_error: starting_at: Field required
400 invalid_request_error: starting_at: Input should be a valid RFC 3339 datetime
400 invalid_request_error: bucket_width: Input should be '1m', '1h' or '1d'
400 invalid_request_error: limit: Input should be between 1 and 31
400 invalid_request_error: group_by: 'key' is not a dimension of this report
400 invalid_request_error: ending_at: 2026-11-17T00:00:00Z is not after starting_at
400 invalid_request_error: page: unknown
");
}

#[tokio::test]
async fn the_cost_report_is_in_cents_by_day_and_follows_the_price_list() {
    let sim = Sim::start().await;
    let costs = async |query: &str| {
        let path = format!("/v1/organizations/cost_report?starting_at=2026-11-17T00:00:00Z&{query}");
        admin(sim.get(&path)).send().await
    };
    let used = |usage: &str| {
        let steering = format!("sim: usage={usage}");
        json!({"model": "claude-opus-5-5", "metadata": {"user_id": steering}})
    };
    sim.ask(used("{\"input_tokens\":1000,\"output_tokens\":10}")).header("x-api-key", ONE).send().await;
    sim.ask(used("{\"input_tokens\":0,\"output_tokens\":0,\"server_tool_use\":{\"web_search_requests\":2}}"))
        .header("x-api-key", TWO)
        .send()
        .await;
    sim.ask(used("{\"input_tokens\":10,\"output_tokens\":0,\"inference_geo\":\"us\"}"))
        .header("x-api-key", ONE)
        .send()
        .await;

    let days = costs("limit=31").await.json();
    let busy: Vec<&Value> =
        days["data"].as_array().unwrap().iter().filter(|day| day["results"] != json!([])).collect();
    assert_eq!((busy.len(), busy[0]["results"].as_array().unwrap().len()), (1, 1), "{days}");
    // 0.4 + 0.02 for the first, two for the searches, a tenth more in the US.
    assert_eq!(busy[0]["results"][0]["amount"], "2.4244");
    assert_eq!(busy[0]["results"][0]["currency"], "USD");

    let days = costs("limit=31&group_by[]=description&group_by[]=workspace_id").await.json();
    let results = days["data"].as_array().unwrap().iter().flat_map(|day| day["results"].as_array().unwrap());
    let mut lines: Vec<_> = results
        .map(|r| {
            let text = |name: &str| r[name].as_str().unwrap_or("-").to_owned();
            [text("cost_type"), text("token_type"), text("inference_geo"), text("amount")].join(" ")
        })
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "tokens output_tokens global 0.02",
            "tokens uncached_input_tokens global 0.4",
            "tokens uncached_input_tokens us 0.0044",
            "web_search - global 2",
        ]
    );
    assert_eq!(costs("group_by[]=model").await.status, 400);
    assert_eq!(costs("bucket_width=1h").await.status, 400);
    let first = costs("limit=1").await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    let refused = sim.get("/v1/organizations/cost_report?starting_at=2026-11-17T00:00:00Z");
    assert_eq!(refused.header("x-api-key", ONE).send().await.status, 401);
}
