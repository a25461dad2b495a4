//! Public keys of payment providers.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::NoticeError;

/// An RSA key with which a provider signs: RSASSA-PKCS1-v1_5 with SHA-256.
#[derive(Clone)]
pub struct ProviderKey(Vec<u8>);

/// Not such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an RSA public key of 2048 bits or more: a PEM file with BEGIN PUBLIC KEY, or its base64 alone"
)]
pub struct ProviderKeyError;

impl std::fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderKey")
    }
}

impl ProviderKey {
    /// From a PEM file (`SubjectPublicKeyInfo`), or the base64 in it, as Alipay shows it.
    ///
    /// # Errors
    /// [`ProviderKeyError`].
    pub fn parse(text: &str) -> Result<Self, ProviderKeyError> {
        let text = text.trim();
        let inner = match text.strip_prefix("-----BEGIN PUBLIC KEY-----") {
            Some(rest) => rest.strip_suffix("-----END PUBLIC KEY-----").ok_or(ProviderKeyError)?,
            None => text,
        };
        let packed: String = inner.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let key = STANDARD.decode(packed).map_err(|_| ProviderKeyError)?;
        // SubjectPublicKeyInfo of an RSA key (RFC 8017, A.1): the least that 2048 bits take.
        const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
        let is_rsa =
            key.len() >= 290 && key.get(..64).is_some_and(|head| memchr::memmem::find(head, RSA).is_some());
        if is_rsa { Ok(Self(key)) } else { Err(ProviderKeyError) }
    }

    /// Whether the provider has signed this; the signature is in base64.
    pub(super) fn verify(&self, message: &[u8], signature: &str) -> Result<(), NoticeError> {
        let signature = STANDARD.decode(signature.trim()).map_err(|_| NoticeError::Signature)?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(message, &signature).map_err(|_| NoticeError::Signature)
    }
}
