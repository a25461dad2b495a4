//! Order of proofs: shape, size, clock, key, MAC, and only then the nonce. Whoever cannot sign reaches no nonce store,
//! leaves nothing in one, and uses nobody's nonce up: in memory, in the database on both engines, and in Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    clock::{Clock, Timestamp},
    ports::signing::{NonceError, NonceStore},
    signature::{
        Profile,
        nonce::{Nonce, NonceUse, NonceVerdict},
    },
    token::PublicId,
};
use claviger_gateway::GatewayConfig;
use claviger_service::{Caller, keys::NewKey};
use claviger_storage::{Database, Durability, MemoryNonces, Options, RedisNonces};
use claviger_testkit::{ManualClock, data_folder, postgres, redis, sql};
use tokio::runtime::{Builder, Runtime};

use super::{JSON, json_upstream};
use crate::{
    access_tokens::{ask, code, form},
    house::{House, Wish, body},
    signed::{Call, signing_house_with, told},
};

/// A nonce store that counts how often it is asked.
struct Counting {
    inner: Arc<dyn NonceStore>,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl NonceStore for Counting {
    async fn take(&self, used: &NonceUse, now: Timestamp) -> Result<NonceVerdict, NonceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.take(used, now).await
    }

    async fn begin(&self, now: Timestamp, is_first: bool) -> Result<(), NonceError> {
        self.inner.begin(now, is_first).await
    }

