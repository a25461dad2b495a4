use claviger_domain::{
    clock::{Clock, MICROS_PER_DAY},
    notice::Notice,
    signature::secret::SigningKind,
};

use super::*;
use crate::{
    fake::House,
    keys::{KeyPatch, NewKey},
    lock::lock,
};

fn wish(sign: bool) -> NewKey {
    NewKey { name: "k".to_owned(), sign, ..NewKey::default() }
}

async fn standing(
    house: &House,
    key: &KeyId,
) -> (usize, Option<SigningId>, Option<SigningId>, Option<SigningId>) {
    let records = house.services.signing.show(key).await.unwrap();
    let standing = Standing::of(&records, house.clock.now());
    let id = |record: Option<&SigningRecord>| record.map(|r| r.id.clone());
    (records.len(), id(standing.current), id(standing.next), id(standing.previous))
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_sealed() {
    let house = House::new().await;
    let (key, _, secret) = house.services.keys.create_signing(wish(true), &Caller::system()).await.unwrap();
    let secret = secret.unwrap();
    let text = secret.text.expose();
    assert!(text.starts_with(b"cvg_sign_"));
    let kept = lock(&house.store.state).signing.clone();
    assert_eq!(kept.len(), 1);
    assert_ne!(kept[0].material, text);
    assert!(house.services.signing.show(&key.id).await.unwrap()[0].material.is_empty());
    let held = house.services.signing.of_holder(&key.id).await.unwrap();
    assert_eq!(held.current.unwrap().text.expose(), text);
    assert!(held.next.is_none());
    let (_, _, none) = house.services.keys.create_signing(wish(false), &Caller::system()).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn what_must_sign_must_be_able_to() {
    let house = House::new().await;
    let keys = &house.services.keys;
    let caller = Caller::system();
    let require = vec!["signature".to_owned()];
    let cannot = NewKey { require: require.clone(), ..wish(false) };
    let refused = keys.create(cannot, &caller).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid { field: "require", .. }), "{refused}");
    keys.create(NewKey { require: require.clone(), ..wish(true) }, &caller).await.unwrap();
    let (key, ..) = keys.create(wish(false), &caller).await.unwrap();
    let patch = KeyPatch { require: Some(require), ..KeyPatch::default() };
    let refused = keys.update(&key.id, patch.clone(), None, &caller).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid { field: "require", .. }), "{refused}");
    house.services.signing.rotate(&key.id, false, &caller).await.unwrap();
    keys.update(&key.id, patch, None, &caller).await.unwrap();
}

#[tokio::test]
async fn a_new_secret_leaves_the_old_one_a_day_or_nothing() {
    let house = House::new().await;
    let signing = &house.services.signing;
    let (key, _, first) = house.services.keys.create_signing(wish(true), &Caller::system()).await.unwrap();
    let first = first.unwrap().record.id;
    house.clock.advance(std::time::Duration::from_secs(60));
    let second = signing.rotate(&key.id, false, &Caller::system()).await.unwrap().1.record.id;
    assert_eq!(standing(&house, &key.id).await, (2, Some(second.clone()), None, Some(first)));
    house.clock.advance(std::time::Duration::from_secs(86_400));
    assert_eq!(standing(&house, &key.id).await, (2, Some(second), None, None));
    let third = signing.rotate(&key.id, true, &Caller::system()).await.unwrap().1.record.id;
    assert_eq!(standing(&house, &key.id).await, (3, Some(third), None, None));
    house
        .services
        .keys
        .revoke(&key.id, claviger_domain::key::RevocationReason::UserRequest, false, &Caller::system())
        .await
        .unwrap();
    assert!(signing.rotate(&key.id, false, &Caller::system()).await.is_err());
}

#[tokio::test]
async fn late_use_of_an_old_secret_is_told_once_for_its_end() {
    let house = House::new().await;
    let signing = &house.services.signing;
    let (key, ..) = house.services.keys.create_signing(wish(true), &Caller::system()).await.unwrap();
    let told = || house.actions().iter().filter(|action| *action == "key.signing.used_late").count();
    let raised = || {
        let state = lock(&house.store.state);
        state.notices.notices.iter().filter(|n| matches!(n.notice, Notice::SigningOld { .. })).count()
    };
    signing.tell_late().await;
    assert_eq!((told(), raised()), (0, 0));
    let end = house.clock.now();
    for _ in 0..3 {
        signing.note_late(&key.id, end);
        signing.note_late(&key.id, end);
        signing.tell_late().await;
    }
    assert_eq!((told(), raised()), (1, 1));
    signing.note_late(&key.id, end.plus_micros(MICROS_PER_DAY));
    signing.tell_late().await;
    assert_eq!((told(), raised()), (2, 2));
}

#[tokio::test]
async fn a_public_key_is_read_from_hex_and_pem_and_from_nothing_else() {
    let house = House::new().await;
    let signing = &house.services.signing;
    let (key, ..) = house.services.keys.create(wish(false), &Caller::system()).await.unwrap();
    // RFC 8410, section 10.1.
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let record = signing.put_public_key(&key.id, pem, &Caller::system()).await.unwrap();
    assert_eq!(record.kind, SigningKind::Ed25519);
    assert_eq!(record.hint, "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    let again = signing.put_public_key(&key.id, &record.hint, &Caller::system()).await.unwrap();
    assert_eq!(again.material, record.material);
    for bad in ["", "00", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(signing.put_public_key(&key.id, bad, &Caller::system()).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn secrets_follow_one_another_by_the_month_and_what_is_over_is_emptied() {
    let house = House::new().await;
    let new = NewKey { expires: crate::keys::Expiry::Never, ..wish(true) };
    let (key, _, first) = house.services.keys.create_signing(new, &Caller::system()).await.unwrap();
    let first = first.unwrap().record.id;
    let day = |n: u64| std::time::Duration::from_secs(n * 86_400);
    let run = async || {
        // Every run has a slot of its own.
        house.clock.advance(std::time::Duration::from_secs(1));
        house.services.scheduler.run_now("signing_rotation", &Caller::system()).await.unwrap();
    };
    house.clock.advance(day(22));
    run().await;
    assert_eq!(standing(&house, &key.id).await, (1, Some(first.clone()), None, None));
    house.clock.advance(day(2));
    run().await;
    run().await;
    let (count, current, next, _) = standing(&house, &key.id).await;
    assert_eq!((count, current.as_ref()), (2, Some(&first)));
    let next = next.unwrap();
    assert_eq!(house.actions().iter().filter(|a| *a == "key.signing.rotate").count(), 1);
    // Both are handed to the holder.
    let held = house.services.signing.of_holder(&key.id).await.unwrap();
    assert_eq!(held.next.unwrap().record.id, next);
    house.clock.advance(day(6) + std::time::Duration::from_secs(1));
    assert_eq!(standing(&house, &key.id).await, (2, Some(next.clone()), None, Some(first.clone())));
    house.clock.advance(day(1));
    run().await;
    assert_eq!(standing(&house, &key.id).await, (2, Some(next), None, None));
    let kept = lock(&house.store.state).signing.clone();
    assert!(kept.iter().find(|r| r.id == first).unwrap().material.is_empty());
    assert!(house.clock.now().as_micros() > MICROS_PER_DAY);
}
