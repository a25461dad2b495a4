use std::collections::BTreeMap;

use claviger_domain::{
    dpop::Proof,
    jose::{decode, encode},
};
use serde::Deserialize;
use serde_json::Value;

use super::vectors;
use crate::{
    ProofKey, Secret,
    dpop::{Once, Subject},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    iat: i64,
    jti: String,
    keys: BTreeMap<String, Pair>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    private_pem: String,
    jwk: Value,
    jkt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    alg: String,
    method: String,
    url: String,
    access_token: Option<String>,
    nonce: Option<String>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    header: Value,
    claims: Value,
}

#[test]
fn proofs_are_what_the_vectors_say() {
    let file: File = vectors("dpop.json");
    let once = Once { at_secs: file.iat, jti: file.jti };
    for case in file.cases {
        let pair = &file.keys[&case.alg];
        let key = ProofKey::from_pem(&pair.private_pem).unwrap();
        assert_eq!(key.thumbprint(), pair.jkt, "{}", case.name);
        let access = case.access_token.as_deref().map(|text| Secret::new(text).unwrap());
        let (method, uri) = (case.method.parse().unwrap(), case.url.parse().unwrap());
        let of = Subject { method: &method, uri: &uri, access: access.as_ref(), nonce: case.nonce };
        let proof = key.proof(&of, &once).unwrap();
        let parts: Vec<Value> = proof
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&decode(part.as_bytes()).unwrap()).unwrap())
            .collect();
        assert_eq!(parts, [case.expect.header, case.expect.claims], "{}", case.name);
        assert_eq!(parts[0]["jwk"], pair.jwk);
        // The signature, by the gateway's own reader.
        assert_eq!(Proof::read(proof.as_bytes()).unwrap().jkt, pair.jkt);
        assert!(Proof::read(format!("{}{}", proof, encode(b"x")).as_bytes()).is_err());
    }
}
