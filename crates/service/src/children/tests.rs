use std::sync::Arc;

use claviger_domain::{
    audit::Actor,
    clock::MICROS_PER_SEC,
    grant::AuthFailure,
    key::{
        KeyStatus,
        child::{HEARTBEAT_SECS, LEASE_SECS},
    },
    limit::{Bucket, LimitKind, LimitSubject},
};

use super::*;
use crate::{
    fake::House,
    grants::VerifyError,
    keys::{KeyPatch, LimitsPatch, NewKey},
};

fn caller() -> Caller {
    Caller { actor: Actor::Key { id: "key_0123456789".to_owned() }, ..Caller::system() }
}

struct Family {
    house: House,
    token: Token,
    parent: Arc<LiveGrant>,
}

impl Family {
    async fn new(limits: LimitsPatch) -> Self {
        let house = House::new().await;
        let new = NewKey { name: "parent".to_owned(), limits, ..NewKey::default() };
        let (_, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
        let parent = house.services.grants.verify(&token).await.unwrap();
        Self { house, token, parent }
    }

    async fn mint(&self, new: NewChild) -> Result<(KeyRecord, Token), ChildrenError> {
        self.house.services.children.mint(&self.parent, new, &caller()).await
    }

    async fn child(&self) -> (KeyRecord, Token) {
        self.mint(NewChild { ttl_secs: Some(LEASE_SECS), ..NewChild::default() }).await.unwrap()
    }

    async fn refused(&self, token: &Token) -> VerifyError {
        self.house.services.grants.verify(token).await.unwrap_err()
    }

    fn pass(&self, secs: u64) {
        self.house.clock.advance(std::time::Duration::from_secs(secs));
    }
}

#[tokio::test]
async fn a_child_works_and_is_its_parents() {
    let family = Family::new(LimitsPatch::default()).await;
    let (record, token) = family.child().await;
    let live = family.house.services.grants.verify(&token).await.unwrap();
    let parent = &family.parent.grant.key;
    assert_eq!(
        (&record.owner, &record.workspace, record.class),
        (&parent.owner, &parent.workspace, parent.class)
    );
    assert_eq!((record.name.as_str(), &record.parent), ("child of parent", &Some(parent.id.clone())));
    assert_eq!(live.parent.as_ref().unwrap().grant.key.id, parent.id);
    assert_eq!(family.house.actions().last().unwrap(), "child.create");
    let grandchild = family.house.services.children.mint(&live, NewChild::default(), &caller()).await;
    assert!(matches!(grandchild, Err(ChildrenError::Rule(ChildError::Grandchild))));
}

#[tokio::test]
async fn whatever_refuses_the_parent_refuses_the_child_at_once() {
    let family = Family::new(LimitsPatch::default()).await;
    let (_, token) = family.child().await;
    let services = &family.house.services;
    let id = &family.parent.grant.key.id;
    let live = services.grants.verify(&token).await.unwrap();
    services.keys.suspend(id, &Caller::system()).await.unwrap();
    assert_eq!(family.refused(&token).await, AuthFailure::Suspended.into());
    services.keys.resume(id, &Caller::system()).await.unwrap();
    services.grants.verify(&token).await.unwrap();
    assert!(!live.runtime.is_cut());
    services.keys.revoke(id, RevocationReason::Compromised, true, &Caller::system()).await.unwrap();
    assert_eq!(family.refused(&token).await, AuthFailure::Revoked.into());
    assert!(live.runtime.is_cut(), "calls of a child in flight end with its parent");
}

#[tokio::test]
async fn a_parent_that_another_node_changed_reaches_its_children_by_the_feed() {
    let mut family = Family::new(LimitsPatch::default()).await;
    let (_, token) = family.child().await;
    family.house.poll().await;
    let live = family.house.services.grants.verify(&token).await.unwrap();
    let store = &family.house.store;
    let parent = store.key(&family.parent.grant.key.id).await.unwrap().unwrap();
    let verb = KeyVerb::Revoke { reason: RevocationReason::UserRequest, immediate: true };
    let revoked = decide(&parent, &verb, family.house.clock.now()).unwrap();
    let event = Caller::system().event(family.house.clock.now(), "key.revoke", parent.id.as_str());
    store.apply(vec![Change::UpdateKey(Box::new(revoked))], event).await.unwrap();
    family.house.poll().await;
    assert!(live.runtime.is_cut());
    assert_eq!(family.refused(&token).await, AuthFailure::Revoked.into());
}

#[tokio::test]
async fn a_known_child_of_a_known_parent_is_verified_without_a_store() {
    let family = Family::new(LimitsPatch::default()).await;
    let (_, token) = family.child().await;
    let grants = &family.house.services.grants;
    let first = grants.verify(&token).await.unwrap();
    family.house.store.set_down(true);
    let again = grants.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "nothing is made anew while nothing changes");
}

