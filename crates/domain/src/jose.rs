//! JSON Web Signatures, strictly: what RFC 7515 and RFC 7518 define and RFC 8725 leaves of it.
//!
//! A text of at most 8 KiB, three parts, canonical base64url, JSON in which no name stands twice. The algorithm belongs
//! to the key and never to the text: what the header names must be what the key is for. Header fields that would bring
//! or name a key are refused or passed over, as the [`Profile`] says; `crit` is always refused, because nothing that it
//! could name is understood here.
//!
//! ```text
//! let jws = Jws::parse(text, Profile::AccessToken)?;   // shape and header: nothing is proven yet
//! let key = ring.get(jws.header().kid.as_deref()?)?;   // found by the caller, never in the text
//! let claims = jws.verify(key)?;                       // from here on the claims are the signer's
//! ```

mod base64url;
mod jwk;
mod jws;
mod object;
mod signing;

use crate::audit::chain::sha256;

pub use self::{
    base64url::{decode, encode},
    jwk::{JwkError, PublicKey},
    jws::{Header, Jws, MAX_BYTES, Profile, looks_like_jws},
    object::{Object, ObjectError},
    signing::SigningKey,
};

/// How something is signed. There is no `none`, and nothing symmetric: whoever could verify could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256 with SHA-256 (RFC 7518, 3.4).
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3). For verifying what others signed only.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// All that are verified.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// The value of `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The reverse of [`Algorithm::as_str`], letter by letter; `Ed25519` is `EdDSA` with the one curve that there is here
    /// (RFC 9864, 2.2), and what newer libraries write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }
}

/// Which part of a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The first.
    Header,
    /// The second.
    Payload,
    /// The third.
    Signature,
}

/// Why a text is refused. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JoseError {
    /// More than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not three parts with a point between them, or one of them is empty.
    #[error("not a compact JWS of three parts")]
    Shape,
    /// A part is not base64url, or not in its canonical form.
    #[error("the {0:?} is not canonical base64url")]
    Encoding(Part),
    /// A part is not a JSON object.
    #[error("the {0:?} is not a JSON object")]
    Json(Part),
    /// A name stands twice in an object.
    #[error("the {0:?} has a member twice")]
    Duplicate(Part),
    /// No `alg`, or not a string.
    #[error("no algorithm is named")]
    AlgorithmMissing,
    /// `none`, a symmetric one, or one that is not known here.
    #[error("the algorithm is not accepted")]
    AlgorithmRefused,
    /// The header names another algorithm than the key is for.
    #[error("the key is for another algorithm")]
    AlgorithmMismatch,
    /// `crit` names extensions; none is understood.
    #[error("critical extensions are not understood")]
    Critical,
    /// `typ` is not what the place demands.
    #[error("the type is not the one that is demanded")]
    Type,
    /// The header brings or names a key by other means than the profile's.
    #[error("the header brings or names a key in a way that is not accepted")]
    KeyHeader,
    /// A header field has the wrong kind of value, or is not one of this profile.
    #[error("a header field is not acceptable")]
    HeaderField,
    /// The key in the header is no acceptable public key.
    #[error("the key in the header is not acceptable: {0}")]
    Jwk(JwkError),
    /// The signature is not the key's over this text.
    #[error("the signature does not match")]
    Signature,
}

impl JoseError {
    /// The label in metrics, records and tests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Shape => "shape",
            Self::Encoding(_) => "encoding",
            Self::Json(_) => "json",
            Self::Duplicate(_) => "duplicate_member",
            Self::AlgorithmMissing => "alg_missing",
            Self::AlgorithmRefused => "alg_refused",
            Self::AlgorithmMismatch => "alg_mismatch",
            Self::Critical => "crit",
            Self::Type => "typ",
            Self::KeyHeader => "key_header",
            Self::HeaderField => "header_field",
            Self::Jwk(_) => "jwk",
            Self::Signature => "signature",
        }
    }
}

/// SHA-256, in base64url: the form of thumbprints, `ath` and `x5t#S256`.
#[must_use]
pub fn sha256_base64url(bytes: &[u8]) -> String {
    encode(&sha256(&[bytes]).0)
}

#[cfg(test)]
mod tests;
