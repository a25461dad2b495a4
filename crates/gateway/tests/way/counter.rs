//! What a key demands of its callers is demanded where tokens are bought, too, but for a token itself.

use claviger_domain::{jose::SigningKey, signature::Profile};
use claviger_service::{
    Caller,
    keys::{KeyPatch, NewKey},
};
use std::time::Duration;

use super::json_upstream;
use crate::{
    access_tokens::{Said, ask, code, form, text},
    house::{House, body, post},
    signed::{Call, signing_house},
};

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// A request at the counter, signed with this secret.
fn signed(house: &House, secret: &[u8], call: Call<'_>, with: &str) -> Said {
    let request = call.text(house, &call.headers(house, secret));
    let key = format!("x-api-key: {}\r\n", house.key);
    ask(house, &request.replacen(&key, &format!("{with}{FORM}"), 1))
}

fn at<'a>(path: &'a str, body: &'a str, profile: Profile, nonce: u32) -> Call<'a> {
    Call { method: "POST", path, body, profile, nonce }
}

fn oauth(said: &Said) -> &str {
    said.json["error"]["details"]["oauth_error"].as_str().unwrap_or_default()
}

#[test]
fn a_key_that_must_sign_buys_and_renews_with_signed_requests_only() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let key = format!("x-api-key: {}\r\n", house.key);
    let grant = "grant_type=client_credentials";
    let unsigned = ask(&house, &form("/v1/auth/token", &key, grant));
    assert_eq!((unsigned.status, code(&unsigned)), (401, "signature_missing"), "{}", unsigned.json);
    assert_eq!(oauth(&unsigned), "invalid_client");
    assert!(unsigned.head.contains("www-authenticate: "), "{}", unsigned.head);
    let mut last = None;
    for (n, profile) in (0..).step_by(10).zip(Profile::ALL) {
        let buy = at("/v1/auth/token", grant, profile, n);
        let forged = signed(&house, b"another secret", buy, &key);
        assert_eq!((forged.status, code(&forged)), (401, "signature_invalid"), "{profile:?}");
        let bought = signed(&house, &secret, buy, &key);
        assert_eq!(bought.status, 200, "{profile:?} {}", bought.json);
        let again = signed(&house, &secret, buy, &key);
        assert_eq!((again.status, code(&again)), (401, "nonce_replayed"), "{profile:?}");

        let refresh = format!("grant_type=refresh_token&refresh_token={}", text(&bought, "refresh_token"));
        for path in ["/v1/auth/refresh", "/v1/auth/token"] {
            let bare = ask(&house, &form(path, "", &refresh));
            assert_eq!((bare.status, code(&bare)), (401, "signature_missing"), "{path} {}", bare.json);
            let forged = signed(&house, b"another secret", at(path, &refresh, profile, n + 1), "");
            assert_eq!((forged.status, code(&forged)), (401, "signature_invalid"), "{path}");
        }
        let renewed = signed(&house, &secret, at("/v1/auth/refresh", &refresh, profile, n + 2), "");
        assert_eq!(renewed.status, 200, "{profile:?} {}", renewed.json);
        last = Some((refresh, renewed));
    }
    let (spent, renewed) = last.unwrap();
    // Later than any lost answer: whoever shows a spent token ends its family, and need not sign for that.
    house.clock.advance(Duration::from_secs(11));
    let reused = ask(&house, &form("/v1/auth/refresh", "", &spent));
    assert_eq!((reused.status, code(&reused)), (401, "refresh_reused"), "{}", reused.json);
    let call = Call::message("{}", Profile::V2, 90);
    let request = call.text_of(&text(&renewed, "access_token"), &call.headers(&house, &secret));
    assert_eq!(code(&ask(&house, &request)), "token_revoked");
}

