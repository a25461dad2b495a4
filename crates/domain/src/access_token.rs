//! Access tokens: what a key buys at `/v1/auth/token`, and what verifies them (RFC 9068 over RFC 8725).
//!
//! A token is good for as long as its key is: whoever verifies one asks for the key's state, too, and for what was
//! denied since ([`denial`]). Nothing here reads a store.

pub mod denial;
pub mod key_life;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    clock::Timestamp,
    id::{AccessTokenId, KeyId, TokenFamilyId, WorkspaceId},
    jose::{JoseError, Jws, Object, Profile, PublicKey, decode, encode},
    permission::Scopes,
};

/// The `typ` of access tokens (RFC 9068, 2.1).
pub const TYP: &str = "at+jwt";
/// How long an access token works, in seconds: two hours.
pub const TTL_SECS: i64 = 7_200;
/// By how much clocks may differ, in seconds.
pub const LEEWAY_SECS: i64 = 5;
/// What of the sender a token is bound to (RFC 7800).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Confirmation {
    /// SHA-256 of the client's certificate, base64url (RFC 8705).
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
    /// The thumbprint of the client's DPoP key, base64url (RFC 9449).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
}

impl Confirmation {
    /// Whether whoever has the token may use it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.x5t_s256.is_none() && self.jkt.is_none()
    }

    /// Whether all that this demands was shown.
    #[must_use]
    pub fn is_met_by(&self, shown: &Self) -> bool {
        let met = |wanted: &Option<String>, shown: &Option<String>| wanted.is_none() || wanted == shown;
        met(&self.x5t_s256, &shown.x5t_s256) && met(&self.jkt, &shown.jkt)
    }

    /// `token_type` in answers.
    #[must_use]
    pub const fn token_type(&self) -> &'static str {
        if self.jkt.is_some() { "DPoP" } else { "Bearer" }
    }

    fn read(value: &Value) -> Option<Self> {
        let read: Self = serde_json::from_value(value.clone()).ok()?;
        let whole = |text: &String| decode(text.as_bytes()).is_some_and(|bytes| bytes.len() == 32);
        let good = !read.is_empty() && read.x5t_s256.iter().chain(&read.jkt).all(whole);
        good.then_some(read)
    }
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    /// Who signed it, and for whom: our own origin.
    pub issuer: String,
    /// The key that bought it.
    pub key: KeyId,
    /// The key's workspace.
    pub workspace: WorkspaceId,
    /// What it may be used for; never more than the key.
    pub scopes: Scopes,
    /// Its own name.
    pub id: AccessTokenId,
    /// The refresh tokens that it was bought with; `None`: it stands alone.
    pub family: Option<TokenFamilyId>,
    /// When it was signed, in whole seconds.
    pub issued_at: Timestamp,
    /// It does not work before.
    pub not_before: Timestamp,
    /// It does not work from then on.
    pub expires_at: Timestamp,
    /// What of its sender it is bound to.
    pub confirmation: Confirmation,
}

/// Why an access token is refused. Nothing of the token is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS as it must be, or not signed with the key that it names.
    #[error(transparent)]
    Jose(#[from] JoseError),
    /// It names no key.
    #[error("it names no key")]
    KeyMissing,
    /// It names a key that is none of ours now.
    #[error("it names a key that is not in use")]
    KeyUnknown,
    /// A claim is missing, or not as it must be.
    #[error("the claim `{0}` is missing or wrong")]
    Claim(&'static str),
    /// Another issuer's, or meant for somebody else.
    #[error("it was signed by or for somebody else: `{0}` differs")]
    Elsewhere(&'static str),
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("it is expired")]
    Expired,
}

impl TokenError {
    /// The label in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jose(error) => error.as_str(),
            Self::KeyMissing => "kid_missing",
            Self::KeyUnknown => "kid_unknown",
            Self::Claim(_) => "claim",
            Self::Elsewhere(_) => "elsewhere",
            Self::NotYet => "not_yet",
            Self::Expired => "expired",
        }
    }
}

/// The public keys by which tokens are verified now.
#[derive(Debug, Clone)]
pub struct KeySet {
    /// With their thumbprints. There are a few; all are looked at each time, found or not.
    keys: Vec<(String, PublicKey)>,
    /// Verified against where there is no key, so that the time taken does not tell.
    decoy: PublicKey,
}

impl KeySet {
    /// These keys; the first is what refusals cost as much as.
    #[must_use]
    pub fn new(first: PublicKey, others: impl IntoIterator<Item = PublicKey>) -> Self {
        let decoy = first.clone();
        let keys = std::iter::once(first).chain(others).map(|key| (key.thumbprint(), key)).collect();
        Self { keys, decoy }
    }

