//! Header names of the Claude API and of HTTP that the gateway treats in a way of its own. All lower-case.

/// The caller's key, older form.
pub const X_API_KEY: &str = "x-api-key";
/// The caller's key, newer form: `Bearer <key>`.
pub const AUTHORIZATION: &str = "authorization";
/// Required by the API; never pinned, defaulted or rewritten.
pub const ANTHROPIC_VERSION: &str = "anthropic-version";
/// Comma list, may be repeated; an open list.
pub const ANTHROPIC_BETA: &str = "anthropic-beta";
/// Names the workspace for organisation-level keys.
pub const ANTHROPIC_WORKSPACE_ID: &str = "anthropic-workspace-id";
/// In answers: the upstream organisation.
pub const ANTHROPIC_ORGANIZATION_ID: &str = "anthropic-organization-id";
/// The upstream's id of the request.
pub const REQUEST_ID: &str = "request-id";
/// `true` or `false`: overrides what the SDKs would do by status.
pub const X_SHOULD_RETRY: &str = "x-should-retry";
/// Seconds, or an HTTP date.
pub const RETRY_AFTER: &str = "retry-after";
/// Milliseconds; the SDKs prefer it.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";
/// Claude Code's conversation.
pub const X_CLAUDE_CODE_SESSION_ID: &str = "x-claude-code-session-id";
/// How often an SDK repeated the call.
pub const X_STAINLESS_RETRY_COUNT: &str = "x-stainless-retry-count";

/// Trace headers, which go upstream by setting only: `baggage` may carry internal names.
pub const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Headers that bear the caller's credential: taken out before a request goes upstream.
pub const CREDENTIAL: [&str; 3] = [AUTHORIZATION, X_API_KEY, "proxy-authorization"];

/// Headers of one connection (RFC 9110, section 7.6.1), never relayed; those named by `connection` go too.
/// `te`, `trailer` and `upgrade` belong to the connection as well; `keep-alive` and `proxy-connection` are
/// old habits of the same kind.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Prefixes of answer headers that describe the upstream's account: dropped, the caller's own put in place.
pub const UPSTREAM_ACCOUNT_PREFIXES: [&str; 3] =
    ["anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-"];

/// Whole names of answer headers that describe the upstream's account.
pub const UPSTREAM_ACCOUNT: [&str; 2] = [ANTHROPIC_ORGANIZATION_ID, ANTHROPIC_WORKSPACE_ID];

/// Whether an answer header (lower-case) describes the upstream's account rather than the answer.
#[must_use]
pub fn is_upstream_account(name: &str) -> bool {
    name.starts_with("anthropic-")
        && (UPSTREAM_ACCOUNT.contains(&name) || UPSTREAM_ACCOUNT_PREFIXES.iter().any(|p| name.starts_with(p)))
}

/// The three headers of one limit; `reset` is an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitNames {
    /// What the window allows.
    pub limit: &'static str,
    /// What is left of it.
    pub remaining: &'static str,
    /// When it is whole again.
    pub reset: &'static str,
}

/// Requests.
pub const RATELIMIT_REQUESTS: RateLimitNames = RateLimitNames {
    limit: "anthropic-ratelimit-requests-limit",
    remaining: "anthropic-ratelimit-requests-remaining",
    reset: "anthropic-ratelimit-requests-reset",
};
/// Tokens of both directions.
pub const RATELIMIT_TOKENS: RateLimitNames = RateLimitNames {
    limit: "anthropic-ratelimit-tokens-limit",
    remaining: "anthropic-ratelimit-tokens-remaining",
    reset: "anthropic-ratelimit-tokens-reset",
};
/// Input tokens.
pub const RATELIMIT_INPUT_TOKENS: RateLimitNames = RateLimitNames {
    limit: "anthropic-ratelimit-input-tokens-limit",
    remaining: "anthropic-ratelimit-input-tokens-remaining",
    reset: "anthropic-ratelimit-input-tokens-reset",
};
/// Output tokens.
pub const RATELIMIT_OUTPUT_TOKENS: RateLimitNames = RateLimitNames {
    limit: "anthropic-ratelimit-output-tokens-limit",
    remaining: "anthropic-ratelimit-output-tokens-remaining",
    reset: "anthropic-ratelimit-output-tokens-reset",
};

/// The `unified` set, by which Claude Code shows a spend cap.
pub mod unified {
    /// `allowed`, `allowed_warning` or `rejected`.
    pub const STATUS: &str = "anthropic-ratelimit-unified-status";
    /// End of the period, seconds since the epoch.
    pub const RESET: &str = "anthropic-ratelimit-unified-reset";
    /// Which limit binds: `overage` for a spend cap.
    pub const REPRESENTATIVE_CLAIM: &str = "anthropic-ratelimit-unified-representative-claim";
    /// The threshold that was passed: `0.75`, `0.95`.
    pub const SURPASSED_THRESHOLD: &str = "anthropic-ratelimit-unified-surpassed-threshold";
    /// State of the spend cap.
    pub const OVERAGE_STATUS: &str = "anthropic-ratelimit-unified-overage-status";
    /// End of the cap's period, seconds since the epoch.
    pub const OVERAGE_RESET: &str = "anthropic-ratelimit-unified-overage-reset";
    /// Share spent: `0.00` to `1`.
    pub const OVERAGE_UTILIZATION: &str = "anthropic-ratelimit-unified-overage-utilization";
    /// The threshold of the cap that was passed.
    pub const OVERAGE_SURPASSED_THRESHOLD: &str = "anthropic-ratelimit-unified-overage-surpassed-threshold";
    /// `daily`, `weekly` or `monthly`.
    pub const OVERAGE_PERIOD: &str = "anthropic-ratelimit-unified-overage-period";
    /// Why nothing more may be spent: `org_spend_cap_reached`.
    pub const OVERAGE_DISABLED_REASON: &str = "anthropic-ratelimit-unified-overage-disabled-reason";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_headers_are_told_from_answer_headers() {
        for name in [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-unified-status",
            "anthropic-priority-input-tokens-limit",
            "anthropic-fast-output-tokens-reset",
            "anthropic-organization-id",
            "anthropic-workspace-id",
        ] {
            assert!(is_upstream_account(name), "{name}");
        }
        for name in ["request-id", "retry-after", "content-type", "anthropic-version", "anthropic-new"] {
            assert!(!is_upstream_account(name), "{name}");
        }
    }
}
