use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use claviger_domain::{
    clock::{Clock, Timestamp},
    dpop::{BoundToken, Origin, Proof, Request as ProofFor},
};
use claviger_testkit::ManualClock;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{Layer, Service, service_fn};

use super::vectors;
use crate::{Auth, Body, ClavigerLayer, Config, ProofKey, error::BoxError, key::StaticKey};

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
    #[serde(default)]
    dpop: bool,
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
    nonce: Option<String>,
    dpop_nonce: Option<String>,
    #[serde(default)]
    form: BTreeMap<String, String>,
}

impl Exchange {
    fn answer(&self) -> Response<Body> {
        let (status, text) = match (&self.tokens, &self.json) {
            (Some(tokens), None) => {
                let mut tokens = tokens.clone();
                if tokens["token_type"].is_null() {
                    tokens["token_type"] = "Bearer".into();
                }
                (200, tokens)
            }
            (None, Some(text)) => (200, text.clone()),
            _ => {
                let details = json!({ "error_code": self.error_code });
                let error = json!({ "type": "authentication_error", "message": "no", "details": details });
                (self.status.unwrap(), json!({ "type": "error", "error": error }))
            }
        };
        let mut head = Response::builder().status(status).header("content-type", "application/json");
        if let Some(nonce) = &self.dpop_nonce {
            head = head.header("dpop-nonce", nonce);
        }
        head.body(Body::from(text.to_string())).unwrap()
    }
}

/// What the server of a case knows.
#[derive(Clone)]
struct Script {
    waiting: Arc<Mutex<VecDeque<Exchange>>>,
    key: String,
    /// The thumbprint of the client's proof key, if it has one.
    jkt: Option<String>,
    used: Arc<Mutex<HashSet<[u8; 16]>>>,
}

impl Script {
    /// Judges a request's proof as the gateway does.
    fn judge(&self, parts: &Parts, next: &Exchange, now: Timestamp) {
        let proofs: Vec<_> = parts.headers.get_all("dpop").iter().collect();
        let Some(jkt) = &self.jkt else { return assert!(proofs.is_empty()) };
        let [proof] = proofs[..] else { panic!("{} proofs", proofs.len()) };
        let proof = Proof::read(proof.as_bytes()).unwrap();
        let origin = Origin::parse("https://gw.example").unwrap();
        let token = next.proof.strip_prefix("dpop:");
        let token = token.map(|text| BoundToken { text: text.as_bytes(), jkt });
        let asked =
            ProofFor { method: parts.method.as_str(), origin: &origin, path: parts.uri.path(), token };
        proof.check(&asked, now, false).unwrap();
        assert_eq!((&proof.jkt, &proof.nonce), (jkt, &next.nonce));
        assert!(self.used.lock().unwrap().insert(proof.nonce_of()), "a proof that was used before");
    }
}

async fn play(request: Request<Body>, script: Script, now: Timestamp) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let form = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    let next = script.waiting.lock().unwrap().pop_front();
    let Some(next) = next else { panic!("unexpected request to {}", parts.uri.path()) };
    assert_eq!(parts.uri.path(), next.path);
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let refresh = form.split('&').find_map(|part| part.strip_prefix("refresh_token="));
    let proof = match (header("x-api-key"), header("authorization"), refresh) {
        (Some(shown), None, None) if shown == script.key => "key".to_owned(),
        (None, Some(bearer), None) => bearer.replacen("Bearer ", "bearer:", 1).replacen("DPoP ", "dpop:", 1),
        (None, None, Some(refresh)) => format!("refresh:{refresh}"),
        _ => "?".to_owned(),
    };
    assert_eq!(proof, next.proof);
    script.judge(&parts, &next, now);
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
        let proof_key = case.dpop.then(|| ProofKey::generate().unwrap());
        let script = Script {
            waiting: Arc::default(),
            key: file.key.clone(),
            jkt: proof_key.as_ref().map(|key| key.thumbprint().to_owned()),
            used: Arc::default(),
        };
        let clock = ManualClock::at(Timestamp::from_secs(file.start));
        let (server, time) = (script.clone(), clock.clone());
        let inner = service_fn(move |request| play(request, server.clone(), time.now()));
        let config = Config::new("https://gw.example", StaticKey::new(&file.key).unwrap()).unwrap();
        let mut config = config.auth(Auth::Token).clock(Arc::new(clock.clone()));
        if let Some(scope) = case.scope {
            config = config.scope(scope);
        }
        if let Some(key) = proof_key {
            config = config.proof_key(key);
        }
        let mut client = ClavigerLayer::new(config).layer(inner);
        let mut now = 0.0;
        for call in case.calls {
            clock.advance(Duration::from_secs_f64(call.at - now));
            now = call.at;
            *script.waiting.lock().unwrap() = call.exchanges;
            let request = Request::get("https://gw.example/v1/models").header("x-stainless-retry-count", "0");
            let answer = client.call(request.body(http_body_util::Empty::<Bytes>::new()).unwrap()).await;
            let result = answer.map_or_else(|_| json!("error"), |answer| json!(answer.status().as_u16()));
            assert_eq!(result, call.result, "{} at {}", case.name, call.at);
            assert!(
                script.waiting.lock().unwrap().is_empty(),
                "{} at {}: too few requests",
                case.name,
                call.at
            );
        }
    }
}
