//! What the provider's account tells.

use claviger_domain::{
    direct_use::{AccountError, Billed, ProviderAccount, ProviderApiKey},
    ledger::UsageCounts,
    reconcile::CostPart,
    secret::SecretBytes,
};
use claviger_upstream::{AdminApi, Transport, UpstreamConfig};
use http::{Request, Response};
use hyper::body::Incoming;

use crate::fixture::{Body, Server, full, ok, status};

const KEY: &str = "sk-ant-admin01-not-a-key";

fn refused(code: u16, message: &str) -> Response<Body> {
    let mut answer = status(code);
    let text = format!(r#"{{"type":"error","error":{{"type":"x","message":"{message}"}},"request_id":"r"}}"#);
    *answer.body_mut() = full(text);
    answer
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    if header("x-api-key") != KEY || header("anthropic-version") != "2023-06-01" {
        return refused(401, "invalid x-api-key");
    }
    let bucket = |day: u32, results: &str| {
        format!(r#"{{"starting_at":"1970-01-{day:02}T00:00:00Z","ending_at":"x","results":[{results}]}}"#)
    };
    let result = r#"{"api_key_id":"k","uncached_input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":3,"ephemeral_5m_input_tokens":2},"cache_read_input_tokens":4,"output_tokens":5,"server_tool_use":{"web_search_requests":6},"new":0}"#;
    let usage = "/v1/organizations/usage_report/messages?starting_at=1970-01-03T00:00:00.000000Z&bucket_width=1d&group_by[]=api_key_id&limit=2";
    let costs = "/v1/organizations/cost_report?starting_at=1970-01-03T00:00:00.000000Z&bucket_width=1d&group_by[]=description&limit=2";
    let key = |id: &str| format!(r#"{{"id":"{id}","name":"n","status":"active","partial_key_hint":null}}"#);
    match request.uri().to_string().as_str() {
        "/v1/organizations/api_keys?limit=1000" => {
            ok(full(format!(r#"{{"data":[{}],"has_more":true,"first_id":"a","last_id":"a b"}}"#, key("a"))))
        }
        "/v1/organizations/api_keys?limit=1000&after_id=a%20b" => {
            ok(full(format!(r#"{{"data":[{}],"has_more":false,"first_id":"c","last_id":"c"}}"#, key("c"))))
        }
        uri if uri == usage => {
            ok(full(format!(r#"{{"data":[{}],"has_more":true,"next_page":"p/1"}}"#, bucket(3, ""))))
        }
        uri if uri == format!("{usage}&page=p%2F1") => {
            let nobody = r#"{"api_key_id":null,"uncached_input_tokens":7,"cache_read_input_tokens":0,"output_tokens":0}"#;
            let days = format!("{},{}", bucket(4, &format!("{result},{nobody}")), bucket(5, result));
            ok(full(format!(r#"{{"data":[{days}],"has_more":true,"next_page":"p2"}}"#)))
        }
        uri if uri == costs => {
            let cost = |amount: &str, kind: &str| {
                format!(r#"{{"currency":"USD","amount":"{amount}","cost_type":{kind},"description":"d"}}"#)
            };
            let lines = [cost("123.45", r#""tokens""#), cost("0.5", r#""session_usage""#)];
            ok(full(format!(
                r#"{{"data":[{}],"has_more":false,"next_page":null}}"#,
                bucket(3, &lines.join(","))
            )))
        }
        _ => refused(500, "asked for too much"),
    }
}

async fn account() -> (AdminApi, String, Server) {
    let server = Server::http(|request| async move { answer(&request) }).await;
    let api = AdminApi::new(Transport::new(&UpstreamConfig::default()).expect("transport"), false);
    let url = format!("http://{}", server.address);
    (api, url, server)
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.into())
}

#[tokio::test]
async fn pages_are_read_to_their_end() {
    let (api, url, _server) = account().await;
    let keys = api.api_keys(&url, &secret(KEY)).await.expect("keys");
    let key = |id: &str| ProviderApiKey {
        id: id.to_owned(),
        name: "n".to_owned(),
        status: "active".to_owned(),
        hint: String::new(),
    };
    assert_eq!(keys, [key("a"), key("c")]);
    let billed = api.billed(&url, &secret(KEY), (2, 4)).await.expect("usage");
    let usage = UsageCounts {
        input_tokens: 1,
        cache_write_5m_tokens: 2,
        cache_write_1h_tokens: 3,
        cache_read_tokens: 4,
        output_tokens: 5,
        web_search_requests: 6,
    };
    let nobody = UsageCounts { input_tokens: 7, ..UsageCounts::default() };
    assert_eq!(
        billed,
        [
            Billed { api_key: Some("k".to_owned()), day: 3, usage },
            Billed { api_key: None, day: 3, usage: nobody }
        ],
        "days that were not asked for are left out, and end the reading"
    );
}

#[tokio::test]
async fn failures_say_what_to_look_at() {
    let (api, url, _server) = account().await;
    let refused = api.api_keys(&url, &secret("sk-ant-admin01-other")).await;
    let message = "invalid x-api-key".to_owned();
    assert_eq!(refused, Err(AccountError::Refused { status: 401, message }));
    let failing = api.billed(&url, &secret(KEY), (0, 400)).await;
    let message = "asked for too much".to_owned();
    assert_eq!(failing, Err(AccountError::Failing { status: 500, message }));
    let nobody = api.api_keys("http://127.0.0.1:1", &secret(KEY)).await;
    assert!(matches!(nobody, Err(AccountError::Unreachable(_))), "{nobody:?}");
}

#[tokio::test]
async fn costs_are_read_and_what_no_usage_tells_is_told_apart() {
    let (api, url, _server) = account().await;
    let costs = api.costs(&url, &secret(KEY), (2, 4)).await.expect("costs");
    assert_eq!(
        costs,
        [
            CostPart { day: 2, cost: 1_234_500_000_000, is_metered: true },
            CostPart { day: 2, cost: 5_000_000_000, is_metered: false },
        ]
    );
}
