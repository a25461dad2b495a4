use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    assertion::{Assertion, LEEWAY_SECS, MOST_LIFE_SECS},
    claims::Pattern,
    issuer::{IssuerError, IssuerRecord, KeySource, Platform},
    jwks::KeyList,
    rule::{DEFAULT_MOST_LIVE, Identity, Mismatch, TrustError, TrustRecord, TrustSource, TrustTerms},
};
use crate::{
    clock::Timestamp,
    id::{IssuerId, KeyId, TrustId, WorkspaceId},
    jose::{Algorithm, Object, SigningKey},
};

const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);
const ISS: &str = "https://token.actions.githubusercontent.com";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret(Algorithm::Es256, &[seed; 32]).unwrap()
}

fn jwks(key: &SigningKey) -> Value {
    let mut jwk = key.public().to_jwk();
    jwk["kid"] = json!("k1");
    json!({ "keys": [jwk] })
}

fn issuer() -> IssuerRecord {
    IssuerRecord {
        id: IssuerId::parse("iss_1").unwrap(),
        name: "github".to_owned(),
        issuer: ISS.to_owned(),
        platform: Platform::Github,
        algorithms: vec![Algorithm::Es256],
        keys: KeySource::Inline { jwks: jwks(&key(1)) },
        created_at: NOW,
        version: 1,
    }
}

fn claims() -> Value {
    json!({
        "iss": ISS, "aud": "https://gw.example", "sub": "repo:acme/app:ref:refs/heads/main",
        "repository": "acme/app", "repository_id": "11", "repository_owner": "acme", "repository_owner_id": "7",
        "iat": NOW.as_secs(), "nbf": NOW.as_secs() - 5, "exp": NOW.as_secs() + 300, "jti": "j-1",
    })
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

fn signed(by: &SigningKey, header: Value, claims: &Value) -> String {
    let mut head = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
    head.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
    by.sign_with(&head, claims.to_string().as_bytes()).unwrap()
}

fn judged(text: &str) -> Result<super::assertion::Proven, &'static str> {
    let list = KeyList::read(jwks(&key(1)).to_string().as_bytes()).unwrap();
    let read = Assertion::read(text.as_bytes()).map_err(|e| e.as_str())?;
    read.prove(&issuer(), &list, NOW).map_err(|e| e.as_str())
}

#[test]
fn every_named_attack_on_an_assertion_is_refused_for_its_reason() {
    let good = signed(&key(1), json!({}), &claims());
    assert!(judged(&good).is_ok());
    let own = |claims: Value| signed(&key(1), json!({}), &with(claims));
    let head = |header: Value| signed(&key(1), header, &claims());
    let now = NOW.as_secs();
    let mut edited = good.split('.').map(str::to_owned).collect::<Vec<_>>();
    edited[1] = crate::jose::encode(with(json!({"repository": "evil/app"})).to_string().as_bytes());
    let table = [
        ("another's key", signed(&key(2), json!({}), &claims()), "signature"),
        ("edited claims", edited.join("."), "signature"),
        ("unsigned", head(json!({"alg": "none"})), "alg_refused"),
        ("symmetric", head(json!({"alg": "HS256"})), "alg_refused"),
        ("an algorithm that the issuer does not use", head(json!({"alg": "EdDSA"})), "alg_refused"),
        ("a key of nobody", head(json!({"kid": "k2"})), "kid_unknown"),
        ("critical extension", head(json!({"crit": ["x"], "x": 1})), "crit"),
        ("a DPoP proof", head(json!({"typ": "dpop+jwt"})), "typ"),
        ("another issuer", own(json!({"iss": "https://evil.example"})), "iss_unknown"),
        ("issuer with a slash more", own(json!({"iss": format!("{ISS}/")})), "iss_unknown"),
        ("no issuer", own(json!({"iss": null})), "iss_missing"),
        ("no end", own(json!({"exp": null})), "claim"),
        ("end as a text", own(json!({"exp": "9999999999"})), "claim"),
        ("over", own(json!({"exp": now - LEEWAY_SECS})), "expired"),
        ("not begun", own(json!({"nbf": now + LEEWAY_SECS + 1})), "not_yet"),
        ("made in the future", own(json!({"iat": now + LEEWAY_SECS + 1})), "not_yet"),
        ("good for ever", own(json!({"exp": now + MOST_LIFE_SECS + LEEWAY_SECS + 1})), "too_long"),
        (
            "good for ever, without a begin",
            own(json!({"exp": now + 200_000, "iat": null, "nbf": null})),
            "too_long",
        ),
        ("an empty id", own(json!({"jti": ""})), "claim"),
        ("an id that is none", own(json!({"jti": 5})), "claim"),
    ];
    for (name, text, reason) in table {
        assert_eq!(judged(&text).err(), Some(reason), "{name}");
    }
}

