//! The project's own vectors, and those of RFC 9421, appendix B.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::signature::{
    message::{self, Component},
    structured::{Bare, Item, Member, dictionary, write_list},
};

/// As in the project's `vectors/signature.json`.
const V1: [(&str, &str); 4] = [
    (r#"{"model":"m","messages":[]}"#, "84b5c0ddd25ac3a6f658aafecb82866c4209882ba214904f99e438b2f9181112"),
    ("", "1e7abe7ce5255845e8cf4b4074533332a4326db51105d5689d001fac49da6dad"),
    (r#"{"text":"密钥 | a|1"}"#, "18544f2962a4946f5c8ae5d1701ad1c447af0ea709d695d366c8ac5851b4d3b6"),
    (
        "{ \"model\" : \"m\" ,\n\"messages\":[] }",
        "064eb4d5c84583fe9429b6a0bd42de44b0f2cf4a7ad9d847c43bfb052d10cb2d",
    ),
];
const V2: [(&str, &str, &str, &str); 3] = [
    (
        "POST",
        "https://gw.example/v1/messages",
        r#"{"model":"m","messages":[]}"#,
        "e785f1a142e8e191aa7907ba53914f11abbb6f7b054930908f72dfc4e9928430",
    ),
    (
        "POST",
        "https://gw.example:8787/v1/messages?beta=true",
        r#"{"text":"密钥 | a|1"}"#,
        "e6677ced38460d6f888606122a354893223d222d6a9632cab9ff56f51578dae7",
    ),
    (
        "GET",
        "https://gw.example/v1/models?limit=20",
        "",
        "e1101a880c10358625ad5bc21af559119c3d589fdf19c9454ba468aeb6dbc33f",
    ),
];

fn made(profile: Profile, method: &'static str, url: &str, body: &str) -> Head {
    let stamp = Stamp { key_id: KEY_ID, at_secs: NOW_SECS, nonce: NONCE_TEXT, expires_secs: None };
    let target = Target::of_url(method, url).unwrap();
    Head::of(&sign(profile, &Hand::Secret(SECRET), stamp, &target, body.as_bytes()).unwrap())
}

#[test]
fn the_projects_vectors_hold_in_both_directions() {
    for (body, mac) in V1 {
        let head = made(Profile::V1, "POST", URL, body);
        assert_eq!(head.get(SIGNATURE), format!("sha256={mac}"));
        let sent = Sent { head, body: body.into(), ..Sent::signed(Profile::V1) };
        sent.verify(&signers()).unwrap();
    }
    for (method, url, body, mac) in V2 {
        let head = made(Profile::V2, method, url, body);
        assert_eq!(head.get(SIGNATURE), format!("sha256={mac}"));
        let sent = Sent { head, method, url: url.into(), body: body.into(), ..Sent::signed(Profile::V2) };
        sent.verify(&signers()).unwrap();
    }
}

/// RFC 9421, appendix B.2: `test-request`.
fn test_request() -> (Target<'static>, Head) {
    let target = Target::of_url("POST", "https://example.com/foo?param=Value&Pet=dog").unwrap();
    let mut head = Head::default();
    head.add("date", "Tue, 20 Apr 2021 02:07:55 GMT");
    head.add("content-type", "application/json");
    head.add(
        "content-digest",
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
    );
    head.add("content-length", "18");
    (target, head)
}

fn base_of(input: &str) -> Vec<u8> {
    let (target, head) = test_request();
    base_for(input, &target, &head)
}

fn base_for(input: &str, target: &Target<'_>, head: &Head) -> Vec<u8> {
    let (_, member) = dictionary(input.as_bytes(), 4_096).unwrap().remove(0);
    let Member::List { items, params, .. } = member else { panic!("no list") };
    let read = |item: &Item<'_>| {
        let Bare::Text(name) = &item.value else { panic!("no name") };
        Component::read(name).unwrap()
    };
    let components: Vec<Component> = items.iter().map(read).collect();
    let mut written = String::new();
    write_list(&mut written, &items, &params);
    message::base(&components, &written, target, head).unwrap()
}

fn bytes_of(signature: &str) -> Vec<u8> {
    let (_, member) = dictionary(signature.as_bytes(), 4_096).unwrap().remove(0);
    let Member::Item(item) = member else { panic!("no item") };
    let Bare::Bytes(bytes) = item.value else { panic!("no bytes") };
    bytes
}

#[test]
fn the_standards_hmac_signature_is_over_our_base() {
    let base = base_of(
        r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    );
    let secret = STANDARD
        .decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
        .unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let signature = bytes_of("sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:");
    aws_lc_rs::hmac::verify(&key, &base, &signature).unwrap();
}

#[test]
fn the_standards_ed25519_signature_is_over_our_base_and_ours_is_the_same() {
    let base = base_of(
        r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    );
    insta::assert_snapshot!(String::from_utf8(base.clone()).unwrap(), @r#"
    "date": Tue, 20 Apr 2021 02:07:55 GMT
    "@method": POST
    "@path": /foo
    "@authority": example.com
    "content-type": application/json
    "content-length": 18
    "@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"
    "#);
    let signature = bytes_of(
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    );
    let public = STANDARD.decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=").unwrap();
    UnparsedPublicKey::new(&ED25519, &public).verify(&base, &signature).unwrap();
    let seed = STANDARD.decode("n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=").unwrap();
    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap();
    assert_eq!(pair.sign(&base).as_ref(), signature);
}

#[test]
fn derived_components_are_those_of_the_standard() {
    let base = base_of(r#"x=("@target-uri" "@scheme" "@request-target" "@query" "content-digest")"#);
    insta::assert_snapshot!(String::from_utf8(base).unwrap(), @r#"
    "@target-uri": https://example.com/foo?param=Value&Pet=dog
    "@scheme": https
    "@request-target": /foo?param=Value&Pet=dog
    "@query": ?param=Value&Pet=dog
    "content-digest": sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:
    "@signature-params": ("@target-uri" "@scheme" "@request-target" "@query" "content-digest")
    "#);
    let mut head = Head::default();
    head.add("x-a", " one ");
    head.add("x-a", "");
    head.add("x-a", "two");
    let target = Target::of_url("GET", "http://a").unwrap();
    let base = base_for(r#"x=("x-a" "@query" "@path")"#, &target, &head);
    insta::assert_snapshot!(String::from_utf8(base).unwrap(), @r#"
    "x-a": one, , two
    "@query": ?
    "@path": /
    "@signature-params": ("x-a" "@query" "@path")
    "#);
}

#[test]
fn a_key_pair_signs_where_a_secret_would() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let target = Target::of_url("POST", URL).unwrap();
    let stamp = Stamp { key_id: KEY_ID, at_secs: NOW_SECS, nonce: NONCE_TEXT, expires_secs: None };
    let headers = sign(Profile::Rfc9421, &Hand::Pair(&pair), stamp, &target, BODY).unwrap();
    let public = hex::decode(sign::public_hex(&pair)).unwrap();
    let record = record(SigningKind::Ed25519, Timestamp::from_secs(1), None);
    let both = Signers::new(vec![Signer::new(&record, &public).unwrap()]);
    let mut sent = Sent { head: Head::of(&headers), ..Sent::signed(Profile::Rfc9421) };
    sent.verify(&both).unwrap();
    // A public key is no secret: nobody signs with it what a secret signs.
    assert_eq!(sent.verify(&signers()).unwrap_err(), SignatureError::NoSigner);
    assert_eq!(Sent::signed(Profile::V1).verify(&both).unwrap_err(), SignatureError::NoSigner);
    sent.head.edit(MESSAGE_INPUT, "ed25519", "hmac-sha256");
    assert_eq!(sent.verify(&both).unwrap_err(), SignatureError::NoSigner);
    assert_eq!(
        sign(Profile::V1, &Hand::Pair(&pair), stamp, &target, BODY).unwrap_err(),
        sign::SignError::Profile
    );
}
