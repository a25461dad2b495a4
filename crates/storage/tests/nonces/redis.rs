//! What only Redis can do: forget everything at once.

use claviger_domain::{
    ports::signing::{NonceError, NonceStore},
    signature::nonce::NonceVerdict,
};
use claviger_storage::RedisNonces;
use claviger_testkit::redis;

use super::{KEY, NonceUse, Timestamp, now, used};

/// A use by a secret that is older than any loss.
fn old(nonce: u64, made_at: i64) -> NonceUse {
    NonceUse { signer_since: Timestamp::default(), ..used(KEY, nonce, made_at) }
}

/// Beyond the beginning: what the store accepts by its rule.
const AHEAD: i64 = 310;

#[tokio::test]
async fn after_a_flush_nothing_that_was_accepted_before_is_accepted_again_by_any_node() {
    let Some(server) = redis() else { return };
    let nodes = [RedisNonces::new(&server.url()).unwrap(), RedisNonces::new(&server.url()).unwrap()];
    let now = now();
    let one = old(1, now.as_secs() + AHEAD);
    assert_eq!(nodes[0].take(&one, now).await, Ok(NonceVerdict::Fresh));
    assert_eq!(nodes[1].take(&one, now).await, Ok(NonceVerdict::Replayed), "they share it");
    assert_eq!(server.command(&["FLUSHALL"]), "+OK");
    for node in &nodes {
        let within = old(2, now.as_secs() + 300);
        assert!(matches!(node.take(&within, now).await, Ok(NonceVerdict::Lost(_))));
    }
}

#[tokio::test]
async fn a_restart_is_a_loss_and_an_outage_refuses_everything() {
    let Some(mut server) = redis() else { return };
    let store = RedisNonces::new(&server.url()).unwrap();
    let now = now();
    let one = old(1, now.as_secs() + AHEAD);
    assert_eq!(store.take(&one, now).await, Ok(NonceVerdict::Fresh));
    server.kill();
    for _ in 0..3 {
        assert!(matches!(
            store.take(&old(2, now.as_secs() + AHEAD), now).await,
            Err(NonceError::Unavailable(_))
        ));
    }
    server.start();
    assert!(matches!(store.take(&old(3, now.as_secs() + 200), now).await, Ok(NonceVerdict::Lost(_))));
}

#[tokio::test]
async fn a_server_that_drops_keys_by_itself_or_is_a_replica_is_not_relied_on() {
    let Some(server) = redis() else { return };
    let now = now();
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "100mb"]), "+OK");
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]), "+OK");
    let store = RedisNonces::new(&server.url()).unwrap();
    let refused = store.take(&used(KEY, 1, now.as_secs()), now).await.unwrap_err();
    assert!(refused.to_string().contains("noeviction"), "{refused}");
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "+OK");
    assert_eq!(store.take(&used(KEY, 1, now.as_secs()), now).await, Ok(NonceVerdict::Fresh));
    // Set later, it is noticed at the next look.
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]), "+OK");
    assert!(store.forget(now).await.is_err());
    assert!(store.take(&used(KEY, 2, now.as_secs()), now).await.is_err());
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    let replica = RedisNonces::new(&server.url()).unwrap();
    assert!(replica.take(&used(KEY, 3, now.as_secs()), now).await.is_err());
}

#[tokio::test]
async fn a_server_with_another_time_is_not_relied_on() {
    let Some(server) = redis() else { return };
    let store = RedisNonces::new(&server.url()).unwrap();
    let off = now().plus_micros(61_500_000);
    let refused = store.take(&used(KEY, 1, off.as_secs()), off).await.unwrap_err();
    assert!(refused.to_string().contains("clock"), "{refused}");
}
