//! How the token counter refuses: Anthropic's envelope, with OAuth's code in it (RFC 6749, 5.2).

use claviger_claude_wire::answers::{Answer, ENCODING_UNSUPPORTED, UNAUTHENTICATED_MESSAGE};
use claviger_domain::{
    grant::Forbidden,
    limit::Headrooms,
    refresh::{EndReason, RefreshError},
};
use claviger_service::{ServiceError, tokens::BuyError};

use super::{AuthError, exchange};
use crate::refuse::Refusal;

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_GRANT: Option<&str> = Some("invalid_grant");

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        let bad = |reason| Self {
            oauth_error: INVALID_REQUEST,
            ..Self::new(Answer::InvalidRequest, reason, text.clone())
        };
        match error {
            AuthError::Nowhere => Self::new(Answer::NotFound, "own_nowhere", text),
            AuthError::OtherMethod(allowed) => {
                Self { allow: Some(allowed), ..Self::new(Answer::MethodNotAllowed, "own_method", text) }
            }
            AuthError::Encoded => {
                let refusal = Self::new(Answer::EncodingUnsupported, "body_encoded", text);
                Self { error_code: Some(ENCODING_UNSUPPORTED), ..refusal }
            }
            AuthError::Body(error) => (&error).into(),
            AuthError::Form(_) => bad("auth_malformed"),
            AuthError::Missing(_) => bad("auth_parameter_missing"),
            AuthError::Grant => {
                Self { oauth_error: Some("unsupported_grant_type"), ..bad("auth_grant_unsupported") }
            }
            AuthError::Unsupported(_) => bad("auth_unsupported"),
            AuthError::Sender(error) => {
                let oauth_error = error.oauth();
                let refusal = Self::from(error);
                Self { oauth_error, ..refusal }
            }
            AuthError::Prove(error) => {
                let refusal = Self::from(error);
                let strange = refusal.answer == Answer::Unauthenticated;
                Self { oauth_error: strange.then_some("invalid_client"), ..refusal }
            }
            AuthError::Exchange(error) => exchange::refused(error, text),
            AuthError::Client(error) => {
                let refusal = Self::from(error);
                let strange = refusal.answer == Answer::Unauthenticated;
                Self { oauth_error: strange.then_some("invalid_client"), ..refusal }
            }
            AuthError::Forbidden(error) => forbidden(error, text),
            AuthError::Buy(error) => buy(error, text),
        }
    }
}

fn forbidden(error: Forbidden, text: String) -> Refusal {
    let (answer, reason) = match error {
        Forbidden::Address(_) => (Answer::AddressRefused, "address"),
        Forbidden::Hours => (Answer::PermissionDenied, "hours"),
        Forbidden::Endpoint(..) => (Answer::PermissionDenied, "endpoint"),
    };
    Refusal { oauth_error: Some("unauthorized_client"), ..Refusal::new(answer, reason, text) }
}

fn buy(error: BuyError, text: String) -> Refusal {
    let grant = |code: &'static str, answer: Answer| Refusal {
        error_code: Some(code),
        oauth_error: INVALID_GRANT,
        ..Refusal::new(answer, code, text.clone())
    };
    match error {
        BuyError::Scope(_) => Refusal {
            error_code: Some("scope_exceeded"),
            oauth_error: Some("invalid_scope"),
            ..Refusal::new(Answer::InvalidRequest, "auth_scope", text)
        },
        BuyError::Unknown => grant("refresh_invalid", Answer::InvalidRequest),
        BuyError::Bound | BuyError::Outgrown => grant("refresh_bound", Answer::InvalidRequest),
        BuyError::Reused | BuyError::Refresh(RefreshError::Ended(EndReason::Reused)) => {
            grant("refresh_reused", Answer::Unauthenticated)
        }
        BuyError::Refresh(RefreshError::Ended(
            EndReason::Revoked | EndReason::Operator | EndReason::Superseded,
        )) => grant("refresh_revoked", Answer::InvalidRequest),
        BuyError::Refresh(RefreshError::Expired | RefreshError::UsedUp) => {
            grant("refresh_expired", Answer::InvalidRequest)
        }
        BuyError::Key(failure) => Refusal {
            oauth_error: INVALID_GRANT,
            ..Refusal::new(Answer::Unauthenticated, failure.as_str(), UNAUTHENTICATED_MESSAGE)
        },
        BuyError::Forbidden(error) => forbidden(error, text),
        BuyError::TooMany => {
            Refusal { retry_after_secs: Some(60), ..Refusal::new(Answer::RateLimited, "auth_too_many", text) }
        }
        BuyError::TooOften(exceeded) => Refusal {
            // Ten a second flow back.
            retry_after_secs: Some(1),
            headrooms: Some(Box::new(Headrooms::of(exceeded.headroom))),
            ..Refusal::new(Answer::RateLimited, "auth_too_often", text)
        },
        BuyError::Service(ServiceError::Unavailable(_) | ServiceError::Conflict { .. }) => {
            Refusal::new(Answer::Unavailable, "auth_unavailable", "Tokens cannot be given now.")
        }
        BuyError::Service(error) => {
            tracing::error!(%error, "a token could not be given");
            Refusal::new(Answer::Internal, "auth_failed", "Internal error.")
        }
    }
}
