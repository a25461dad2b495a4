//! What is refused although it was signed and has not expired: single tokens, all of a family, all of a key up to a
//! moment. Rows are few, and are forgotten when whatever they speak of has expired by itself.

use crate::{
    access_token::{AccessClaims, LEEWAY_SECS},
    clock::{MICROS_PER_SEC, Timestamp},
    id::{AccessTokenId, KeyId, TokenFamilyId},
};

/// What is denied: an id, by its prefix a token's, a family's or a key's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DenialSubject(String);

impl DenialSubject {
    /// One token.
    #[must_use]
    pub fn token(id: &AccessTokenId) -> Self {
        Self(id.to_string())
    }

    /// What a family of refresh tokens bought.
    #[must_use]
    pub fn family(id: &TokenFamilyId) -> Self {
        Self(id.to_string())
    }

    /// What a key bought.
    #[must_use]
    pub fn key(id: &KeyId) -> Self {
        Self(id.to_string())
    }

    /// As stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = AccessTokenId::parse(text).is_ok()
            || TokenFamilyId::parse(text).is_ok()
            || KeyId::parse(text).is_ok();
        known.then(|| Self(text.to_owned()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All that may deny a token.
    #[must_use]
    pub fn of(claims: &AccessClaims) -> Vec<Self> {
        let mut subjects = vec![Self::token(&claims.id), Self::key(&claims.key)];
        subjects.extend(claims.family.iter().map(Self::family));
        subjects
    }
}

/// Tokens of `subject` that were signed up to a moment are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Whose.
    pub subject: DenialSubject,
    /// Signed at this moment or before; in whole seconds, as tokens say it.
    pub min_iat: Timestamp,
    /// From then on everything that it speaks of has expired.
    pub until: Timestamp,
}

impl Denial {
    /// Everything that was signed up to now, `ttl_secs` being the longest that any of it works.
    #[must_use]
    pub fn now(subject: DenialSubject, now: Timestamp, ttl_secs: i64) -> Self {
        // A token of this second may have been signed after this moment; it is refused, too, and the next one is signed
        // as of the next second.
        let min_iat = Timestamp::from_secs(now.as_secs().saturating_add(1));
        let until = now.plus_micros((ttl_secs + 2 * LEEWAY_SECS).saturating_mul(MICROS_PER_SEC));
        Self { subject, min_iat, until }
    }

    /// Whether it denies this token; the caller has seen that the subject is the token's.
    #[must_use]
    pub fn denies(&self, claims: &AccessClaims) -> bool {
        claims.issued_at < self.min_iat
    }
}
