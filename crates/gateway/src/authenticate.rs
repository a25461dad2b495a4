//! Stage 2, authenticate: who is this? Whatever the reason, a stranger reads one and the same answer.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use claviger_claude_wire::answers::{Answer, UNAUTHENTICATED_MESSAGE};
use claviger_domain::{
    access_token::AccessClaims,
    grant::AuthFailure,
    jose::looks_like_jws,
    proof::{Proof, Proofs},
    token::{Brand, PublicId, Token},
};
use claviger_service::{
    grants::{Grants, LiveGrant, VerifyError},
    tokens::TokenRefusal,
};
use claviger_upstream::CredentialForm;
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use crate::{prove::Signed, receive::Inbound, refuse::Refusal, worker::Shared};

/// Someone who proved a key, or showed an access token that one has bought.
#[derive(Debug)]
pub struct Caller {
    /// What the key may do, and what it is doing.
    pub live: Arc<LiveGrant>,
    /// In which headers it was shown.
    pub form: CredentialForm,
    /// What was shown beside it so far.
    pub proofs: Proofs,
    /// The access token that was shown; `None`: the key itself was.
    pub token: Option<Arc<AccessClaims>>,
    /// What its signature is found to be made with.
    pub signed: Signed,
}

/// How something was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `x-api-key`, or `Authorization: Bearer`.
    Bearer,
    /// `Authorization: DPoP` (RFC 9449, 7.1): an access token, beside a proof.
    Dpop,
}

/// The one key or token that the headers show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Its text.
    pub text: &'a [u8],
    /// How.
    pub scheme: Scheme,
}

/// Why nobody was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// No working key. The public id is known when the key was at least well-formed.
    #[error("not a working key: {failure}")]
    Failed {
        /// Why.
        failure: AuthFailure,
        /// Which key was named.
        named: Option<PublicId>,
    },
    /// Not a working access token.
    #[error(transparent)]
    Token(TokenRefusal),
    /// Keys cannot be verified now.
    #[error("keys cannot be verified now")]
    Unavailable,
    /// Too many look-ups of unknown keys.
    #[error("too many unknown keys are being looked up")]
    Busy,
}

impl AuthenticateError {
    /// The key is genuine, and not the one that was named beside it.
    #[must_use]
    pub fn other_client(live: &LiveGrant) -> Self {
        Self::Failed { failure: AuthFailure::Conflicting, named: Some(live.grant.key.public_id) }
    }
}

impl From<AuthFailure> for AuthenticateError {
    fn from(failure: AuthFailure) -> Self {
        Self::Failed { failure, named: None }
    }
}

/// Proves the caller's key, or the access token that stands for it.
///
/// # Errors
/// [`AuthenticateError`].
pub async fn authenticate(shared: &Shared, inbound: &Inbound) -> Result<Caller, AuthenticateError> {
    let headers = &inbound.head.headers;
    let (shown, form) = (shown(headers)?, CredentialForm::of(headers));
    if shown.scheme == Scheme::Dpop || looks_like_jws(shown.text) {
        let verified = shared.services.tokens.verify(shown.text, &shared.issuer()).await;
        let known = verified.map_err(AuthenticateError::Token)?;
        let proofs = Proofs::NONE.with(Proof::Token);
        return Ok(Caller {
            live: known.live,
            form,
            proofs,
            token: Some(known.claims),
            signed: Signed::default(),
        });
    }
    let live = prove_key(&shared.services.grants, shared.config().brand, shown.text).await?;
    Ok(Caller { live, form, proofs: Proofs::NONE, token: None, signed: Signed::default() })
}

/// Proves a key.
///
/// # Errors
/// [`AuthenticateError`].
pub async fn prove_key(
    grants: &Grants,
    brand: Brand,
    shown: &[u8],
) -> Result<Arc<LiveGrant>, AuthenticateError> {
    let token = Token::parse(brand, shown).map_err(|_| AuthFailure::Malformed)?;
    grants.verify(&token).await.map_err(|error| match error {
        VerifyError::Auth(failure) => AuthenticateError::Failed { failure, named: Some(token.public_id()) },
        VerifyError::Unavailable => AuthenticateError::Unavailable,
        VerifyError::Busy => AuthenticateError::Busy,
    })
}

/// The one key or token that the headers show.
///
/// # Errors
/// [`AuthFailure::Missing`], [`AuthFailure::Malformed`], [`AuthFailure::Conflicting`].
pub fn shown(headers: &HeaderMap) -> Result<Shown<'_>, AuthFailure> {
    let plain = headers.get_all("x-api-key").into_iter();
    let plain = plain.map(|v| Ok(Shown { text: v.as_bytes(), scheme: Scheme::Bearer }));
    let bearer = headers.get_all(header::AUTHORIZATION).into_iter().map(|v| after_scheme(v.as_bytes()));
    let mut shown: Option<Shown<'_>> = None;
    for one in plain.chain(bearer) {
        let one = one?;
        match shown {
            None => shown = Some(one),
            Some(first) if first.text == one.text => {
                // Claude Code shows the same in both headers; the stricter scheme counts.
                if one.scheme == Scheme::Dpop {
                    shown = Some(one);
                }
            }
            Some(_) => return Err(AuthFailure::Conflicting),
        }
    }
    shown.ok_or(AuthFailure::Missing)
}