    async fn forget(&self, now: Timestamp) -> Result<u64, NonceError> {
        self.inner.forget(now).await
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

/// The machine's time: Redis and PostgreSQL live by it.
#[expect(clippy::disallowed_methods, reason = "servers that are not ours have no other clock")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn open(runtime: &Runtime, address: &str) -> Database {
    let options = Options { durability: Durability::Process, ..Options::default() };
    runtime.block_on(Database::open(address, options)).unwrap()
}

fn rows(url: &str) -> usize {
    sql::blobs(url, "SELECT nonce FROM nonces").len()
}

#[test]
fn only_who_can_sign_uses_nonces_up_in_memory() {
    holds(Arc::new(MemoryNonces::new(now(), 10_000)), || None);
}

#[test]
fn only_who_can_sign_uses_nonces_up_in_sqlite() {
    let (runtime, folder) = (runtime(), data_folder());
    let address = folder.path().join("c.db").to_string_lossy().into_owned();
    let store = Arc::new(open(&runtime, &address));
    let url = format!("sqlite:{address}");
    holds(store, || Some(rows(&url)));
}

#[test]
fn only_who_can_sign_uses_nonces_up_in_postgres() {
    let runtime = runtime();
    let Some(database) = runtime.block_on(postgres()) else { return };
    let store = Arc::new(open(&runtime, database.url()));
    holds(store, || Some(rows(database.url())));
}

#[test]
fn only_who_can_sign_uses_nonces_up_in_redis() {
    let Some(server) = redis() else { return };
    let store = Arc::new(RedisNonces::new(&server.url()).unwrap());
    let held = || server.command(&["DBSIZE"]).trim_start_matches(':').trim().parse::<usize>().unwrap();
    holds(store, || Some(held()));
}

/// What is refused before anybody is asked about a nonce, by its name, and the answer's status and code.
fn refusals(house: &House, secret: &[u8], other: &str) -> Vec<(String, String, (u16, &'static str))> {
    let body: &'static str = body(false).leak();
    let large: &'static str = "x".repeat(3_000).leak();
    let mut all = Vec::new();
    for profile in Profile::ALL {
        let call = |nonce| Call::message(body, profile, nonce);
        let mut add =
            |what: &str, request: String, told| all.push((format!("{profile:?}: {what}"), request, told));
        add("wrong MAC", call(1).signed(house, b"another secret"), (401, "signature_invalid"));
        let headers = call(1).headers(house, secret);
        let changed = Call { body: &body[..body.len() - 1], ..call(1) };
        add("another body", changed.text(house, &headers), (401, "signature_invalid"));
        // Whoever has a key of its own, and has seen what somebody else signs.
        add("another key", call(1).text_of(other, &headers), (401, "signature_invalid"));
        add("no key", call(1).text_of("cvg_live_nonsense", &headers), (401, ""));
        let unknown = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";
        add("an unknown key", call(1).text_of(unknown, &headers), (401, ""));
        let oversized = Call { body: large, ..call(1) };
        add("too large", oversized.signed(house, secret), (413, ""));
        for (what, micros) in [("stale", -301_000_000), ("ahead", 302_000_000)] {
            let ours = house.clock.clone();
            let before = Clock::now(&ours);
            house.clock.set_wall(before.plus_micros(micros));
            let late = call(1).signed(house, secret);
            house.clock.set_wall(before);
            add(what, late, (401, "timestamp_skew"));
        }
        let long: Vec<_> = headers.iter().map(|(n, v)| (*n, format!("{v}{}", "0".repeat(5_000)))).collect();
        add("a long signature", call(1).text(house, &long), (401, "signature_invalid"));
        let short =
            headers.iter().map(|(n, v)| (*n, v.replace("0000000000000000", "00"))).collect::<Vec<_>>();
        add("a short nonce", call(1).text(house, &short), (401, "signature_invalid"));
        let buy = Call { path: "/v1/auth/token", body: "", ..call(1) };
        add("a purchase", buy.signed(house, b"another secret"), (401, "signature_invalid"));
    }
    all
}

/// A store's memory begins when it is first asked; secrets that are made well after that are judged by it at once.
fn begun(runtime: &Runtime, store: &dyn NonceStore) -> ManualClock {
    let (key, at) = (PublicId::parse("0123456789").unwrap(), now());
    let first =
        NonceUse { key, nonce: Nonce::from_bytes([7; 16]), made_at_secs: at.as_secs(), signer_since: at };
    runtime.block_on(store.take(&first, at)).unwrap();
    ManualClock::at(at.plus_micros(12_000_000))
}

/// `held` counts what the store holds, where that can be seen.
fn holds(inner: Arc<dyn NonceStore>, held: impl Fn() -> Option<usize>) {
    // Connections belong to whom they were made by.
    let runtime = runtime();
    let clock = begun(&runtime, &*inner);
    let before = held();
    let store = Arc::new(Counting { inner, asked: AtomicUsize::new(0) });
    let upstream = json_upstream();
    let mut config = GatewayConfig::default();
    config.body.messages = 2_000;
    let wish = Wish { config, clock, nonces: Some(Arc::clone(&store) as _), ..Wish::default() };
    let (house, secret) = signing_house_with(&upstream.url(), wish);
    let caller = Caller::system();
    let new = NewKey { name: "other".to_owned(), ..NewKey::default() };
    let (other, other_key, _) = house.control.block_on(house.services.keys.create(new, &caller)).unwrap();
    let other_key = String::from_utf8(other_key.expose().to_vec()).unwrap();
    let rotated = house.services.signing.rotate(&other.id, false, &caller);
    let other_secret = house.control.block_on(rotated).unwrap().1.text.expose().to_vec();

    let asked = || store.asked.load(Ordering::SeqCst);
    for (what, request, expected) in refusals(&house, &secret, &other_key) {
        let answer = house.send(&request).until("request_id");
        let (status, code) = told(&answer);
        assert_eq!((status, code.as_str()), expected, "{what}: {answer}");
        assert_eq!(asked(), 0, "{what} reached the store");
    }
    assert_eq!(held(), before, "something was left behind");
    assert_eq!(upstream.requests().len(), 0);

    // The same nonce, by somebody who has a key and a secret of its own: it is another nonce.
    let body = body(false);
    let call = Call::message(&body, Profile::V2, 1);
    let theirs = call.text_of(&other_key, &call.headers_of(&house, &other_key, &other_secret));
    assert_eq!(told(&house.send(&theirs).until(JSON)).0, 200);
    // So that whose it is uses it, once.
    let genuine = call.signed(&house, &secret);
    assert_eq!(told(&house.send(&genuine).until(JSON)).0, 200);
    let again = house.send(&genuine).until("request_id");
    assert_eq!(told(&again), (401, "nonce_replayed".to_owned()), "{again}");
    assert_eq!(asked(), 3);
    assert_eq!(held(), before.map(|count| count + 2));
}

#[test]
fn a_made_up_refresh_token_with_a_good_proof_uses_nothing_up() {
    use claviger_domain::jose::{Algorithm, SigningKey};
    let store = Arc::new(Counting {
        inner: Arc::new(MemoryNonces::new(Clock::now(&ManualClock::default()), 10_000)),
        asked: AtomicUsize::new(0),
    });
    let upstream = json_upstream();
    let wish = Wish { nonces: Some(Arc::clone(&store) as _), ..Wish::default() };
    let house = House::with(&upstream.url(), wish);
    house.clock.advance(Duration::from_secs(700));
    let key = SigningKey::from_secret(Algorithm::Es256, &[9; 32]).unwrap();
    let proof = |jti: &str, path: &str| {
        let head = serde_json::json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public().to_jwk()});
        let now = Clock::now(&house.clock).as_secs();
        let claims =
            serde_json::json!({"jti": jti, "htm": "POST", "htu": format!("http://gw{path}"), "iat": now});
        format!("DPoP: {}\r\n", key.sign_with(&head, claims.to_string().as_bytes()).unwrap())
    };
    let renew = |token: &str, jti: &str| {
        let head = proof(jti, "/v1/auth/refresh");
        ask(&house, &form("/v1/auth/refresh", &head, &format!("refresh_token={token}")))
    };
    let head = format!("x-api-key: {}\r\n{}", house.key, proof("0123456789abcde0", "/v1/auth/token"));
    let bought = ask(&house, &form("/v1/auth/token", &head, ""));
    assert_eq!((bought.status, &bought.json["token_type"]), (200, &"DPoP".into()), "{}", bought.json);
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
    let refresh = bought.json["refresh_token"].as_str().unwrap();
    // Well-formed, and of nobody.
    let forged = claviger_domain::token::side::SideToken::generate(
        claviger_domain::token::Brand::DEFAULT,
        claviger_domain::token::side::SideUse::Refresh,
        &claviger_testkit::SeededEntropy::new(99),
    )
    .unwrap();
    let forged = String::from_utf8(forged.expose().to_vec()).unwrap();
    for n in 0..3 {
        let refused = renew(&forged, &format!("0123456789abcd{n:02}"));
        assert_eq!((refused.status, code(&refused)), (400, "refresh_invalid"), "{}", refused.json);
    }
    assert_eq!(store.asked.load(Ordering::SeqCst), 1, "a stranger reached the store");
    let renewed = renew(refresh, "0123456789abcde1");
    assert_eq!(renewed.status, 200, "{}", renewed.json);
    assert_eq!(store.asked.load(Ordering::SeqCst), 2);
}