#[tokio::test]
async fn a_parent_that_is_narrowed_narrows_its_children() {
    let family = Family::new(LimitsPatch::default()).await;
    let (_, token) = family.child().await;
    let services = &family.house.services;
    assert!(services.grants.verify(&token).await.unwrap().allows_model("claude-opus-5-5"));
    let patch = KeyPatch { models: Some(vec!["claude-haiku-*".to_owned()]), ..KeyPatch::default() };
    services.keys.update(&family.parent.grant.key.id, patch, None, &Caller::system()).await.unwrap();
    let live = services.grants.verify(&token).await.unwrap();
    assert!(!live.allows_model("claude-opus-5-5") && live.allows_model("claude-haiku-5-5"));
    assert!(live.limits_models());
}

#[tokio::test]
async fn children_do_not_multiply_their_parents_limits() {
    let limits = LimitsPatch { rpm: Some(Some(3)), rpd: Some(Some(4)), ..LimitsPatch::default() };
    let family = Family::new(limits).await;
    let services = &family.house.services;
    let tokens = [family.child().await.1, family.child().await.1];
    let now = family.house.clock.now();
    let mut admitted = 0;
    for token in tokens.iter().cycle().take(10) {
        let live = services.grants.verify(token).await.unwrap();
        admitted += usize::from(services.admission.admit(&live, Bucket::Work, now).is_ok());
    }
    assert_eq!(admitted, 3);
    let refused = services.admission.admit(&family.parent, Bucket::Work, now).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::RequestsPerMinute);
    assert_eq!(family.parent.runtime.in_flight(), 0, "places come back to both");
    assert_eq!(family.parent.runtime.uses(), 3);
}

#[tokio::test]
async fn a_child_that_is_refused_takes_nothing_from_its_parent() {
    let family = Family::new(LimitsPatch::default()).await;
    let narrow = NewChild { limits: Limits { rpm: Some(1), ..Limits::NONE }, ..NewChild::default() };
    let (_, token) = family.mint(narrow).await.unwrap();
    let services = &family.house.services;
    let live = services.grants.verify(&token).await.unwrap();
    let now = family.house.clock.now();
    let results: Vec<bool> =
        (0..5).map(|_| services.admission.admit(&live, Bucket::Work, now).is_ok()).collect();
    assert_eq!(results, [true, false, false, false, false]);
    assert_eq!(family.parent.runtime.uses(), 1);
    let left = family.parent.counters(now);
    assert!(
        left.iter().map(|c| c.headroom).any(|h| h.kind == LimitKind::RequestsPerDay && h.remaining == 9_999)
    );
}

#[tokio::test]
async fn after_a_restart_what_children_used_still_counts_for_the_parent() {
    let family = Family::new(LimitsPatch { rpd: Some(Some(5)), ..LimitsPatch::default() }).await;
    let (record, _) = family.child().await;
    crate::lock::lock(&family.house.store.state).used.insert(record.id, (5, 0, 5));
    let again = House::on(Arc::clone(&family.house.store), crate::Settings::default(), 9).await;
    let parent = again.services.grants.verify(&family.token).await.unwrap();
    let refused = again.services.admission.admit(&parent, Bucket::Work, again.clock.now()).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::RequestsPerDay);
    assert_eq!(parent.runtime.uses(), 5);
}

#[tokio::test]
async fn at_most_a_hundred_children_live_at_once() {
    let family = Family::new(LimitsPatch::default()).await;
    let mut last = None;
    for _ in 0..MOST_CHILDREN {
        last = Some(family.child().await.0);
    }
    assert!(matches!(family.mint(NewChild::default()).await, Err(ChildrenError::Full(100))));
    let services = &family.house.services;
    services.children.end(&family.parent, &last.unwrap().id, &caller()).await.unwrap();
    family.child().await;
    assert!(matches!(family.mint(NewChild::default()).await, Err(ChildrenError::Full(100))));
    family.pass(LEASE_SECS);
    family.child().await;
}

#[tokio::test]
async fn without_a_heartbeat_a_child_is_dead_after_its_lease() {
    let family = Family::new(LimitsPatch::default()).await;
    let (record, token) = family.child().await;
    let services = &family.house.services;
    for _ in 0..10 {
        family.pass(HEARTBEAT_SECS);
        services.children.beat(&family.parent, &record.id, &caller()).await.unwrap();
        services.grants.verify(&token).await.unwrap();
    }
    family.pass(LEASE_SECS - 1);
    services.grants.verify(&token).await.unwrap();
    family.pass(1);
    assert_eq!(family.refused(&token).await, AuthFailure::Expired.into());
    let late = services.children.beat(&family.parent, &record.id, &caller()).await;
    assert!(matches!(late, Err(ChildrenError::Rule(ChildError::Over(KeyStatus::Expired)))));
}

