//! A caller as its environment says, over `tower`, `hyper` and `rustls`, or with the argument `reqwest` over that. The suites
//! in `tests/adapters` run it: it prints `passed`, or the code of the first refusal.
//!
//! The key is what `Config::from_env` finds, or a blob (`SEALED`, `CLAVIGER_KMS`), or what a store has (`STORED`, `WRAPPED_FILE`,
//! `VAULT_ADDR`). With the argument `follow` it goes on sending while its signing secret is replaced.

#[path = "caller/follow.rs"]
mod follow;
#[path = "caller/wire.rs"]
mod wire;

use std::{env, sync::Arc};

use bytes::Bytes;
use claviger_client::{
    Body, Claviger, ClavigerLayer, Config, ContentDigest,
    clock::SystemClock,
    error::BoxError,
    key::{KmsOpener, SealedKey, StoreToken, VaultKey},
    reqwest::Client,
};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt};

use wire::Wire;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = match env::args().nth(1).as_deref() {
        Some("follow") => return follow::run(&Wire::new(None)).await,
        Some("reqwest") => Client::from_env(reqwest::Client::builder())?.claviger().clone(),
        Some(_) | None => over_tower()?,
    };
    let caller = Caller { client, base: set("ANTHROPIC_BASE_URL")? };
    let said = caller.run().await?;
    #[expect(clippy::print_stdout, reason = "it is what the suite reads")]
    {
        println!("{said}");
    }
    Ok(())
}

fn set(name: &str) -> Result<String, BoxError> {
    env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn over_tower() -> Result<Claviger, BoxError> {
    let (config, wire) = configured()?;
    Ok(ClavigerLayer::new(config).layer(wire.service()))
}

fn configured() -> Result<(Config, Wire), BoxError> {
    let wire = Wire::new(None);
    if let Ok(blob) = env::var("SEALED") {
        let opener = KmsOpener::new(wire.service(), &set("CLAVIGER_KMS")?, Arc::new(SystemClock))?;
        return Ok((Config::new(&set("ANTHROPIC_BASE_URL")?, SealedKey::new(blob, opener))?, wire));
    }
    if let Ok(path) = env::var("STORED") {
        let token = StoreToken::Wrapped(set("WRAPPED_FILE")?.into());
        let path = format!("secret/data/{path}");
        let key = VaultKey::new(wire.service(), &set("VAULT_ADDR")?, &path, "key", token)?;
        return Ok((Config::new(&set("ANTHROPIC_BASE_URL")?, key)?, wire));
    }
    let (config, tls) = Config::from_env_with_tls()?;
    Ok((config, Wire::new(tls)))
}

struct Caller {
    client: Claviger,
    base: String,
}

impl Caller {
    /// Lists, asks, streams, uploads; gives its tokens back and goes on.
    async fn run(&self) -> Result<String, BoxError> {
        let (status, text) = self.send(self.request("GET", "/v1/models", Body::empty())?).await?;
        if status != StatusCode::OK {
            return Ok(code_of(&text));
        }
        for question in [question(false), question(true)] {
            let wanted = if question.contains("\"stream\":true") {
                "event: message_stop"
            } else {
                "\"output_tokens\""
            };
            self.expect(self.request("POST", "/v1/messages", Body::from(question))?, wanted).await?;
        }
        self.expect(self.upload()?, "\"file_").await?;
        let health = self.client.health().await;
        if !health.ready || health.accepted.is_err() {
            return Err(format!("{health:?}").into());
        }
        if !self.client.revoke().await? {
            return Err("the tokens were not taken back".into());
        }
        self.expect(self.request("GET", "/v1/models", Body::empty())?, "\"data\"").await?;
        Ok("passed".to_owned())
    }

    /// A stream that can be read once, signed by its digest.
    fn upload(&self) -> Result<Request<Body>, BoxError> {
        let mut form = String::from(
            "--line\r\ncontent-disposition: form-data; name=\"file\"; filename=\"notes.txt\"\r\ncontent-type: text/plain\r\n\r\n",
        );
        form.push_str(&"0123456789abcdef".repeat(16_384));
        form.push_str("\r\n--line--\r\n");
        let digest = ContentDigest::of(form.as_bytes());
        let pieces = form.into_bytes().chunks(50_000).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(http_body::Frame::data(piece)));
        let mut request =
            self.request("POST", "/v1/files", Body::new(StreamBody::new(stream::iter(frames))))?;
        request.headers_mut().insert("content-type", "multipart/form-data; boundary=line".parse()?);
        request.extensions_mut().insert(digest);
        Ok(request)
    }

    fn request(&self, method: &str, path: &str, body: Body) -> Result<Request<Body>, BoxError> {
        let head = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let head = head.header("anthropic-version", "2023-06-01").header("content-type", "application/json");
        Ok(head.body(body)?)
    }

    async fn expect(&self, request: Request<Body>, wanted: &str) -> Result<(), BoxError> {
        let path = request.uri().path().to_owned();
        let (status, text) = self.send(request).await?;
        if status == StatusCode::OK && text.contains(wanted) {
            return Ok(());
        }
        Err(format!("{path}: {status}: {text}").into())
    }

    async fn send(&self, request: Request<Body>) -> Result<(StatusCode, String), BoxError> {
        let answer: Response<Body> = self.client.clone().oneshot(request).await?;
        let status = answer.status();
        Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
    }
}

fn question(stream: bool) -> String {
    format!(
        r#"{{"model":"claude-opus-5-5","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":"你好, say | hello"}}]}}"#
    )
}

fn code_of(text: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    answer.pointer("/error/details/error_code").and_then(serde_json::Value::as_str).unwrap_or(text).to_owned()
}
