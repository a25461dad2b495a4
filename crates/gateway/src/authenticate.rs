//! Stage 2, authenticate: who is this? Whatever the reason, a stranger reads one and the same answer.

use std::sync::Arc;

use claviger_claude_wire::answers::{Answer, UNAUTHENTICATED_MESSAGE};
use claviger_domain::{
    grant::AuthFailure,
    proof::Proofs,
    token::{Brand, PublicId, Token},
};
use claviger_service::grants::{Grants, LiveGrant, VerifyError};
use claviger_upstream::CredentialForm;
use http::{HeaderMap, header};

use crate::{receive::Inbound, refuse::Refusal};

/// Someone who proved a key.
#[derive(Debug)]
pub struct Caller {
    /// What the key may do, and what it is doing.
    pub live: Arc<LiveGrant>,
    /// In which headers it was shown.
    pub form: CredentialForm,
    /// What was shown beside it so far.
    pub proofs: Proofs,
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
    /// Keys cannot be verified now.
    #[error("keys cannot be verified now")]
    Unavailable,
    /// Too many look-ups of unknown keys.
    #[error("too many unknown keys are being looked up")]
    Busy,
}

/// Proves the caller's key.
///
/// # Errors
/// [`AuthenticateError`].
pub async fn authenticate(
    grants: &Grants,
    brand: Brand,
    inbound: &Inbound,
) -> Result<Caller, AuthenticateError> {
    let headers = &inbound.head.headers;
    let failed = |failure| AuthenticateError::Failed { failure, named: None };
    let shown = shown_key(headers).map_err(failed)?;
    let token = Token::parse(brand, shown).map_err(|_| failed(AuthFailure::Malformed))?;
    let verified = grants.verify(&token).await.map_err(|error| match error {
        VerifyError::Auth(failure) => AuthenticateError::Failed { failure, named: Some(token.public_id()) },
        VerifyError::Unavailable => AuthenticateError::Unavailable,
        VerifyError::Busy => AuthenticateError::Busy,
    })?;
    Ok(Caller { live: verified, form: CredentialForm::of(headers), proofs: Proofs::NONE })
}

/// The one key that the headers show.
fn shown_key(headers: &HeaderMap) -> Result<&[u8], AuthFailure> {
    let plain = headers.get_all("x-api-key").into_iter().map(|v| Ok(v.as_bytes()));
    let bearer = headers.get_all(header::AUTHORIZATION).into_iter().map(|v| bearer_token(v.as_bytes()));
    let mut shown = None;
    for key in plain.chain(bearer) {
        let key = key?;
        match shown {
            None => shown = Some(key),
            Some(first) if first == key => {}
            Some(_) => return Err(AuthFailure::Conflicting),
        }
    }
    shown.ok_or(AuthFailure::Missing)
}

fn bearer_token(value: &[u8]) -> Result<&[u8], AuthFailure> {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Ok(token.trim_ascii()),
        Some(_) | None => Err(AuthFailure::Malformed),
    }
}

impl From<AuthenticateError> for Refusal {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Failed { failure, .. } => {
                Self::new(Answer::Unauthenticated, failure.as_str(), UNAUTHENTICATED_MESSAGE)
            }
            AuthenticateError::Unavailable => {
                Self::new(Answer::Unavailable, "verify_unavailable", "Keys cannot be verified now.")
            }
            AuthenticateError::Busy => {
                Self::new(Answer::Overloaded, "verify_busy", "Too many unknown keys are being looked up.")
            }
        }
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
        shown_key(&headers).map(|k| String::from_utf8_lossy(k).into_owned())
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
