use claviger_domain::{
    certificate::verify,
    clock::Clock,
    key::{KeyState, KeyStatus},
    ports::{Change, Store},
};

use super::*;
use crate::{fake::House, keys::NewKey, lock::lock};

fn order(reason: RevocationReason) -> RevocationOrder {
    RevocationOrder { reason, immediate: false, wait: false }
}

async fn key(house: &House, name: &str) -> KeyRecord {
    let new = NewKey { name: name.to_owned(), ..NewKey::default() };
    house.services.keys.create(new, &Caller::system()).await.unwrap().0
}

fn body(certificate: &CertificateRecord) -> Value {
    serde_json::from_str(&certificate.body).unwrap()
}

/// A child as the gateway mints one.
async fn child(house: &House, parent: &KeyRecord) -> KeyRecord {
    let mut child = key(house, "child").await;
    child.parent = Some(parent.id.clone());
    let event = Caller::system().event(house.clock.now(), "test", "");
    house.store.apply(vec![Change::UpdateKey(Box::new(child.clone()))], event).await.unwrap();
    child
}

#[tokio::test]
async fn a_revocation_is_certified_and_its_certificate_verifies() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let services = &house.services;
    let caller = Caller::system();
    let revoked =
        services.revocations.revoke(&made.id, order(RevocationReason::UserRequest), &caller).await.unwrap();
    assert_eq!(revoked.key.status(house.clock.now()), KeyStatus::Revoked);
    let certificate = revoked.certificate.unwrap();
    let body = body(&certificate);
    let verified = verify(&body, &services.certificates.public_key()).unwrap();
    assert_eq!((verified.key_id.as_str(), verified.reason.as_str()), (made.id.as_str(), "USER_REQUEST"));
    let state = lock(&house.store.state);
    let record = &state.audit[usize::try_from(verified.audit_number).unwrap() - 1];
    assert_eq!((record.event.action.as_str(), record.event.key.as_str()), ("key.revoke", made.id.as_str()));
    assert_eq!(body["audit"]["head"], record.head.to_hex());
    assert_eq!(
        (body["audit"]["seq"].as_i64(), body["immediate"].as_bool()),
        (Some(revoked.seq), Some(false))
    );
}

#[tokio::test]
async fn a_second_revocation_answers_with_the_same_certificate() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let revocations = &house.services.revocations;
    let first =
        revocations.revoke(&made.id, order(RevocationReason::UserRequest), &Caller::system()).await.unwrap();
    let again =
        revocations.revoke(&made.id, order(RevocationReason::UserRequest), &Caller::system()).await.unwrap();
    assert_eq!((again.seq, &again.certificate), (first.seq, &first.certificate));
    let sharper =
        revocations.revoke(&made.id, order(RevocationReason::Compromised), &Caller::system()).await.unwrap();
    assert_eq!(sharper.certificate, first.certificate, "one key, one certificate");
    assert!(sharper.key.revocation.is_some_and(|r| r.immediate && r.reason == RevocationReason::Compromised));
    assert_eq!(house.services.certificates.complete().await.unwrap(), 0);
}

#[tokio::test]
async fn children_die_with_their_parent_in_the_same_transaction() {
    let house = House::new().await;
    let parent = key(&house, "parent").await;
    let child = child(&house, &parent).await;
    let services = &house.services;
    let before = lock(&house.store.state).audit.len();
    let revoked = services
        .revocations
        .revoke(&parent.id, order(RevocationReason::Compromised), &Caller::system())
        .await
        .unwrap();
    assert_eq!(revoked.children, std::slice::from_ref(&child.id));
    {
        let state = lock(&house.store.state);
        assert!(state.keys.iter().all(|k| k.state == KeyState::Revoked));
        assert_eq!(state.audit.len(), before + 2, "the revocation of both, and the parent's certificate");
    }
    let certificate = body(&revoked.certificate.unwrap());
    assert_eq!(certificate["affected_services"][0], format!("child key {}", child.id));
    assert_eq!(
        services.certificates.complete().await.unwrap(),
        0,
        "a child's end is in its parent's certificate"
    );
    assert_eq!(services.certificates.of_key(&child.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_child_is_certified_only_where_somebody_revokes_it_by_itself() {
    let house = House::new().await;
    let parent = key(&house, "parent").await;
    let services = &house.services;
    let one = child(&house, &parent).await;
    let caller = Caller::system();
    // Whoever orders it dies before the certificate is made.
    services.keys.revoke(&one.id, RevocationReason::UserRequest, false, &caller).await.unwrap();
    assert_eq!(services.certificates.complete().await.unwrap(), 1);
    let made = body(&services.certificates.of_key(&one.id).await.unwrap().unwrap());
    assert!(made["compliance_notes"].as_str().unwrap().ends_with(&format!("child of {}", parent.id)));
    let ended = KeyRecord {
        state: KeyState::Revoked,
        revocation: Some(claviger_domain::key::Revocation {
            at: house.clock.now(),
            reason: RevocationReason::UserRequest,
            immediate: true,
        }),
        ..child(&house, &parent).await
    };
    // As its process does when it exits.
    let ended = KeyRecord { version: ended.version + 1, ..ended };
    let event = Caller::system().event(house.clock.now(), "child.revoke", "");
    house.store.apply(vec![Change::UpdateKey(Box::new(ended))], event).await.unwrap();
    assert_eq!(services.certificates.complete().await.unwrap(), 0);
}

#[tokio::test]
async fn what_died_before_its_certificate_gets_exactly_one() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let services = &house.services;
    // As a job, or a process that dies right after the commit.
    services.keys.revoke(&made.id, RevocationReason::SecurityPolicy, false, &Caller::system()).await.unwrap();
    assert!(services.certificates.of_key(&made.id).await.unwrap().is_none());
    assert_eq!(services.certificates.complete().await.unwrap(), 1);
    assert_eq!(services.certificates.complete().await.unwrap(), 0);
    assert_eq!(lock(&house.store.state).lifecycle.certificates.len(), 1);
}

#[tokio::test]
async fn waiting_ends_when_the_view_has_passed_and_no_call_is_left() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let grants = house.services.grants.clone();
    let wait = RevocationOrder { wait: true, ..order(RevocationReason::UserRequest) };
    let caller = Caller::system();
    let revoking = house.services.revocations.revoke(&made.id, wait, &caller);
    let seen = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        grants.note_seen(i64::MAX);
    };
    let (revoked, ()) = tokio::join!(revoking, seen);
    assert_eq!(revoked.unwrap().in_flight, 0);
}
