use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use claviger_domain::signature::Profile;
use claviger_testkit::ManualClock;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::{
    body::ContentDigest,
    cache::{CACHE_HEADER, Cache},
    key::StaticKey,
    limiter::{Limiter, Limits},
    retry::{Retry, RetryMode},
    signing::Signing,
    stats::Stats,
};

const KEY: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";
const SECRET: &str = "cvg_sign_Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09abc";
const BASE: &str = "https://gw.example";

/// What the server saw of one request.
#[derive(Debug, Clone)]
struct Saw {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A server that remembers what it saw; a body that fails is no request.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Saw>>>);

impl Server {
    fn seen(&self) -> Vec<Saw> {
        self.0.lock().unwrap().clone()
    }

    fn client(&self, config: Config, answer: fn(usize, &Saw) -> Response<Body>) -> Claviger {
        let server = self.clone();
        let inner = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let path = parts.uri.path().to_owned();
                let body = body.collect().await?.to_bytes();
                let saw = Saw { path, headers: parts.headers, body };
                let mut seen = server.0.lock().unwrap();
                seen.push(saw.clone());
                Ok::<_, BoxError>(answer(seen.len(), &saw))
            }
        });
        ClavigerLayer::new(config).layer(inner)
    }
}

fn config() -> Config {
    Config::new(BASE, StaticKey::new(KEY).unwrap()).unwrap().clock(Arc::new(ManualClock::default()))
}

fn signing(profile: Profile) -> Signing {
    Signing::secret(profile, StaticKey::new(SECRET).unwrap())
}

fn fine(_: usize, _: &Saw) -> Response<Body> {
    json(200, r#"{"model":"claude-opus-5-5","usage":{"input_tokens":10,"output_tokens":5}}"#)
}

fn json(status: u16, text: &'static str) -> Response<Body> {
    let head = Response::builder().status(status).header("content-type", "application/json");
    head.body(Body::from(text)).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("{BASE}/v1/messages")).body(body.into()).unwrap()
}