#[test]
fn keys_that_the_token_brings_are_passed_over() {
    let thief = key(2);
    let text =
        signed(&thief, json!({"jwk": thief.public().to_jwk(), "jku": "https://evil.example/k"}), &claims());
    assert_eq!(judged(&text).err(), Some("signature"));
}

#[test]
fn what_is_remembered_is_the_id_of_the_issuer_or_the_whole_token() {
    let mark = |claims: Value| judged(&signed(&key(1), json!({}), &with(claims))).unwrap().mark;
    assert_eq!(mark(json!({})), mark(json!({"sub": "other"})), "the same id is the same use");
    assert_ne!(mark(json!({})), mark(json!({"jti": "j-2"})));
    assert_ne!(mark(json!({"jti": null})), mark(json!({"jti": null, "sub": "other"})));
}

#[test]
fn a_second_signature_of_the_same_token_is_the_same_use() {
    use crate::jose::{decode, encode};
    // The order of P-256: with `s` holds also `n - s`.
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let text = signed(&key(1), json!({}), &with(json!({"jti": null})));
    let (input, signature) = text.rsplit_once('.').unwrap();
    let mut twin = decode(signature.as_bytes()).unwrap();
    let mut borrow = 0_i16;
    for (n, byte) in order.iter().zip(&mut twin[32..]).rev() {
        let left = i16::from(*n) - i16::from(*byte) - borrow;
        borrow = i16::from(left < 0);
        *byte = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    let twin = format!("{input}.{}", encode(&twin));
    assert_ne!(twin, text);
    assert_eq!(judged(&twin).unwrap().mark, judged(&text).unwrap().mark);
}

#[test]
fn a_rule_is_about_those_whom_it_names_whole() {
    let about = |claims: &[(&str, &str)], pins: &[(&str, Option<&str>)], changes: Value| {
        let found = Object::parse(with(changes).to_string().as_bytes()).unwrap();
        let identity = Identity::Token { issuer: &issuer().id, claims: &found };
        rule(claims, pins).is_about(&identity, Platform::Github)
    };
    let main = ("ref", "refs/heads/main");
    assert!(about(&[("repository", "acme/*"), main], &[], json!({"aud": "x", "ref": "y"})));
    assert!(about(&[("repository", "acme/app")], &[("repository_id", Some("11"))], json!({})));
    for (claims, pins, changes) in [
        (vec![("repository", "acme/app")], vec![], json!({"repository": "evil/app"})),
        (vec![("repository", "acme/app")], vec![("repository_id", Some("12"))], json!({})),
        // What everybody shares names nobody.
        (vec![("sub", "repo:*"), main], vec![], json!({})),
        (vec![("repository", "acme*"), main], vec![], json!({"repository": "acme-evil/app"})),
        (
            vec![("runner_environment", "github-hosted"), main],
            vec![],
            json!({"runner_environment": "github-hosted"}),
        ),
    ] {
        assert!(!about(&claims, &pins, changes), "{claims:?}");
    }
    let mut svid = rule(&[("spiffe_id", "spiffe://example.org/ns/ci/*")], &[]);
    svid.terms.source = TrustSource::Svid;
    let is_about = |id: &str| svid.is_about(&Identity::Svid(&id.parse().unwrap()), Platform::Other);
    assert!(is_about("spiffe://example.org/ns/cd/x"));
    assert!(!is_about("spiffe://example.or/ns/ci/x") && !is_about("spiffe://example.org.evil/ns/ci/x"));
}

fn rule(claims: &[(&str, &str)], pins: &[(&str, Option<&str>)]) -> TrustRecord {
    let claims = claims.iter().map(|(n, p)| ((*n).to_owned(), Pattern::parse(p).unwrap())).collect();
    let pins = pins.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
    let source = TrustSource::Token { issuer: issuer().id, audience: "https://gw.example".to_owned() };
    TrustRecord {
        id: TrustId::parse("tru_1").unwrap(),
        name: "ci".to_owned(),
        terms: TrustTerms { source, claims, pins, ttl_secs: 900, most_live: DEFAULT_MOST_LIVE },
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_1").unwrap(),
        created_at: NOW,
        version: 1,
    }
}

fn admits(rule: &TrustRecord, claims: &Value) -> Result<BTreeMap<String, String>, Mismatch> {
    let claims = Object::parse(claims.to_string().as_bytes()).unwrap();
    rule.admits(&Identity::Token { issuer: &issuer().id, claims: &claims })
}

#[test]
fn a_name_that_changed_hands_is_refused() {
    let rule =
        rule(&[("repository", "acme/app")], &[("repository_owner_id", None), ("repository_id", Some("11"))]);
    let pins = admits(&rule, &claims()).unwrap();
    assert_eq!(pins, BTreeMap::from([("repository_owner_id".to_owned(), "7".to_owned())]));
    let pinned = rule.pinned(pins);
    assert_eq!(admits(&pinned, &claims()), Ok(BTreeMap::new()));
    let taken = admits(&pinned, &with(json!({"repository_owner_id": "8"}))).unwrap_err();
    insta::assert_snapshot!(taken, @r#"`repository_owner_id` is ["8"], pinned is `7`: the name has changed hands"#);
    assert!(matches!(admits(&pinned, &with(json!({"repository_id": 12}))), Err(Mismatch::Pin { .. })));
    assert!(matches!(
        admits(&rule, &with(json!({"repository_owner_id": null}))),
        Err(Mismatch::NoPin { .. })
    ));
    assert!(matches!(
        admits(&pinned, &with(json!({"repository_owner_id": ["7", "8"]}))),
        Err(Mismatch::Pin { .. })
    ));
}

#[test]
fn each_mismatch_names_what_was_found_and_what_is_demanded() {
    let rule = rule(&[("repository", "acme/*"), ("sub", "repo:acme/*:ref:refs/heads/main")], &[]);
    assert!(admits(&rule, &claims()).is_ok());
    let error = admits(&rule, &with(json!({"aud": ["https://other.example"]}))).unwrap_err();
    insta::assert_snapshot!(error, @r#"`aud` is ["https://other.example"], `https://gw.example` is demanded"#);
    let error = admits(&rule, &with(json!({"repository": "acme-evil/app"}))).unwrap_err();
    insta::assert_snapshot!(error, @r#"`repository` is ["acme-evil/app"], `acme/*` is demanded"#);
    let error = admits(&rule, &with(json!({"sub": null}))).unwrap_err();
    insta::assert_snapshot!(error, @"`sub` is [], `repo:acme/*:ref:refs/heads/main` is demanded");
    let elsewhere = Object::parse(claims().to_string().as_bytes()).unwrap();
    let other = IssuerId::parse("iss_2").unwrap();
    assert_eq!(rule.admits(&Identity::Token { issuer: &other, claims: &elsewhere }), Err(Mismatch::Source));
    let svid = "spiffe://example.org/x".parse().unwrap();
    assert_eq!(rule.admits(&Identity::Svid(&svid)), Err(Mismatch::Source));
}

#[test]
fn certificates_are_compared_by_their_spiffe_id() {
    let mut rule = rule(&[("spiffe_id", "spiffe://example.org/ns/ci/*")], &[]);
    rule.terms.source = TrustSource::Svid;
    let admitted = |id: &str| rule.admits(&Identity::Svid(&id.parse().unwrap())).is_ok();
    assert!(admitted("spiffe://example.org/ns/ci/sa/build"));
    assert!(!admitted("spiffe://example.org/ns/cd/sa/build"));
    assert!(!admitted("spiffe://example.org.evil/ns/ci/sa/build"));
    let claims = Object::parse(claims().to_string().as_bytes()).unwrap();
    assert_eq!(
        rule.admits(&Identity::Token { issuer: &issuer().id, claims: &claims }),
        Err(Mismatch::Source)
    );
}

#[test]
fn what_is_pinned_follows_from_the_names_that_are_compared() {
    let pins = |claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(n, p)| ((*n).to_owned(), Pattern::parse(p).unwrap())).collect();
        TrustTerms::usual_pins(Platform::Github, &claims).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(pins(&[("repository", "acme/app")]), ["repository_id", "repository_owner_id"]);
    assert_eq!(pins(&[("repository", "acme/*")]), ["repository_owner_id"]);
    assert_eq!(pins(&[("repository_owner", "acme")]), ["repository_owner_id"]);
    assert_eq!(pins(&[("sub", "repo:acme/app:*")]), ["repository_owner_id"]);
    // Given by its value, it is compared as any other claim.
    assert_eq!(pins(&[("repository_owner", "acme"), ("repository_owner_id", "7")]), [""; 0]);
}

#[test]
fn rules_that_would_admit_strangers_are_refused() {
    let checked = |change: &dyn Fn(&mut TrustRecord)| {
        let mut rule = rule(&[("repository", "acme/app")], &[]);
        change(&mut rule);
        rule.check()
    };
    assert_eq!(checked(&|_| ()), Ok(()));
    assert_eq!(checked(&|r| r.name = "a b".to_owned()), Err(TrustError::Name));
    assert_eq!(checked(&|r| r.terms.claims.clear()), Err(TrustError::Claims));
    assert_eq!(
        checked(&|r| {
            r.terms.claims = BTreeMap::from([("ref".to_owned(), Pattern::parse("refs/heads/main").unwrap())]);
        }),
        Err(TrustError::Weak("ref".to_owned()))
    );
    assert_eq!(checked(&|r| r.terms.ttl_secs = 299), Err(TrustError::Ttl));
    assert_eq!(checked(&|r| r.terms.ttl_secs = 1_801), Err(TrustError::Ttl));
    assert_eq!(checked(&|r| r.terms.most_live = 0), Err(TrustError::MostLive));
    let unaddressed = |r: &mut TrustRecord| {
        r.terms.source = TrustSource::Token { issuer: issuer().id, audience: " ".to_owned() };
    };
    assert_eq!(checked(&unaddressed), Err(TrustError::Audience));
}

#[test]
fn rules_for_a_platform_of_everybody_say_whose_identities_are_meant() {
    let checked = |platform, claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), Pattern::parse(text).unwrap()));
        TrustTerms::check_owner(platform, &claims.collect())
    };
    for (claim, pattern) in [
        ("repository", "acme/app"),
        ("repository", "acme/*"),
        ("repository_owner", "acme"),
        ("repository_owner_id", "7"),
        ("sub", "repo:acme/app:ref:refs/heads/*"),
        ("job_workflow_ref", "acme/flows/.github/workflows/deploy.yml@*"),
    ] {
        assert_eq!(checked(Platform::Github, &[(claim, pattern)]), Ok(()), "{claim}={pattern}");
    }
    for (claim, pattern) in [
        ("repository", "acme*/app"),
        ("repository", "*/app"),
        ("repository_owner", "acme*"),
        ("sub", "repo:acme*"),
        ("environment", "production"),
    ] {
        let refused = Err(TrustError::Anybodys("repository"));
        assert_eq!(checked(Platform::Github, &[(claim, pattern)]), refused, "{claim}={pattern}");
        assert_eq!(checked(Platform::Github, &[(claim, pattern), ("actor_id", "1*")]), refused);
        assert_eq!(checked(Platform::Github, &[(claim, pattern), ("repository_id", "1")]), Ok(()));
        assert_eq!(checked(Platform::Other, &[(claim, pattern)]), Ok(()));
    }
    assert_eq!(checked(Platform::Gitlab, &[("project_path", "acme/group/*")]), Ok(()));
    let refused = Err(TrustError::Anybodys("project_path"));
    assert_eq!(checked(Platform::Gitlab, &[("namespace_path", "ac*")]), refused);
}

