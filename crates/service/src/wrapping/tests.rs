use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::{fake::House, keys::NewKey, lock::lock};
use claviger_domain::key::RevocationReason;

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

fn stranger(ip: &str) -> Caller {
    Caller { actor: Actor::Anonymous, client_ip: ip.to_owned(), ..Caller::system() }
}

async fn wrapped(house: &House) -> (KeyRecord, Wrapped) {
    let made = house.services.keys.create_wrapped(named("k"), None, &Caller::system()).await.unwrap();
    (made.0, made.1)
}

fn incidents(house: &House) -> usize {
    let state = lock(&house.store.state);
    state.notices.notices.iter().filter(|n| matches!(n.notice, Notice::Incident { .. })).count()
}

async fn refused(house: &House, token: &SideToken, ip: &str) -> ServiceError {
    house.services.wrappings.unwrap(token.expose(), &stranger(ip)).await.err().unwrap()
}

#[tokio::test]
async fn a_wrapped_key_comes_out_once_and_nothing_is_left_of_it() {
    let house = House::new().await;
    let (key, wrapped) = wrapped(&house).await;
    assert!(wrapped.token.expose().starts_with(b"cvg_wrap_"));
    let out = house.services.wrappings.unwrap(wrapped.token.expose(), &stranger("192.0.2.7")).await.unwrap();
    assert_eq!(out.id, key.id);
    let token = Token::parse(Brand::DEFAULT, out.key.expose()).unwrap();
    assert_eq!(house.services.grants.verify(&token).await.unwrap().grant.key.id, key.id);
    let kept = lock(&house.store.state).lifecycle.wrappings[0].clone();
    assert!(kept.sealed.is_empty());
    assert_eq!(kept.opened.unwrap().client_ip, "192.0.2.7");

    let again = refused(&house, &wrapped.token, "198.51.100.1").await;
    assert!(
        matches!(&again, ServiceError::Conflict { why, .. } if why.contains("2026-03-02T12:00:00")),
        "{again}"
    );
    assert_eq!(incidents(&house), 1);
}

#[tokio::test]
async fn many_second_openings_make_one_incident_a_minute() {
    let house = House::new().await;
    let (_, wrapped) = wrapped(&house).await;
    house.services.wrappings.unwrap(wrapped.token.expose(), &stranger("192.0.2.7")).await.unwrap();
    for _ in 0..20 {
        refused(&house, &wrapped.token, "198.51.100.1").await;
    }
    assert_eq!(incidents(&house), 1);
    house.clock.advance(Duration::from_secs(60));
    refused(&house, &wrapped.token, "198.51.100.1").await;
    assert_eq!(incidents(&house), 2);
    let state = lock(&house.store.state);
    let last = &state.audit.last().unwrap().event;
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("key.unwrap", "opened_before"));
    assert_eq!(last.details["unrecorded_before"], 19);
}

#[tokio::test]
async fn of_many_who_open_at_once_one_gets_the_key() {
    let house = House::new().await;
    let (_, wrapped) = wrapped(&house).await;
    let caller = stranger("192.0.2.7");
    let opening = (0..16).map(|_| house.services.wrappings.unwrap(wrapped.token.expose(), &caller));
    let opened = join_all(opening).await;
    assert_eq!(opened.iter().filter(|o| o.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_lapsed_delivery_is_gone_and_swept() {
    let house = House::new().await;
    let (_, wrapped) = wrapped(&house).await;
    assert_eq!(house.services.wrappings.sweep(None).await.unwrap(), 0);
    house.clock.advance(Duration::from_secs(86_400));
    assert!(matches!(refused(&house, &wrapped.token, "").await, ServiceError::Gone { .. }));
    assert_eq!(house.services.wrappings.sweep(None).await.unwrap(), 1);
    assert!(lock(&house.store.state).lifecycle.wrappings[0].sealed.is_empty());
    assert_eq!(house.services.wrappings.sweep(None).await.unwrap(), 0);
    assert_eq!(incidents(&house), 0);
}

#[tokio::test]
async fn a_dead_key_does_not_come_out() {
    let house = House::new().await;
    let (key, wrapped) = wrapped(&house).await;
    let reason = RevocationReason::Compromised;
    house.services.keys.revoke(&key.id, reason, true, &Caller::system()).await.unwrap();
    assert!(matches!(refused(&house, &wrapped.token, "").await, ServiceError::Gone { .. }));
}

#[tokio::test]
async fn what_opens_nothing_is_told_apart_from_what_is_no_token() {
    let house = House::new().await;
    let other = SideToken::generate(Brand::DEFAULT, SideUse::Wrapping, house.deps.entropy.as_ref()).unwrap();
    assert!(matches!(refused(&house, &other, "").await, ServiceError::NotFound { .. }));
    let (key, _) = wrapped(&house).await;
    for text in ["", "cvg_wrap_", "cvg_live_0123456789012345678901234567890123456789012", key.id.as_str()] {
        let error = house.services.wrappings.unwrap(text.as_bytes(), &stranger("")).await.err().unwrap();
        assert!(matches!(error, ServiceError::Invalid { field: "token", .. }), "{text}");
    }
}

#[tokio::test]
async fn a_failed_creation_leaves_no_delivery() {
    let house = House::new().await;
    let made = house.services.keys.create_wrapped(named("k"), Some(0), &Caller::system()).await;
    assert!(matches!(made.err().unwrap(), ServiceError::Invalid { field: "wrap_ttl_secs", .. }));
    let state = lock(&house.store.state);
    assert_eq!((state.keys.len(), state.lifecycle.wrappings.len()), (0, 0));
}