    /// Proves a token: shape, header, the one key that it names, and what it says of issuer and audience. Its times are
    /// for [`AccessClaims::check_time`], because what is proven once may be kept. Whatever is refused before a key has
    /// proven the text costs one verification, as a wrong signature does.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, text: &[u8], issuer: &str) -> Result<AccessClaims, TokenError> {
        let jws = Jws::parse(text, Profile::AccessToken).inspect_err(|_| self.waste(text))?;
        let named = match jws.header().kid.as_deref() {
            None => Err(TokenError::KeyMissing),
            Some(kid) => self.named(kid).ok_or(TokenError::KeyUnknown),
        };
        // One way for all, so that a key that there is not costs what another does.
        let claims = jws.verify(named.as_ref().unwrap_or(&&self.decoy));
        named?;
        AccessClaims::read(&claims?, issuer)
    }

    fn named(&self, kid: &str) -> Option<&PublicKey> {
        self.keys.iter().fold(None, |found, (known, key)| if known == kid { Some(key) } else { found })
    }

    fn waste(&self, text: &[u8]) {
        let most = text.get(..crate::jose::MAX_BYTES).unwrap_or(text);
        std::hint::black_box(self.decoy.verify(most, &[1; 64]).is_ok());
    }
}

impl AccessClaims {
    /// What is signed.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": self.key,
            "client_id": self.key,
            "scope": self.scopes.words().join(" "),
            "jti": self.id,
            "iat": self.issued_at.as_secs(),
            "nbf": self.not_before.as_secs(),
            "exp": self.expires_at.as_secs(),
            "cvg_ws": self.workspace,
        });
        if let Some(family) = &self.family {
            claims["cvg_fam"] = json!(family);
        }
        if !self.confirmation.is_empty() {
            claims["cnf"] = json!(self.confirmation);
        }
        claims
    }

    /// Reads what a key has proven.
    fn read(claims: &Object, issuer: &str) -> Result<Self, TokenError> {
        let text = |name: &'static str| claims.text(name).ok_or(TokenError::Claim(name));
        let date = |name: &'static str| claims.date(name).ok_or(TokenError::Claim(name));
        if text("iss")? != issuer {
            return Err(TokenError::Elsewhere("iss"));
        }
        if claims.get("aud").is_none() {
            return Err(TokenError::Claim("aud"));
        }
        if !claims.names("aud", issuer) {
            return Err(TokenError::Elsewhere("aud"));
        }
        let key = KeyId::parse(text("sub")?).map_err(|_| TokenError::Claim("sub"))?;
        if text("client_id")? != key.as_str() {
            return Err(TokenError::Claim("client_id"));
        }
        let confirmation = match claims.get("cnf") {
            None => Confirmation::default(),
            // What is not understood may be a bond that would not be held.
            Some(cnf) => Confirmation::read(cnf).ok_or(TokenError::Claim("cnf"))?,
        };
        let family = match claims.get("cvg_fam") {
            None => None,
            Some(family) => Some(
                family
                    .as_str()
                    .and_then(|id| TokenFamilyId::parse(id).ok())
                    .ok_or(TokenError::Claim("cvg_fam"))?,
            ),
        };
        Ok(Self {
            issuer: issuer.to_owned(),
            key,
            workspace: WorkspaceId::parse(text("cvg_ws")?).map_err(|_| TokenError::Claim("cvg_ws"))?,
            scopes: parse_scope(text("scope")?).ok_or(TokenError::Claim("scope"))?,
            id: AccessTokenId::parse(text("jti")?).map_err(|_| TokenError::Claim("jti"))?,
            family,
            issued_at: date("iat")?,
            not_before: date("nbf")?,
            expires_at: date("exp")?,
            confirmation,
        })
    }

    /// Whether its time has come and is not over.
    ///
    /// # Errors
    /// [`TokenError::NotYet`], [`TokenError::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TokenError> {
        let leeway = LEEWAY_SECS * crate::clock::MICROS_PER_SEC;
        if now >= self.expires_at.plus_micros(leeway) {
            return Err(TokenError::Expired);
        }
        let late = now.plus_micros(leeway);
        if late < self.not_before || late < self.issued_at {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }
}

/// The value of `scope`: words with one space between them. `None` for a word that is no scope. No words: no scope.
#[must_use]
pub fn parse_scope(text: &str) -> Option<Scopes> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    Scopes::parse(&words).ok()
}

/// A JWK Set (RFC 7517, 5) of keys that verify signatures.
#[must_use]
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Value {
    let keys: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            let mut jwk = match key.to_jwk() {
                Value::Object(map) => map,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Map::new()
                }
            };
            jwk.insert("kid".to_owned(), key.thumbprint().into());
            jwk.insert("alg".to_owned(), key.algorithm().as_str().into());
            jwk.insert("use".to_owned(), "sig".into());
            Value::Object(jwk)
        })
        .collect();
    json!({ "keys": keys })
}

/// The hash of a token, by which what was proven of it is kept.
#[must_use]
pub fn fingerprint(text: &[u8]) -> [u8; 32] {
    crate::audit::chain::sha256(&[text]).0
}

/// `ath`: the hash of an access token in a DPoP proof (RFC 9449, 4.2).
#[must_use]
pub fn ath(text: &[u8]) -> String {
    encode(&fingerprint(text))
}

#[cfg(test)]
mod tests;
