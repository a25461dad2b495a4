//! Ed25519 (RFC 8032) for certificates, and the form in which its public key is published.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    audit::chain::sha256,
    clock::{Entropy, EntropyError},
    secret::SecretBytes,
};

const KEY_LEN: usize = 32;
/// SubjectPublicKeyInfo of an Ed25519 key, up to the key itself (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// The key that signs certificates.
pub struct CertificateKey(Ed25519KeyPair);

impl CertificateKey {
    /// From its 32-byte seed; `None` for any other length.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// A new random seed, to be sealed and kept.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness to be had.
    pub fn generate_seed(entropy: &dyn Entropy) -> Result<SecretBytes, EntropyError> {
        let mut seed = Zeroizing::new(vec![0; KEY_LEN]);
        entropy.fill(&mut seed)?;
        Ok(SecretBytes::new(std::mem::take(&mut *seed)))
    }

    /// The public key, by which anyone can verify.
    #[must_use]
    pub fn public(&self) -> CertificatePublicKey {
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        CertificatePublicKey(bytes)
    }

    /// The signature, base64.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message))
    }
}

impl std::fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateKey({})", self.public().id())
    }
}

/// The public key of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePublicKey([u8; KEY_LEN]);

/// Not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an Ed25519 public key: PEM (`{PEM_BEGIN}`), base64 or 64 hex digits")]
pub struct PublicKeyError;

impl CertificatePublicKey {
    /// Reads PEM, or the 32 bytes alone in base64 or hex.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        let text = text.trim();
        if let Some(body) = text.strip_prefix(PEM_BEGIN).and_then(|t| t.strip_suffix(PEM_END)) {
            let body: String = body.split_ascii_whitespace().collect();
            let der = STANDARD.decode(body).map_err(|_| PublicKeyError)?;
            return from_bytes(der.strip_prefix(&SPKI_PREFIX).ok_or(PublicKeyError)?);
        }
        let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| PublicKeyError)?;
        from_bytes(&bytes)
    }

    /// As PEM (RFC 8410), which OpenSSL reads.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode([SPKI_PREFIX.as_slice(), &self.0].concat());
        format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n")
    }

    /// Its short name: the first 16 hex digits of its SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = sha256(&[&self.0]).to_hex();
        id.truncate(16);
        id
    }

    pub(super) fn verify(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature).is_ok()
    }
}

fn from_bytes(bytes: &[u8]) -> Result<CertificatePublicKey, PublicKeyError> {
    bytes.try_into().map(CertificatePublicKey).map_err(|_| PublicKeyError)
}
