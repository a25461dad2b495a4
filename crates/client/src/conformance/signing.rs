use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use claviger_domain::{clock::Timestamp, signature::Profile};
use http::{HeaderMap, Method, Uri};
use serde::Deserialize;

use super::{Headers, vectors};
use crate::{
    Secret, Signing,
    content::Content,
    key::StaticKey,
    signing::{Call, Moment},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    timestamp: i64,
    nonce: String,
    key_id: String,
    ed25519: Pair,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    seed_hex: String,
    #[serde(rename = "private_pem")]
    _private_pem: String,
    public_hex: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    profile: String,
    alg: String,
    #[serde(default)]
    secret_utf8: String,
    method: String,
    url: String,
    body_utf8: Option<String>,
    body_base64: Option<String>,
    body_repeat: Option<Repeat>,
    expires: Option<i64>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    utf8: String,
    times: usize,
}

/// The payload and the signature base are in the signature already: what differs there, differs here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    headers: Headers,
    #[serde(rename = "payload")]
    _payload: Option<String>,
    #[serde(rename = "signature_base")]
    _base: Option<String>,
    #[serde(rename = "one_string")]
    _one_string: Option<String>,
}

impl Case {
    fn body(&self) -> Vec<u8> {
        match (&self.body_utf8, &self.body_base64, &self.body_repeat) {
            (Some(text), None, None) => text.clone().into(),
            (None, Some(text), None) => STANDARD.decode(text).unwrap(),
            (None, None, Some(repeat)) => repeat.utf8.repeat(repeat.times).into(),
            _ => Vec::new(),
        }
    }

    fn signing(&self, file: &File) -> Signing {
        let mut signing = if self.alg == "ed25519" {
            let seed = hex::decode(&file.ed25519.seed_hex).unwrap();
            let public = hex::decode(&file.ed25519.public_hex).unwrap();
            Signing::ed25519(Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap())
        } else {
            let profile = Profile::parse(&self.profile).unwrap();
            Signing::secret(profile, StaticKey::new(&self.secret_utf8).unwrap())
        };
        signing.key_id = Some(file.key_id.clone());
        let expires = self.expires.map(|at| u64::try_from(at - file.timestamp).unwrap());
        signing.expires = expires.map(std::time::Duration::from_secs);
        signing
    }
}

#[tokio::test]
async fn signatures_are_those_of_the_vectors() {
    let file: File = vectors("signing.json");
    assert!(file.cases.len() > 50);
    let key = Secret::new("cvg_live_0123456789abc").unwrap();
    for case in &file.cases {
        let method: Method = case.method.parse().unwrap();
        let uri: Uri = case.url.parse().unwrap();
        let content = Content::Whole(Bytes::from(case.body()));
        let moment = Moment { at: Timestamp::from_secs(file.timestamp), nonce: file.nonce.clone() };
        let mut headers = HeaderMap::new();
        let signing = case.signing(&file);
        let call = Call { method: &method, uri: &uri, content: content.signed() };
        signing.sign(&mut headers, call, &key, moment).await.unwrap();
        let made: Headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        assert_eq!(made, case.expect.headers, "{}", case.name);
    }
}
