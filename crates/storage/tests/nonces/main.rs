//! One promise, held by everyone who remembers nonces: memory, Redis, and the database on both engines.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails shall stop where it stands and say so"
)]

mod redis;

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    ports::signing::NonceStore,
    signature::nonce::{KEPT_SECS, Nonce, NonceUse, NonceVerdict},
    token::PublicId,
};
use claviger_storage::{Database, Durability, MemoryNonces, Options, RedisNonces};
use claviger_testkit::{PostgresDatabase, RedisServer, data_folder, postgres, redis};
use tempfile::TempDir;

/// The machine's time: Redis and PostgreSQL live by it.
#[expect(clippy::disallowed_methods, reason = "servers that are not ours have no other clock")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// Whoever remembers, and what must live as long.
struct Rememberer {
    store: Arc<dyn NonceStore>,
    _kept: (Option<TempDir>, Option<PostgresDatabase>, Option<RedisServer>),
}

async fn memory() -> Option<Rememberer> {
    let store = Arc::new(MemoryNonces::new(now(), 100_000));
    Some(Rememberer { store, _kept: (None, None, None) })
}

async fn open(address: &str) -> Database {
    let options = Options { durability: Durability::Process, ..Options::default() };
    Database::open(address, options).await.unwrap()
}

async fn sqlite() -> Option<Rememberer> {
    let folder = data_folder();
    let store = Arc::new(open(&folder.path().join("c.db").to_string_lossy()).await);
    Some(Rememberer { store, _kept: (Some(folder), None, None) })
}

async fn on_postgres() -> Option<Rememberer> {
    let database = postgres().await?;
    let store = Arc::new(open(database.url()).await);
    Some(Rememberer { store, _kept: (None, Some(database), None) })
}

async fn on_redis() -> Option<Rememberer> {
    let server = redis()?;
    let store = Arc::new(RedisNonces::new(&server.url()).unwrap());
    Some(Rememberer { store, _kept: (None, None, Some(server)) })
}

fn used(key: &str, nonce: u64, made_at_secs: i64) -> NonceUse {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    NonceUse {
        key: PublicId::parse(key).unwrap(),
        nonce: Nonce::from_bytes(bytes),
        made_at_secs,
        // Younger than any loss: what was lost is told of below.
        signer_since: now().plus_micros(60_000_000),
    }
}

const KEY: &str = "0123456789";

/// Runs each promise on all of them.
macro_rules! on_all {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() { if let Some(r) = super::memory().await { super::$name(&*r.store).await; } }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() { if let Some(r) = super::sqlite().await { super::$name(&*r.store).await; } }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() { if let Some(r) = super::on_postgres().await { super::$name(&*r.store).await; } }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() { if let Some(r) = super::on_redis().await { super::$name(&*r.store).await; } }
        })+
    };
}

on_all!(
    a_nonce_passes_once,
    what_is_said_at_once_is_said_of_the_same_memory,
    of_many_at_once_one_passes,
    what_is_over_is_forgotten,
    a_beginning_is_a_loss,
);

async fn a_nonce_passes_once(store: &dyn NonceStore) {
    let now = now();
    let secs = now.as_secs();
    for made_at in [secs - 300, secs, secs + 300] {
        let nonce = u64::try_from(made_at).unwrap();
        assert_eq!(store.take(&used(KEY, nonce, made_at), now).await, Ok(NonceVerdict::Fresh), "{made_at}");
        assert_eq!(store.take(&used(KEY, nonce, made_at), now).await, Ok(NonceVerdict::Replayed));
        // Another time beside it, another key.
        assert_eq!(store.take(&used(KEY, nonce, secs + 7), now).await, Ok(NonceVerdict::Replayed));
        let other = used("9876543210", nonce, made_at);
        assert_eq!(store.take(&other, now).await, Ok(NonceVerdict::Fresh));
    }
}

async fn what_is_said_at_once_is_said_of_the_same_memory(store: &dyn NonceStore) {
    let now = now();
    let [one, other] = [5, 6].map(|nonce| used(KEY, nonce, now.as_secs()));
    let in_memory = store.name() == "memory";
    // Whoever must be waited for has done nothing.
    let [first, again] = [NonceVerdict::Fresh, NonceVerdict::Replayed].map(|v| in_memory.then_some(Ok(v)));
    assert_eq!(store.take_at_once(&one, now), first);
    assert_eq!(store.take_at_once(&one, now), again);
    let verdict = if in_memory { NonceVerdict::Replayed } else { NonceVerdict::Fresh };
    assert_eq!(store.take(&one, now).await, Ok(verdict));
    assert_eq!(store.take(&other, now).await, Ok(NonceVerdict::Fresh));
    assert_eq!(store.take_at_once(&other, now), again);
}

