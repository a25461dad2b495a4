use std::{sync::atomic::Ordering, time::Duration};

use claviger_domain::{
    binding::ShownCertificate,
    jose::{Algorithm, SigningKey},
    key::KeyStatus,
    ports::workload::FetchedKeys,
    workload::{
        issuer::Platform,
        jwks::{COOL_DOWN_SECS, STALE_SECS},
    },
};
use serde_json::{Value, json};

use super::{Bought, Credential, ExchangeError, NewIssuer, NewTrust, Wish};
use crate::{Caller, ServiceError, fake::House, keys::NewKey, lock::lock};

const ISS: &str = "https://token.actions.githubusercontent.com";
const AUD: &str = "https://gw.example";

/// A house that trusts `acme/*` of GitHub.
struct Town {
    house: House,
    key: SigningKey,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret(Algorithm::Es256, &[seed; 32]).unwrap()
}

fn set(kid: &str, key: &SigningKey) -> Value {
    let mut jwk = key.public().to_jwk();
    jwk["kid"] = json!(kid);
    json!({ "keys": [jwk] })
}

fn document(set: &Value) -> FetchedKeys {
    FetchedKeys { body: set.to_string().into_bytes(), max_age_secs: Some(600) }
}

impl Town {
    async fn new(claims: &[(&str, &str)]) -> Self {
        let (house, key) = (House::new().await, key(1));
        *lock(&house.keys.document) = Some(document(&set("k1", &key)));
        let town = Self { house, key };
        let algorithms = vec![Algorithm::Es256];
        let new = NewIssuer {
            name: "github".to_owned(),
            platform: Platform::Github,
            algorithms,
            ..NewIssuer::default()
        };
        town.house.services.workloads.add_issuer(new, &Caller::system()).await.unwrap();
        town.trust("ci", claims).await.unwrap();
        town
    }

    async fn trust(&self, name: &str, claims: &[(&str, &str)]) -> Result<(), ServiceError> {
        let new = NewTrust {
            name: name.to_owned(),
            issuer: Some("github".to_owned()),
            audience: Some(AUD.to_owned()),
            claims: claims.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect(),
            most_live: Some(2),
            key: NewKey { models: vec!["claude-haiku-*".to_owned()], ..NewKey::default() },
            ..NewTrust::default()
        };
        self.house.services.workloads.add_rule(new, &Caller::system()).await.map(drop)
    }