#[tokio::test]
async fn a_child_that_was_ended_is_dead_and_stays_so() {
    let family = Family::new(LimitsPatch::default()).await;
    let (record, token) = family.child().await;
    let services = &family.house.services;
    let live = services.grants.verify(&token).await.unwrap();
    for _ in 0..2 {
        services.children.end(&family.parent, &record.id, &caller()).await.unwrap();
    }
    assert_eq!(family.refused(&token).await, AuthFailure::Revoked.into());
    assert!(live.runtime.is_cut());
    let beat = services.children.beat(&family.parent, &record.id, &caller()).await;
    assert!(matches!(beat, Err(ChildrenError::Rule(ChildError::Over(KeyStatus::Revoked)))));
    let ends = family.house.actions().iter().filter(|a| *a == "child.revoke").count();
    assert_eq!(ends, 1, "what changes nothing leaves no record");
}

#[tokio::test]
async fn nobody_touches_the_children_of_others() {
    let family = Family::new(LimitsPatch::default()).await;
    let (record, token) = family.child().await;
    let services = &family.house.services;
    let other = NewKey { name: "other".to_owned(), ..NewKey::default() };
    let (other, other_token, _) = services.keys.create(other, &Caller::system()).await.unwrap();
    let stranger = services.grants.verify(&other_token).await.unwrap();
    let itself = services.grants.verify(&token).await.unwrap();
    for holder in [&stranger, &itself] {
        let beat = services.children.beat(holder, &record.id, &caller()).await;
        assert!(matches!(beat, Err(ChildrenError::NotFound(_))), "a child cannot keep itself alive");
        let end = services.children.end(holder, &record.id, &caller()).await;
        assert!(matches!(end, Err(ChildrenError::NotFound(_))));
    }
    let end = services.children.end(&family.parent, &other.id, &caller()).await;
    assert!(matches!(end, Err(ChildrenError::NotFound(_))));
}

#[tokio::test]
async fn holders_are_counted_apart_from_their_keys_limits() {
    let family = Family::new(LimitsPatch { rpm: Some(Some(1)), ..LimitsPatch::default() }).await;
    let children = &family.house.services.children;
    let now = family.house.clock.now();
    let admitted = (0..1_000).filter(|_| children.count(&family.parent, now).is_ok()).count();
    assert_eq!(admitted, 150);
    let later = now.plus_micros(MICROS_PER_SEC);
    assert!(children.count(&family.parent, later).is_ok());
}

#[tokio::test]
async fn what_goes_beyond_the_parent_makes_nothing() {
    let family = Family::new(LimitsPatch::default()).await;
    let before = family.house.actions().len();
    for new in [
        NewChild { limits: Limits { rpm: Some(61), ..Limits::NONE }, ..NewChild::default() },
        NewChild { ttl_secs: Some(1), ..NewChild::default() },
        NewChild { endpoints: vec!["nowhere".to_owned()], ..NewChild::default() },
        NewChild { allow_ip: vec!["nowhere".to_owned()], ..NewChild::default() },
        NewChild { name: Some("\n".to_owned()), ..NewChild::default() },
        NewChild { models: vec!["x".to_owned(); 257], ..NewChild::default() },
    ] {
        assert!(family.mint(new).await.is_err());
    }
    assert_eq!(family.house.actions().len(), before);
}

#[tokio::test]
async fn a_holder_sees_how_its_key_stands() {
    let family = Family::new(LimitsPatch::default()).await;
    let (_, token) = family.child().await;
    let services = &family.house.services;
    let live = services.grants.verify(&token).await.unwrap();
    drop(services.admission.admit(&live, Bucket::Work, family.house.clock.now()).unwrap());
    let own = services.children.standing(&live).await.unwrap();
    assert_eq!((own.status, own.uses, own.in_flight), (KeyStatus::Active, 1, 0));
    assert!(
        own.left.iter().any(|l| l.headroom.subject == LimitSubject::Parent && l.headroom.remaining == 9_999)
    );
    assert!(!own.workspace.is_empty() && !own.owner.is_empty() && own.notice.is_none());
    let theirs = services.children.standing(&family.parent).await.unwrap();
    assert_eq!(
        (theirs.uses, theirs.left.iter().any(|l| l.headroom.subject == LimitSubject::Parent)),
        (1, false)
    );
}
