//! What other people's programs signed: PyPI `joserfc` and npm `jose`. That they verify what is signed here is tested
//! with the running server.

use serde_json::Value;

use super::super::*;

const FOREIGN: &str = include_str!("../foreign.json");

#[test]
fn what_others_sign_is_verified_and_read_alike() {
    let all: Vec<Value> = serde_json::from_str(FOREIGN).unwrap();
    assert_eq!(all.len(), 6);
    for one in &all {
        let key = PublicKey::from_value(&one["jwk"]).unwrap();
        assert_eq!(key.algorithm().as_str(), one["alg"]);
        let text = one["jws"].as_str().unwrap();
        let claims = Jws::parse(text.as_bytes(), Profile::Subject).unwrap().verify(&key).unwrap();
        assert_eq!(
            (claims.text("sub"), claims.text("iss")),
            (Some("über"), Some("https://issuer.example")),
            "{one}"
        );
        assert_eq!(claims.get("nested"), Some(&serde_json::json!({ "a": [1, "x"] })));
        for other in all.iter().filter(|other| other["jwk"] != one["jwk"]) {
            let other = PublicKey::from_value(&other["jwk"]).unwrap();
            let why = if other.algorithm() == key.algorithm() {
                JoseError::Signature
            } else {
                JoseError::AlgorithmMismatch
            };
            assert_eq!(Jws::parse(text.as_bytes(), Profile::Subject).unwrap().verify(&other), Err(why));
        }
    }
}
