//! The vectors of the RFCs, and signing back and forth.

mod foreign;
mod wycheproof;

use serde_json::json;

use super::*;
use crate::clock::{Entropy, EntropyError};

/// RFC 7515, A.2.
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RSA_JWS: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
/// RFC 7515, A.3.
const EC_JWS: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 7515, A.1: symmetric.
const HMAC_JWS: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7515, A.5: unsecured.
const NONE_JWS: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
/// RFC 8037, A.1 to A.4.
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_JWS: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

struct Fixed(u8);
impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(self.0);
        Ok(())
    }
}

fn key(jwk: &serde_json::Value) -> PublicKey {
    PublicKey::from_value(jwk).unwrap()
}

fn ec_key() -> PublicKey {
    key(&json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }))
}

fn subject(text: &str) -> Result<Jws<'_>, JoseError> {
    Jws::parse(text.as_bytes(), Profile::Subject)
}

#[test]
fn rfc_7515_a_2_and_a_3_verify_and_say_what_they_say() {
    for (text, key) in [(RSA_JWS, key(&json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB" }))), (EC_JWS, ec_key())]
    {
        let claims = subject(text).unwrap().verify(&key).unwrap();
        assert_eq!(claims.text("iss"), Some("joe"));
        assert_eq!(claims.date("exp").map(crate::clock::Timestamp::as_secs), Some(1_300_819_380));
        let last = text.len() - 3;
        let broken = format!(
            "{}{}{}",
            &text[..last],
            if &text[last..=last] == "A" { "B" } else { "A" },
            &text[last + 1..]
        );
        assert_eq!(subject(&broken).unwrap().verify(&key), Err(JoseError::Signature));
    }
}

#[test]
fn the_newer_name_of_ed25519_is_the_same_algorithm() {
    let private = SigningKey::from_secret(Algorithm::EdDsa, &decode(ED_D.as_bytes()).unwrap()).unwrap();
    let text = private.sign_with(&json!({ "alg": "Ed25519" }), b"{}").unwrap();
    assert!(subject(&text).unwrap().verify(private.public()).is_ok());
    assert_eq!(subject(&text).unwrap().verify(&ec_key()), Err(JoseError::AlgorithmMismatch));
    let jwk = |alg: &str| json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "alg": alg });
    assert_eq!(PublicKey::from_value(&jwk("Ed25519")).unwrap(), key(&jwk("EdDSA")));
    for other in ["ed25519", "Ed448", "ED25519", "EdDsa"] {
        let text = private.sign_with(&json!({ "alg": other }), b"{}").unwrap();
        assert_eq!(subject(&text).unwrap_err(), JoseError::AlgorithmRefused, "{other}");
        assert_eq!(PublicKey::from_value(&jwk(other)), Err(JwkError::Purpose), "{other}");
    }
}

#[test]
fn rfc_7515_a_1_and_a_5_are_refused_for_their_algorithms() {
    for text in [HMAC_JWS, NONE_JWS] {
        assert_eq!(subject(text).unwrap_err(), JoseError::AlgorithmRefused);
    }
}

#[test]
fn rfc_8037_signs_and_verifies_as_printed() {
    let public = key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X }));
    assert_eq!(public.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let jws = subject(ED_JWS).unwrap();
    assert_eq!(jws.verify_bytes(&public).unwrap(), b"Example of Ed25519 signing");
    let secret = decode(ED_D.as_bytes()).unwrap();
    let private = SigningKey::from_secret(Algorithm::EdDsa, &secret).unwrap();
    assert_eq!(private.public(), &public);
    let signed = private.sign_with(&json!({ "alg": "EdDSA" }), b"Example of Ed25519 signing").unwrap();
    assert_eq!(signed, ED_JWS);
}

#[test]
fn rfc_7638_gives_the_thumbprint_that_is_printed_there() {
    let jwk = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
    });
    assert_eq!(key(&jwk).thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn what_is_signed_here_verifies_under_its_own_key_and_no_other() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let secret = SigningKey::generate_secret(algorithm, &Fixed(7)).unwrap();
        let private = SigningKey::from_secret(algorithm, secret.expose()).unwrap();
        let other = SigningKey::generate_secret(algorithm, &Fixed(8)).unwrap();
        let other = SigningKey::from_secret(algorithm, other.expose()).unwrap();
        let text = private.sign("at+jwt", &json!({ "sub": "me" })).unwrap();
        let jws = Jws::parse(text.as_bytes(), Profile::AccessToken).unwrap();
        assert_eq!(jws.header().kid.as_deref(), Some(private.kid()));
        assert_eq!(private.kid(), private.public().thumbprint());
        assert_eq!(jws.verify(private.public()).unwrap().text("sub"), Some("me"));
        assert_eq!(jws.verify(other.public()), Err(JoseError::Signature));
        assert_eq!(key(&private.public().to_jwk()), *private.public());
        let foreign = if algorithm == Algorithm::EdDsa {
            ec_key()
        } else {
            key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X }))
        };
        assert_eq!(jws.verify(&foreign), Err(JoseError::AlgorithmMismatch));
    }
    assert!(SigningKey::from_secret(Algorithm::Rs256, &[1; 32]).is_none());
    assert!(SigningKey::from_secret(Algorithm::Es256, &[0; 32]).is_none(), "zero is no scalar");
    assert!(SigningKey::from_secret(Algorithm::Es256, &[0xff; 32]).is_none(), "larger than the order");
}

