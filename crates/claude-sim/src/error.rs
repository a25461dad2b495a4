//! Refusals in the API's envelope.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::StatusCode;

/// A refusal: status, `error.type`, message and the hints beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) hints: Option<Box<Hints>>,
}

/// What only some refusals carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `error.details.error_code`.
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) should_retry: Option<bool>,
    /// Sent as `text/html` instead of the envelope, as the edge does.
    pub(crate) raw: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind: Cow::Borrowed(kind_of(status)), message: message.into(), hints: None }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Without the hint Claude Code goes on asking for more than a minute.
    pub(crate) fn unauthenticated(message: &'static str) -> Self {
        let hints = Hints { should_retry: Some(false), ..Hints::default() };
        Self::new(StatusCode::UNAUTHORIZED, message).with(hints)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request exceeds the maximum size")
    }

    pub(crate) fn full() -> Self {
        Self::new(overloaded(), "The simulator holds as many objects as it may; delete some")
    }

    pub(crate) fn with(mut self, hints: Hints) -> Self {
        self.hints = Some(Box::new(hints));
        self
    }

    /// The JSON envelope.
    pub(crate) fn envelope(&self, request_id: &str) -> String {
        let mut json = String::with_capacity(160 + self.message.len());
        let _ = write!(
            json,
            r#"{{"type":"error","error":{{"type":{},"message":{}"#,
            quoted(&self.kind),
            quoted(&self.message)
        );
        if let Some(code) = self.hints.as_ref().and_then(|hints| hints.code.as_deref()) {
            let _ = write!(json, r#","details":{{"error_code":{}}}"#, quoted(code));
        }
        let _ = write!(json, r#"}},"request_id":{}}}"#, quoted(request_id));
        json
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| String::from("\"\""))
}

/// 529, which the http crate does not name.
pub(crate) fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// The `error.type` that belongs to a status.
pub(crate) fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}
