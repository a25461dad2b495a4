//! Refusals of the control plane: `application/problem+json` (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use claviger_domain::{policy::Rule, token::without_keys};
use claviger_service::ServiceError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::trail::Refused;

/// What went wrong, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A short name for the kind of problem, stable over releases.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do next.
    pub detail: String,
    /// The field that is at fault, when there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The rule of the workspace's policy that stands against it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// What was made all the same, when that is the problem.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub made: Option<String>,
    /// After how many seconds one may try again; also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_secs: Option<u64>,
}

impl Problem {
    /// A problem without a field.
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            rule: None,
            made: None,
            retry_after_secs: None,
        }
    }

    /// A workspace's policy stands against it: 409 when what there is already is too much, else 403.
    #[must_use]
    pub fn policy(rule: Rule, field: &str, detail: String) -> Self {
        let status = match rule {
            Rule::MaxKeys => StatusCode::CONFLICT,
            Rule::RequireIp
            | Rule::RequireMfa
            | Rule::Require
            | Rule::HandOver
            | Rule::ForbidCache
            | Rule::RotationDays
            | Rule::RevokeUnusedDays => StatusCode::FORBIDDEN,
        };
        let problem = Self::new(status, "policy", detail);
        Self { field: Some(field.to_owned()), rule: Some(rule), ..problem }
    }

    /// A field that cannot be used.
    #[must_use]
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid", detail);
        Self { field: Some(field.to_owned()), ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_secs;
        // What was typed in a wrong place may be a key.
        let problem = Self { detail: without_keys(&self.detail).into_owned(), ..self };
        let refused =
            Refused { kind: problem.kind.clone(), field: problem.field.clone(), rule: problem.rule };
        let mut response = (status, Json(problem)).into_response();
        response.extensions_mut().insert(refused);
        if let Some(secs) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"claviger\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let (status, kind) = match &error {
            ServiceError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            ServiceError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            ServiceError::Gone { .. } => (StatusCode::GONE, "gone"),
            ServiceError::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale"),
            ServiceError::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            ServiceError::SecondFactor { .. } => (StatusCode::UNAUTHORIZED, "second_factor_required"),
            ServiceError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            ServiceError::LockedOut { retry_after_secs } => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "locked_out", error.to_string());
                return Self { retry_after_secs: Some(*retry_after_secs), ..problem };
            }
            ServiceError::Policy { rule, field, .. } => {
                return Self::policy(*rule, field, error.to_string());
            }
            ServiceError::Invalid { field, .. } => return Self::invalid(field, error.to_string()),
            ServiceError::Unavailable(_) | ServiceError::Entropy(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            ServiceError::Broken(_) | ServiceError::Seal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
        };
        Self::new(status, kind, error.to_string())
    }
}
