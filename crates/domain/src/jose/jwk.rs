//! Public keys as JSON (RFC 7517, RFC 7518 section 6, RFC 8037), and their thumbprints (RFC 7638).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::{Algorithm, JoseError, Object, decode, encode, sha256_base64url};

/// Members that only private and symmetric keys have.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// The smallest modulus that is accepted, in bytes: 2048 bits.
const MIN_RSA: usize = 256;
/// The largest: 8192 bits.
const MAX_RSA: usize = 1_024;

/// Why a JWK is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwkError {
    /// Neither OKP with Ed25519, nor EC with P-256, nor RSA.
    #[error("unsupported key type or curve")]
    Kind,
    /// A member is missing, of the wrong length, or not canonical.
    #[error("a member is missing or malformed")]
    Member,
    /// It holds a private or symmetric key.
    #[error("it holds a private key")]
    Private,
    /// `alg`, `use` or `key_ops` say that it is for something else.
    #[error("the key is meant for something else")]
    Purpose,
    /// An RSA key below 2048 or above 8192 bits, or with an odd exponent.
    #[error("the RSA key is too weak or too large")]
    Strength,
}

/// A public key. Its algorithm belongs to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(Kind);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Ed25519([u8; 32]),
    /// `0x04`, x, y.
    P256([u8; 65]),
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
}

impl PublicKey {
    /// Reads a JWK that may verify signatures.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn from_jwk(jwk: &Object) -> Result<Self, JwkError> {
        if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
            return Err(JwkError::Private);
        }
        let key = match (jwk.text("kty"), jwk.text("crv")) {
            (Some("OKP"), Some("Ed25519")) => Self(Kind::Ed25519(fixed(jwk, "x")?)),
            (Some("EC"), Some("P-256")) => Self::p256(&fixed(jwk, "x")?, &fixed(jwk, "y")?),
            (Some("RSA"), _) => Self::rsa(member(jwk, "n")?, member(jwk, "e")?)?,
            _ => return Err(JwkError::Kind),
        };
        key.check_purpose(jwk).map(|()| key)
    }

    /// [`PublicKey::from_jwk`] for a value.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn from_value(jwk: &Value) -> Result<Self, JwkError> {
        jwk.as_object().ok_or(JwkError::Kind).and_then(|map| Self::from_jwk(&Object::from(map.clone())))
    }

    /// An Ed25519 key.
    #[must_use]
    pub const fn ed25519(bytes: [u8; 32]) -> Self {
        Self(Kind::Ed25519(bytes))
    }

    /// A P-256 point. Whether it lies on the curve shows when a signature is verified.
    #[must_use]
    pub fn p256(x: &[u8; 32], y: &[u8; 32]) -> Self {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(x);
        point[33..].copy_from_slice(y);
        Self(Kind::P256(point))
    }

    /// An RSA key, for verifying only.
    ///
    /// # Errors
    /// [`JwkError::Member`] for numbers with leading zeros, [`JwkError::Strength`].
    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, JwkError> {
        let minimal = |number: &[u8]| number.first().is_some_and(|first| *first != 0);
        if !minimal(&n) || !minimal(&e) {
            return Err(JwkError::Member);
        }
        let large = e.len() <= 5 && (e.len() > 1 || e[0] >= 3) && e[e.len() - 1] % 2 == 1;
        if !(MIN_RSA..=MAX_RSA).contains(&n.len()) || !large {
            return Err(JwkError::Strength);
        }
        Ok(Self(Kind::Rsa { n: n.into(), e: e.into() }))
    }

    /// What it is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::Ed25519(_) => Algorithm::EdDsa,
            Kind::P256(_) => Algorithm::Es256,
            Kind::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The members that make the key, and no other.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        match &self.0 {
            Kind::Ed25519(x) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(x) }),
            Kind::P256(point) => {
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Kind::Rsa { n, e } => json!({ "kty": "RSA", "n": encode(n), "e": encode(e) }),
        }
    }

    /// RFC 7638, SHA-256: the name of the key, whoever writes it down.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let text = match &self.0 {
            Kind::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
            Kind::P256(point) => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                encode(&point[1..33]),
                encode(&point[33..])
            ),
            Kind::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
        };
        sha256_base64url(text.as_bytes())
    }

    /// Whether the signature is this key's over the message.
    ///
    /// # Errors
    /// [`JoseError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        let verified = match &self.0 {
            Kind::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            Kind::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Kind::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| JoseError::Signature)
    }

    fn check_purpose(&self, jwk: &Object) -> Result<(), JwkError> {
        let own = |alg: &str| Algorithm::parse(alg) == Some(self.algorithm());
        let alg = jwk.get("alg").is_none_or(|alg| alg.as_str().is_some_and(own));
        let usage = jwk.get("use").is_none_or(|usage| usage.as_str() == Some("sig"));
        let operations = jwk.get("key_ops").is_none_or(|_| jwk.names("key_ops", "verify"));
        if alg && usage && operations { Ok(()) } else { Err(JwkError::Purpose) }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm().as_str(), self.thumbprint())
    }
}

fn member(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkError> {
    jwk.text(name).and_then(|text| decode(text.as_bytes())).ok_or(JwkError::Member)
}

fn fixed(jwk: &Object, name: &str) -> Result<[u8; 32], JwkError> {
    member(jwk, name)?.try_into().map_err(|_| JwkError::Member)
}