async fn read(answer: Response<Body>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn the_credential_replaces_the_callers() {
    let server = Server::default();
    let client = server.client(config(), fine);
    let mut request = post("{}");
    request.headers_mut().insert(AUTHORIZATION, "Bearer placeholder".parse().unwrap());
    client.oneshot(request).await.unwrap();
    let saw = &server.seen()[0];
    assert_eq!(saw.headers[X_API_KEY], KEY);
    assert!(saw.headers[X_API_KEY].is_sensitive() && !saw.headers.contains_key(AUTHORIZATION));
}

#[tokio::test]
async fn nothing_is_sent_to_another_origin() {
    let server = Server::default();
    let client = server.client(config(), fine);
    let request = Request::get("https://elsewhere.example/v1/models").body(Body::empty()).unwrap();
    assert!(matches!(client.oneshot(request).await, Err(ClientError::ForeignOrigin(_))));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn many_callers_buy_one_token() {
    let server = Server::default();
    let client = server.client(config().auth(Auth::Token), |_, saw| match saw.path.as_str() {
        "/v1/auth/token" => json(200, r#"{"access_token":"A1","token_type":"Bearer","expires_in":7200}"#),
        _ => fine(0, saw),
    });
    let calls = (0..50).map(|_| client.clone().oneshot(post("{}")));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    let bought = server.seen().iter().filter(|saw| saw.path == "/v1/auth/token").count();
    assert_eq!(bought, 1);
    assert!(client.revoke().await.unwrap());
    assert_eq!(server.seen().last().unwrap().body, "token=A1&token_type_hint=access_token");
}

#[tokio::test]
async fn a_refresh_whose_answer_is_long_overdue_is_not_sent_again() {
    let server = Server::default();
    let clock = ManualClock::default();
    let lost = Arc::new(AtomicUsize::new(0));
    let inner = {
        let (server, lost) = (server.clone(), Arc::clone(&lost));
        service_fn(move |request: Request<Body>| {
            let (server, lost) = (server.clone(), Arc::clone(&lost));
            async move {
                let path = request.uri().path().to_owned();
                let saw = Saw { path: path.clone(), headers: HeaderMap::new(), body: Bytes::new() };
                server.0.lock().unwrap().push(saw);
                match path.as_str() {
                    "/v1/auth/refresh" => {
                        lost.fetch_add(1, Ordering::SeqCst);
                        Err(BoxError::from("cut"))
                    }
                    "/v1/auth/token" => Ok(json(
                        200,
                        r#"{"access_token":"A","token_type":"Bearer","expires_in":100,"refresh_token":"R"}"#,
                    )),
                    _ => Ok(json(200, "{}")),
                }
            }
        })
    };
    let mut config = config().auth(Auth::Token).clock(Arc::new(clock.clone()));
    config.retry = Retry { mode: RetryMode::Never, ..Retry::default() };
    let client = ClavigerLayer::new(config).layer(inner);
    client.clone().oneshot(post("{}")).await.unwrap();
    clock.advance(Duration::from_secs(101));
    assert!(client.clone().oneshot(post("{}")).await.is_err());
    assert_eq!(lost.load(Ordering::SeqCst), 2, "once, and once more at once");
    clock.advance(Duration::from_secs(30));
    client.clone().oneshot(post("{}")).await.unwrap();
    assert_eq!(lost.load(Ordering::SeqCst), 2, "the gateway would take it for theft");
}

#[tokio::test(start_paused = true)]
async fn every_sending_is_signed_anew() {
    let server = Server::default();
    let retry = Retry { mode: RetryMode::Always, ..Retry::default() };
    let stats = Stats::default();
    let config = config().signing(signing(Profile::V2)).retry(retry).stats(stats.clone());
    let client = server.client(config, |n, saw| if n < 4 { json(503, "{}") } else { fine(n, saw) });
    read(client.oneshot(post(r#"{"a":1}"#)).await.unwrap()).await;
    let seen = server.seen();
    let nonces: HashSet<_> = seen.iter().map(|saw| saw.headers["x-request-nonce"].clone()).collect();
    assert_eq!((seen.len(), nonces.len()), (4, 4));
    assert!(seen.iter().all(|saw| saw.body == r#"{"a":1}"#));
    let snapshot = stats.snapshot();
    assert_eq!((snapshot.requests, snapshot.repetitions, snapshot.errors), (1, 3, 0));
    assert_eq!((snapshot.input_tokens, snapshot.output_tokens), (10, 5));
}

#[tokio::test]
async fn nothing_is_repeated_that_an_sdk_repeats() {
    let server = Server::default();
    let client = server.client(config(), |_, _| {
        Response::builder().status(429).header("retry-after", "3600").body(Body::empty()).unwrap()
    });
    let mut request = post("{}");
    request.headers_mut().insert("x-stainless-retry-count", "0".parse().unwrap());
    let answer = client.oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["x-should-retry"], "false");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_call_sent_once_more() {
    let server = Server::default();
    let client = server.client(config().auth(Auth::Token), |n, saw| match (saw.path.as_str(), n) {
        ("/v1/auth/token", 1) => json(200, r#"{"access_token":"A1","token_type":"Bearer","expires_in":9}"#),
        ("/v1/auth/token", _) => json(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":9}"#),
        _ if saw.headers[AUTHORIZATION] == "Bearer A1" => {
            json(401, r#"{"type":"error","error":{"details":{"error_code":"token_expired"}}}"#)
        }
        _ => fine(n, saw),
    });
    let answer = client.oneshot(post("{}")).await.unwrap();
    assert_eq!((answer.status(), server.seen().len()), (StatusCode::OK, 4));
}

/// Another key at each reading.
struct Rotating(AtomicUsize);

impl crate::key::KeySource for Rotating {
    fn key(&self) -> BoxFuture<'_, Result<Secret, crate::error::KeyError>> {
        let read = self.0.fetch_add(1, Ordering::SeqCst);
        let text = ["cvg_live_old", "cvg_live_old", "cvg_live_older", KEY, KEY][read.min(4)];
        Box::pin(async move { Secret::new(text).ok_or_else(|| crate::error::KeyError::NoKey(String::new())) })
    }
}

#[tokio::test]
async fn a_refused_key_is_read_again_and_sent_once_more_if_it_has_changed() {
    let server = Server::default();
    let config = Config::new(BASE, Rotating(AtomicUsize::new(0))).unwrap();
    let client = server
        .client(config, |n, saw| if saw.headers[X_API_KEY] == KEY { fine(n, saw) } else { json(401, "{}") });
    let status = async || client.clone().oneshot(post("{}")).await.unwrap().status().as_u16();
    // The same key again is not tried again; another is, once.
    assert_eq!((status().await, server.seen().len()), (401, 1));
    assert_eq!((status().await, server.seen().len()), (200, 3));
}

fn stream(pieces: &'static [&'static str]) -> Body {
    let frames =
        pieces.iter().map(|p| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(p.as_bytes()))));
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn announced(body: Body, text: &str) -> Request<Body> {
    let mut request = post(body);
    request.extensions_mut().insert(ContentDigest::of(text.as_bytes()));
    request
}

#[tokio::test]
async fn streams_are_signed_by_their_digest_or_refused_with_the_reason() {
    let server = Server::default();
    for profile in [Profile::V2, Profile::Rfc9421] {
        let client = server.client(config().max_buffer(3).signing(signing(profile)), fine);
        client.clone().oneshot(announced(stream(&["hel", "lo"]), "hello")).await.unwrap();
        assert_eq!(server.seen().last().unwrap().body, "hello");
        let before = server.seen().len();
        let refused = client.clone().oneshot(announced(stream(&["hel", "lo"]), "other")).await;
        assert!(matches!(refused, Err(ClientError::DigestMismatch)), "{refused:?}");
        let refused = client.clone().oneshot(post(stream(&["hel", "lo"]))).await;
        assert!(matches!(refused, Err(ClientError::BodyTooLarge(3))), "{refused:?}");
        assert_eq!(server.seen().len(), before);
    }
    let client = server.client(config().signing(signing(Profile::V1)), fine);
    let refused = client.oneshot(announced(stream(&["hello"]), "hello")).await;
    assert!(matches!(refused, Err(ClientError::Sign(_))), "{refused:?}");
}

#[tokio::test]
async fn equal_requests_are_answered_from_the_cache() {
    let (server, clock, stats) = (Server::default(), ManualClock::default(), Stats::default());
    let cache = Cache::default();
    let with = |key: &str| {
        let config = Config::new(BASE, StaticKey::new(key).unwrap()).unwrap();
        let config = config.cache(cache.clone()).stats(stats.clone()).clock(Arc::new(clock.clone()));
        server.client(config, fine)
    };
    let client = with(KEY);
    let ask = async |client: &Claviger, body: &'static str| {
        let answer = client.clone().oneshot(post(body)).await.unwrap();
        let hit = answer.headers().contains_key(CACHE_HEADER);
        (hit, read(answer).await)
    };
    let (first, again) = (ask(&client, r#"{"m":1}"#).await, ask(&client, r#"{"m":1}"#).await);
    assert_eq!((first.0, again.0), (false, true));
    assert_eq!(first.1, again.1);
    for other in [r#"{"m":2}"#, r#"{"m":1,"stream":true}"#, r#"{"m":1,"stream":true}"#, "no JSON", "no JSON"]
    {
        assert!(!ask(&client, other).await.0, "{other}");
    }
    let other_key = with("cvg_live_9876543210abcdefghijklmnopqrstuvwxyzA1nGeKb");
    assert!(!ask(&other_key, r#"{"m":1}"#).await.0, "another key is another tenant");
    clock.advance(Duration::from_secs(300));
    assert!(!ask(&client, r#"{"m":1}"#).await.0, "old");
    assert_eq!((stats.snapshot().cache_hits, stats.snapshot().requests), (1, 9));
}

#[tokio::test]
async fn an_answer_that_the_caller_did_not_read_to_its_end_is_not_cached() {
    let server = Server::default();
    let client = server.client(config().cache(Cache::default()), fine);
    drop(client.clone().oneshot(post("{}")).await.unwrap());
    let answer = client.oneshot(post("{}")).await.unwrap();
    assert!(!answer.headers().contains_key(CACHE_HEADER));
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_its_slot_until_it_is_dropped() {
    let server = Server::default();
    let max_wait = Some(Duration::from_millis(30));
    let limiter = Limiter::new(Limits { concurrency: Some(1), max_wait, ..Limits::default() });
    let client = server.client(config().limiter(limiter), fine);
    let open = client.clone().oneshot(post("{}")).await.unwrap();
    assert!(matches!(client.clone().oneshot(post("{}")).await, Err(ClientError::Limited)));
    drop(open);
    let open = client.clone().oneshot(post("{}")).await.unwrap();
    read(open).await;
    client.oneshot(post("{}")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_answer_are_repeated_when_they_were_not_sent() {
    let tries = Arc::new(AtomicUsize::new(0));
    let stats = Stats::default();
    let refused_kind = |kind: std::io::ErrorKind| {
        let tries = Arc::clone(&tries);
        let inner = service_fn(move |_: Request<Body>| {
            tries.fetch_add(1, Ordering::SeqCst);
            async move { Err::<Response<Body>, _>(BoxError::from(std::io::Error::from(kind))) }
        });
        ClavigerLayer::new(config().stats(stats.clone())).layer(inner)
    };
    let unsent = refused_kind(std::io::ErrorKind::ConnectionRefused).oneshot(post("{}")).await;
    assert!(matches!(unsent, Err(ClientError::Transport { sent: false, .. })));
    assert_eq!(tries.swap(0, Ordering::SeqCst), 4);
    let lost = refused_kind(std::io::ErrorKind::ConnectionReset).oneshot(post("{}")).await;
    assert!(matches!(lost, Err(ClientError::Transport { sent: true, .. })));
    assert_eq!(tries.load(Ordering::SeqCst), 1, "a paid call may have run");
    assert_eq!((stats.snapshot().requests, stats.snapshot().errors), (2, 2));
}

#[tokio::test]
async fn health_asks_without_the_key_and_then_with_it() {
    let server = Server::default();
    let client = server.client(config(), |n, saw| match (n, saw.path.as_str()) {
        (1 | 3, "/readyz") | (2, "/v1/claviger/me") => json(200, "{}"),
        (_, "/v1/claviger/me") => json(401, r#"{"type":"error","error":{"message":"The key is over."}}"#),
        _ => json(503, "{}"),
    });
    let health = client.health().await;
    assert!(health.ready && health.accepted.is_ok(), "{health:?}");
    let health = client.health().await;
    let said = health.accepted.unwrap_err().to_string();
    assert!(health.ready && said == "401 Unauthorized: The key is over.", "{said}");
    assert!(!client.health().await.ready);
    let seen = server.seen();
    let shown: Vec<_> =
        seen.iter().take(2).map(|s| (s.path.as_str(), s.headers.contains_key(X_API_KEY))).collect();
    assert_eq!(shown, [("/readyz", false), ("/v1/claviger/me", true)]);
}

#[test]
fn nothing_of_a_key_is_in_the_debug_output() {
    let config = config().signing(signing(Profile::V2));
    let shown = format!("{config:?} {:?}", ClavigerLayer::new(config.clone()));
    assert!(!shown.contains("0123456789") && !shown.contains("Zz09"), "{shown}");
}

#[test]
fn the_service_is_one_for_every_body() {
    fn takes<B, S: Service<Request<B>>>(_: &S) {}
    let client = Server::default().client(config(), fine);
    takes::<Body, _>(&client);
    takes::<http_body_util::Full<Bytes>, _>(&client);
    let _ = Method::GET;
}

/// Which of some secrets signed a request without a body, by v1.
fn signed_with(saw: &Saw) -> &'static str {
    let header = |name: &str| saw.headers[name].to_str().unwrap().to_owned();
    let text = format!("|{}|{}", header("x-request-timestamp"), header("x-request-nonce"));
    let signed = |secret: &&str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        format!("sha256={}", hex::encode(hmac::sign(&key, text.as_bytes()))) == header("x-request-signature")
    };
    [SECRET, NEXT].into_iter().find(signed).expect("one of the secrets")
}

const NEXT: &str = "cvg_sign_Yy09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09abc";

/// Tells whoever signs with the first that it was replaced, and refuses the fourth request.
fn replaces(at: usize, saw: &Saw) -> Response<Body> {
    if saw.path.ends_with("/signing-secret") {
        return json(
            200,
            r#"{"current":{"signing_secret":"cvg_sign_Yy09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09abc","valid_from":"2026-01-01T00:00:00Z"},"next":null}"#,
        );
    }
    if at == 4 {
        return json(401, r#"{"type":"error","error":{"details":{"error_code":"signature_invalid"}}}"#);
    }
    let mut answer = json(200, "{}");
    if signed_with(saw) == SECRET {
        let value = "rotates-at=2026-01-01T00:00:00Z".parse().unwrap();
        answer.headers_mut().insert("x-claviger-signing-secret", value);
    }
    answer
}

#[tokio::test]
async fn a_fetched_signing_secret_stays_when_one_signature_is_refused() {
    let server = Server::default();
    let client = server.client(config().signing(signing(Profile::V1)), replaces);
    for _ in 0..4 {
        let request = Request::get(format!("{BASE}/v1/models")).body(Body::empty()).unwrap();
        client.clone().oneshot(request).await.unwrap();
    }
    let seen: Vec<_> = server.seen().iter().map(signed_with).collect();
    assert_eq!(seen, [SECRET, SECRET, NEXT, NEXT, NEXT]);
}
