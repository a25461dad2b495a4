//! Key management services that wrap the data keys of sealed keys ([`crate::sealed_key`]): which one is meant, what is
//! said to it and what its answers mean. Nothing here sends.
//!
//! A service's address and credentials come from its URI and the environment, never from a blob: whoever can change a
//! blob must not learn where they are sent.

mod aws;
mod transit;
mod vault;

pub use vault::{Vault, is_store_path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    sealed_key::{Binding, Blob, BlobError, DATA_KEY_LEN, Wrapped},
    secret::SecretBytes,
};

/// A kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// AWS KMS, or what speaks as it.
    AwsKms,
    /// The transit engine of Vault or OpenBao.
    HashiVault,
}

impl Service {
    /// As in URIs and blobs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwsKms => "awskms",
            Self::HashiVault => "hashivault",
        }
    }
}

/// What is missing or wrong in the settings of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// The URI.
    #[error(
        "not the address of a key: awskms://[HOST]/KEY[?region=NAME] or hashivault://KEY[?mount=PATH] is"
    )]
    Uri,
    /// A variable.
    #[error("{0} is not set")]
    Unset(&'static str),
    /// The service's address.
    #[error("the address of the key management service must be https, or on this machine")]
    Address,
    /// The region.
    #[error("which region: name it as in `?region=eu-central-1`, or set AWS_REGION")]
    Region,
    /// The answer.
    #[error("the key management service's answer is not what was expected")]
    Answer,
}

/// One POST to a service. It holds secrets, so it has no `Debug`.
pub struct Call {
    /// Where to.
    pub url: String,
    /// Its headers, but for `host` and `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: SecretBytes,
}

/// One key of one service. It holds a credential, so it has no `Debug`.
#[derive(Clone)]
pub struct Kms(Kind);

#[derive(Clone)]
enum Kind {
    Aws(aws::Aws),
    Transit(transit::Transit),
}

/// Reads a variable of the environment; one that says nothing is `None`.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Kms {
    /// By its URI, with what the environment says about reaching it.
    ///
    /// # Errors
    /// [`KmsError`].
    pub fn from_uri(uri: &str, read: Variables<'_>) -> Result<Self, KmsError> {
        let (scheme, rest) = uri.split_once("://").ok_or(KmsError::Uri)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "awskms" => aws::Aws::from_uri(place, query, read).map(Kind::Aws).map(Self),
            "hashivault" | "openbao" => {
                transit::Transit::from_uri(place, query, read).map(Kind::Transit).map(Self)
            }
            _ => Err(KmsError::Uri),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn service(&self) -> Service {
        match &self.0 {
            Kind::Aws(_) => Service::AwsKms,
            Kind::Transit(_) => Service::HashiVault,
        }
    }

    /// Asks for the wrapping of a data key.
    #[must_use]
    pub fn wrap(&self, data_key: &SecretBytes, binding: &Binding, now: Timestamp) -> Call {
        let plain = Zeroizing::new(STANDARD.encode(data_key.expose()));
        match &self.0 {
            Kind::Aws(aws) => aws.encrypt(&plain, binding, now),
            Kind::Transit(transit) => transit.encrypt(&plain, binding),
        }
    }

    /// What the answer to [`Kms::wrap`] means.
    ///
    /// # Errors
    /// [`KmsError::Answer`].
    pub fn read_wrapped(&self, answer: &[u8]) -> Result<Wrapped, KmsError> {
        let (kms_key, wrapped_key) = match &self.0 {
            Kind::Aws(_) => aws::encrypted(answer)?,
            Kind::Transit(transit) => transit.encrypted(answer)?,
        };
        Ok(Wrapped { service: self.service(), kms_key, wrapped_key })
    }

    /// Asks for a blob's data key.
    ///
    /// # Errors
    /// [`BlobError::Service`] when another kind of service wrapped it.
    pub fn unwrap(&self, blob: &Blob, now: Timestamp) -> Result<Call, BlobError> {
        if blob.kms != self.service() {
            return Err(BlobError::Service);
        }
        Ok(match &self.0 {
            Kind::Aws(aws) => aws.decrypt(&blob.wrapped_key, &blob.binding(), now),
            Kind::Transit(transit) => transit.decrypt(&blob.wrapped_key, &blob.binding()),
        })
    }

    /// What the answer to [`Kms::unwrap`] means: a data key.
    ///
    /// # Errors
    /// [`KmsError::Answer`].
    pub fn read_data_key(&self, answer: &[u8]) -> Result<SecretBytes, KmsError> {
        let text = match &self.0 {
            Kind::Aws(_) => aws::decrypted(answer)?,
            Kind::Transit(_) => transit::decrypted(answer)?,
        };
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| KmsError::Answer)?;
        let key = SecretBytes::new(bytes);
        if key.expose().len() == DATA_KEY_LEN { Ok(key) } else { Err(KmsError::Answer) }
    }
}

/// The one parameter that a URI may have.
fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<&'a str>, KmsError> {
    if query.is_empty() {
        return Ok(None);
    }
    query.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).map(Some).ok_or(KmsError::Uri)
}

/// An address without a slash at its end; plain http to this machine only.
fn address(text: &str) -> Result<String, KmsError> {
    let bare = text.trim_end_matches('/');
    let (scheme, rest) = bare.split_once("://").ok_or(KmsError::Address)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    match scheme {
        "https" if is_name => Ok(bare.to_owned()),
        "http" if is_name && is_this_machine(authority) => Ok(bare.to_owned()),
        _ => Err(KmsError::Address),
    }
}

/// Whether `host[:port]` is this machine.
fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_path(text: &str) -> bool {
    text.split('/').all(|part| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    })
}

fn set(read: Variables<'_>, names: &[&'static str], missing: KmsError) -> Result<String, KmsError> {
    names.iter().find_map(|name| read(name)).ok_or(missing)
}
