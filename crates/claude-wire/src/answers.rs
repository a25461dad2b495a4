//! The one table of the gateway's own answers: for each refusal its status, its `error.type` and what the
//! SDKs are told about trying again. SDKs retry 408, 409, 429 and every 5xx unless `x-should-retry` says
//! otherwise, and sleep as long as `retry-after` says: whatever cannot succeed soon says `false`.

use crate::error::ErrorType;

/// An answer of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The body or a header is not acceptable.
    InvalidRequest,
    /// A request body with a content coding (`details.error_code`
    /// [`ENCODING_UNSUPPORTED`]).
    EncodingUnsupported,
    /// The key may not use this model.
    ModelRefused,
    /// A content rule refuses the request.
    PolicyBlocked,
    /// No key, or none that is good: one body for all reasons.
    Unauthenticated,
    /// The key may not be used from this address; the message shows the address that was seen.
    AddressRefused,
    /// The key may not do this.
    PermissionDenied,
    /// No such thing, or not this workspace's.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    /// It was done before, and is done once.
    Conflict,
    /// It was there and is no more.
    Gone,
    /// The body is too large.
    BodyTooLarge,
    /// The head is too large.
    HeadTooLarge,
    /// A limit on requests, tokens or concurrency that frees itself soon; the message names it.
    RateLimited,
    /// A limit whose window is long: waiting in the SDK would block the caller for hours.
    QuotaExhausted,
    /// The spend cap is reached; the wait is the rest of its period.
    SpendCapReached,
    /// A fault of ours.
    Internal,
    /// A route that cannot be offered safely.
    NotSupported,
    /// The upstream could not be reached, or broke off before its answer began.
    UpstreamUnreachable,
    /// A part of ours that the request needs is away, or we are shutting down.
    Unavailable,
    /// Nobody can tell now whether a signed request was sent before; the wait is known.
    ProofUnavailable,
    /// There is no upstream credential: only an operator can help.
    NotConfigured,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// Too much is being done at once.
    Overloaded,
}

/// What the answer says of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryAfter {
    /// No header.
    None,
    /// This many seconds.
    Secs(u32),
    /// What the limit says: the answer must be given its seconds.
    Computed,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// HTTP status.
    pub status: u16,
    /// `error.type`
    pub kind: ErrorType,
    /// `x-should-retry`; `None` leaves it out and the SDKs judge by status.
    pub should_retry: Option<bool>,
    /// `retry-after`
    pub retry_after: RetryAfter,
}

/// The message of every 401: the text that clients know, and no word about the reason.
pub const UNAUTHENTICATED_MESSAGE: &str = "invalid x-api-key";
/// `details.error_code` of [`Answer::EncodingUnsupported`].
pub const ENCODING_UNSUPPORTED: &str = "request_body_encoding_unsupported";

impl Answer {
    /// Every answer, in the order of the table.
    pub const ALL: [Self; 25] = [
        Self::InvalidRequest,
        Self::EncodingUnsupported,
        Self::ModelRefused,
        Self::PolicyBlocked,
        Self::Unauthenticated,
        Self::AddressRefused,
        Self::PermissionDenied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::Gone,
        Self::BodyTooLarge,
        Self::HeadTooLarge,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::SpendCapReached,
        Self::Internal,
        Self::NotSupported,
        Self::UpstreamUnreachable,
        Self::Unavailable,
        Self::ProofUnavailable,
        Self::NotConfigured,
        Self::UpstreamTimeout,
        Self::Overloaded,
    ];

