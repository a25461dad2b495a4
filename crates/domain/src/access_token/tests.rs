//! Named attacks on access tokens, each refused for its reason; and what is not an attack.

use serde_json::{Value, json};

use super::*;
use crate::{
    clock::{Entropy, EntropyError},
    jose::{Algorithm, MAX_BYTES, Part, SigningKey},
};

const ISSUER: &str = "https://claude.example.com";
const NOW: i64 = 1_800_000_000;

struct Fixed(u8);
impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(self.0);
        Ok(())
    }
}

fn signer(algorithm: Algorithm, seed: u8) -> SigningKey {
    let secret = SigningKey::generate_secret(algorithm, &Fixed(seed)).unwrap();
    SigningKey::from_secret(algorithm, secret.expose()).unwrap()
}

/// Our two keys, and one that is nobody's.
struct House {
    ed: SigningKey,
    ec: SigningKey,
    stranger: SigningKey,
    set: KeySet,
}

fn house() -> House {
    let (ed, ec) = (signer(Algorithm::EdDsa, 1), signer(Algorithm::Es256, 2));
    let set = KeySet::new(ed.public().clone(), [ec.public().clone()]);
    House { ed, ec, stranger: signer(Algorithm::EdDsa, 3), set }
}

fn claims() -> AccessClaims {
    AccessClaims {
        issuer: ISSUER.to_owned(),
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        scopes: Scopes::parse(&["messages:write", "models:read"]).unwrap(),
        id: AccessTokenId::parse("atk_a").unwrap(),
        family: Some(TokenFamilyId::parse("fam_a").unwrap()),
        issued_at: Timestamp::from_secs(NOW),
        not_before: Timestamp::from_secs(NOW),
        expires_at: Timestamp::from_secs(NOW + TTL_SECS),
        confirmation: Confirmation::default(),
    }
}

impl House {
    fn good(&self) -> String {
        self.ed.sign(TYP, &claims().to_json()).unwrap()
    }

    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": TYP, "kid": self.ed.kid() })
    }

    /// Signed rightly, under a header with something changed.
    fn headed(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        header[name] = value;
        self.ed.sign_with(&header, claims().to_json().to_string().as_bytes()).unwrap()
    }

    /// Signed rightly, over claims with something changed; `null` takes it away.
    fn claiming(&self, name: &str, value: Value) -> String {
        let mut claims = claims().to_json();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        self.ed.sign(TYP, &claims).unwrap()
    }

    fn with_header_text(&self, header: &str) -> String {
        let input =
            format!("{}.{}", encode(header.as_bytes()), encode(claims().to_json().to_string().as_bytes()));
        let signature = self.ed.sign_bytes(input.as_bytes()).unwrap();
        format!("{input}.{}", encode(&signature))
    }

    fn with_payload_text(&self, payload: &str) -> String {
        self.ed.sign_with(&self.header(), payload.as_bytes()).unwrap()
    }
}

