use super::*;
use crate::{
    clock::MICROS_PER_SEC,
    jose::{Algorithm, SigningKey, encode},
};
use serde_json::{Value, json};

/// RFC 9449, 4.1, figure 2.
const AT_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449, 7.1, figure 12.
const AT_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
/// RFC 9449, 7.1.
const TOKEN: &[u8] = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
/// RFC 9449, 6.1, figure 9.
const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);

#[test]
fn the_examples_of_the_rfc_are_taken() {
    let proof = Proof::read(AT_TOKEN.as_bytes()).unwrap();
    assert_eq!(proof.jkt, JKT);
    let origin = Origin::parse("https://server.example.com").unwrap();
    let request = Request { method: "POST", origin: &origin, path: "/token", token: None };
    proof.check(&request, Timestamp::from_secs(1_562_262_616), false).unwrap();

    let proof = Proof::read(AT_RESOURCE.as_bytes()).unwrap();
    let origin = Origin::parse("https://resource.example.org").unwrap();
    let token = Some(BoundToken { text: TOKEN, jkt: JKT });
    let request = Request { method: "GET", origin: &origin, path: "/protectedresource", token };
    proof.check(&request, Timestamp::from_secs(1_562_262_620), false).unwrap();
}

fn key(algorithm: Algorithm, seed: u8) -> SigningKey {
    SigningKey::from_secret(algorithm, &[seed; 32]).unwrap()
}

/// A proof with these parts in place of the good ones; `null` takes one away.
fn made(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let mut head = json!({
        "typ": "dpop+jwt", "alg": key.public().algorithm().as_str(), "jwk": key.public().to_jwk(),
    });
    let mut body = json!({
        "jti": "0123456789abcdef", "htm": "POST", "htu": "https://gw.example/v1/messages",
        "iat": NOW.as_secs(), "ath": sha256_base64url(b"token"),
    });
    for (whole, changes) in [(&mut head, header), (&mut body, claims)] {
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                whole.as_object_mut().unwrap().remove(name);
            } else {
                whole[name] = value.clone();
            }
        }
    }
    key.sign_with(&head, body.to_string().as_bytes()).unwrap()
}

fn judged(text: &str, jkt: &str, now: Timestamp) -> Result<(), DpopError> {
    let origin = Origin::parse("https://gw.example").unwrap();
    let token = Some(BoundToken { text: b"token", jkt });
    let request = Request { method: "POST", origin: &origin, path: "/v1/messages", token };
    Proof::read(text.as_bytes())?.check(&request, now, false)
}

#[test]
fn both_kinds_of_keys_prove_possession() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = key(algorithm, 7);
        let text = made(&key, &json!({}), &json!({}));
        assert_eq!(judged(&text, &key.public().thumbprint(), NOW), Ok(()));
    }
}