async fn of_many_at_once_one_passes(store: &dyn NonceStore) {
    let now = now();
    let one = used(KEY, 1, now.as_secs());
    let all = futures_util::future::join_all((0..32).map(|_| store.take(&one, now))).await;
    assert_eq!(all.iter().filter(|verdict| **verdict == Ok(NonceVerdict::Fresh)).count(), 1);
    assert_eq!(all.iter().filter(|verdict| **verdict == Ok(NonceVerdict::Replayed)).count(), 31);
}

async fn what_is_over_is_forgotten(store: &dyn NonceStore) {
    let now = now();
    let late = used(KEY, 2, now.as_secs() - KEPT_SECS + 30);
    assert_eq!(store.take(&late, now).await, Ok(NonceVerdict::Fresh));
    store.forget(now).await.unwrap();
    assert_eq!(store.take(&late, now).await, Ok(NonceVerdict::Replayed), "it could still be judged");
    if store.name() != "redis" {
        // Redis goes by its own clock.
        let later = now.plus_micros(200_000_000);
        assert_eq!(store.forget(later).await, Ok(1));
        assert!(matches!(store.take(&late, now).await, Ok(NonceVerdict::Lost(_))), "the clock was set back");
    }
}

async fn a_beginning_is_a_loss(store: &dyn NonceStore) {
    let now = now();
    let old_secret =
        |nonce, made_at| NonceUse { signer_since: Timestamp::default(), ..used(KEY, nonce, made_at) };
    let verdict = store.take(&old_secret(3, now.as_secs()), now).await.unwrap();
    let NonceVerdict::Lost(loss) = verdict else { panic!("{verdict:?}") };
    assert!((loss.over_at_secs() - now.as_secs() - 300).abs() <= 10, "{loss:?}");
    assert_eq!(store.take(&used(KEY, 3, now.as_secs()), now).await, Ok(NonceVerdict::Fresh));
}

/// Before there is any key nothing can have been accepted: nobody waits for what was never lost.
async fn the_first_beginning_loses_nothing(store: &Database) {
    let now = now();
    let old = |nonce| NonceUse { signer_since: Timestamp::default(), ..used(KEY, nonce, now.as_secs()) };
    store.begin(now, true).await.unwrap();
    assert_eq!(store.take(&old(1), now).await, Ok(NonceVerdict::Fresh));
    assert_eq!(store.take(&old(1), now).await, Ok(NonceVerdict::Replayed));
    // Whoever starts later forgets nothing of it, and makes no loss of it.
    for is_first in [false, true] {
        store.begin(now, is_first).await.unwrap();
        assert_eq!(store.take(&old(1), now).await, Ok(NonceVerdict::Replayed));
    }
    assert_eq!(store.take(&old(2), now).await, Ok(NonceVerdict::Fresh));
}

#[tokio::test]
async fn the_first_beginning_of_a_database_loses_nothing_and_a_later_one_does() {
    for is_first in [true, false] {
        let folder = data_folder();
        let store = open(&folder.path().join("c.db").to_string_lossy()).await;
        if is_first {
            the_first_beginning_loses_nothing(&store).await;
            continue;
        }
        let now = now();
        store.begin(now, false).await.unwrap();
        let old = NonceUse { signer_since: Timestamp::default(), ..used(KEY, 1, now.as_secs()) };
        assert!(matches!(store.take(&old, now).await, Ok(NonceVerdict::Lost(_))));
    }
    if let Some(database) = postgres().await {
        the_first_beginning_loses_nothing(&open(database.url()).await).await;
    }
}

#[tokio::test]
async fn a_database_remembers_over_a_restart() {
    let folder = data_folder();
    let address = folder.path().join("c.db").to_string_lossy().into_owned();
    let (now, one) = (now(), used(KEY, 4, now().as_secs()));
    let store = open(&address).await;
    assert_eq!(store.take(&one, now).await, Ok(NonceVerdict::Fresh));
    store.close().await;
    let again = open(&address).await;
    assert_eq!(again.take(&one, now).await, Ok(NonceVerdict::Replayed));
}
