//! A crash wherever an operator's order waits for something: begin, deliver anew, cancel, roll back, revoke. Whoever asks
//! again comes to the same end, and nothing is there twice.

use claviger_domain::{
    id::KeyId,
    key::KeyRecord,
    ports::{
        Change, Store,
        lifecycle::{CertificateFilter, LifecycleStore, RotationFilter},
        notices::{NoticeFilter, NoticeStore},
    },
};
use claviger_service::{
    ServiceError,
    revocation::{RevocationOrder, STEPS},
};

use super::*;

/// Gives an order with a death at every wait, one after the other, until it is answered.
async fn order_through_deaths<T>(
    place: &Place,
    node: &mut Node,
    order: impl AsyncFn(&Services) -> Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    for waits in 0..MOST_WAITS {
        let given = Box::pin(order(&node.services));
        if let Some(answer) = Mortal(given, waits).await {
            return answer;
        }
        node.store.close().await;
        *node = place.start().await;
    }
    panic!("an order waited more than {MOST_WAITS} times");
}

async fn make_key(node: &Node) -> KeyRecord {
    let new = NewKey { name: "app".to_owned(), expires: Expiry::Never, ..NewKey::default() };
    node.services.keys.create(new, &Caller::system()).await.unwrap().0
}

async fn rotations_of(node: &Node, key: &KeyId) -> usize {
    let filter = RotationFilter { key: Some(key.clone()), limit: 10, ..RotationFilter::default() };
    node.store.rotations(&filter).await.unwrap().len()
}

async fn living(node: &Node, lineage: &KeyId) -> Vec<KeyId> {
    let line = node.store.lineage(lineage).await.unwrap();
    line.into_iter().filter(|k| k.state == KeyState::Active).map(|k| k.id).collect()
}

async fn certificates(node: &Node) -> usize {
    node.services.certificates.complete().await.unwrap();
    let filter = CertificateFilter { limit: 100, ..CertificateFilter::default() };
    node.store.certificates(&filter).await.unwrap().len()
}

async fn count(node: &Node, action: &str, key: &KeyId) -> usize {
    let is = |event: &&AuditEvent| event.action == action && event.key == key.as_str();
    events(node).await.iter().filter(is).count()
}

async fn orders_on_rotations(place: &Place) {
    let caller = Caller::system();
    let mut node = place.start().await;
    let key = make_key(&node).await;
    let new = NewRotation::default();
    let begun = order_through_deaths(place, &mut node, async |services| {
        services.rotations.start(&key.id, &new, &caller).await
    });
    // Whether the last death came before or after the commit: it is answered, or was done already.
    if let Err(why) = begun.await {
        assert!(why.to_string().contains("open already"), "{why}");
    }
    // Whoever did not hear the answer and asks again is told that it was done.
    let again = node.services.rotations.start(&key.id, &new, &caller).await;
    let why = again.err().map(|why| why.to_string()).unwrap_or_default();
    assert!(why.contains("open already"), "{why}");
    assert_eq!((rotations_of(&node, &key.id).await, living(&node, &key.id).await.len()), (1, 2));
    let filter = RotationFilter { key: Some(key.id.clone()), limit: 1, ..RotationFilter::default() };
    let rotation = node.store.rotations(&filter).await.unwrap().remove(0);

    // The token of the first delivery is lost with the answer.
    let anew = order_through_deaths(place, &mut node, async |services| {
        services.rotations.redeliver(&rotation.id, None, &caller).await
    });
    let anew = anew.await.unwrap();
    let year = place.clock.now().plus_micros(366 * 86_400_000_000);
    assert_eq!(node.store.lapsed_wrappings(year, 10).await.unwrap().len(), 1, "one delivery holds the key");
    node.services.wrappings.unwrap(anew.token.expose(), &caller).await.unwrap();
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &rotation.id).await, RotationState::Delivered);

    let cancelled = order_through_deaths(place, &mut node, async |services| {
        services.rotations.cancel(&rotation.id, &caller).await
    });
    drop(cancelled.await);
    assert_eq!(state(&node, &rotation.id).await, RotationState::Cancelled);
    assert_eq!(living(&node, &key.id).await, std::slice::from_ref(&key.id));
    assert_eq!(count(&node, "rotation.cancel", &key.id).await, 1);
    assert_eq!(certificates(&node).await, 1);

    let second = node.services.rotations.start(&key.id, &new, &caller).await.unwrap();
    mark_used(place, &second).await;
    advance_through_deaths(place, &mut node).await;
    let back = order_through_deaths(place, &mut node, async |services| {
        services.rotations.roll_back(&second.rotation.id, &caller).await
    });
    drop(back.await);
    assert_eq!(state(&node, &second.rotation.id).await, RotationState::RolledBack);
    assert_eq!(living(&node, &key.id).await, std::slice::from_ref(&key.id));
    assert_eq!((count(&node, "rotation.rollback", &key.id).await, certificates(&node).await), (1, 2));
    node.store.close().await;
}

/// A key with all that can depend on one: a child, a wrapped delivery, an open rotation.
async fn entangled(place: &Place, node: &Node) -> (Started, KeyRecord) {
    let started = begin(place, node).await;
    let mut child = make_key(node).await;
    child.parent = Some(started.successor.id.clone());
    let event = Caller::system().event(place.clock.now(), "test", "");
    node.store.apply(vec![Change::UpdateKey(Box::new(child.clone()))], event).await.unwrap();
    (started, child)
}

async fn orders_to_revoke(place: &Place) {
    let caller = Caller::system();
    let mut node = place.start().await;
    for (made, immediate) in [(1, false), (2, true)] {
        let (started, child) = entangled(place, &node).await;
        let id = &started.successor.id;
        let order = RevocationOrder { reason: RevocationReason::UserRequest, immediate, wait: false };
        let revoked = order_through_deaths(place, &mut node, async |services| {
            services.revocations.revoke(id, order, &caller).await
        });
        drop(revoked.await.unwrap());
        advance_through_deaths(place, &mut node).await;

        for key in [id, &child.id] {
            let key = node.store.key(key).await.unwrap().unwrap();
            assert_eq!((key.state, key.revocation.unwrap().immediate), (KeyState::Revoked, immediate));
        }
        assert_eq!(state(&node, &started.rotation.id).await, RotationState::Cancelled);
        assert!(node.store.wrapping_of(id).await.unwrap().unwrap().sealed.is_empty());
        assert_eq!(certificates(&node).await, made, "one a revocation, none for a child");
        for step in STEPS {
            assert_eq!(count(&node, step, id).await, 1, "{step}, immediate: {immediate}");
        }
        let filter = NoticeFilter { limit: 1_000, ..NoticeFilter::default() };
        let told = node.store.notices(&filter).await.unwrap();
        let told =
            told.iter().filter(|n| n.notice.kind() == "key.revoked" && n.about.key.as_ref() == Some(id));
        assert_eq!(told.count(), 1);
    }
    node.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (one, other) = (data_folder(), data_folder());
    orders_on_rotations(&Place::in_folder(&one)).await;
    orders_to_revoke(&Place::in_folder(&other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    for orders in [true, false] {
        let Some(database) = claviger_testkit::postgres().await else { return };
        let place = Place::new(database.url().to_owned());
        if orders {
            orders_on_rotations(&place).await;
        } else {
            orders_to_revoke(&place).await;
        }
    }
}
