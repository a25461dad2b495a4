use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aws_lc_rs::hmac;
use claviger_domain::{
    clock::{Clock, Timestamp},
    signature::Profile,
};
use claviger_testkit::ManualClock;
use http::{HeaderMap, Request, Response, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::vectors;
use crate::{Body, ClavigerLayer, Config, Signing, error::BoxError, key::StaticKey};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    key: String,
    start: i64,
    secrets: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    secret: String,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    at: u64,
    exchanges: VecDeque<Exchange>,
    #[serde(default)]
    stored: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    path: String,
    by: String,
    status: Option<u16>,
    announces: Option<String>,
    answer: Option<Answer>,
    text: Option<String>,
    #[serde(default)]
    lost: bool,
    ahead: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    current: Option<Held>,
    next: Option<Held>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    secret: String,
    valid_from: String,
}

type Secrets = BTreeMap<String, String>;

impl Exchange {
    fn answer(&self, secrets: &Secrets, now: Timestamp) -> Result<Response<Body>, BoxError> {
        if self.lost {
            return Err("the connection broke".into());
        }
        let held = |held: &Option<Held>| {
            held.as_ref().map_or(
                Value::Null,
                |held| json!({ "signing_secret": secrets[&held.secret], "valid_from": held.valid_from }),
            )
        };
        let made =
            self.answer.as_ref().map(|a| json!({ "current": held(&a.current), "next": held(&a.next) }));
        let text = self.text.clone().or_else(|| made.map(|made| made.to_string())).unwrap_or_default();
        let mut head = Response::builder().status(self.status.unwrap());
        if let Some(said) = &self.announces {
            head = head.header("x-claviger-signing-secret", said);
        }
        if let Some(secs) = self.ahead {
            let at = u64::try_from(now.as_secs() + secs)?;
            head = head
                .header("date", httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at)));
        }
        Ok(head.body(Body::from(text))?)
    }
}

/// The name of the secret that signed, by v1.
fn signed_by(headers: &HeaderMap, secrets: &Secrets) -> String {
    let header = |name: &str| headers[name].to_str().unwrap();
    let text = format!("|{}|{}", header("x-request-timestamp"), header("x-request-nonce"));
    let signed = |secret: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        format!("sha256={}", hex::encode(hmac::sign(&key, text.as_bytes()))) == header("x-request-signature")
    };
    secrets.iter().find(|(_, secret)| signed(secret)).map_or("?", |(name, _)| name).to_owned()
}

#[derive(Clone, Default)]
struct Played(Arc<Mutex<Play>>);

#[derive(Default)]
struct Play {
    exchanges: VecDeque<Exchange>,
    stored: Vec<(String, Timestamp)>,
}

impl Played {
    fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap()
    }

    fn answer(&self, parts: &Parts, secrets: &Secrets, now: Timestamp) -> Result<Response<Body>, BoxError> {
        let next = self.lock().exchanges.pop_front();
        let Some(next) = next else { panic!("nothing was to be sent: {}", parts.uri) };
        assert_eq!(
            (parts.uri.path(), signed_by(&parts.headers, secrets)),
            (next.path.as_str(), next.by.clone())
        );
        next.answer(secrets, now)
    }
}

#[tokio::test]
async fn signing_secrets_follow_one_another_as_the_vectors_say() {
    let File { key, start, secrets, cases, .. } = vectors("succession.json");
    for case in cases {
        let clock = ManualClock::at(Timestamp::from_secs(start));
        let played = Played::default();
        let (server, time, known) = (played.clone(), clock.clone(), secrets.clone());
        let inner = service_fn(move |request: Request<Body>| {
            let answer = server.answer(&request.into_parts().0, &known, time.now());
            async move { answer }
        });
        let (told, known) = (played.clone(), secrets.clone());
        let secret = StaticKey::new(&secrets[&case.secret]).unwrap();
        let signing = Signing::secret(Profile::V1, secret).on_successor(move |next, valid_from| {
            let name = known.iter().find(|(_, secret)| *secret == next.reveal()).unwrap().0;
            told.lock().stored.push((name.clone(), valid_from));
        });
        let config = Config::new("https://gw.example", StaticKey::new(&key).unwrap()).unwrap();
        let client = ClavigerLayer::new(config.signing(signing).clock(Arc::new(clock.clone()))).layer(inner);
        let mut now = 0;
        for call in case.calls {
            let place = format!("{} at {}", case.name, call.at);
            clock.advance(Duration::from_secs(call.at - now));
            now = call.at;
            *played.lock() = Play { exchanges: call.exchanges, stored: Vec::new() };
            let request = Request::get("https://gw.example/v1/models").header("x-stainless-retry-count", "0");
            let answer = client.clone().oneshot(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.expect(&place).status(), 200, "{place}");
            let expected =
                call.stored.iter().map(|(name, at)| (name.clone(), Timestamp::parse_rfc3339(at).unwrap()));
            assert_eq!(played.lock().stored, expected.collect::<Vec<_>>(), "{place}");
            assert!(played.lock().exchanges.is_empty(), "{place}: too few requests");
        }
    }
}
