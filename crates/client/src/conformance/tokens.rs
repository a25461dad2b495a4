use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use claviger_domain::clock::Timestamp;
use claviger_testkit::ManualClock;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{Layer, Service, service_fn};

use super::vectors;
use crate::{Auth, Body, ClavigerLayer, Config, error::BoxError, key::StaticKey};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    key: String,
    start: i64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    scope: Option<String>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    at: f64,
    exchanges: VecDeque<Exchange>,
    result: Value,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Exchange {
    path: String,
    proof: String,
    status: Option<u16>,
    error_code: Option<String>,
    tokens: Option<Value>,
    json: Option<Value>,
    #[serde(default)]
    form: BTreeMap<String, String>,
}

impl Exchange {
    fn answer(&self) -> Response<Body> {
        let (status, text) = match (&self.tokens, &self.json) {
            (Some(tokens), None) => {
                let mut tokens = tokens.clone();
                tokens["token_type"] = "Bearer".into();
                (200, tokens)
            }
            (None, Some(text)) => (200, text.clone()),
            _ => {
                let details = json!({ "error_code": self.error_code });
                let error = json!({ "type": "authentication_error", "message": "no", "details": details });
                (self.status.unwrap(), json!({ "type": "error", "error": error }))
            }
        };
        let head = Response::builder().status(status).header("content-type", "application/json");
        head.body(Body::from(text.to_string())).unwrap()
    }
}

type Script = Arc<Mutex<VecDeque<Exchange>>>;

async fn play(request: Request<Body>, script: Script, key: String) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let form = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    let next = script.lock().unwrap().pop_front();
    let Some(next) = next else { panic!("unexpected request to {}", parts.uri.path()) };
    assert_eq!(parts.uri.path(), next.path);
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let refresh = form.split('&').find_map(|part| part.strip_prefix("refresh_token="));
    let proof = match (header("x-api-key"), header("authorization"), refresh) {
        (Some(shown), None, None) if shown == key => "key".to_owned(),
        (None, Some(bearer), None) => bearer.replacen("Bearer ", "bearer:", 1),
        (None, None, Some(refresh)) => format!("refresh:{refresh}"),
        _ => "?".to_owned(),
    };
    assert_eq!(proof, next.proof);
    for (name, value) in &next.form {
        let pair = format!("{name}={}", value.replace(':', "%3A").replace(' ', "+"));
        assert!(form.split('&').any(|part| part == pair), "{form} has no {pair}");
    }
    Ok(next.answer())
}

#[tokio::test]
async fn tokens_flow_as_the_vectors_say() {
    let file: File = vectors("tokens.json");
    for case in file.cases {
        let script = Script::default();
        let (server, key) = (Arc::clone(&script), file.key.clone());
        let inner = service_fn(move |request| play(request, Arc::clone(&server), key.clone()));
        let clock = ManualClock::at(Timestamp::from_secs(file.start));
        let config = Config::new("https://gw.example", StaticKey::new(&file.key).unwrap()).unwrap();
        let mut config = config.auth(Auth::Token).clock(Arc::new(clock.clone()));
        if let Some(scope) = case.scope {
            config = config.scope(scope);
        }
        let mut client = ClavigerLayer::new(config).layer(inner);
        let mut now = 0.0;
        for call in case.calls {
            clock.advance(Duration::from_secs_f64(call.at - now));
            now = call.at;
            *script.lock().unwrap() = call.exchanges;
            let request = Request::get("https://gw.example/v1/models").header("x-stainless-retry-count", "0");
            let answer = client.call(request.body(http_body_util::Empty::<Bytes>::new()).unwrap()).await;
            let result = answer.map_or_else(|_| json!("error"), |answer| json!(answer.status().as_u16()));
            assert_eq!(result, call.result, "{} at {}", case.name, call.at);
            assert!(script.lock().unwrap().is_empty(), "{} at {}: too few requests", case.name, call.at);
        }
    }
}
