//! The Admin API's answers: the fields that are looked at. Unknown ones are passed over: they come without notice.

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::{Billed, ProviderApiKey},
    ledger::UsageCounts,
};
use serde::Deserialize;

/// `GET /v1/organizations/api_keys`
#[derive(Deserialize)]
pub(super) struct ApiKeys {
    pub(super) data: Vec<ApiKey>,
    pub(super) has_more: bool,
    pub(super) last_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ApiKey {
    id: String,
    name: String,
    status: String,
    partial_key_hint: Option<String>,
}

impl From<ApiKey> for ProviderApiKey {
    fn from(key: ApiKey) -> Self {
        let hint = key.partial_key_hint.unwrap_or_default();
        Self { id: key.id, name: key.name, status: key.status, hint }
    }
}

/// `GET /v1/organizations/usage_report/messages`
#[derive(Deserialize)]
pub(super) struct UsageReport {
    pub(super) data: Vec<Bucket>,
    pub(super) has_more: bool,
    pub(super) next_page: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Bucket {
    pub(super) starting_at: String,
    pub(super) results: Vec<UsageResult>,
}

#[derive(Deserialize)]
pub(super) struct UsageResult {
    api_key_id: Option<String>,
    uncached_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    #[serde(default)]
    cache_creation: CacheCreation,
    #[serde(default)]
    server_tool_use: Option<ServerToolUse>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CacheCreation {
    ephemeral_1h_input_tokens: u64,
    ephemeral_5m_input_tokens: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: u64,
}

impl UsageResult {
    pub(super) fn on(self, day: i64) -> Billed {
        Billed {
            api_key: self.api_key_id,
            day,
            usage: UsageCounts {
                input_tokens: self.uncached_input_tokens,
                cache_write_5m_tokens: self.cache_creation.ephemeral_5m_input_tokens,
                cache_write_1h_tokens: self.cache_creation.ephemeral_1h_input_tokens,
                cache_read_tokens: self.cache_read_input_tokens,
                output_tokens: self.output_tokens,
                web_search_requests: self.server_tool_use.unwrap_or_default().web_search_requests,
            },
        }
    }
}

/// An error's envelope.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Reason,
}

#[derive(Deserialize)]
pub(super) struct Reason {
    pub(super) message: String,
}

/// When a day begins (RFC 3339).
pub(super) fn midnight(day: i64) -> String {
    Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY)).to_rfc3339()
}

/// The UTC day that a bucket stands for.
pub(super) fn day_of(starting_at: &str) -> Option<i64> {
    Timestamp::parse_rfc3339(starting_at).map(Timestamp::utc_day)
}