/// Clients of OAuth cannot sign at the counter. What they buy is of use only to whoever signs each call.
#[test]
fn a_key_of_token_and_signature_sells_tokens_unsigned_and_they_are_of_use_only_signed() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let require = Some(vec!["token".to_owned(), "signature".to_owned()]);
    let patch = KeyPatch { require, ..KeyPatch::default() };
    let caller = Caller::system();
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    let key = format!("x-api-key: {}\r\n", house.key);
    let grant = "grant_type=client_credentials";
    let bought = ask(&house, &form("/v1/auth/token", &key, grant));
    assert_eq!(bought.status, 200, "{}", bought.json);
    let refresh = format!("refresh_token={}", text(&bought, "refresh_token"));
    let renewed = ask(&house, &form("/v1/auth/refresh", "", &refresh));
    assert_eq!(renewed.status, 200, "{}", renewed.json);
    // What is shown must hold.
    let forged = signed(&house, b"another secret", at("/v1/auth/token", grant, Profile::V2, 1), &key);
    assert_eq!((forged.status, code(&forged)), (401, "signature_invalid"), "{}", forged.json);

    let token = text(&renewed, "access_token");
    let message = body(false);
    let bare = ask(&house, &post(&token, &message));
    assert_eq!((bare.status, code(&bare)), (401, "signature_missing"), "{}", bare.json);
    let call = Call::message(&message, Profile::V2, 2);
    let request = call.text_of(&token, &call.headers(&house, &secret));
    assert_eq!(ask(&house, &request).status, 200);
}

#[test]
fn others_tokens_are_looked_at_with_signed_requests_only_and_ended_by_whoever_holds_them() {
    let upstream = json_upstream();
    let (house, secret) = signing_house(&upstream.url());
    let key = format!("x-api-key: {}\r\n", house.key);
    let bought = signed(&house, &secret, at("/v1/auth/token", "", Profile::V2, 1), &key);
    let token = format!("token={}", text(&bought, "access_token"));
    let bare = ask(&house, &form("/v1/auth/introspect", &key, &token));
    assert_eq!((bare.status, code(&bare)), (401, "signature_missing"), "{}", bare.json);
    let seen = signed(&house, &secret, at("/v1/auth/introspect", &token, Profile::Rfc9421, 2), &key);
    assert_eq!((seen.status, &seen.json["active"]), (200, &true.into()), "{}", seen.json);
    let ended = ask(&house, &form("/v1/auth/revoke", "", &token));
    assert_eq!(ended.status, 200, "{}", ended.json);
    let seen = signed(&house, &secret, at("/v1/auth/introspect", &token, Profile::V1, 3), &key);
    assert_eq!(seen.json, serde_json::json!({ "active": false }));
}

/// A proof for a request at the counter, or of an access token's.
fn proof(house: &House, key: &SigningKey, jti: u32, (method, path): (&str, &str)) -> String {
    let head = serde_json::json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public().to_jwk()});
    let now = claviger_domain::clock::Clock::now(&house.clock).as_secs();
    let claims = serde_json::json!({
        "jti": format!("{jti:016}"), "htm": method, "htu": format!("http://gw{path}"), "iat": now,
    });
    format!("DPoP: {}\r\n", key.sign_with(&head, claims.to_string().as_bytes()).unwrap())
}

#[test]
fn a_spent_token_ends_its_family_whoever_shows_it() {
    use claviger_domain::jose::Algorithm;
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    house.clock.advance(Duration::from_secs(700));
    let [ours, theirs] = [1, 2].map(|n| SigningKey::from_secret(Algorithm::Es256, &[n; 32]).unwrap());
    let renew = |key: Option<&SigningKey>, jti: u32, token: &str| {
        let target = ("POST", "/v1/auth/refresh");
        let head = key.map(|key| proof(&house, key, jti, target)).unwrap_or_default();
        ask(&house, &form(target.1, &head, &format!("refresh_token={token}")))
    };
    for (n, thief) in [(10, Some(&theirs)), (20, None)] {
        let head =
            format!("x-api-key: {}\r\n{}", house.key, proof(&house, &ours, n, ("POST", "/v1/auth/token")));
        let first = text(&ask(&house, &form("/v1/auth/token", &head, "")), "refresh_token");
        // A token that works is of no use to another, and the family lives on.
        let stolen = renew(thief, n + 1, &first);
        assert_eq!((stolen.status, code(&stolen)), (400, "refresh_bound"), "{}", stolen.json);
        let second = renew(Some(&ours), n + 2, &first);
        assert_eq!(second.status, 200, "{}", second.json);
        // The answer may be had again for ten seconds, from the same place only.
        let reused = renew(thief, n + 3, &first);
        assert_eq!((reused.status, code(&reused)), (401, "refresh_reused"), "{}", reused.json);
        let dead = renew(Some(&ours), n + 4, &text(&second, "refresh_token"));
        assert_eq!((dead.status, code(&dead)), (401, "refresh_reused"), "{}", dead.json);
    }
}

