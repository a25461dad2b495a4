//! A key that is sealed for a key management service: the document that `claviger seal-key` writes and the adapters read.
//!
//! The key is encrypted by a data key of its own (AES-256-GCM), and that by the service ([`crate::kms`]). Both
//! encryptions are bound to what the key is for and to its public id, so that one blob cannot stand in for another.
//! docs/src/hand-over.md describes the document byte for byte.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::{Entropy, EntropyError, Timestamp},
    kms::Service,
    secret::SecretBytes,
};

/// No blob is longer, in bytes.
pub const MAX_BLOB_LEN: usize = 64 << 10;
/// Length of a data key in bytes.
pub const DATA_KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const VERSION: u32 = 1;
const DOCUMENT: &str = "claviger sealed key v1";
const DATA_KEY: &str = "claviger data key v1";
/// Where the public id stands: after `cvg_live_`.
const ID: std::ops::Range<usize> = 9..19;
const TEXT_LEN: usize = 52;

/// What a sealed text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A gateway key (`cvg_live_…`, `cvg_test_…`).
    ApiKey,
    /// A signing secret (`cvg_sign_…`).
    SigningSecret,
}

impl Purpose {
    /// As in the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::SigningSecret => "signing_secret",
        }
    }

    const fn tags(self) -> &'static [&'static str] {
        match self {
            Self::ApiKey => &["_live_", "_test_"],
            Self::SigningSecret => &["_sign_"],
        }
    }

    /// The public id of a text of this purpose; `None` for a text of another shape.
    #[must_use]
    pub fn id_of(self, text: &str) -> Option<&str> {
        let is_ours = text.len() == TEXT_LEN
            && text.bytes().take(3).all(|b| b.is_ascii_lowercase())
            && text.get(3..ID.start).is_some_and(|tag| self.tags().contains(&tag))
            && text.bytes().skip(ID.start).all(|b| b.is_ascii_alphanumeric());
        is_ours.then(|| text.get(ID)).flatten()
    }
}

/// What both encryptions are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// What the sealed text is for.
    pub purpose: Purpose,
    /// Its public id.
    pub id: String,
}

impl Binding {
    /// What the service's own encryption of the data key is bound to, where it takes bytes.
    #[must_use]
    pub fn associated_data(&self) -> Vec<u8> {
        bind(&[DATA_KEY, self.purpose.as_str(), &self.id])
    }
}

/// Why a blob cannot be made or opened. Nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It is not what `claviger seal-key` writes.
    #[error("not a sealed key of version 1")]
    Shape,
    /// It is for something else.
    #[error("what is sealed there is not for this purpose")]
    Purpose,
    /// Another service sealed it.
    #[error("another service sealed it")]
    Service,
    /// It was changed, or the data key is another one's.
    #[error("it was changed after it was sealed, or its data key is another's")]
    Changed,
    /// What is to be sealed, or was, is no key.
    #[error("what is sealed there is not a key of this purpose and id")]
    NoKey,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The document, in the order in which its members are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    claviger_sealed: u32,
    /// What is sealed.
    pub purpose: Purpose,
    /// Its public id.
    pub id: String,
    /// Which kind of service opens it.
    pub kms: Service,
    /// The service's name for the key that wrapped the data key: for people; readers name their own.
    pub kms_key: String,
    /// The wrapped data key, as the service gave it.
    pub wrapped_key: String,
    /// When, in RFC 3339.
    pub sealed_at: String,
    nonce: String,
    ciphertext: String,
}

/// What a service made of a data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which kind of service.
    pub service: Service,
    /// Its name for the key that it used.
    pub kms_key: String,
    /// What it gave.
    pub wrapped_key: String,
}

impl Blob {
    /// Seals `text` by `data_key`, which a service has wrapped.
    ///
    /// # Errors
    /// [`BlobError::NoKey`] when the text is not of this purpose; [`BlobError::Entropy`].
    pub fn seal(
        purpose: Purpose,
        text: &str,
        (data_key, wrapped): (&SecretBytes, Wrapped),
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, BlobError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let mut blob = Self {
            claviger_sealed: VERSION,
            purpose,
            id: purpose.id_of(text).ok_or(BlobError::NoKey)?.to_owned(),
            kms: wrapped.service,
            kms_key: wrapped.kms_key,
            wrapped_key: wrapped.wrapped_key,
            sealed_at: to_seconds(now),
            nonce: STANDARD.encode(nonce),
            ciphertext: String::new(),
        };
        let mut bytes = Zeroizing::new(text.as_bytes().to_vec());
        let aad = Aad::from(blob.associated_data());
        let tag = cipher(data_key)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| BlobError::Changed)?;
        bytes.extend_from_slice(tag.as_ref());
        blob.ciphertext = STANDARD.encode(&*bytes);
        Ok(blob)
    }

    /// Reads a document, which must be for `purpose`.
    ///
    /// # Errors
    /// [`BlobError::Shape`], [`BlobError::Purpose`].
    pub fn parse(text: &[u8], purpose: Purpose) -> Result<Self, BlobError> {
        if text.len() > MAX_BLOB_LEN {
            return Err(BlobError::Shape);
        }
        let blob: Self = serde_json::from_slice(text).map_err(|_| BlobError::Shape)?;
        let whole = blob.claviger_sealed == VERSION && blob.nonce().is_some() && blob.cipher_text().is_some();
        match (whole, blob.purpose == purpose) {
            (false, _) => Err(BlobError::Shape),
            (true, false) => Err(BlobError::Purpose),
            (true, true) => Ok(blob),
        }
    }

    /// The sealed text.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn open(&self, data_key: &SecretBytes) -> Result<SecretBytes, BlobError> {
        let (nonce, sealed) = self.nonce().zip(self.cipher_text()).ok_or(BlobError::Shape)?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(BlobError::Shape)?;
        let mut plain = Zeroizing::new(vec![0; sealed.len()]);
        let aad = Aad::from(self.associated_data());
        cipher(data_key)?
            .open_separate_gather(Nonce::assume_unique_for_key(nonce), aad, sealed, tag, &mut plain)
            .map_err(|_| BlobError::Changed)?;
        let id = std::str::from_utf8(&plain).ok().and_then(|text| self.purpose.id_of(text));
        if id != Some(self.id.as_str()) {
            return Err(BlobError::NoKey);
        }
        Ok(SecretBytes::new(std::mem::take(&mut *plain)))
    }

    /// What the wrapping of the data key is bound to.
    #[must_use]
    pub fn binding(&self) -> Binding {
        Binding { purpose: self.purpose, id: self.id.clone() }
    }

    fn nonce(&self) -> Option<[u8; NONCE_LEN]> {
        STANDARD.decode(&self.nonce).ok()?.try_into().ok()
    }

    fn cipher_text(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.ciphertext).ok()
    }

    fn associated_data(&self) -> Vec<u8> {
        let parts = [
            DOCUMENT,
            self.purpose.as_str(),
            &self.id,
            self.kms.as_str(),
            &self.kms_key,
            &self.wrapped_key,
            &self.sealed_at,
        ];
        bind(&parts)
    }
}

/// RFC 3339 in UTC without fractions.
fn to_seconds(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    text.split_once('.').map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
}

fn cipher(data_key: &SecretBytes) -> Result<LessSafeKey, BlobError> {
    let key = UnboundKey::new(&AES_256_GCM, data_key.expose()).map_err(|_| BlobError::Changed)?;
    Ok(LessSafeKey::new(key))
}

/// Each part after its length as eight bytes, big-endian.
fn bind(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