#[test]
fn every_named_attack_is_refused_for_its_reason() {
    let (own, thief) = (key(Algorithm::EdDsa, 7), key(Algorithm::EdDsa, 8));
    let jkt = own.public().thumbprint();
    let mut private = own.public().to_jwk();
    private["d"] = json!(encode(&[7; 32]));
    let none = json!({});
    let with = |header: Value, claims: Value| made(&own, &header, &claims);
    let symmetric = json!({"kty": "oct", "k": "AAAA"});
    let table: Vec<(&str, String, &str)> = vec![
        ("stolen token, own key", made(&thief, &none, &none), "dpop_key"),
        (
            "another's public key in the header",
            made(&thief, &json!({"jwk": own.public().to_jwk()}), &none),
            "signature",
        ),
        ("no algorithm", with(json!({"alg": "none"}), none.clone()), "alg_refused"),
        ("symmetric algorithm", with(json!({"alg": "HS256"}), none.clone()), "alg_refused"),
        ("RSA", with(json!({"alg": "RS256"}), none.clone()), "alg_refused"),
        ("another algorithm than the key's", with(json!({"alg": "ES256"}), none.clone()), "alg_mismatch"),
        ("symmetric key", with(json!({"jwk": symmetric}), none.clone()), "jwk"),
        ("private key in the header", with(json!({"jwk": private}), none.clone()), "jwk"),
        ("no key", with(json!({"jwk": null}), none.clone()), "jwk"),
        ("key by reference", with(json!({"jku": "https://evil.example/keys"}), none.clone()), "key_header"),
        (
            "certificate by reference",
            with(json!({"x5u": "https://evil.example/c"}), none.clone()),
            "key_header",
        ),
        ("critical extension", with(json!({"crit": ["exp"], "exp": 1}), none.clone()), "crit"),
        ("an access token as a proof", with(json!({"typ": "at+jwt"}), none.clone()), "typ"),
        ("no type", with(json!({"typ": null}), none.clone()), "typ"),
        ("for another method", with(none.clone(), json!({"htm": "GET"})), "dpop_htm"),
        ("method in another case", with(none.clone(), json!({"htm": "post"})), "dpop_htm"),
        ("for another path", with(none.clone(), json!({"htu": "https://gw.example/v1/files"})), "dpop_htu"),
        (
            "for another server",
            with(none.clone(), json!({"htu": "https://gw.example.evil/v1/messages"})),
            "dpop_htu",
        ),
        ("in plain text", with(none.clone(), json!({"htu": "http://gw.example/v1/messages"})), "dpop_htu"),
        ("no time", with(none.clone(), json!({"iat": null})), "dpop_claim"),
        ("time as a text", with(none.clone(), json!({"iat": "now"})), "dpop_claim"),
        ("made long ago", with(none.clone(), json!({"iat": NOW.as_secs() - WINDOW_SECS - 1})), "dpop_iat"),
        ("made in advance", with(none.clone(), json!({"iat": NOW.as_secs() + WINDOW_SECS + 1})), "dpop_iat"),
        ("no id", with(none.clone(), json!({"jti": null})), "dpop_claim"),
        ("an id that can be guessed", with(none.clone(), json!({"jti": "1"})), "dpop_claim"),
        ("an id without end", with(none.clone(), json!({"jti": "a".repeat(129)})), "dpop_claim"),
        ("a proof of the token endpoint", with(none.clone(), json!({"ath": null})), "dpop_ath"),
        ("for another token", with(none.clone(), json!({"ath": sha256_base64url(b"other")})), "dpop_ath"),
        ("unsigned", with(none.clone(), none.clone()).rsplit_once('.').unwrap().0.to_owned() + ".", "shape"),
        ("too large", with(none.clone(), json!({"x": "a".repeat(9_000)})), "too_large"),
    ];
    for (name, text, reason) in table {
        assert_eq!(judged(&text, &jkt, NOW).map_err(DpopError::as_str), Err(reason), "{name}");
    }
}

#[test]
fn the_window_has_its_edges_and_a_nonce_of_ours_replaces_it() {
    let key = key(Algorithm::EdDsa, 7);
    let text = made(&key, &json!({}), &json!({"nonce": "n"}));
    let jkt = key.public().thumbprint();
    let at = |secs: i64| judged(&text, &jkt, NOW.plus_micros(secs * MICROS_PER_SEC));
    assert_eq!((at(WINDOW_SECS), at(-WINDOW_SECS)), (Ok(()), Ok(())));
    assert_eq!(at(WINDOW_SECS + 1), Err(DpopError::Time));
    assert_eq!(at(-WINDOW_SECS - 1), Err(DpopError::Time));
    let origin = Origin::parse("https://gw.example").unwrap();
    let request = Request { method: "POST", origin: &origin, path: "/v1/messages", token: None };
    let proof = Proof::read(text.as_bytes()).unwrap();
    assert_eq!(proof.check(&request, NOW.plus_micros(9_000 * MICROS_PER_SEC), true), Ok(()));
    assert_eq!(proof.nonce.as_deref(), Some("n"));
}

#[test]
fn one_id_of_two_keys_is_two() {
    let of =
        |seed| Proof::read(made(&key(Algorithm::EdDsa, seed), &json!({}), &json!({})).as_bytes()).unwrap();
    assert_eq!(of(7).nonce_of(), of(7).nonce_of());
    assert_ne!(of(7).nonce_of(), of(8).nonce_of());
}