#[test]
fn tokens_that_were_bought_with_less_than_the_key_demands_now_are_not_renewed() {
    use claviger_domain::jose::Algorithm;
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    house.clock.advance(Duration::from_secs(700));
    let key = format!("x-api-key: {}\r\n", house.key);
    let bought = ask(&house, &form("/v1/auth/token", &key, ""));
    let patch = KeyPatch { require: Some(vec!["dpop".to_owned()]), ..KeyPatch::default() };
    let caller = Caller::system();
    house.control.block_on(house.services.keys.update(&house.key_id, patch, None, &caller)).unwrap();
    let refresh = format!("refresh_token={}", text(&bought, "refresh_token"));
    let bare = ask(&house, &form("/v1/auth/refresh", "", &refresh));
    assert_eq!((bare.status, code(&bare)), (401, "dpop_missing"), "{}", bare.json);
    let ours = SigningKey::from_secret(Algorithm::Es256, &[1; 32]).unwrap();
    let head = proof(&house, &ours, 1, ("POST", "/v1/auth/refresh"));
    let refused = ask(&house, &form("/v1/auth/refresh", &head, &refresh));
    assert_eq!((refused.status, code(&refused)), (400, "refresh_bound"), "{}", refused.json);
    assert_eq!(ask(&house, &post(&text(&bought, "access_token"), &body(false))).status, 401);
    let head = format!("{key}{}", proof(&house, &ours, 2, ("POST", "/v1/auth/token")));
    assert_eq!(ask(&house, &form("/v1/auth/token", &head, "")).json["token_type"], "DPoP");
}

#[test]
fn a_proof_needs_no_nonce_where_nothing_that_was_lost_can_have_been_shown_with_its_key() {
    use claviger_domain::jose::Algorithm;
    let upstream = json_upstream();
    let house = House::before(&upstream.url());
    house.clock.advance(Duration::from_secs(1));
    let ours = SigningKey::from_secret(Algorithm::Es256, &[1; 32]).unwrap();
    let buy = |key: &str, jti| {
        let head = format!("x-api-key: {key}\r\n{}", proof(&house, &ours, jti, ("POST", "/v1/auth/token")));
        ask(&house, &form("/v1/auth/token", &head, ""))
    };
    // As old as the gateway's memory of proofs: one of before may be shown again.
    let old = buy(&house.key, 1);
    assert_eq!((old.status, code(&old)), (401, "use_dpop_nonce"), "{}", old.json);
    let new = NewKey { name: "young".to_owned(), ..NewKey::default() };
    let (_, young, _) = house.control.block_on(house.services.keys.create(new, &Caller::system())).unwrap();
    let young = String::from_utf8(young.expose().to_vec()).unwrap();
    let bought = buy(&young, 2);
    assert_eq!(bought.status, 200, "{}", bought.json);
    let again = buy(&young, 2);
    assert_eq!((again.status, code(&again)), (401, "dpop_invalid"), "{}", again.json);
    let head = proof(&house, &ours, 3, ("POST", "/v1/auth/refresh"));
    let refresh = format!("refresh_token={}", text(&bought, "refresh_token"));
    let renewed = ask(&house, &form("/v1/auth/refresh", &head, &refresh));
    assert_eq!(renewed.status, 200, "{}", renewed.json);
}
