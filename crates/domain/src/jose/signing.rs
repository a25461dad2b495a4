//! Keys that sign.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    encoding::{AsBigEndian, Curve25519SeedBin, EcPrivateKeyBin},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Algorithm, PublicKey, encode};
use crate::{
    clock::{Entropy, EntropyError},
    secret::SecretBytes,
};

/// Length of the secret of either kind, in bytes.
const SECRET_LEN: usize = 32;
/// A random number is no P-256 scalar once in 2^32; nobody is that unlucky so often.
const TRIES: u32 = 8;

/// A key that signs, with its public half.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    kid: String,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// A new secret, to be sealed and kept.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness to be had, or none is made of RS256, which is never signed with.
    pub fn generate_secret(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<SecretBytes, EntropyError> {
        for _ in 0..TRIES {
            let mut bytes = Zeroizing::new(vec![0; SECRET_LEN]);
            entropy.fill(&mut bytes)?;
            if Self::from_secret(algorithm, &bytes).is_some() {
                return Ok(SecretBytes::new(std::mem::take(&mut *bytes)));
            }
        }
        Err(EntropyError)
    }

    /// From its secret: a seed of Ed25519, a scalar of P-256. `None` for anything else.
    #[must_use]
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        let (pair, public) = match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
                let public = PublicKey::ed25519(pair.public_key().as_ref().try_into().ok()?);
                (Pair::Ed25519(pair), public)
            }
            Algorithm::Es256 => {
                let scalar = PrivateKey::from_private_key(&ECDH_P256, secret).ok()?;
                let point = scalar.compute_public_key().ok()?;
                let point: [u8; 65] = point.as_ref().try_into().ok()?;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    secret,
                    &point,
                );
                let public = PublicKey::p256(point[1..33].try_into().ok()?, point[33..].try_into().ok()?);
                (Pair::P256(pair.ok()?), public)
            }
            Algorithm::Rs256 => return None,
        };
        let kid = public.thumbprint();
        Some(Self { pair, public, kid })
    }

    /// From a private key in PEM form (PKCS #8, unencrypted): P-256 or Ed25519. `None` for anything else.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        let inner = text.split_once("-----BEGIN PRIVATE KEY-----")?.1;
        let lines = inner.split_once("-----END PRIVATE KEY-----")?.0;
        let packed: Zeroizing<String> = Zeroizing::new(lines.split_ascii_whitespace().collect());
        let der = SecretBytes::new(STANDARD.decode(&*packed).ok()?);
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()) {
            let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
            return Self::from_secret(Algorithm::Es256, scalar.as_ref());
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.expose()).ok()?;
        let seed: Curve25519SeedBin<'_> = pair.seed().ok()?.as_be_bytes().ok()?;
        Self::from_secret(Algorithm::EdDsa, seed.as_ref())
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its name: the thumbprint of the public half (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs claims as a compact JWS of this type.
    ///
    /// # Errors
    /// [`EntropyError`] when ECDSA finds no randomness.
    pub fn sign(&self, typ: &str, claims: &serde_json::Value) -> Result<String, EntropyError> {
        let alg = self.public.algorithm().as_str();
        let header = json!({ "alg": alg, "kid": self.kid, "typ": typ });
        self.sign_with(&header, claims.to_string().as_bytes())
    }

    /// Signs any payload under any header; for proofs and tests.
    ///
    /// # Errors
    /// [`EntropyError`] when ECDSA finds no randomness.
    pub fn sign_with(&self, header: &serde_json::Value, payload: &[u8]) -> Result<String, EntropyError> {
        let mut text = encode(header.to_string().as_bytes());
        text.push('.');
        text.push_str(&encode(payload));
        let signature = self.sign_bytes(text.as_bytes())?;
        text.push('.');
        text.push_str(&encode(&signature));
        Ok(text)
    }

    /// The signature over bytes.
    ///
    /// # Errors
    /// [`EntropyError`] when ECDSA finds no randomness.
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, EntropyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| EntropyError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}
