use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use claviger_domain::clock::Timestamp;
use claviger_testkit::ManualClock;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use tower::service_fn;

use super::{Headers, vectors};
use crate::{
    Body, Config,
    error::{BoxError, ClientError, KeyError},
    key::{KeySource, KmsOpener, Purpose, SealedKey},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    now: i64,
    secrets: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    uri: String,
    environment: BTreeMap<String, String>,
    purpose: Purpose,
    blob: String,
    exchanges: VecDeque<Exchange>,
    result: String,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Exchange {
    url: String,
    headers: Headers,
    body: String,
    status: u16,
    answer: String,
}

type Left = Arc<Mutex<VecDeque<Exchange>>>;

/// Answers what the case says, and checks what it is asked.
async fn answer(left: Left, request: Request<Body>) -> Result<Response<Full<Bytes>>, BoxError> {
    let expected = left.lock().unwrap().pop_front().expect("no more requests than the case has");
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.to_string()), ("POST", expected.url));
    for (name, value) in &expected.headers {
        assert_eq!(head.headers[name.as_str()].to_str().unwrap(), value, "{name}");
    }
    assert_eq!(body.collect().await?.to_bytes(), expected.body);
    Ok(Response::builder().status(expected.status).body(expected.answer.into())?)
}

async fn play(case: &Case, clock: ManualClock, left: &Left) -> Result<String, KeyError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.sealed");
    fs::write(&path, &case.blob).unwrap();
    let answers = Arc::clone(left);
    let service = service_fn(move |request| answer(Arc::clone(&answers), request));
    let read = |name: &str| case.environment.get(name).cloned();
    if case.purpose == Purpose::ApiKey {
        return from_environment(case, (path.to_string_lossy().into_owned(), clock), service).await;
    }
    let opener = KmsOpener::with_variables(service, &case.uri, Arc::new(clock), &read)?;
    let key = SealedKey::new(path, opener).holding(case.purpose).key().await?;
    Ok(key.reveal().to_owned())
}

/// The way of a program that has nothing but its environment; a plain key that is set, too, is never used.
async fn from_environment<S>(
    case: &Case,
    (path, clock): (String, ManualClock),
    service: S,
) -> Result<String, KeyError>
where
    S: tower::Service<Request<Body>, Response = Response<Full<Bytes>>, Error = BoxError>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let read = |name: &str| match name {
        "ANTHROPIC_BASE_URL" => Some("https://gw.example".to_owned()),
        "ANTHROPIC_API_KEY" => Some("cvg_live_plain".to_owned()),
        "CLAVIGER_SEALED_KEY_FILE" => Some(path.clone()),
        "CLAVIGER_KMS" => Some(case.uri.clone()),
        other => case.environment.get(other).cloned(),
    };
    let config = match Config::from_variables_through(read, service, Arc::new(clock)) {
        Ok(config) => config,
        Err(ClientError::Key(error)) => return Err(error),
        Err(other) => panic!("{}: {other}", case.name),
    };
    let key = config.key.key().await?.reveal().to_owned();
    // It is kept: nobody is asked again.
    assert_eq!(config.key.key().await?.reveal(), key);
    Ok(key)
}

#[tokio::test]
async fn sealed_keys_open_as_the_vectors_say() {
    let file: File = vectors("sealed.json");
    assert!(file.cases.len() > 70);
    for case in &file.cases {
        let clock = ManualClock::at(Timestamp::from_secs(file.now));
        let left: Left = Arc::new(Mutex::new(case.exchanges.clone()));
        match play(case, clock, &left).await {
            Ok(key) => assert_eq!(key, case.result, "{}", case.name),
            Err(error) => {
                assert_eq!(case.result, "error", "{}: {error:?}", case.name);
                let shown = format!("{error} {error:?}");
                assert!(!file.secrets.iter().any(|secret| shown.contains(secret)), "{}", case.name);
            }
        }
        assert!(left.lock().unwrap().is_empty(), "{}", case.name);
    }
}
