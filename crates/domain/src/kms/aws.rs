//! AWS KMS: `Encrypt` and `Decrypt` with an encryption context, signed by AWS Signature Version 4.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{HMAC_SHA256, Key, sign},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Call, KmsError, Variables, address, is_this_machine, parameter, set};
use crate::{clock::Timestamp, sealed_key::Binding, secret::SecretBytes};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

#[derive(Clone)]
pub struct Aws {
    key: String,
    endpoint: String,
    region: String,
    credentials: Credentials,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Credentials {
    id: String,
    secret: String,
    session: Option<String>,
}

/// What the wrapping is bound to; it is seen in the service's audit log, and policies may demand it.
#[derive(Serialize)]
struct Context<'a> {
    #[serde(rename = "claviger:id")]
    id: &'a str,
    #[serde(rename = "claviger:purpose")]
    purpose: &'static str,
}

impl<'a> From<&'a Binding> for Context<'a> {
    fn from(binding: &'a Binding) -> Self {
        Self { id: &binding.id, purpose: binding.purpose.as_str() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: Context<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: Context<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    key_id: String,
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: String,
}

impl Aws {
    pub fn from_uri(place: &str, query: &str, read: Variables<'_>) -> Result<Self, KmsError> {
        let (host, key) = place.split_once('/').ok_or(KmsError::Uri)?;
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b)) {
            return Err(KmsError::Uri);
        }
        let region = region(key, parameter(query, "region")?, read)?;
        let endpoint =
            match (host, set(read, &["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"], KmsError::Address)) {
                ("", Ok(endpoint)) => address(&endpoint)?,
                ("", Err(_)) if region.starts_with("cn-") => format!("https://kms.{region}.amazonaws.com.cn"),
                ("", Err(_)) => format!("https://kms.{region}.amazonaws.com"),
                (host, _) if is_this_machine(host) => address(&format!("http://{host}"))?,
                (host, _) => address(&format!("https://{host}"))?,
            };
        if endpoint.split_once("://").is_none_or(|(_, rest)| rest.contains('/')) {
            return Err(KmsError::Address);
        }
        let unset = KmsError::Unset;
        let credentials = Credentials {
            id: set(read, &["AWS_ACCESS_KEY_ID"], unset("AWS_ACCESS_KEY_ID"))?,
            secret: set(read, &["AWS_SECRET_ACCESS_KEY"], unset("AWS_SECRET_ACCESS_KEY"))?,
            session: read("AWS_SESSION_TOKEN"),
        };
        Ok(Self { key: key.to_owned(), endpoint, region, credentials })
    }

    pub fn encrypt(&self, plaintext: &str, binding: &Binding, now: Timestamp) -> Call {
        let body = Encrypt { key_id: &self.key, plaintext, encryption_context: binding.into() };
        self.call("TrentService.Encrypt", &body, now)
    }

    pub fn decrypt(&self, ciphertext_blob: &str, binding: &Binding, now: Timestamp) -> Call {
        let body = Decrypt { key_id: &self.key, ciphertext_blob, encryption_context: binding.into() };
        self.call("TrentService.Decrypt", &body, now)
    }

    fn call(&self, target: &str, body: &impl Serialize, now: Timestamp) -> Call {
        // Structures of text are always JSON.
        let body = Zeroizing::new(serde_json::to_vec(body).unwrap_or_default());
        let stamp = stamp(now);
        let mut headers = vec![("content-type", CONTENT_TYPE.to_owned()), ("x-amz-date", stamp.clone())];
        let session = self.credentials.session.iter();
        headers.extend(session.map(|token| ("x-amz-security-token", token.clone())));
        headers.push(("x-amz-target", target.to_owned()));
        let authorization = self.authorization(&headers, &body, &stamp);
        headers.push(("authorization", authorization));
        let url = format!("{}/", self.endpoint);
        Call { url, headers, body: SecretBytes::new(body.to_vec()) }
    }

    /// The headers are in the order of their names, but for `host`, which follows the first.
    fn authorization(&self, headers: &[(&'static str, String)], body: &[u8], stamp: &str) -> String {
        let host = self.endpoint.split_once("://").map_or("", |(_, host)| host);
        let mut named: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        named.insert(1, ("host", host));
        let names = named.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = named.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(body));
        let day = stamp.split_once('T').map_or("", |(day, _)| day);
        let scope = format!("{day}/{}/kms/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let secret = Zeroizing::new(format!("AWS4{}", self.credentials.secret));
        let mut key = Key::new(HMAC_SHA256, secret.as_bytes());
        for part in [day, &self.region, "kms", "aws4_request"] {
            key = Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref());
        }
        let signature = hex::encode(sign(&key, to_sign.as_bytes()));
        let id = &self.credentials.id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// As named, else that of the key's ARN, else that of the environment.
fn region(key: &str, named: Option<&str>, read: Variables<'_>) -> Result<String, KmsError> {
    let of_arn = key.starts_with("arn:").then(|| key.split(':').nth(3)).flatten();
    let of_environment = || set(read, &["AWS_REGION", "AWS_DEFAULT_REGION"], KmsError::Region);
    let region = named.or(of_arn).map_or_else(of_environment, |region| Ok(region.to_owned()))?;
    let is_name = (1..=32).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_name { Ok(region) } else { Err(KmsError::Region) }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// `20260101T000000Z`
fn stamp(now: Timestamp) -> String {
    let at = Timestamp::from_secs(now.as_secs()).to_rfc3339();
    let at = at.get(..19).unwrap_or_default();
    format!("{}Z", at.replace(['-', ':'], ""))
}

pub fn encrypted(answer: &[u8]) -> Result<(String, String), KmsError> {
    let read: Encrypted = json(answer)?;
    Ok((read.key_id, read.ciphertext_blob))
}

pub fn decrypted(answer: &[u8]) -> Result<Zeroizing<String>, KmsError> {
    let read: Decrypted = json(answer)?;
    Ok(Zeroizing::new(read.plaintext))
}

fn json<T: DeserializeOwned>(answer: &[u8]) -> Result<T, KmsError> {
    serde_json::from_slice(answer).map_err(|_| KmsError::Answer)
}