fn parts(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn shape_attacks(house: &House) -> Vec<(&'static str, String, TokenError)> {
    let good = house.good();
    let p = parts(&good);
    let jose = TokenError::Jose;
    vec![
        ("empty text", String::new(), jose(JoseError::Shape)),
        ("one part", p[0].clone(), jose(JoseError::Shape)),
        ("signature cut off", format!("{}.{}", p[0], p[1]), jose(JoseError::Shape)),
        ("signature emptied", format!("{}.{}.", p[0], p[1]), jose(JoseError::Shape)),
        ("payload emptied", format!("{}..{}", p[0], p[2]), jose(JoseError::Shape)),
        ("five parts, as an encrypted token has", format!("{good}.AAAA.AAAA"), jose(JoseError::Shape)),
        ("oversize", format!("{}.{}.{}", p[0], "A".repeat(MAX_BYTES), p[2]), jose(JoseError::TooLarge)),
        ("padding behind the signature", format!("{good}=="), jose(JoseError::Encoding(Part::Signature))),
        ("white space in front", format!(" {good}"), jose(JoseError::Encoding(Part::Header))),
        (
            "line break in the middle",
            format!("{}.{}\n.{}", p[0], p[1], p[2]),
            jose(JoseError::Encoding(Part::Payload)),
        ),
        (
            "the other base64 alphabet",
            format!("{}.{}.+/{}", p[0], p[1], &p[2][2..]),
            jose(JoseError::Encoding(Part::Signature)),
        ),
        (
            "bits left over in the signature's last character",
            format!("{}.{}.{}", p[0], p[1], loosen(&p[2])),
            jose(JoseError::Encoding(Part::Signature)),
        ),
        (
            "header that is no JSON",
            format!("{}.{}.{}", encode(b"hello"), p[1], p[2]),
            jose(JoseError::Json(Part::Header)),
        ),
        (
            "header that is an array",
            format!("{}.{}.{}", encode(b"[]"), p[1], p[2]),
            jose(JoseError::Json(Part::Header)),
        ),
        (
            "header in UTF-8 with a byte order mark",
            house.with_header_text("\u{feff}{}"),
            jose(JoseError::Json(Part::Header)),
        ),
    ]
}

/// The same bytes, written with other bits behind the last one.
fn loosen(part: &str) -> String {
    let mut text = part.to_owned();
    let last = text.pop().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    text.push(alphabet.as_bytes()[at + 1] as char);
    text
}

fn header_attacks(house: &House) -> Vec<(&'static str, String, TokenError)> {
    let jose = TokenError::Jose;
    let own_jwk = house.stranger.public().to_jwk();
    let forged =
        |header: Value| house.stranger.sign_with(&header, claims().to_json().to_string().as_bytes()).unwrap();
    let kid = house.ed.kid();
    vec![
        ("alg none", house.headed("alg", json!("none")), jose(JoseError::AlgorithmRefused)),
        ("alg None", house.headed("alg", json!("None")), jose(JoseError::AlgorithmRefused)),
        ("alg nOnE", house.headed("alg", json!("nOnE")), jose(JoseError::AlgorithmRefused)),
        (
            "alg HS256 with the public key as secret",
            house.headed("alg", json!("HS256")),
            jose(JoseError::AlgorithmRefused),
        ),
        (
            "alg eddsa in small letters",
            house.headed("alg", json!("eddsa")),
            jose(JoseError::AlgorithmRefused),
        ),
        ("alg as a list", house.headed("alg", json!(["EdDSA"])), jose(JoseError::AlgorithmRefused)),
        ("alg as a number", house.headed("alg", json!(0)), jose(JoseError::AlgorithmRefused)),
        (
            "alg missing",
            house.with_header_text(&format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#)),
            jose(JoseError::AlgorithmMissing),
        ),
        (
            "alg of another kind of key",
            house.headed("alg", json!("ES256")),
            jose(JoseError::AlgorithmMismatch),
        ),
        (
            "alg RS256 for a key that is none",
            house.headed("alg", json!("RS256")),
            jose(JoseError::AlgorithmMismatch),
        ),
        (
            "alg twice, the second none",
            house
                .with_header_text(&format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt","alg":"none"}}"#)),
            jose(JoseError::Duplicate(Part::Header)),
        ),
        (
            "kid twice, once with an escape",
            house.with_header_text(&format!(
                r#"{{"alg":"EdDSA","kid":"{kid}","k\u0069d":"x","typ":"at+jwt"}}"#
            )),
            jose(JoseError::Duplicate(Part::Header)),
        ),
        ("crit with an unknown extension", house.headed("crit", json!(["exp"])), jose(JoseError::Critical)),
        ("crit empty", house.headed("crit", json!([])), jose(JoseError::Critical)),
        ("b64 false", house.headed("b64", json!(false)), jose(JoseError::HeaderField)),
        ("zip", house.headed("zip", json!("DEF")), jose(JoseError::HeaderField)),
        (
            "own key in jwk",
            forged(json!({ "alg": "EdDSA", "typ": TYP, "jwk": own_jwk })),
            jose(JoseError::KeyHeader),
        ),
        (
            "own key behind jku",
            forged(json!({ "alg": "EdDSA", "typ": TYP, "kid": kid, "jku": "https://evil.example/k" })),
            jose(JoseError::KeyHeader),
        ),
        (
            "own chain behind x5u",
            forged(json!({ "alg": "EdDSA", "typ": TYP, "kid": kid, "x5u": "https://evil.example/c" })),
            jose(JoseError::KeyHeader),
        ),
        (
            "own chain in x5c",
            forged(json!({ "alg": "EdDSA", "typ": TYP, "kid": kid, "x5c": ["MIIB"] })),
            jose(JoseError::KeyHeader),
        ),
        ("x5t", house.headed("x5t", json!("AAAA")), jose(JoseError::KeyHeader)),
        (
            "kid of nobody",
            forged(json!({ "alg": "EdDSA", "typ": TYP, "kid": "nobody" })),
            TokenError::KeyUnknown,
        ),
        ("kid as a path", house.headed("kid", json!("../../dev/null")), TokenError::KeyUnknown),
        ("kid as SQL", house.headed("kid", json!("' OR 1=1 --")), TokenError::KeyUnknown),
        ("kid of 300 characters", house.headed("kid", json!("k".repeat(300))), jose(JoseError::HeaderField)),
        ("kid as a number", house.headed("kid", json!(1)), jose(JoseError::HeaderField)),
        ("kid missing", house.with_header_text(r#"{"alg":"EdDSA","typ":"at+jwt"}"#), TokenError::KeyMissing),
        (
            "typ JWT: an identity token of whoever shares the key",
            house.headed("typ", json!("JWT")),
            jose(JoseError::Type),
        ),
        ("typ dpop+jwt", house.headed("typ", json!("dpop+jwt")), jose(JoseError::Type)),
        (
            "typ missing",
            house.with_header_text(&format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#)),
            jose(JoseError::Type),
        ),
        ("a header of somebody's own", house.headed("trusted", json!(true)), jose(JoseError::HeaderField)),
    ]
}

fn signature_attacks(house: &House) -> Vec<(&'static str, String, TokenError)> {
    let jose = TokenError::Jose;
    let good = house.good();
    let p = parts(&good);
    let kid = house.ed.kid();
    let stranger =
        house.stranger.sign_with(&house.header(), claims().to_json().to_string().as_bytes()).unwrap();
    let wider = encode(claims().to_json().to_string().replace("models:read", "write").as_bytes());
    let other = parts(&house.claiming("jti", json!("atk_b")));
    let ec = house.ec.sign(TYP, &claims().to_json()).unwrap();
    let e = parts(&ec);
    let null = encode(&[0; 64]);
    vec![
        ("signed by a stranger under our kid", stranger, jose(JoseError::Signature)),
        ("scopes widened", format!("{}.{wider}.{}", p[0], p[2]), jose(JoseError::Signature)),
        ("another token's signature", format!("{}.{}.{}", p[0], p[1], other[2]), jose(JoseError::Signature)),
        (
            "signature shortened",
            format!("{}.{}.{}", p[0], p[1], encode(&decode(p[2].as_bytes()).unwrap()[..63])),
            jose(JoseError::Signature),
        ),
        ("signature of zeros, EdDSA", format!("{}.{}.{null}", p[0], p[1]), jose(JoseError::Signature)),
        (
            "signature of zeros, ECDSA (psychic)",
            format!("{}.{}.{null}", e[0], e[1]),
            jose(JoseError::Signature),
        ),
        (
            "ECDSA signature in DER",
            format!(
                "{}.{}.{}",
                e[0],
                e[1],
                encode(
                    &[
                        &[0x30, 0x44, 2, 32][..],
                        &decode(e[2].as_bytes()).unwrap()[..32],
                        &[2, 32],
                        &decode(e[2].as_bytes()).unwrap()[32..]
                    ]
                    .concat()
                )
            ),
            jose(JoseError::Signature),
        ),
        (
            "EdDSA signature under the kid of the ECDSA key",
            house.headed("kid", json!(house.ec.kid())),
            jose(JoseError::AlgorithmMismatch),
        ),
        (
            "payload twice the name",
            house.with_payload_text(r#"{"iss":"a","iss":"b"}"#),
            jose(JoseError::Duplicate(Part::Payload)),
        ),
        (
            "payload that is a text",
            house.with_payload_text("\"hello\""),
            jose(JoseError::Json(Part::Payload)),
        ),
        (
            "header reordered under the old signature",
            format!(
                "{}.{}.{}",
                encode(format!(r#"{{"kid":"{kid}","typ":"at+jwt","alg":"EdDSA"}}"#).as_bytes()),
                p[1],
                p[2]
            ),
            jose(JoseError::Signature),
        ),
    ]
}

fn claim_attacks(house: &House) -> Vec<(&'static str, String, TokenError)> {
    let claim = TokenError::Claim;
    vec![
        (
            "another issuer",
            house.claiming("iss", json!("https://evil.example")),
            TokenError::Elsewhere("iss"),
        ),
        (
            "issuer with a slash",
            house.claiming("iss", json!(format!("{ISSUER}/"))),
            TokenError::Elsewhere("iss"),
        ),
        ("no issuer", house.claiming("iss", Value::Null), claim("iss")),
        (
            "another audience",
            house.claiming("aud", json!("https://other.example")),
            TokenError::Elsewhere("aud"),
        ),
        ("audiences without us", house.claiming("aud", json!(["a", "b"])), TokenError::Elsewhere("aud")),
        ("no audience", house.claiming("aud", Value::Null), claim("aud")),
        ("subject that is no key", house.claiming("sub", json!("op_admin")), claim("sub")),
        (
            "subject and client differ",
            house.claiming("client_id", json!("key_9999999999")),
            claim("client_id"),
        ),
        ("no expiry", house.claiming("exp", Value::Null), claim("exp")),
        ("expiry as a text", house.claiming("exp", json!("9999999999")), claim("exp")),
        ("expiry beyond the calendar", house.claiming("exp", json!(1e300)), claim("exp")),
        ("no time of issue", house.claiming("iat", Value::Null), claim("iat")),
        ("no id", house.claiming("jti", Value::Null), claim("jti")),
        ("a scope that is none", house.claiming("scope", json!("admin")), claim("scope")),
        ("no scope", house.claiming("scope", Value::Null), claim("scope")),
        ("scope as a list", house.claiming("scope", json!(["write"])), claim("scope")),
        ("a bond that is not understood", house.claiming("cnf", json!({ "kid": "a" })), claim("cnf")),
        ("a bond without anything", house.claiming("cnf", json!({})), claim("cnf")),
        ("no workspace", house.claiming("cvg_ws", Value::Null), claim("cvg_ws")),
        ("a family that is none", house.claiming("cvg_fam", json!(7)), claim("cvg_fam")),
    ]
}

#[test]
fn every_named_attack_is_refused_for_its_reason() {
    let house = house();
    let all =
        [shape_attacks(&house), header_attacks(&house), signature_attacks(&house), claim_attacks(&house)]
            .concat();
    assert!(all.len() >= 70, "{}", all.len());
    for (name, text, why) in all {
        assert_eq!(house.set.verify(text.as_bytes(), ISSUER), Err(why), "{name}");
    }
}

#[test]
fn a_token_says_what_was_signed() {
    let house = house();
    for signer in [&house.ed, &house.ec] {
        let bound = Confirmation { x5t_s256: Some(encode(&[7; 32])), jkt: None };
        for said in [claims(), AccessClaims { confirmation: bound, family: None, ..claims() }] {
            let text = signer.sign(TYP, &said.to_json()).unwrap();
            assert_eq!(house.set.verify(text.as_bytes(), ISSUER).unwrap(), said);
        }
    }
    assert!(house.set.verify(house.claiming("aud", json!(["x", ISSUER])).as_bytes(), ISSUER).is_ok());
    assert!(house.set.verify(house.headed("typ", json!("application/AT+JWT")).as_bytes(), ISSUER).is_ok());
}

#[test]
fn a_token_works_from_its_first_to_its_last_second_with_little_leeway() {
    let at = |secs: i64| claims().check_time(Timestamp::from_secs(NOW + secs));
    assert_eq!(at(-LEEWAY_SECS - 1), Err(TokenError::NotYet));
    assert_eq!(at(-LEEWAY_SECS), Ok(()));
    assert_eq!(at(TTL_SECS + LEEWAY_SECS - 1), Ok(()));
    assert_eq!(at(TTL_SECS + LEEWAY_SECS), Err(TokenError::Expired));
}

#[test]
fn the_key_set_shows_public_halves_only() {
    let house = house();
    let set = jwks([house.ed.public(), house.ec.public()]);
    insta::assert_json_snapshot!(set, @r#"
    {
      "keys": [
        {
          "alg": "EdDSA",
          "crv": "Ed25519",
          "kid": "UDDReOZl1ipXAfp9wYsm13sDBMK5og--QWdBjzuf6o4",
          "kty": "OKP",
          "use": "sig",
          "x": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w"
        },
        {
          "alg": "ES256",
          "crv": "P-256",
          "kid": "_dW8A-GLXVqbPP-vIvMJwYatEeWuGKu-mPxI1ZmIkTs",
          "kty": "EC",
          "use": "sig",
          "x": "VQ9HEAPz35fD31Bqx5f2ch-xoft7j2-D0iRJimXIjiQ",
          "y": "E2CT1wEuUJpzcVy9CwCjzA_0tcAbP_oZarH7MnA2uOY"
        }
      ]
    }
    "#);
    for key in set["keys"].as_array().unwrap() {
        assert!(key.get("d").is_none());
        assert_eq!(key["kid"], PublicKey::from_value(key).unwrap().thumbprint());
    }
}

#[test]
fn what_is_denied_is_whatever_was_signed_up_to_then() {
    use super::denial::{Denial, DenialSubject};
    let token = claims();
    let subjects = DenialSubject::of(&token);
    assert_eq!(
        subjects.iter().map(DenialSubject::as_str).collect::<Vec<_>>(),
        ["atk_a", "key_0123456789", "fam_a"]
    );
    let denial =
        |secs| Denial::now(DenialSubject::key(&token.key), Timestamp::from_secs(NOW + secs), TTL_SECS);
    assert!(denial(0).denies(&token) && denial(100).denies(&token));
    assert!(!denial(-1).denies(&token), "signed after");
    assert!(denial(0).until > token.expires_at);
    assert!(DenialSubject::parse("op_a").is_none() && DenialSubject::parse("fam_a").is_some());
}