    /// Its row.
    #[must_use]
    pub const fn row(self) -> Row {
        use ErrorType as T;
        use RetryAfter::{Computed, None as Unsaid, Secs};
        const NEVER: Option<bool> = Some(false);
        match self {
            Self::InvalidRequest | Self::EncodingUnsupported | Self::ModelRefused => {
                Row::new(400, T::InvalidRequest, NEVER, Unsaid)
            }
            Self::PolicyBlocked => Row::new(400, T::PolicyBlocked, NEVER, Unsaid),
            Self::Unauthenticated => Row::new(401, T::Authentication, NEVER, Unsaid),
            Self::AddressRefused | Self::PermissionDenied => Row::new(403, T::Permission, NEVER, Unsaid),
            Self::NotFound => Row::new(404, T::NotFound, NEVER, Unsaid),
            Self::MethodNotAllowed => Row::new(405, T::InvalidRequest, NEVER, Unsaid),
            Self::RequestTimeout => Row::new(408, T::Timeout, None, Unsaid),
            Self::Conflict => Row::new(409, T::InvalidRequest, NEVER, Unsaid),
            Self::Gone => Row::new(410, T::NotFound, NEVER, Unsaid),
            Self::BodyTooLarge => Row::new(413, T::RequestTooLarge, NEVER, Unsaid),
            Self::HeadTooLarge => Row::new(431, T::InvalidRequest, NEVER, Unsaid),
            Self::RateLimited => Row::new(429, T::RateLimit, None, Computed),
            Self::QuotaExhausted => Row::new(429, T::RateLimit, NEVER, Computed),
            Self::SpendCapReached => Row::new(429, T::Billing, NEVER, Computed),
            Self::Internal => Row::new(500, T::Api, None, Unsaid),
            Self::NotSupported => Row::new(501, T::NotSupported, NEVER, Unsaid),
            Self::UpstreamUnreachable => Row::new(502, T::Api, None, Unsaid),
            Self::Unavailable => Row::new(503, T::Api, None, Secs(1)),
            Self::ProofUnavailable => Row::new(503, T::Api, NEVER, Computed),
            Self::NotConfigured => Row::new(503, T::Api, NEVER, Unsaid),
            Self::UpstreamTimeout => Row::new(504, T::Timeout, None, Unsaid),
            Self::Overloaded => Row::new(529, T::Overloaded, None, Secs(1)),
        }
    }
}

impl Row {
    const fn new(status: u16, kind: ErrorType, should_retry: Option<bool>, retry_after: RetryAfter) -> Self {
        Self { status, kind, should_retry, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn the_table_is_what_the_docs_say() {
        let mut table = String::new();
        for answer in Answer::ALL {
            let row = answer.row();
            let retry = row.should_retry.map_or("-".to_owned(), |r| r.to_string());
            let name = format!("{answer:?}");
            writeln!(
                table,
                "{:<20} {} {:<22} {:<6} {:?}",
                name,
                row.status,
                row.kind.as_str(),
                retry,
                row.retry_after
            )
            .unwrap();
        }
        insta::assert_snapshot!(table, @"
        InvalidRequest       400 invalid_request_error  false  None
        EncodingUnsupported  400 invalid_request_error  false  None
        ModelRefused         400 invalid_request_error  false  None
        PolicyBlocked        400 policy_blocked         false  None
        Unauthenticated      401 authentication_error   false  None
        AddressRefused       403 permission_error       false  None
        PermissionDenied     403 permission_error       false  None
        NotFound             404 not_found_error        false  None
        MethodNotAllowed     405 invalid_request_error  false  None
        RequestTimeout       408 timeout_error          -      None
        Conflict             409 invalid_request_error  false  None
        Gone                 410 not_found_error        false  None
        BodyTooLarge         413 request_too_large      false  None
        HeadTooLarge         431 invalid_request_error  false  None
        RateLimited          429 rate_limit_error       -      Computed
        QuotaExhausted       429 rate_limit_error       false  Computed
        SpendCapReached      429 billing_error          false  Computed
        Internal             500 api_error              -      None
        NotSupported         501 not_supported          false  None
        UpstreamUnreachable  502 api_error              -      None
        Unavailable          503 api_error              -      Secs(1)
        ProofUnavailable     503 api_error              false  Computed
        NotConfigured        503 api_error              false  None
        UpstreamTimeout      504 timeout_error          -      None
        Overloaded           529 overloaded_error       -      Secs(1)
        ");
    }

    #[test]
    fn what_asks_for_a_long_wait_forbids_the_retry() {
        for answer in [Answer::QuotaExhausted, Answer::SpendCapReached, Answer::Unauthenticated] {
            assert_eq!(answer.row().should_retry, Some(false), "{answer:?}");
        }
    }
}
