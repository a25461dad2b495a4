//! Refusals: whatever a stage refuses, answered in Anthropic's envelope by the one table of
//! [`Answer`]s. Refusals are never held back, and cost no store.

use std::borrow::Cow;

use bytes::Bytes;
use claviger_claude_wire::{
    answers::{Answer, RetryAfter},
    error::ErrorBody,
};
use claviger_domain::{clock::Timestamp, limit::Headrooms};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    headers::{self, REQUEST_ID, X_REQUEST_ID, X_SHOULD_RETRY},
    reply::ReplyBody,
};

/// What every 401 says (RFC 9110, 11.6.1).
const CHALLENGE: &str = "Bearer realm=\"claviger\"";

/// A budget that is spent, as clients show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// `day`, `week`, `month`, `life`.
    pub period: &'static str,
    /// When it begins anew; `None`: never.
    pub reset: Option<Timestamp>,
}

/// One refusal, whichever stage it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the table.
    pub answer: Answer,
    /// `error.message`.
    pub message: Cow<'static, str>,
    /// `error.details.error_code`.
    pub error_code: Option<&'static str>,
    /// `error.details.oauth_error`: OAuth's own word for it (RFC 6749, 5.2), at the token counter.
    pub oauth_error: Option<&'static str>,
    /// `WWW-Authenticate` (RFC 6750, 3), where one says more than that a key is needed.
    pub challenge: Option<&'static str>,
    /// `Allow` (RFC 9110, 15.5.6): the methods that there are.
    pub allow: Option<&'static str>,
    /// `DPoP-Nonce` (RFC 9449, 8): the next proof must hold it.
    pub dpop_nonce: Option<String>,
    /// For answers whose wait is computed.
    pub retry_after_secs: Option<u64>,
    /// The limit that binds, and what is left of the others.
    pub headrooms: Option<Box<Headrooms>>,
    /// The budget that is spent.
    pub cap: Option<Cap>,
    /// The reason as metrics and audit records know it.
    pub reason: &'static str,
    /// The rest of the connection cannot be used: an unread body is still on its way.
    pub close: bool,
}

impl Refusal {
    /// A refusal with nothing special about it.
    #[must_use]
    pub fn new(answer: Answer, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            answer,
            message: message.into(),
            error_code: None,
            oauth_error: None,
            challenge: None,
            allow: None,
            dpop_nonce: None,
            retry_after_secs: None,
            headrooms: None,
            cap: None,
            reason,
            close: false,
        }
    }

    /// The status of its answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.answer.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Whose request is refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// Our id of the request.
    pub request_id: &'a str,
    /// The client's own id of it.
    pub client_request_id: Option<&'a HeaderValue>,
}

/// Writes a refusal's answer.
#[must_use]
pub fn refuse(refusal: &Refusal, whose: Refused<'_>) -> Response<ReplyBody> {
    let row = refusal.answer.row();
    let body = ErrorBody {
        kind: row.kind,
        message: &refusal.message,
        error_code: refusal.error_code,
        oauth_error: refusal.oauth_error,
        request_id: Some(whose.request_id),
    };
    let body = Bytes::from(body.to_json());
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(id) = HeaderValue::from_str(whose.request_id) {
        headers.insert(X_REQUEST_ID, whose.client_request_id.cloned().unwrap_or_else(|| id.clone()));
        headers.insert(REQUEST_ID, id);
    }
    if let Some(should) = row.should_retry {
        headers.insert(X_SHOULD_RETRY, HeaderValue::from_static(if should { "true" } else { "false" }));
    }
    let wait = match row.retry_after {
        RetryAfter::None => None,
        RetryAfter::Secs(secs) => Some(u64::from(secs)),
        RetryAfter::Computed => refusal.retry_after_secs,
    };
    if let Some(secs) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    if let Some(headrooms) = &refusal.headrooms {
        headers::add_headrooms(&mut headers, headrooms);
    }
    let challenge = refusal.challenge.or((row.status == 401).then_some(CHALLENGE));
    if let Some(nonce) = refusal.dpop_nonce.as_deref().and_then(|n| HeaderValue::from_str(n).ok()) {
        headers.insert("dpop-nonce", nonce);
    }
    if let Some(challenge) = challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(allow) = refusal.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(cap) = &refusal.cap {
        headers::add_cap(&mut headers, cap);
    }
    if refusal.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let mut response = Response::new(ReplyBody::once(body));
    *response.status_mut() = refusal.status();
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests;
