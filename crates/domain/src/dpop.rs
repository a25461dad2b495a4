//! Proofs of possession (RFC 9449): with each request the caller signs what it asks for with a key of its own, and the
//! access token says which key that is.
//!
//! | what | how it is checked |
//! |---|---|
//! | the proof is the key's | [`Proof::read`]: signature by the key in its header |
//! | it is for this request | method, URI, and the token that goes with it: [`Proof::check`] |
//! | it is of now | `iat` within [`WINDOW_SECS`], or a nonce of ours ([`NonceMaker`]) |
//! | it is used once | [`Proof::nonce_of`] in the nonce store, after all else holds |

mod nonce;
mod uri;

use subtle::ConstantTimeEq;

use crate::{
    clock::Timestamp,
    jose::{JoseError, Jws, Profile, sha256_base64url},
};

pub use nonce::{NONCE_LIFE_SECS, NonceMaker};
pub use uri::{Origin, same_uri};

/// How far `iat` may be from our clock, in seconds, either way.
pub const WINDOW_SECS: i64 = 300;
/// Lengths of `jti` that are taken: 96 bits of chance in base64url, and no essay.
const JTI: std::ops::RangeInclusive<usize> = 16..=128;

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DpopError {
    /// There is none.
    #[error("no DPoP proof")]
    Missing,
    /// More than one header.
    #[error("more than one DPoP proof")]
    Several,
    /// No proper JWS of its kind, or not signed with the key in its header.
    #[error("the DPoP proof is not one: {0}")]
    Jose(#[from] JoseError),
    /// A claim is missing or of the wrong kind.
    #[error("the DPoP proof has no proper `{0}`")]
    Claim(&'static str),
    /// For another method.
    #[error("the DPoP proof is for another method")]
    Method,
    /// For another URI.
    #[error("the DPoP proof is for another URI")]
    Uri,
    /// Its time is too far from ours.
    #[error("the DPoP proof was not made now")]
    Time,
    /// It is for another access token, or for none.
    #[error("the DPoP proof is for another access token")]
    Token,
    /// It is signed with another key than the one that the token is bound to.
    #[error("the DPoP proof is signed with another key than the one that the token is bound to")]
    Key,
    /// A nonce of ours is demanded, and the one that it has is none, or too old.
    #[error("the DPoP proof needs the nonce that this answer gives")]
    Nonce,
    /// It was used before.
    #[error("the DPoP proof was used before")]
    Replayed,
}

impl DpopError {
    /// The label in metrics, records and tests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "dpop_missing",
            Self::Several => "dpop_several",
            Self::Jose(error) => error.as_str(),
            Self::Claim(_) => "dpop_claim",
            Self::Method => "dpop_htm",
            Self::Uri => "dpop_htu",
            Self::Time => "dpop_iat",
            Self::Token => "dpop_ath",
            Self::Key => "dpop_key",
            Self::Nonce => "dpop_nonce",
            Self::Replayed => "dpop_replayed",
        }
    }
}

/// What a caller signed, by the key that it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// RFC 7638 thumbprint of the key.
    pub jkt: String,
    /// When it says it was made, seconds since 1970.
    pub made_at_secs: i64,
    /// A nonce of ours that it holds.
    pub nonce: Option<String>,
    jti: String,
    method: String,
    uri: String,
    token: Option<String>,
}

/// What a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Where the gateway is, as the caller sees it.
    pub origin: &'a Origin,
    /// The path, as it was sent, without its query.
    pub path: &'a str,
    /// The access token that goes with it; `None` where a token is bought.
    pub token: Option<BoundToken<'a>>,
}

/// An access token that a key is bound to.
#[derive(Debug, Clone, Copy)]
pub struct BoundToken<'a> {
    /// Its text.
    pub text: &'a [u8],
    /// `cnf.jkt`.
    pub jkt: &'a str,
}

impl Proof {
    /// Reads a proof and verifies that the key in its header signed it.
    ///
    /// # Errors
    /// [`DpopError::Jose`], [`DpopError::Claim`].
    pub fn read(text: &[u8]) -> Result<Self, DpopError> {
        let jws = Jws::parse(text, Profile::Dpop)?;
        let key = jws.header().jwk.clone().ok_or(DpopError::Claim("jwk"))?;
        let claims = jws.verify(&key)?;
        let claim = |name: &'static str| claims.text(name).map(str::to_owned).ok_or(DpopError::Claim(name));
        let optional = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(_) => claim(name).map(Some),
        };
        let jti = claim("jti")?;
        if !JTI.contains(&jti.len()) {
            return Err(DpopError::Claim("jti"));
        }
        Ok(Self {
            jkt: key.thumbprint(),
            made_at_secs: claims.date("iat").ok_or(DpopError::Claim("iat"))?.as_secs(),
            nonce: optional("nonce")?,
            jti,
            method: claim("htm")?,
            uri: claim("htu")?,
            token: optional("ath")?,
        })
    }

    /// Whether it is for this request and, unless a nonce of ours says so (`is_dated`), of now.
    ///
    /// # Errors
    /// The first [`DpopError`] in the order method, URI, time, token, key.
    pub fn check(&self, request: &Request<'_>, now: Timestamp, is_dated: bool) -> Result<(), DpopError> {
        // Methods are compared as they are: they have a case (RFC 9110, 9.1).
        if self.method != request.method {
            return Err(DpopError::Method);
        }
        if !same_uri(&self.uri, request.origin, request.path) {
            return Err(DpopError::Uri);
        }
        if !is_dated && self.made_at_secs.saturating_sub(now.as_secs()).abs() > WINDOW_SECS {
            return Err(DpopError::Time);
        }
        let Some(token) = &request.token else { return Ok(()) };
        let hash = sha256_base64url(token.text);
        let is_same = |a: &str, b: &str| bool::from(a.as_bytes().ct_eq(b.as_bytes()));
        if !self.token.as_deref().is_some_and(|ath| is_same(ath, &hash)) {
            return Err(DpopError::Token);
        }
        if is_same(&self.jkt, token.jkt) { Ok(()) } else { Err(DpopError::Key) }
    }

    /// What is used once: 16 bytes of a hash of key and `jti`, so that two keys never meet.
    #[must_use]
    pub fn nonce_of(&self) -> [u8; 16] {
        let hash = crate::audit::chain::sha256(&[self.jkt.as_bytes(), b"\0", self.jti.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.0[..16]);
        bytes
    }
}

#[cfg(test)]
mod tests;
