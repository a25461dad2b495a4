//! A token that an issuer signed: whose it says it is, whether it is of now, and what is remembered of its use.

use super::{issuer::IssuerRecord, jwks::KeyList};
use crate::{
    audit::chain::sha256,
    clock::{MICROS_PER_SEC, Timestamp},
    jose::{JoseError, Jws, Object, Profile},
};

/// By how much the issuer's clock may differ, in seconds.
pub const LEEWAY_SECS: i64 = 30;
/// The longest that a token may be good for, in seconds: a day. What lives longer is no proof of who calls now.
pub const MOST_LIFE_SECS: i64 = 86_400;

/// Why a token is no proof of who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AssertionError {
    /// Not a JWS as it must be, or not signed with the issuer's key.
    #[error(transparent)]
    Jose(#[from] JoseError),
    /// It names no issuer.
    #[error("it names no issuer")]
    NoIssuer,
    /// An issuer that is not configured.
    #[error("its issuer is not configured")]
    UnknownIssuer,
    /// The algorithm is not one of the issuer's.
    #[error("its algorithm is not one of those that its issuer may use")]
    Algorithm,
    /// The key that it names is not the issuer's.
    #[error("the key that it is signed with is not among its issuer's")]
    UnknownKey,
    /// The issuer's keys cannot be had.
    #[error("its issuer's keys cannot be had")]
    NoKeys,
    /// A claim is missing or of the wrong kind.
    #[error("it has no proper `{0}`")]
    Claim(&'static str),
    /// It is over.
    #[error("it is expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// It is good for too long.
    #[error("it is valid for more than a day")]
    TooLong,
}

impl AssertionError {
    /// The label in metrics, records and tests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jose(error) => error.as_str(),
            Self::NoIssuer => "iss_missing",
            Self::UnknownIssuer => "iss_unknown",
            Self::Algorithm => "alg_refused",
            Self::UnknownKey => "kid_unknown",
            Self::NoKeys => "jwks_unavailable",
            Self::Claim(_) => "claim",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::TooLong => "too_long",
        }
    }
}

/// A token of which nothing is proven yet.
#[derive(Debug)]
pub struct Assertion<'a> {
    jws: Jws<'a>,
    issuer: String,
}

/// What a token has proven.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// Its claims.
    pub claims: Object,
    /// It is over from then on.
    pub expires_at: Timestamp,
    /// What is remembered, so that it is used once: by its `jti`, else by all of it.
    pub mark: [u8; 32],
}

impl<'a> Assertion<'a> {
    /// Reads the shape of a token.
    ///
    /// # Errors
    /// [`AssertionError::Jose`], [`AssertionError::NoIssuer`].
    pub fn read(text: &'a [u8]) -> Result<Self, AssertionError> {
        let jws = Jws::parse(text, Profile::Subject)?;
        let issuer = jws.unproven_claims()?.text("iss").ok_or(AssertionError::NoIssuer)?.to_owned();
        Ok(Self { jws, issuer })
    }

    /// Whose it says it is: decides whose keys must prove it, and nothing else.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The name of the key that it says it is signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.jws.header().kid.as_deref()
    }

    /// What it says, before anything of it is proven.
    ///
    /// # Errors
    /// [`AssertionError::Jose`].
    pub fn unproven_claims(&self) -> Result<Object, AssertionError> {
        Ok(self.jws.unproven_claims()?)
    }

    /// The algorithm that it names, if the issuer may use it.
    ///
    /// # Errors
    /// [`AssertionError::Algorithm`].
    pub fn algorithm(&self, issuer: &IssuerRecord) -> Result<crate::jose::Algorithm, AssertionError> {
        let named = self.jws.header().alg;
        if issuer.algorithms.contains(&named) { Ok(named) } else { Err(AssertionError::Algorithm) }
    }

    /// Verifies it with the issuer's keys, and that it is of now.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn prove(
        &self,
        issuer: &IssuerRecord,
        keys: &KeyList,
        now: Timestamp,
    ) -> Result<Proven, AssertionError> {
        let algorithm = self.algorithm(issuer)?;
        if issuer.issuer != self.issuer {
            return Err(AssertionError::UnknownIssuer);
        }
        let mut last = AssertionError::UnknownKey;
        // A token that names no key is not tried with every key that there may be.
        for key in keys.candidates(self.kid(), algorithm).take(8) {
            match self.jws.verify(key) {
                Ok(claims) => return self.judged(claims, now),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn judged(&self, claims: Object, now: Timestamp) -> Result<Proven, AssertionError> {
        let date = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(_) => claims.date(name).map(Some).ok_or(AssertionError::Claim(name)),
        };
        let expires_at = date("exp")?.ok_or(AssertionError::Claim("exp"))?;
        let (not_before, issued_at) = (date("nbf")?, date("iat")?);
        let leeway = LEEWAY_SECS * MICROS_PER_SEC;
        if now.micros_since(expires_at) >= leeway {
            return Err(AssertionError::Expired);
        }
        let latest = now.plus_micros(leeway);
        if not_before.into_iter().chain(issued_at).any(|begin| begin > latest) {
            return Err(AssertionError::NotYet);
        }
        let begin = issued_at.or(not_before).unwrap_or(now);
        if expires_at.micros_since(begin) > (MOST_LIFE_SECS + LEEWAY_SECS) * MICROS_PER_SEC {
            return Err(AssertionError::TooLong);
        }
        let mark = match claims.get("jti") {
            // Without its signature: of ECDSA anybody can make a second one that holds, too.
            None => sha256(&[b"token\0", self.jws.signed()]),
            Some(_) => {
                let jti =
                    claims.text("jti").filter(|jti| !jti.is_empty()).ok_or(AssertionError::Claim("jti"))?;
                sha256(&[b"jti\0", self.issuer.as_bytes(), b"\0", jti.as_bytes()])
            }
        };
        Ok(Proven { claims, expires_at, mark: mark.0 })
    }

    /// Until when its use must be remembered.
    #[must_use]
    pub const fn remembered_until(expires_at: Timestamp) -> Timestamp {
        expires_at.plus_micros((LEEWAY_SECS + 1) * MICROS_PER_SEC)
    }
}
