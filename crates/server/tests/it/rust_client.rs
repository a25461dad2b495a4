//! The client over `reqwest` against the real gateway, under a key that demands an access token and a signature.

use std::time::Duration;

use bytes::Bytes;
use claviger_client::{
    Auth, Config, ContentDigest, Signing, key::StaticKey, reqwest::Client, run_batch, stats::Stats,
};
use claviger_domain::signature::Profile;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::house::{Claviger, Sim};

/// A key that demands both, at a gateway.
struct House {
    url: String,
    key: String,
    signing_secret: String,
}

struct Caller {
    client: Client,
    base: String,
}

fn message(stream: bool) -> Value {
    json!({
        "model": "claude-opus-5-5", "max_tokens": 64, "stream": stream,
        "messages": [{ "role": "user", "content": "你好, say | hello" }],
    })
}

impl Caller {
    fn new(house: &House, config: impl FnOnce(Config) -> Config) -> Self {
        let plain = Config::new(&house.url, StaticKey::new(&house.key).unwrap()).unwrap();
        let client = Client::new(reqwest::Client::builder(), config(plain)).unwrap();
        Self { client, base: house.url.clone() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, &format!("{}{path}", self.base));
        request.header("anthropic-version", "2023-06-01").timeout(Duration::from_secs(60))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Bytes {
        let answer = self.client.execute(request.build().unwrap()).await.unwrap();
        let (status, text) = (answer.status(), answer.bytes().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text:?}");
        text
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Value {
        serde_json::from_slice(&self.send(request).await).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body.to_string())
    }

    async fn creates_and_counts(&self) {
        let made = self.json(self.post("/v1/messages?beta=true", &message(false))).await;
        assert_eq!(made["type"], "message");
        let mut question = message(false);
        question.as_object_mut().unwrap().retain(|name, _| name == "model" || name == "messages");
        let counted = self.json(self.post("/v1/messages/count_tokens", &question)).await;
        assert!(counted["input_tokens"].as_u64() > Some(0), "{counted}");
    }

    async fn streams(&self) {
        let text = self.send(self.post("/v1/messages", &message(true))).await;
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(
            text.contains("event: content_block_delta") && text.contains("event: message_stop"),
            "{text}"
        );
    }

    async fn uploads(&self, profile: Profile) {
        let mut form = String::from(
            "--line\r\ncontent-disposition: form-data; name=\"file\"; filename=\"notes.txt\"\r\ncontent-type: text/plain\r\n\r\n",
        );
        form.push_str(&"0123456789abcdef".repeat(16_384));
        form.push_str("\r\n--line--\r\n");
        let upload = || {
            self.request(Method::POST, "/v1/files")
                .header("content-type", "multipart/form-data; boundary=line")
        };
        let file = self.json(upload().body(form.clone())).await;
        let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
        self.send(self.request(Method::DELETE, &path)).await;
        if profile == Profile::V1 {
            return;
        }
        let digest = ContentDigest::of(form.as_bytes());
        let pieces: Vec<_> = form
            .as_bytes()
            .chunks(50_000)
            .map(|p| Ok::<_, std::io::Error>(Bytes::copy_from_slice(p)))
            .collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let request = upload().body(body).build().unwrap();
        let answer = self.client.execute_announced(request, digest).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.bytes().await);
    }

    async fn batches(&self) {
        let mut params = message(false);
        params.as_object_mut().unwrap().remove("stream");
        let batch = json!({ "requests": [{ "custom_id": "one", "params": params }] });
        let made = self.json(self.post("/v1/messages/batches", &batch)).await;
        let path = format!("/v1/messages/batches/{}", made["id"].as_str().unwrap());
        let mut seen = made;
        for _ in 0..100 {
            if seen["processing_status"] == "ended" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            seen = self.json(self.request(Method::GET, &path)).await;
        }
        let results = self.send(self.request(Method::GET, &format!("{path}/results"))).await;
        let line: Value = serde_json::from_slice(results.trim_ascii()).unwrap();
        assert_eq!(line["custom_id"], "one");
    }

    async fn runs_many(&self) {
        let items: Vec<usize> = (0..25).collect();
        let results = run_batch(&items, Default::default(), |item| {
            let (item, request) = (*item, self.post("/v1/messages", &message(false)));
            async move {
                self.send(request).await;
                Ok::<_, ()>(item)
            }
        });
        assert_eq!(results.await, items.iter().map(|item| Ok(*item)).collect::<Vec<_>>());
    }
}

#[test]
fn every_kind_of_call_passes_under_token_and_signature() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let demanding = ["--require", "token,signature", "--sign", "--rpm", "0", "--rpd", "0"];
    let made = node.json(&[&["key", "create", "--name", "rust"][..], &demanding].concat());
    let text = |field: &str| made[field].as_str().expect(field).to_owned();
    let house = House {
        url: format!("http://{}", node.gateway()),
        key: text("key"),
        signing_secret: text("signing_secret"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for profile in Profile::ALL {
            passes(&house, profile).await;
        }
        refuses_what_the_policy_does_not_allow(&house).await;
    });
}

async fn passes(house: &House, profile: Profile) {
    let stats = Stats::default();
    let secret = StaticKey::new(&house.signing_secret).unwrap();
    let signing = Signing::secret(profile, secret);
    let caller = Caller::new(house, |config| config.auth(Auth::Token).signing(signing).stats(stats.clone()));
    caller.creates_and_counts().await;
    caller.streams().await;
    caller.uploads(profile).await;
    caller.batches().await;
    caller.runs_many().await;
    let seen = stats.snapshot();
    assert_eq!((seen.errors, seen.unpriced_requests), (0, 0), "{seen:?}");
    assert!(seen.input_tokens > 0 && seen.output_tokens > 0, "{seen:?}");
    assert!(caller.client.claviger().health().await.ready);
    assert!(caller.client.claviger().revoke().await.unwrap());
    // The tokens are gone; the key buys new ones.
    caller.creates_and_counts().await;
}

async fn refuses_what_the_policy_does_not_allow(house: &House) {
    let signing = |secret: &str| Signing::secret(Profile::V2, StaticKey::new(secret).unwrap());
    let unsigned = Caller::new(house, |config| config.auth(Auth::Token));
    let tokenless = Caller::new(house, |config| config.signing(signing(&house.signing_secret)));
    let wrong = Caller::new(house, |config| config.auth(Auth::Token).signing(signing("cvg_sign_wrong")));
    for caller in [unsigned, tokenless, wrong] {
        let request = caller.request(Method::GET, "/v1/models").build().unwrap();
        assert_eq!(caller.client.execute(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}
