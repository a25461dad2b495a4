use claviger_domain::{
    policy::Rule,
    proof::{Proof, Proofs},
    tenancy::Environment,
};

use super::*;
use crate::{
    fake::House,
    keys::{KeyPatch, LimitsPatch, NewKey},
    lock::lock,
};

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

fn rule(error: &ServiceError) -> Rule {
    let ServiceError::Policy { rule, .. } = error else { panic!("{error}") };
    *rule
}

async fn set(house: &House, patch: PolicyPatch) -> BreachReport {
    house.services.policies.set(None, &patch, None, &Caller::system()).await.unwrap().1
}

#[tokio::test]
async fn nothing_set_is_the_products_default() {
    let house = House::new().await;
    let shown = house.services.policies.show(Some("default")).await.unwrap();
    assert_eq!((shown.source, shown.version, &shown.policy), (PolicySource::BuiltIn, 0, &Policy::default()));
    set(&house, PolicyPatch { max_keys: Some(2), ..PolicyPatch::default() }).await;
    let shown = house.services.policies.show(Some("default")).await.unwrap();
    assert_eq!((shown.source, shown.version, shown.policy.max_keys), (PolicySource::Default, 0, 2));
    let own = PolicyPatch { require_ip: Some(true), ..PolicyPatch::default() };
    let (own, _) =
        house.services.policies.set(Some("default"), &own, Some(0), &Caller::system()).await.unwrap();
    assert_eq!((own.source, own.version, own.policy.max_keys), (PolicySource::Workspace, 1, 2));
    assert_eq!(house.services.policies.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_too_many_is_refused_and_leaves_nothing() {
    let house = House::new().await;
    for n in 0..5 {
        house.services.keys.create(named(&format!("k{n}")), &Caller::system()).await.unwrap();
    }
    let error = house.services.keys.create(named("k5"), &Caller::system()).await.unwrap_err();
    assert_eq!(rule(&error), Rule::MaxKeys);
    assert!(error.to_string().contains("has 5 live keys"), "{error}");
    assert_eq!(lock(&house.store.state).keys.len(), 5);
}

#[tokio::test]
async fn keys_of_strict_environments_are_never_shown() {
    let house = House::new().await;
    let (keys, tenants, caller) = (&house.services.keys, &house.services.tenants, Caller::system());
    for (name, environment) in [("stage", Environment::Staging), ("prod", Environment::Production)] {
        tenants.create_workspace(name, environment, LimitsPatch::default(), &caller).await.unwrap();
        let wish = |key: &str| NewKey { workspace: Some(name.to_owned()), ..named(key) };
        let before = lock(&house.store.state).keys.len();
        let error = keys.create_signing(wish("shown"), &caller).await.err().unwrap();
        assert_eq!(rule(&error), Rule::HandOver);
        assert!(error.to_string().contains("--wrapped"), "{error}");
        assert_eq!(lock(&house.store.state).keys.len(), before, "nothing is left of it");
        keys.create_wrapped(wish("wrapped"), None, &caller).await.unwrap();
        keys.create_kept(wish("kept"), &caller).await.unwrap();
        keys.create(NewKey { test: true, ..wish("test") }, &caller).await.unwrap();
    }
    keys.create(named("development"), &caller).await.unwrap();
    let state = lock(&house.store.state);
    let made = state.audit.iter().filter(|r| r.event.action == "key.create");
    let ways: Vec<&str> = made.map(|r| r.event.details["hand_over"].as_str().unwrap()).collect();
    assert_eq!(ways, ["wrapped", "kept", "shown", "wrapped", "kept", "shown", "shown"]);
}

#[tokio::test]
async fn a_list_of_addresses_is_demanded_of_new_keys_and_cannot_be_taken_off() {
    let house = House::new().await;
    let keys = &house.services.keys;
    let with = NewKey { allow_ip: vec!["10.0.0.0/8".to_owned()], ..named("with") };
    let (with, _, _) = keys.create(with, &Caller::system()).await.unwrap();
    let (without, _, _) = keys.create(named("without"), &Caller::system()).await.unwrap();
    let report = set(&house, PolicyPatch { require_ip: Some(true), ..PolicyPatch::default() }).await;
    assert_eq!((report.examined, report.total, &report.first[0].key), (2, 1, &without.id));
    assert_eq!(rule(&keys.create(named("new"), &Caller::system()).await.unwrap_err()), Rule::RequireIp);
    let open = KeyPatch { allow_ip: Some(Vec::new()), ..KeyPatch::default() };
    assert_eq!(
        rule(&keys.update(&with.id, open, None, &Caller::system()).await.unwrap_err()),
        Rule::RequireIp
    );
    let rename = KeyPatch { name: Some("still".to_owned()), ..KeyPatch::default() };
    keys.update(&without.id, rename, None, &Caller::system()).await.unwrap();
}

#[tokio::test]
async fn what_is_demanded_of_requests_holds_before_the_answer_is_there() {
    let house = House::new().await;
    let services = &house.services;
    let (_, token, _) = services.keys.create(named("k"), &Caller::system()).await.unwrap();
    let demanded = async || services.grants.verify(&token).await.unwrap().demanded();
    assert_eq!(demanded().await, Proofs::NONE);
    let both = Proofs::NONE.with(Proof::Token).with(Proof::Signature);
    let patch = |require| PolicyPatch { require: Some(require), ..PolicyPatch::default() };
    set(&house, patch(both)).await;
    assert_eq!(demanded().await, both, "the default policy");
    let own = patch(Proofs::NONE.with(Proof::Mtls));
    services.policies.set(Some("default"), &own, None, &Caller::system()).await.unwrap();
    assert_eq!(demanded().await, Proofs::NONE.with(Proof::Mtls), "the workspace's own");
    services.policies.drop_policy(Some("default"), None, &Caller::system()).await.unwrap();
    assert_eq!(demanded().await, both);
    services.policies.drop_policy(None, None, &Caller::system()).await.unwrap();
    assert_eq!(demanded().await, Proofs::NONE);
}

#[tokio::test]
async fn a_second_factor_is_demanded_whoever_asks() {
    let house = House::new().await;
    set(&house, PolicyPatch { require_mfa: Some(true), ..PolicyPatch::default() }).await;
    let keys = &house.services.keys;
    assert_eq!(rule(&keys.create(named("k"), &Caller::system()).await.unwrap_err()), Rule::RequireMfa);
    let proved = Caller { has_second_factor: true, ..Caller::system() };
    keys.create(named("k"), &proved).await.unwrap();
}

#[tokio::test]
async fn a_policy_is_checked_versioned_and_dropped() {
    let house = House::new().await;
    let policies = &house.services.policies;
    let bad = PolicyPatch { max_keys: Some(0), ..PolicyPatch::default() };
    let error = policies.set(None, &bad, None, &Caller::system()).await.unwrap_err();
    assert!(matches!(error, ServiceError::Invalid { field: "max_keys", .. }));
    let never = PolicyPatch { revoke_unused_days: Some(0), ..PolicyPatch::default() };
    assert!(policies.would_loosen(None, &never).await.unwrap());
    set(&house, never).await;
    let stale = policies.set(None, &PolicyPatch::default(), Some(0), &Caller::system()).await.unwrap_err();
    assert_eq!(stale, ServiceError::Stale { what: "policy", version: 1 });
    let (after, _) = policies.drop_policy(None, Some(1), &Caller::system()).await.unwrap();
    assert_eq!((after.source, after.policy), (PolicySource::BuiltIn, Policy::default()));
    let none = policies.drop_policy(None, None, &Caller::system()).await.unwrap_err();
    assert!(matches!(none, ServiceError::NotFound { what: "policy", .. }));
    let actions: Vec<String> = {
        let state = lock(&house.store.state);
        state.audit.iter().map(|r| r.event.action.clone()).filter(|a| a.starts_with("policy.")).collect()
    };
    assert_eq!(actions, ["policy.set", "policy.drop"]);
}

#[tokio::test]
async fn keys_beyond_the_cap_are_named() {
    let house = House::new().await;
    for n in 0..4 {
        house.services.keys.create(named(&format!("k{n}")), &Caller::system()).await.unwrap();
    }
    let report = set(&house, PolicyPatch { max_keys: Some(1), ..PolicyPatch::default() }).await;
    assert_eq!((report.examined, report.total), (4, 3));
    assert!(report.first.iter().all(|b| b.breach.rule == Rule::MaxKeys && b.breach.at.is_none()));
}
