//! Signed requests on their way through the gateway.

use std::time::Duration;

use claviger_domain::{
    clock::Clock,
    id::SigningId,
    ledger::LedgerRow,
    signature::{
        Profile, Role, SignedBy, Target,
        sign::{Hand, Stamp, sign},
    },
};
use claviger_service::{Caller, keys::KeyPatch};
use claviger_testkit::{Answer, RawServer, eventually};

use super::{JSON, json_upstream};
use crate::house::{House, Wish, body};

/// A house whose key must sign, and its secret.
pub fn signing_house(upstream: &str) -> (House, Vec<u8>) {
    signing_house_with(upstream, Wish::default())
}

pub fn signing_house_with(upstream: &str, wish: Wish) -> (House, Vec<u8>) {
    let house = House::with(upstream, wish);
    let caller = Caller::system();
    // The gateway's own beginning is over: nothing that a new secret signed could have been forgotten.
    house.clock.advance(Duration::from_secs(1));
    let made =
        house.control.block_on(house.services.signing.rotate(&house.key_id, false, &caller)).unwrap().1;
    let require = Some(vec!["signature".to_owned()]);
    let patch = KeyPatch { require, ..KeyPatch::default() };
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    (house, made.text.expose().to_vec())
}

#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub method: &'static str,
    pub path: &'a str,
    pub body: &'a str,
    pub profile: Profile,
    pub nonce: u32,
}