#[test]
fn keys_are_refused_for_what_is_wrong_with_them() {
    let mut weak = vec![0x80; 128];
    weak[127] = 1;
    let cases = [
        (json!({ "kty": "oct", "k": "AAAA" }), JwkError::Private),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "d": ED_D }), JwkError::Private),
        (json!({ "kty": "OKP", "crv": "X25519", "x": ED_X }), JwkError::Kind),
        (json!({ "kty": "EC", "crv": "P-521", "x": ED_X, "y": ED_X }), JwkError::Kind),
        (json!("text"), JwkError::Kind),
        (json!({ "kty": "OKP", "crv": "Ed25519" }), JwkError::Member),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }), JwkError::Member),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": format!("{ED_X}=") }), JwkError::Member),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "alg": "ES256" }), JwkError::Purpose),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "use": "enc" }), JwkError::Purpose),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "key_ops": ["sign"] }), JwkError::Purpose),
        (json!({ "kty": "RSA", "n": encode(&weak), "e": "AQAB" }), JwkError::Strength),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQ" }), JwkError::Strength),
        (json!({ "kty": "RSA", "n": format!("AA{RSA_N}"), "e": "AQAB" }), JwkError::Member),
    ];
    for (jwk, why) in cases {
        assert_eq!(PublicKey::from_value(&jwk), Err(why), "{jwk}");
    }
    assert!(PublicKey::from_value(&json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "use": "sig", "key_ops": ["verify"], "alg": "EdDSA", "kid": "a" })).is_ok());
}

#[test]
fn a_dpop_proof_brings_its_key_and_names_it_in_no_other_way() {
    let secret = SigningKey::generate_secret(Algorithm::Es256, &Fixed(9)).unwrap();
    let private = SigningKey::from_secret(Algorithm::Es256, secret.expose()).unwrap();
    let jwk = private.public().to_jwk();
    let proof = |header: serde_json::Value| private.sign_with(&header, br#"{"jti":"a"}"#).unwrap();
    let text = proof(json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }));
    let jws = Jws::parse(text.as_bytes(), Profile::Dpop).unwrap();
    let own = jws.header().jwk.clone().unwrap();
    assert_eq!(jws.verify(&own).unwrap().text("jti"), Some("a"));
    let mut with_private = jwk.clone();
    with_private["d"] = json!("AAAA");
    for (header, why) in [
        (json!({ "typ": "JWT", "alg": "ES256", "jwk": jwk }), JoseError::Type),
        (json!({ "alg": "ES256", "jwk": jwk }), JoseError::Type),
        (json!({ "typ": "dpop+jwt", "alg": "ES256" }), JoseError::Jwk(JwkError::Member)),
        (
            json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": with_private }),
            JoseError::Jwk(JwkError::Private),
        ),
        (json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk, "jku": "https://x" }), JoseError::KeyHeader),
        (json!({ "typ": "dpop+jwt", "alg": "RS256", "jwk": jwk }), JoseError::AlgorithmRefused),
        (json!({ "typ": "dpop+jwt", "alg": "none", "jwk": jwk }), JoseError::AlgorithmRefused),
    ] {
        let text = proof(header.clone());
        assert_eq!(Jws::parse(text.as_bytes(), Profile::Dpop).unwrap_err(), why, "{header}");
    }
    // An access token is no proof, and a proof no access token.
    assert_eq!(Jws::parse(text.as_bytes(), Profile::AccessToken).unwrap_err(), JoseError::KeyHeader);
}

#[test]
fn debug_shows_no_private_key() {
    let secret = SigningKey::generate_secret(Algorithm::EdDsa, &Fixed(7)).unwrap();
    let private = SigningKey::from_secret(Algorithm::EdDsa, secret.expose()).unwrap();
    assert_eq!(format!("{private:?}"), format!("SigningKey({})", private.kid()));
}