#[test]
fn issuers_are_checked_field_by_field() {
    let checked = |change: &dyn Fn(&mut IssuerRecord)| {
        let mut record = issuer();
        change(&mut record);
        record.check()
    };
    let url = |url: &str, private_network| KeySource::Url { url: url.to_owned(), private_network };
    assert_eq!(checked(&|_| ()), Ok(()));
    assert_eq!(checked(&|i| i.keys = url("https://a.example/k", false)), Ok(()));
    assert_eq!(checked(&|i| i.keys = url("http://127.0.0.1:1/k", true)), Ok(()));
    for bad in [
        "http://a.example/k",
        "https://",
        "https://u@a.example/k",
        "ftp://a.example",
        "https://a.example/k#x",
    ] {
        assert_eq!(checked(&|i| i.keys = url(bad, false)), Err(IssuerError::Url), "{bad}");
    }
    assert_eq!(checked(&|i| i.algorithms.clear()), Err(IssuerError::Algorithms));
    assert_eq!(checked(&|i| i.algorithms = vec![Algorithm::EdDsa]), Err(IssuerError::Keys));
    assert_eq!(checked(&|i| i.issuer = "a b".to_owned()), Err(IssuerError::Issuer));
    assert_eq!(checked(&|i| i.name = String::new()), Err(IssuerError::Name));
}
