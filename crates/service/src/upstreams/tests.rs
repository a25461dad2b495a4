use claviger_domain::token::Token;

use super::*;
use crate::{fake::House, lock::lock};

const PROVIDER_KEY: &str = "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ-_AA";

fn upstream(name: &str) -> NewUpstream {
    let base_url = "https://api.example.com/".to_owned();
    NewUpstream { name: name.to_owned(), kind: UpstreamKind::Anthropic, base_url }
}

fn credential(secret: &str) -> NewCredential {
    NewCredential {
        upstream: "main".to_owned(),
        name: None,
        purpose: CredentialPurpose::Traffic,
        workspace: None,
        secret: SecretBytes::new(secret.as_bytes().to_vec()),
    }
}

#[tokio::test]
async fn a_credential_is_sealed_to_its_row_masked_and_ready_before_the_caller_is_told() {
    let house = House::new().await;
    let (upstreams, caller) = (&house.services.upstreams, Caller::system());
    let added = upstreams.add(upstream("main"), &caller).await.unwrap();
    assert_eq!(added.base_url, "https://api.example.com");
    let made = upstreams.add_credential(credential(&format!("{PROVIDER_KEY}\n")), &caller).await.unwrap();
    assert_eq!((made.name.as_str(), made.hint.as_str()), ("main", "sk-ant-a…-_AA"));
    let table = house.services.routes.snapshot();
    assert_eq!(table.by_credential(&made.id).unwrap().secret.expose(), PROVIDER_KEY.as_bytes());
    let second = upstreams.add_credential(credential(PROVIDER_KEY), &caller).await.unwrap();
    assert_eq!(second.name, "main-2");
    // Moved to another row, the sealed key does not open; the other one still works.
    lock(&house.store.state).credentials[1].sealed = made.sealed;
    house.services.routes.rebuild().await.unwrap();
    let table = house.services.routes.snapshot();
    assert_eq!((table.broken.as_slice(), table.credentials.len()), ([second.id].as_slice(), 1));
    let all = format!("{:?}", lock(&house.store.state).audit);
    assert!(!all.contains(PROVIDER_KEY), "no secret in the audit log");
}

#[tokio::test]
async fn our_own_keys_and_what_cannot_stand_in_a_header_are_refused() {
    let house = House::new().await;
    let (upstreams, caller) = (&house.services.upstreams, Caller::system());
    upstreams.add(upstream("main"), &caller).await.unwrap();
    let own =
        Token::generate(Brand::DEFAULT, claviger_domain::token::KeyClass::Live, house.deps.entropy.as_ref());
    let own = String::from_utf8(own.unwrap().expose().to_vec()).unwrap();
    for bad in
        [own.as_str(), "cvg_live_short", "", "short", "has a space in it", "zeilen\numbruch", "ünïcode-key"]
    {
        let error = upstreams.add_credential(credential(bad), &caller).await.unwrap_err();
        assert!(matches!(error, ServiceError::Invalid { field: "key", .. }), "{bad:?}: {error}");
        assert!(bad.is_empty() || bad == "short" || !error.to_string().contains(bad), "{error}");
    }
}

#[tokio::test]
async fn removal_takes_an_upstream_and_its_credentials_out_of_the_routes() {
    let house = House::new().await;
    let (upstreams, caller) = (&house.services.upstreams, Caller::system());
    let added = upstreams.add(upstream("main"), &caller).await.unwrap();
    upstreams.add_credential(credential(PROVIDER_KEY), &caller).await.unwrap();
    let taken = upstreams.add(upstream("main"), &caller).await.unwrap_err();
    assert!(matches!(taken, ServiceError::Conflict { .. }));
    upstreams.remove(&added.id, &caller).await.unwrap();
    upstreams.remove(&added.id, &caller).await.unwrap();
    assert!(house.services.routes.snapshot().is_empty());
    assert!(upstreams.list().await.unwrap().is_empty() && upstreams.credentials().await.unwrap().is_empty());
    assert!(lock(&house.store.state).credentials[0].sealed.is_empty(), "the sealed key is forgotten");
    assert!(upstreams.add(upstream("main"), &caller).await.is_ok(), "the name is free again");
}

#[tokio::test]
async fn bound_credentials_come_first_and_serve_their_workspace_only() {
    let house = House::new().await;
    let (upstreams, caller) = (&house.services.upstreams, Caller::system());
    upstreams.add(upstream("main"), &caller).await.unwrap();
    let tenants = &house.services.tenants;
    let env = claviger_domain::tenancy::Environment::Production;
    let other = tenants
        .create_workspace("other", env, claviger_domain::limit::LimitsPatch::default(), &caller)
        .await
        .unwrap();
    upstreams.add_credential(credential(PROVIDER_KEY), &caller).await.unwrap();
    let bound = NewCredential { workspace: Some("other".to_owned()), ..credential(PROVIDER_KEY) };
    let bound = upstreams.add_credential(bound, &caller).await.unwrap();
    let table = house.services.routes.snapshot();
    let first = tenants.workspace("default").await.unwrap();
    assert_eq!(table.for_workspace(&first.id).count(), 1);
    let of_other: Vec<_> = table.for_workspace(&other.id).map(|e| e.credential.id.clone()).collect();
    assert_eq!((of_other.len(), &of_other[0]), (2, &bound.id));
}

#[test]
fn base_urls_are_read_strictly() {
    for good in ["https://a.example", "http://127.0.0.1:9000/prefix/", "https://[::1]:1/"] {
        assert!(checked_url(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "ftp://a",
        "https://",
        "https:///x",
        "https://u:p@h",
        "https://h?q",
        "https://h#f",
        "https://a b",
    ] {
        assert!(checked_url(bad).is_err(), "{bad}");
    }
}

#[test]
fn at_most_a_quarter_of_a_secret_is_shown() {
    for len in [8, 23, 24, 47, 48, 108] {
        let shown = masked(&"x".repeat(len)).chars().filter(|c| *c == 'x').count();
        assert!(shown * 4 <= len, "{shown} of {len}");
    }
}
