//! The error envelope of the API, in a body and inside a stream.

use crate::json::escape_into;

/// `error.type` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// 400
    InvalidRequest,
    /// 401
    Authentication,
    /// 402, and 429 for a spend cap of ours.
    Billing,
    /// 403
    Permission,
    /// 404
    NotFound,
    /// 409
    Conflict,
    /// 413
    RequestTooLarge,
    /// 429
    RateLimit,
    /// 500 and what has no type of its own.
    Api,
    /// 504
    Timeout,
    /// 529
    Overloaded,
    /// 501, as Anthropic's own gateway says it.
    NotSupported,
    /// 400 by a policy, as Anthropic's own gateway says it.
    PolicyBlocked,
}

impl ErrorType {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Conflict => "conflict_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Api => "api_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
            Self::NotSupported => "not_supported",
            Self::PolicyBlocked => "policy_blocked",
        }
    }
}

/// What an error body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// `error.type`
    pub kind: ErrorType,
    /// `error.message`
    pub message: &'a str,
    /// `error.details.error_code`, where there is one.
    pub error_code: Option<&'a str>,
    /// `error.details.oauth_error`, where there is one.
    pub oauth_error: Option<&'a str>,
    /// `request_id`; left out when absent.
    pub request_id: Option<&'a str>,
}

impl ErrorBody<'_> {
    /// The JSON body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.message.len());
        self.write(&mut out);
        out
    }

    /// The body as an `error` event of a stream, blank line included.
    #[must_use]
    pub fn to_sse(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + self.message.len());
        out.extend_from_slice(b"event: error\ndata: ");
        self.write(&mut out);
        out.extend_from_slice(b"\n\n");
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"error","error":{"type":""#);
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(br#"","message":""#);
        escape_into(self.message, out);
        out.push(b'"');
        let details = [("error_code", self.error_code), ("oauth_error", self.oauth_error)];
        let mut between: &[u8] = br#","details":{""#;
        for (name, value) in details {
            let Some(value) = value else { continue };
            out.extend_from_slice(between);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(br#"":""#);
            escape_into(value, out);
            out.push(b'"');
            between = br#",""#;
        }
        if self.error_code.or(self.oauth_error).is_some() {
            out.push(b'}');
        }
        out.push(b'}');
        if let Some(id) = self.request_id {
            out.extend_from_slice(br#","request_id":""#);
            escape_into(id, out);
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// A `ping` event, as upstream sends it.
pub const PING_EVENT: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_escapes_what_json_forbids() {
        let body = ErrorBody {
            kind: ErrorType::NotFound,
            message: "model: \"a\\b\"\n\u{1}é",
            error_code: Some("file_expired"),
            oauth_error: Some("invalid_grant"),
            request_id: Some("req_011C"),
        };
        let value: serde_json::Value = serde_json::from_slice(&body.to_json()).unwrap();
        insta::assert_json_snapshot!(value, @r#"
        {
          "error": {
            "details": {
              "error_code": "file_expired",
              "oauth_error": "invalid_grant"
            },
            "message": "model: \"a\\b\"\n\u0001é",
            "type": "not_found_error"
          },
          "request_id": "req_011C",
          "type": "error"
        }
        "#);
    }

    #[test]
    fn error_event_is_one_event() {
        let body = ErrorBody {
            kind: ErrorType::Overloaded,
            message: "a\r\n\nb",
            error_code: None,
            oauth_error: None,
            request_id: None,
        };
        insta::assert_snapshot!(String::from_utf8(body.to_sse()).unwrap().escape_debug(), @r#"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"a\\r\\n\\nb\"}}\n\n"#);
    }
}
