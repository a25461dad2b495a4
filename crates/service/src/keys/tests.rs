use claviger_domain::{clock::MICROS_PER_DAY, key::KeyStatus, limit::Limits};

use super::*;
use crate::{fake::House, lock::lock};

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

async fn refused(house: &House, new: NewKey) -> String {
    house.services.keys.create(new, &Caller::system()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_new_key_has_the_defaults_and_is_kept_as_a_mac_only() {
    let house = House::new().await;
    let (key, token, used) = house.services.keys.create(named("app"), &Caller::system()).await.unwrap();
    let expires = key.expires_at.unwrap().micros_since(house.clock.now());
    assert_eq!(expires, 90 * MICROS_PER_DAY);
    assert_eq!(key.policy.limits, Limits { rpm: Some(60), rpd: Some(10_000), ..Limits::NONE });
    assert_eq!((used, key.class), (KeyUse::default(), KeyClass::Live));
    let text = std::str::from_utf8(token.expose()).unwrap();
    assert!(text.starts_with("cvg_live_"));
    let state = lock(&house.store.state);
    let kept = format!("{:?} {:?}", state.keys, state.audit);
    assert!(!kept.contains(&text[19..]), "the secret is nowhere");
    let event = &state.audit.last().unwrap().event;
    assert_eq!((event.action.as_str(), event.key.as_str()), ("key.create", key.id.as_str()));
    assert_eq!(event.token_scope, "read write");
}

#[tokio::test]
async fn each_bad_field_is_named() {
    let house = House::new().await;
    let words = |w: &str| vec![w.to_owned()];
    let zero = LimitsPatch { rps: Some(Some(0)), ..LimitsPatch::default() };
    for (new, field) in [
        (named(""), "name"),
        (named("a\nb"), "name"),
        (NewKey { models: words("claude opus"), ..named("k") }, "models"),
        (NewKey { endpoints: words("chat"), ..named("k") }, "endpoints"),
        (NewKey { scopes: Some(words("admin")), ..named("k") }, "scopes"),
        (NewKey { scopes: Some(Vec::new()), ..named("k") }, "scopes"),
        (NewKey { allow_ip: words("10.0.0.0/33"), ..named("k") }, "allow_ip"),
        (NewKey { hours: Some("sometimes".to_owned()), ..named("k") }, "hours"),
        (NewKey { limits: zero, ..named("k") }, "rps"),
        (NewKey { max_uses: Some(0), ..named("k") }, "max_uses"),
        (NewKey { expires: Expiry::AfterSecs(0), ..named("k") }, "expires"),
        (NewKey { expires: Expiry::At(Timestamp::from_secs(1)), ..named("k") }, "expires"),
        (NewKey { workspace: Some("nowhere".to_owned()), ..named("k") }, "no workspace `nowhere`"),
        (NewKey { owner: Some("nobody".to_owned()), ..named("k") }, "no owner `nobody`"),
    ] {
        let said = refused(&house, new).await;
        assert!(said.starts_with(field), "{field}: {said}");
    }
    assert!(lock(&house.store.state).keys.is_empty());
}

#[tokio::test]
async fn a_stale_version_is_refused_and_a_race_is_decided_anew() {
    let house = House::new().await;
    let (keys, caller) = (&house.services.keys, Caller::system());
    let (key, _, _) = keys.create(named("k"), &caller).await.unwrap();
    let rename = |name: &str| KeyPatch { name: Some(name.to_owned()), ..KeyPatch::default() };
    let (changed, _) = keys.update(&key.id, rename("l"), Some(1), &caller).await.unwrap();
    assert_eq!((changed.version, changed.name.as_str()), (2, "l"));
    let stale = keys.update(&key.id, rename("m"), Some(1), &caller).await.unwrap_err();
    assert!(matches!(stale, ServiceError::Stale { what: "key", .. }));
    let renames = (0..4).map(|n| {
        let patch = rename(&format!("n{n}"));
        let caller = &caller;
        let id = key.id.clone();
        async move { keys.update(&id, patch, None, caller).await.map(drop) }
    });
    for done in futures_util::future::join_all(renames).await {
        done.unwrap();
    }
    assert_eq!(keys.show(&key.id).await.unwrap().0.version, 6);
}

#[tokio::test]
async fn a_limit_can_be_lifted_and_left_alone() {
    let house = House::new().await;
    let (keys, caller) = (&house.services.keys, Caller::system());
    let (key, _, _) = keys.create(named("k"), &caller).await.unwrap();
    let limits = LimitsPatch { rpm: Some(None), rps: Some(Some(3)), ..LimitsPatch::default() };
    let patch = KeyPatch { limits, expires: Some(Expiry::Never), ..KeyPatch::default() };
    let (changed, _) = keys.update(&key.id, patch, None, &caller).await.unwrap();
    let expected = Limits { rps: Some(3), rpd: Some(10_000), ..Limits::NONE };
    assert_eq!((changed.policy.limits, changed.expires_at), (expected, None));
    let empty = keys.update(&key.id, KeyPatch::default(), None, &caller).await.unwrap_err();
    assert!(matches!(empty, ServiceError::Invalid { field: "patch", .. }));
}

#[tokio::test]
async fn a_revoked_key_can_be_neither_suspended_nor_resumed_nor_changed() {
    let house = House::new().await;
    let (keys, caller) = (&house.services.keys, Caller::system());
    let (key, _, _) = keys.create(named("k"), &caller).await.unwrap();
    let (revoked, _) = keys.revoke(&key.id, RevocationReason::UserRequest, false, &caller).await.unwrap();
    assert_eq!(revoked.status(house.clock.now()), KeyStatus::Revoked);
    assert!(matches!(keys.suspend(&key.id, &caller).await, Err(ServiceError::Conflict { .. })));
    assert!(matches!(keys.resume(&key.id, &caller).await, Err(ServiceError::Conflict { .. })));
    let patch = KeyPatch { name: Some("x".to_owned()), ..KeyPatch::default() };
    assert!(matches!(keys.update(&key.id, patch, None, &caller).await, Err(ServiceError::Conflict { .. })));
}

#[tokio::test]
async fn an_archived_workspace_or_owner_gets_no_new_keys() {
    let house = House::new().await;
    let (tenants, caller) = (&house.services.tenants, Caller::system());
    let owner =
        tenants.create_owner("ann", Some("ann@example.com"), LimitsPatch::default(), &caller).await.unwrap();
    tenants.archive_owner(&owner.id, &caller).await.unwrap();
    let said = refused(&house, NewKey { owner: Some("ann".to_owned()), ..named("k") }).await;
    assert!(said.contains("archived"), "{said}");
    assert!(
        tenants.create_owner("bob", Some("not an address"), LimitsPatch::default(), &caller).await.is_err()
    );
    let taken = tenants.create_owner("ann", None, LimitsPatch::default(), &caller).await.unwrap_err();
    assert!(matches!(taken, ServiceError::Conflict { what: "owner name", .. }));
}

#[test]
fn a_field_that_is_null_differs_from_one_that_is_missing() {
    let read = |text| serde_json::from_str::<KeyPatch>(text).unwrap();
    let patch = read(r#"{"limits":{"rpm":null,"rps":5},"hours":null}"#);
    assert_eq!((patch.limits.rpm, patch.limits.rps, patch.limits.rpd), (Some(None), Some(Some(5)), None));
    assert_eq!((patch.hours, patch.max_uses), (Some(None), None));
    assert!(serde_json::from_str::<KeyPatch>(r#"{"nmae":"x"}"#).is_err());
}