fn after_scheme(value: &[u8]) -> Result<Shown<'_>, AuthFailure> {
    let (name, rest) = value.split_at(value.iter().position(|b| *b == b' ').unwrap_or(value.len()));
    let scheme = match name {
        name if name.eq_ignore_ascii_case(b"bearer") => Scheme::Bearer,
        name if name.eq_ignore_ascii_case(b"dpop") => Scheme::Dpop,
        _ => return Err(AuthFailure::Malformed),
    };
    let text = rest.trim_ascii();
    if text.is_empty() { Err(AuthFailure::Malformed) } else { Ok(Shown { text, scheme }) }
}

/// A key's id, and the key.
type BasicKey = (String, Zeroizing<Vec<u8>>);

/// The key and its id in `Authorization: Basic` (RFC 6749, 2.3.1); `None`: not by that scheme. Neither has a character
/// that would be escaped.
///
/// # Errors
/// [`AuthFailure::Malformed`].
pub fn basic_key(headers: &HeaderMap) -> Result<Option<BasicKey>, AuthFailure> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(value) = values.next().map(http::HeaderValue::as_bytes) else { return Ok(None) };
    let Some((scheme, rest)) = value.split_at_checked(6) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Ok(None);
    }
    if values.next().is_some() || headers.contains_key("x-api-key") {
        return Err(AuthFailure::Conflicting);
    }
    let pair = STANDARD.decode(rest.trim_ascii()).map_err(|_| AuthFailure::Malformed)?;
    let pair = Zeroizing::new(pair);
    let at = pair.iter().position(|b| *b == b':').ok_or(AuthFailure::Malformed)?;
    let id = std::str::from_utf8(&pair[..at]).map_err(|_| AuthFailure::Malformed)?.to_owned();
    Ok(Some((id, Zeroizing::new(pair[at + 1..].to_vec()))))
}

impl From<AuthenticateError> for Refusal {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Failed { failure, .. } => {
                Self::new(Answer::Unauthenticated, failure.as_str(), UNAUTHENTICATED_MESSAGE)
            }
            AuthenticateError::Token(refusal) => token_refusal(refusal),
            AuthenticateError::Unavailable => {
                Self::new(Answer::Unavailable, "verify_unavailable", "Keys cannot be verified now.")
            }
            AuthenticateError::Busy => {
                Self::new(Answer::Overloaded, "verify_busy", "Too many unknown keys are being looked up.")
            }
        }
    }
}

/// Which of the three is said to anybody: whoever has a token knows what it says, and learns nothing of the key.
fn token_refusal(refusal: TokenRefusal) -> Refusal {
    let refused = |code: &'static str, message: &'static str, challenge: &'static str| Refusal {
        error_code: Some(code),
        challenge: Some(challenge),
        ..Refusal::new(Answer::Unauthenticated, refusal.as_str(), message)
    };
    match refusal {
        TokenRefusal::Invalid(why) => Refusal {
            reason: why.as_str(),
            ..refused(
                "token_invalid",
                "This is no access token of this gateway.",
                "Bearer error=\"invalid_token\", error_description=\"not a token of this gateway\"",
            )
        },
        TokenRefusal::Expired => refused(
            "token_expired",
            "The access token is expired: get another one.",
            "Bearer error=\"invalid_token\", error_description=\"expired\"",
        ),
        TokenRefusal::Denied | TokenRefusal::Key(_) => refused(
            "token_revoked",
            "The access token was revoked.",
            "Bearer error=\"invalid_token\", error_description=\"revoked\"",
        ),
        TokenRefusal::Unavailable => AuthenticateError::Unavailable.into(),
        TokenRefusal::Busy => AuthenticateError::Busy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn shown(pairs: &[(&str, &str)]) -> Result<String, AuthFailure> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        super::shown(&headers).map(|k| String::from_utf8_lossy(k.text).into_owned())
    }

    #[test]
    fn either_header_alone_or_both_with_one_value_show_a_key() {
        assert_eq!(shown(&[("x-api-key", "k")]).unwrap(), "k");
        assert_eq!(shown(&[("authorization", "Bearer k")]).unwrap(), "k");
        assert_eq!(shown(&[("authorization", "bearer  k ")]).unwrap(), "k");
        assert_eq!(shown(&[("authorization", "Bearer k"), ("x-api-key", "k")]).unwrap(), "k");
        assert_eq!(shown(&[("x-api-key", "k"), ("x-api-key", "k")]).unwrap(), "k");
    }

    #[test]
    fn two_different_keys_are_refused_wherever_they_stand() {
        assert_eq!(
            shown(&[("authorization", "Bearer a"), ("x-api-key", "b")]),
            Err(AuthFailure::Conflicting)
        );
        assert_eq!(shown(&[("x-api-key", "a"), ("x-api-key", "b")]), Err(AuthFailure::Conflicting));
        assert_eq!(shown(&[("authorization", "Basic a")]), Err(AuthFailure::Malformed));
        assert_eq!(shown(&[("authorization", "Basic a"), ("x-api-key", "b")]), Err(AuthFailure::Malformed));
        assert_eq!(shown(&[]), Err(AuthFailure::Missing));
    }

    #[test]
    fn every_failure_reads_the_same_to_a_stranger() {
        let failures = [
            AuthFailure::Missing,
            AuthFailure::Conflicting,
            AuthFailure::Malformed,
            AuthFailure::Unknown,
            AuthFailure::WrongSecret,
            AuthFailure::Pending,
            AuthFailure::Suspended,
            AuthFailure::Revoked,
            AuthFailure::Expired,
            AuthFailure::Deprecated,
            AuthFailure::WorkspaceArchived,
        ];
        let refusals =
            failures.map(|failure| Refusal::from(AuthenticateError::Failed { failure, named: None }));
        assert!(
            refusals.iter().all(|r| r.answer == Answer::Unauthenticated && r.message == refusals[0].message)
        );
    }
}