impl Call<'_> {
    pub fn message(body: &str, profile: Profile, nonce: u32) -> Call<'_> {
        Call { method: "POST", path: "/v1/messages?beta=true", body, profile, nonce }
    }

    pub fn headers(&self, house: &House, secret: &[u8]) -> Vec<(&'static str, String)> {
        self.headers_of(house, &house.key, secret)
    }

    pub fn headers_of(&self, house: &House, key: &str, secret: &[u8]) -> Vec<(&'static str, String)> {
        let url = format!("http://gw{}", self.path);
        let target = Target::of_url(self.method, &url).unwrap();
        let nonce = format!("{:032x}", self.nonce);
        let stamp = Stamp {
            key_id: &key[9..19],
            at_secs: house.clock.now().as_secs(),
            nonce: &nonce,
            expires_secs: None,
        };
        sign(self.profile, &Hand::Secret(secret), stamp, &target, self.body.as_bytes()).unwrap()
    }

    pub fn text(&self, house: &House, headers: &[(&'static str, String)]) -> String {
        self.text_of(&house.key, headers)
    }

    pub fn text_of(&self, key: &str, headers: &[(&'static str, String)]) -> String {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: gw\r\nx-api-key: {}\r\n", self.method, self.path, key);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        format!("{head}content-length: {}\r\n\r\n{}", self.body.len(), self.body)
    }

    pub fn signed(&self, house: &House, secret: &[u8]) -> String {
        self.text(house, &self.headers(house, secret))
    }
}

/// Status and `error_code` of an answer.
pub fn told(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let code = answer.split("\"error_code\":\"").nth(1).and_then(|rest| rest.split('"').next());
    (status, code.unwrap_or_default().to_owned())
}

#[test]
fn every_profile_passes_once_and_nothing_of_it_goes_upstream() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let body = body(false);
    for (n, profile) in Profile::ALL.into_iter().enumerate() {
        let request = Call::message(&body, profile, n as u32).signed(&house, &secret);
        let answer = house.send(&request).until(JSON);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let sent = upstream.take(1).remove(0);
        let seen = format!("{sent:?}").to_lowercase();
        assert!(!seen.contains("x-request-") && !seen.contains("signature"), "{seen}");
        assert_eq!(sent.body, body.as_bytes());
        let again = house.send(&request).until("request_id");
        assert_eq!(told(&again), (401, "nonce_replayed".to_owned()), "{again}");
        assert!(again.contains("x-should-retry: false\r\n"), "{again}");
    }
    assert_eq!(upstream.requests().len(), 0, "replays never went upstream");
}

#[test]
fn what_is_not_signed_or_signed_wrongly_never_costs_anything() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let body = body(false);
    let call = |nonce| Call::message(&body, Profile::V2, nonce);
    let headers = call(1).headers(&house, &secret);
    let unsigned = house.send(&call(1).text(&house, &[])).until("request_id");
    assert_eq!(told(&unsigned), (401, "signature_missing".to_owned()), "{unsigned}");
    let forged = house.send(&call(2).signed(&house, b"another secret")).until("request_id");
    assert_eq!(told(&forged), (401, "signature_invalid".to_owned()), "{forged}");
    let elsewhere = Call { path: "/v1/messages/count_tokens", ..call(1) };
    let moved = house.send(&elsewhere.text(&house, &headers)).until("request_id");
    assert_eq!(told(&moved), (401, "signature_invalid".to_owned()), "{moved}");
    house.clock.advance(Duration::from_secs(301));
    let late = house.send(&call(1).text(&house, &headers)).until("request_id");
    assert_eq!(told(&late), (401, "timestamp_skew".to_owned()), "{late}");
    assert_eq!(upstream.requests().len(), 0);
    assert!(house.store.rows().is_empty());
    assert_eq!(house.store.open_intents(), 0);
    house.send(&call(4).signed(&house, &secret)).until(JSON);
    let again = Call::message(&body, Profile::V1, 5).signed(&house, &secret);
    house.send(&again).until(JSON);
    house.send(&again).until("request_id");
    let metrics = house.gateway.metrics_text();
    for line in [
        "claviger_refusals_total{reason=\"signature_mismatch\"} 2",
        "claviger_signatures_refused_total{reason=\"signature_missing\"} 1",
        "claviger_signatures_refused_total{reason=\"signature_mismatch\"} 2",
        "claviger_signatures_refused_total{reason=\"timestamp_skew\"} 1",
        "claviger_signatures_refused_total{reason=\"nonce_replayed\"} 1",
        "claviger_signed_requests_total{profile=\"v1\",secret=\"current\"} 1",
        "claviger_signed_requests_total{profile=\"v2\",secret=\"current\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn a_signature_that_is_not_demanded_is_verified_all_the_same() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let patch = KeyPatch { require: Some(Vec::new()), ..KeyPatch::default() };
    let caller = Caller::system();
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    let body = body(false);
    let call = |nonce| Call::message(&body, Profile::V1, nonce);
    house.send(&call(0).text(&house, &[])).until(JSON);
    house.send(&call(1).signed(&house, &secret)).until(JSON);
    let forged = house.send(&call(2).signed(&house, b"x")).until("request_id");
    assert_eq!(told(&forged).1, "signature_invalid");
}

/// The rows, once there are so many.
fn rows(house: &House, count: usize) -> Vec<LedgerRow> {
    let all = || Some(house.store.rows()).filter(|rows| rows.len() >= count);
    eventually("rows", Duration::from_secs(10), all)
}

#[test]
fn the_secret_that_signed_is_recorded_and_use_of_the_old_one_late_in_its_grace_is_told() {
    let upstream = json_upstream();
    let (house, old) = signing_house(&upstream.url());
    let caller = Caller::system();
    let body = body(false);
    let send = |nonce, profile, secret: &[u8]| {
        let answer = house.send(&Call::message(&body, profile, nonce).signed(&house, secret)).until(JSON);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        rows(&house, nonce as usize).remove(nonce as usize - 1).signed.unwrap()
    };
    let secrets = || house.control.block_on(house.services.signing.show(&house.key_id)).unwrap();
    let first = secrets()[0].id.clone();
    for (n, profile) in (1..).zip(Profile::ALL) {
        let by = SignedBy { profile, secret: first.clone(), role: Role::Current };
        assert_eq!(send(n, profile, &old), by);
    }
    house.clock.advance(Duration::from_secs(1));
    let new = house.control.block_on(house.services.signing.rotate(&house.key_id, false, &caller)).unwrap().1;
    let second = secrets().into_iter().find(|secret| secret.id != first).unwrap().id;
    let v2 = Profile::V2;
    let signed_by = |secret: &SigningId, role| SignedBy { profile: v2, secret: secret.clone(), role };
    assert_eq!(send(4, v2, &old), signed_by(&first, Role::Previous));
    assert_eq!(send(5, v2, new.text.expose()), signed_by(&second, Role::Current));
    house.clock.advance(Duration::from_secs(23 * 3_600 + 60));
    assert_eq!(send(6, v2, &old), signed_by(&first, Role::Previous));
    let told = || house.store.events().into_iter().find(|e| e.action == "key.signing.used_late");
    assert_eq!(eventually("a notice", Duration::from_secs(10), told).key, house.key_id.as_str());
}

#[test]
fn what_is_not_signed_or_fails_while_it_is_passed_on_is_recorded_without_a_secret() {
    let upstream = file_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let file = "x".repeat(300_000);
    let call = Call { method: "POST", path: "/v1/files", body: &file, profile: Profile::V2, nonce: 1 };
    let headers = call.headers(&house, &secret);
    house.send(&call.text(&house, &headers)).until("file_1");
    assert_eq!(rows(&house, 1)[0].signed.as_ref().map(|by| by.role), Some(Role::Current));
    let changed = format!("{}y", &file[1..]);
    let other = Call { body: &changed, nonce: 2, ..call };
    let headers = Call { body: &file, ..other }.headers(&house, &secret);
    house.send(&other.text(&house, &headers)).until("request_id");
    assert_eq!(rows(&house, 2)[1].signed, None);
    let patch = KeyPatch { require: Some(Vec::new()), ..KeyPatch::default() };
    let caller = Caller::system();
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    house.send(&call.text(&house, &[])).until("file_1");
    assert_eq!(rows(&house, 3)[2].signed, None);
}

fn file_upstream() -> RawServer {
    RawServer::start(|_| {
        Answer::ok("application/json", r#"{"type":"file","id":"file_1","filename":"a","size_bytes":3}"#)
    })
}

#[test]
fn an_upload_is_passed_on_and_broken_off_when_it_is_not_what_was_signed() {
    let upstream = file_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let file = "x".repeat(300_000);
    for (n, profile) in Profile::ALL.into_iter().enumerate() {
        let call = Call { method: "POST", path: "/v1/files", body: &file, profile, nonce: n as u32 };
        let headers = call.headers(&house, &secret);
        let answer = house.send(&call.text(&house, &headers)).until("file_1");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(upstream.take(1).remove(0).body.len(), file.len());
        let changed = format!("{}y", &file[1..]);
        let other = Call { body: &changed, nonce: 100 + n as u32, ..call };
        let headers = Call { body: &file, ..other }.headers(&house, &secret);
        let answer = house.send(&other.text(&house, &headers)).until("request_id");
        assert_eq!(told(&answer), (401, "signature_invalid".to_owned()), "{answer}");
    }
    // What was broken off was never a whole request.
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn the_holder_reads_its_secret_with_a_signed_request_only() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let call =
        Call { method: "GET", path: "/v1/claviger/signing-secret", body: "", profile: Profile::V2, nonce: 1 };
    let answer = house.send(&call.signed(&house, &secret)).until("\"next\":null}");
    assert!(answer.contains(std::str::from_utf8(&secret).unwrap()), "{answer}");
    assert!(answer.contains("\"next\":null") && answer.contains("cache-control: no-store\r\n"), "{answer}");
    let patch = KeyPatch { require: Some(Vec::new()), ..KeyPatch::default() };
    let caller = Caller::system();
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    let refused = house.send(&call.text(&house, &[])).until("request_id");
    assert_eq!(told(&refused), (401, "signature_missing".to_owned()), "{refused}");
}

#[test]
fn whoever_signs_with_a_replaced_secret_is_told_and_given_the_current_one() {
    let upstream = json_upstream();
    let (house, old) = signing_house(&upstream.url());
    let body = body(false);
    let call = |nonce, secret: &[u8]| {
        let call = Call::message(&body, Profile::V2, nonce);
        house.send(&call.signed(&house, secret)).until(JSON)
    };
    assert!(!call(1, &old).contains("x-claviger-signing-secret"));
    house.clock.advance(Duration::from_secs(1));
    let caller = Caller::system();
    let rotated = house.control.block_on(house.services.signing.rotate(&house.key_id, false, &caller));
    let (rotated, at) = (rotated.unwrap().1, house.clock.now());
    let announced = format!("x-claviger-signing-secret: rotates-at={}Z", &at.to_rfc3339()[..19]);
    let answer = call(2, &old);
    assert!(answer.contains(&announced), "{announced}: {answer}");
    let ask =
        Call { method: "GET", path: "/v1/claviger/signing-secret", body: "", profile: Profile::V2, nonce: 3 };
    let given = house.send(&ask.signed(&house, &old)).until("\"next\":null}");
    let new = rotated.text.expose();
    assert!(given.contains(std::str::from_utf8(new).unwrap()), "{given}");
    assert!(!call(4, new).contains("x-claviger-signing-secret"));
}

#[test]
fn a_child_signs_with_its_parents_secret_and_with_no_other() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let mint =
        Call { method: "POST", path: "/v1/claviger/children", body: "{}", profile: Profile::V2, nonce: 1 };
    let answer = house.send(&mint.signed(&house, &secret)).until("}");
    let at = answer.find("cvg_live_").unwrap();
    let child = &answer[at..at + 52];
    let body = body(false);
    for (nonce, profile) in [(2, Profile::V1), (3, Profile::V2), (4, Profile::Rfc9421)] {
        let call = Call::message(&body, profile, nonce);
        let answer =
            house.send(&call.text_of(child, &call.headers_of(&house, child, &secret))).until("usage");
        assert_eq!(told(&answer).0, 200, "{answer}");
        let wrong = Call::message(&body, profile, nonce + 10);
        let headers = wrong.headers_of(&house, child, b"another secret of nobody's");
        let answer = house.send(&wrong.text_of(child, &headers)).until("request_id");
        assert_eq!(told(&answer), (401, "signature_invalid".to_owned()), "{answer}");
    }
    let bare = Call::message(&body, Profile::V2, 20);
    let answer = house.send(&bare.text_of(child, &[])).until("request_id");
    assert_eq!(told(&answer), (401, "signature_missing".to_owned()), "{answer}");
}

#[test]
fn who_signs_at_a_wrong_time_is_told_ours() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let body = body(false);
    let call = Call::message(&body, Profile::V2, 1);
    let signed = call.signed(&house, &secret);
    house.clock.advance(Duration::from_secs(3_600));
    let answer = house.send(&signed).until("request_id");
    assert_eq!(told(&answer), (401, "timestamp_skew".to_owned()), "{answer}");
    let date = answer.lines().find_map(|line| line.strip_prefix("date: ")).expect("a refusal is dated");
    let now = u64::try_from(house.clock.now().as_secs()).unwrap();
    let ours = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(now));
    assert_eq!(date.trim_end(), ours);
}