    fn token(&self, jti: &str, changes: Value) -> String {
        let now = self.now();
        let mut claims = json!({
            "iss": ISS, "aud": AUD, "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app",
            "repository_owner": "acme", "repository_owner_id": "7", "repository_id": "11",
            "iat": now, "exp": now + 300, "jti": jti,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
        self.key.sign_with(&header, claims.to_string().as_bytes()).unwrap()
    }

    fn now(&self) -> i64 {
        use claviger_domain::clock::Clock;
        self.house.clock.now().as_secs()
    }

    async fn buy(&self, token: &str) -> Result<Bought, ExchangeError> {
        self.house
            .services
            .workloads
            .exchange(Credential::Token(token.as_bytes()), &Wish::default(), &Caller::system())
            .await
    }

    async fn refusal(&self, token: &str) -> &'static str {
        match self.buy(token).await {
            Err(ExchangeError::Refused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_buys_one_short_lived_child_of_the_rules_key_once() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let token = town.token("j1", json!({}));
    let bought = town.buy(&token).await.unwrap();
    let rule = town.house.services.workloads.rule("ci").await.unwrap();
    assert_eq!(bought.key.parent.as_ref(), Some(&rule.key));
    assert_eq!(bought.key.policy.permissions.models[0].as_str(), "claude-haiku-*");
    assert_eq!(bought.key.expires_at.unwrap().as_secs(), town.now() + 900);
    assert!(bought.key.name.starts_with("ci repo:acme/app"));
    town.house.services.grants.verify(&bought.token).await.unwrap();
    assert_eq!(town.refusal(&token).await, "token_replayed");
    // The same id in another token is the same use.
    assert_eq!(town.refusal(&town.token("j1", json!({"nbf": 1}))).await, "token_replayed");
    assert_eq!(town.house.actions().iter().filter(|a| *a == "trust.exchange").count(), 1);
    town.house.clock.advance(Duration::from_secs(901));
    assert!(town.house.services.grants.verify(&bought.token).await.is_err());
}

#[tokio::test]
async fn a_name_that_changed_hands_buys_nothing_and_the_record_says_why() {
    let town = Town::new(&[("repository", "acme/app")]).await;
    town.buy(&town.token("j1", json!({}))).await.unwrap();
    let rule = town.house.services.workloads.rule("ci").await.unwrap();
    assert_eq!(rule.terms.pins["repository_owner_id"].as_deref(), Some("7"));
    assert_eq!(rule.terms.pins["repository_id"].as_deref(), Some("11"));
    assert_eq!(
        town.refusal(&town.token("j2", json!({"repository_owner_id": "8"}))).await,
        "identity_refused"
    );
    let said = lock(&town.house.store.state).audit.last().unwrap().event.clone();
    assert_eq!((said.action.as_str(), said.outcome.as_str()), ("trust.exchange", "refused"));
    let text = serde_json::to_string(&said).unwrap();
    assert!(text.contains("the name has changed hands") && text.contains("repository_owner_id"), "{text}");
    town.buy(&town.token("j3", json!({}))).await.unwrap();
}

#[tokio::test]
async fn strangers_read_nothing_of_others_rules_and_cannot_flood_the_record() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let before = town.house.actions().len();
    for n in 0..60 {
        let stranger =
            json!({"repository": "evil/app", "repository_owner": "evil", "sub": "repo:evil/app:x"});
        let token = town.token(&format!("s{n}"), stranger);
        let error = town.buy(&token).await.unwrap_err().to_string();
        assert!(!error.contains("acme") && !error.contains("ci"), "{error}");
        assert_eq!(
            error,
            "the identity is not accepted: no rule of trust is about it: `aud` is [\"https://gw.example\"], \
             `sub` is [\"repo:evil/app:x\"], `repository` is [\"evil/app\"], `repository_owner` is [\"evil\"]"
        );
    }
    assert_eq!(town.house.actions().len() - before, 20);
    assert_eq!(town.refusal(&town.token("s", json!({"iss": "https://evil.example"}))).await, "iss_unknown");
    assert_eq!(town.refusal("x").await, "shape");
    assert_eq!(town.house.actions().len() - before, 20);
}

#[tokio::test]
async fn whom_a_rule_is_about_reads_what_it_demands() {
    let town = Town::new(&[("repository", "acme/app"), ("ref", "refs/heads/main")]).await;
    town.trust("other", &[("repository", "globex/app"), ("ref", "refs/tags/*")]).await.unwrap();
    let said = async |changes: Value| town.buy(&town.token("j", changes)).await.unwrap_err().to_string();
    let now = town.now();
    for (changes, wanted) in [
        (
            json!({"ref": "refs/heads/x"}),
            r#"`ref` is ["refs/heads/x"], `refs/heads/main` is demanded (rule `ci`)"#,
        ),
        (
            json!({"aud": "https://other.example"}),
            r#"`aud` is ["https://other.example"], `https://gw.example` is demanded (rule `ci`)"#,
        ),
        (json!({"exp": now - 60, "iat": now - 90}), "it is expired"),
        (json!({"exp": now + 200_000}), "it is valid for more than a day"),
        (json!({"iss": "https://evil.example"}), r#"its issuer, "https://evil.example", is not configured"#),
    ] {
        assert_eq!(said(changes).await, format!("the identity is not accepted: {wanted}"));
    }
    town.buy(&town.token("once", json!({"ref": "refs/heads/main"}))).await.unwrap();
    let again = town.buy(&town.token("once", json!({"ref": "refs/heads/main"}))).await.unwrap_err();
    assert!(again.to_string().contains("it was used before"), "{again}");
    // Who has the name now is a stranger to the rule.
    let taken = said(json!({"ref": "refs/heads/x", "repository_owner_id": "8"})).await;
    assert!(taken.contains("no rule of trust is about it") && !taken.contains("demanded"), "{taken}");
}

#[tokio::test]
async fn keys_are_fetched_for_new_names_once_a_minute_and_believed_for_a_while_when_they_cannot_be() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let asked = || town.house.keys.asked.load(Ordering::SeqCst);
    town.buy(&town.token("j1", json!({}))).await.unwrap();
    town.buy(&town.token("j2", json!({}))).await.unwrap();
    assert_eq!(asked(), 1);
    let foreign = |n: u8| {
        let header = json!({"alg": "ES256", "kid": format!("k{n}"), "typ": "JWT"});
        key(n).sign_with(&header, json!({"iss": ISS}).to_string().as_bytes()).unwrap()
    };
    for n in 2..9 {
        assert_eq!(town.refusal(&foreign(n)).await, "kid_unknown");
    }
    assert_eq!(asked(), 1, "the set was fetched less than a minute ago");
    town.house.clock.advance(Duration::from_secs(COOL_DOWN_SECS));
    for n in 2..9 {
        assert_eq!(town.refusal(&foreign(n)).await, "kid_unknown");
    }
    assert_eq!(asked(), 2);
    // Nobody answers: the old set is believed, then no more.
    *lock(&town.house.keys.document) = None;
    town.house.clock.advance(Duration::from_secs(1_000));
    assert!(matches!(town.buy(&town.token("j3", json!({}))).await, Err(ExchangeError::Full(2)) | Ok(_)));
    assert_eq!(asked(), 3);
    town.house.clock.advance(Duration::from_secs(STALE_SECS));
    assert_eq!(town.refusal(&town.token("j4", json!({}))).await, "jwks_unavailable");
    // A token that fails for want of keys is not used up.
    *lock(&town.house.keys.document) = Some(document(&set("k1", &town.key)));
    town.house.clock.advance(Duration::from_secs(COOL_DOWN_SECS));
    town.buy(&town.token("j4", json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_rule_has_so_many_living_keys_and_dies_with_its_own() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let first = town.buy(&town.token("j1", json!({}))).await.unwrap();
    town.buy(&town.token("j2", json!({}))).await.unwrap();
    assert!(matches!(town.buy(&town.token("j3", json!({}))).await, Err(ExchangeError::Full(2))));
    let workloads = &town.house.services.workloads;
    let issuer = workloads.remove_issuer("github", &Caller::system()).await.unwrap_err();
    assert!(matches!(issuer, ServiceError::Conflict { what: "issuer", .. }), "{issuer}");
    let rule = workloads.remove_rule("ci", &Caller::system()).await.unwrap();
    assert!(town.house.services.grants.verify(&first.token).await.is_err());
    let (key, _) = town.house.services.keys.show(&rule.key).await.unwrap();
    assert_eq!(key.status(first.key.created_at), KeyStatus::Revoked);
    assert_eq!(town.refusal(&town.token("j4", json!({}))).await, "identity_refused");
    workloads.remove_issuer("github", &Caller::system()).await.unwrap();
    assert_eq!(town.refusal(&town.token("j5", json!({}))).await, "iss_unknown");
}

#[tokio::test]
async fn a_trial_says_which_rule_and_which_claim_and_uses_nothing_up() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    town.trust("main", &[("repository", "acme/*"), ("sub", "repo:acme/app:ref:refs/heads/main")])
        .await
        .unwrap();
    let workloads = &town.house.services.workloads;
    let token = town.token("j1", json!({"sub": "repo:acme/app:ref:refs/heads/feature"}));
    let trial = workloads.try_token(token.as_bytes()).await.unwrap();
    assert_eq!((trial.issuer.as_deref(), trial.failure), (Some("github"), None));
    let said = |n: usize| trial.rules[n].mismatch.as_ref().map(ToString::to_string);
    assert_eq!(said(0), None);
    assert_eq!(
        said(1).unwrap(),
        r#"`sub` is ["repo:acme/app:ref:refs/heads/feature"], `repo:acme/app:ref:refs/heads/main` is demanded"#
    );
    town.buy(&token).await.unwrap();
    let strange = workloads
        .try_token(town.token("j2", json!({"iss": "https://evil.example"})).as_bytes())
        .await
        .unwrap();
    assert_eq!(strange.failure.unwrap().as_str(), "iss_unknown");
}

#[tokio::test]
async fn a_certificate_buys_a_key_that_is_bound_to_its_id() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let workloads = &town.house.services.workloads;
    let new = NewTrust {
        name: "mesh".to_owned(),
        claims: [("spiffe_id".to_owned(), "spiffe://example.org/ns/ci/*".to_owned())].into(),
        ..NewTrust::default()
    };
    workloads.add_rule(new, &Caller::system()).await.unwrap();
    let shown = |id: &str| Wish {
        certificate: Some(ShownCertificate { thumbprint: [7; 32], spiffe: Some(id.parse().unwrap()) }),
        ..Wish::default()
    };
    let buy = |id: &'static str| async move {
        workloads.exchange(Credential::Svid, &shown(id), &Caller::system()).await
    };
    let bought = buy("spiffe://example.org/ns/ci/sa/build").await.unwrap();
    let bound: Vec<_> = bought.key.policy.bind_mtls.iter().map(ToString::to_string).collect();
    assert_eq!(bound, ["spiffe://example.org/ns/ci/sa/build"]);
    assert!(matches!(
        buy("spiffe://example.org/ns/cd/x").await,
        Err(ExchangeError::Refused { reason: "identity_refused", .. })
    ));
    let none = workloads.exchange(Credential::Svid, &Wish::default(), &Caller::system()).await;
    assert!(matches!(none, Err(ExchangeError::Refused { reason: "certificate_missing", .. })));
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_end_the_fetch_that_others_need() {
    let town = Town::new(&[("repository", "acme/*")]).await;
    let (first, second) = (town.token("j1", json!({})), town.token("j2", json!({})));
    let slow = town.house.keys.gate.lock().await;
    {
        let mut leaving = Box::pin(town.buy(&first));
        while town.house.keys.asked.load(Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(leaving.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    drop(slow);
    // Within the cool-down nobody asks again: what was fetched for the one who left is there.
    town.buy(&second).await.unwrap();
    assert_eq!(town.house.keys.asked.load(Ordering::SeqCst), 1);
}
