//! Ed25519 (RFC 8032) for checkpoints.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::{
    clock::{Entropy, EntropyError},
    secret::SecretBytes,
};

/// The key that signs checkpoints.
pub struct CheckpointKey(Ed25519KeyPair);

impl CheckpointKey {
    /// Length of the seed in bytes.
    pub const SEED_LEN: usize = 32;

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
        let mut seed = Zeroizing::new(vec![0; Self::SEED_LEN]);
        entropy.fill(&mut seed)?;
        Ok(SecretBytes::new(std::mem::take(&mut *seed)))
    }

    /// The public key, by which anyone can verify.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PublicKey::LEN];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl std::fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckpointKey({})", self.public().to_hex())
    }
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PublicKey::LEN]);

/// Not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an Ed25519 public key of 64 lower-case hex digits")]
pub struct PublicKeyError;

impl PublicKey {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| PublicKeyError)?;
        let key = Self(bytes);
        if key.to_hex() == text { Ok(key) } else { Err(PublicKeyError) }
    }

    /// As 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    pub(super) fn verify(
        self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), aws_lc_rs::error::Unspecified> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature)
    }
}
