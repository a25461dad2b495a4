use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::kms::Kms;

const KEY: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

struct Ones;

impl Entropy for Ones {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(1);
        Ok(())
    }
}

fn sealed(text: &str) -> (Blob, SecretBytes) {
    let data_key = SecretBytes::new(vec![7; DATA_KEY_LEN]);
    let wrapped = Wrapped {
        service: Service::AwsKms,
        kms_key: "arn:aws:kms:eu-central-1:111122223333:key/k".to_owned(),
        wrapped_key: "d3JhcHBlZA==".to_owned(),
    };
    let made = Blob::seal(Purpose::ApiKey, text, (&data_key, wrapped), Timestamp::from_secs(1), &Ones);
    (made.unwrap(), data_key)
}

#[test]
fn what_is_sealed_is_what_opens() {
    let (blob, data_key) = sealed(KEY);
    let text = serde_json::to_vec(&blob).unwrap();
    let read = Blob::parse(&text, Purpose::ApiKey).unwrap();
    assert_eq!(read.open(&data_key).unwrap().expose(), KEY.as_bytes());
    assert_eq!(Blob::parse(&text, Purpose::SigningSecret), Err(BlobError::Purpose));
    let other = SecretBytes::new(vec![8; DATA_KEY_LEN]);
    assert_eq!(read.open(&other).unwrap_err(), BlobError::Changed);
    let short = SecretBytes::new(vec![7; 16]);
    assert_eq!(read.open(&short).unwrap_err(), BlobError::Changed);
    insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r#"{"claviger_sealed":1,"purpose":"api_key","id":"0123456789","kms":"awskms","kms_key":"arn:aws:kms:eu-central-1:111122223333:key/k","wrapped_key":"d3JhcHBlZA==","sealed_at":"1970-01-01T00:00:01Z","nonce":"AQEBAQEBAQEBAQEB","ciphertext":"FZfu6PzWmmuO5O0TQwNFB5/DLZV69F92PlYrCwzfWtas3XjB7mDx9SgFMHK7P9/3yX6iYFPk72hE0xXnClmjHe5dz5U="}"#);
}

#[test]
fn only_keys_are_sealed() {
    for text in ["", "sk-ant-api03-x", &KEY[..51], &KEY.replace("live", "oper"), &KEY.replace('A', "é")] {
        assert_eq!(Purpose::ApiKey.id_of(text), None, "{text}");
        assert_eq!(Purpose::SigningSecret.id_of(text), None, "{text}");
    }
    assert_eq!(Purpose::ApiKey.id_of(KEY), Some("0123456789"));
    assert_eq!(Purpose::SigningSecret.id_of(KEY), None);
    assert_eq!(Purpose::SigningSecret.id_of(&KEY.replace("live", "sign")), Some("0123456789"));
}

proptest! {
    #[test]
    fn no_change_of_a_byte_goes_unnoticed(at in 0_usize..600, with in any::<u8>()) {
        let (blob, data_key) = sealed(KEY);
        let mut text = serde_json::to_vec(&blob).unwrap();
        let at = at % text.len();
        prop_assume!(text[at] != with);
        text[at] = with;
        if let Ok(read) = Blob::parse(&text, Purpose::ApiKey) {
            // What JSON takes for the same document is the same document.
            prop_assert!(read.open(&data_key).is_err() || read == blob);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: String,
    now: i64,
    secrets: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    uri: String,
    environment: std::collections::BTreeMap<String, String>,
    purpose: Purpose,
    blob: String,
    exchanges: Vec<Exchange>,
    result: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    status: u16,
    answer: String,
}

/// What a client does, without the sending.
fn play(case: &Case, now: Timestamp, asked: &mut usize) -> Result<String, String> {
    let read = |name: &str| case.environment.get(name).cloned();
    let kms = Kms::from_uri(&case.uri, &read).map_err(|error| error.to_string())?;
    let blob = Blob::parse(case.blob.as_bytes(), case.purpose).map_err(|error| error.to_string())?;
    let call = kms.unwrap(&blob, now).map_err(|error| error.to_string())?;
    let exchange =
        case.exchanges.get(*asked).unwrap_or_else(|| panic!("{}: one more request than expected", case.name));
    *asked += 1;
    assert_eq!((call.url.as_str(), call.body.expose()), (exchange.url.as_str(), exchange.body.as_bytes()));
    let sent = call.headers.into_iter().map(|(name, value)| (name.to_owned(), value));
    assert_eq!(sent.collect::<std::collections::BTreeMap<_, _>>(), exchange.headers, "{}", case.name);
    if exchange.status != 200 {
        return Err(format!("answered {}", exchange.status));
    }
    let data_key = kms.read_data_key(exchange.answer.as_bytes()).map_err(|error| error.to_string())?;
    let opened = blob.open(&data_key).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(opened.expose().to_vec()).unwrap())
}

#[test]
fn the_vectors_of_all_clients_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/conformance/sealed.json");
    let vectors: Vectors = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(vectors.cases.len() > 70);
    for case in &vectors.cases {
        let mut asked = 0;
        let result = play(case, Timestamp::from_secs(vectors.now), &mut asked);
        assert_eq!(asked, case.exchanges.len(), "{}", case.name);
        match result {
            Ok(key) => assert_eq!(key, case.result, "{}", case.name),
            Err(error) => {
                assert_eq!(case.result, "error", "{}: {error}", case.name);
                assert!(!vectors.secrets.iter().any(|secret| error.contains(secret)), "{}", case.name);
            }
        }
    }
}
