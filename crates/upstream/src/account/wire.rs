//! The Admin API's answers: the fields that are looked at. Unknown ones are passed over: they come without notice.

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::{Billed, ProviderApiKey},
    ledger::UsageCounts,
    reconcile::{BilledPart, CostPart, Lane},
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

/// A report by day.
#[derive(Deserialize)]
pub(super) struct Report<T> {
    pub(super) data: Vec<Bucket<T>>,
    pub(super) has_more: bool,
    pub(super) next_page: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Bucket<T> {
    pub(super) starting_at: String,
    pub(super) results: Vec<T>,
}

/// Of `GET /v1/organizations/cost_report`.
#[derive(Deserialize)]
pub(super) struct CostResult {
    currency: String,
    /// Cents, in plain decimal.
    amount: String,
    cost_type: Option<String>,
}

impl CostResult {
    pub(super) fn on(self, day: i64) -> Option<CostPart> {
        let metered = self.cost_type.as_deref().is_none_or(|kind| kind == "tokens" || kind == "web_search");
        let cost = pico_of_cents(&self.amount).filter(|_| self.currency == "USD")?;
        Some(CostPart { day, cost, is_metered: metered })
    }
}

/// What is finer than a pico-dollar is rounded to the nearest.
fn pico_of_cents(text: &str) -> Option<i128> {
    const DIGITS: usize = 10;
    let (sign, plain) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = plain.split_once('.').unwrap_or((plain, ""));
    let is_number = !whole.is_empty() && whole.len() <= 18;
    if !is_number || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept: String = part.chars().chain(std::iter::repeat('0')).take(DIGITS).collect();
    let up = part.as_bytes().get(DIGITS).is_some_and(|digit| *digit >= b'5');
    let cents: i128 = whole.parse().ok()?;
    let rest: i128 = kept.parse().ok()?;
    Some(sign * (cents * 10_000_000_000 + rest + i128::from(up)))
}

/// Of `GET /v1/organizations/usage_report/messages`.
#[derive(Deserialize)]
pub(super) struct UsageResult {
    api_key_id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
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
    pub(super) fn part_on(self, day: i64) -> BilledPart {
        let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
        let lane = Lane {
            model: self.model.clone().unwrap_or_default(),
            batch: is(&self.service_tier, "batch"),
            fast: is(&self.speed, "fast"),
            us: is(&self.inference_geo, "us"),
        };
        let Billed { api_key, day, usage } = self.on(day);
        BilledPart { api_key, day, lane, usage }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_read_to_the_pico_dollar() {
        assert_eq!(pico_of_cents("123.45"), Some(1_234_500_000_000));
        assert_eq!(pico_of_cents("0.0000000001"), Some(1));
        assert_eq!(pico_of_cents("-2"), Some(-20_000_000_000));
        assert_eq!(pico_of_cents("0.00000000005"), Some(1));
        assert_eq!(pico_of_cents("0.00000000004"), Some(0));
        for bad in ["", ".", ".5", "1e3", "1,5", "$1", "--1", "9999999999999999999"] {
            assert_eq!(pico_of_cents(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_no_usage_tells_is_held_apart() {
        let part = |kind: Option<&str>, currency: &str| {
            let result = CostResult {
                currency: currency.to_owned(),
                amount: "1".to_owned(),
                cost_type: kind.map(str::to_owned),
            };
            result.on(3).map(|part| part.is_metered)
        };
        assert_eq!(part(Some("tokens"), "USD"), Some(true));
        assert_eq!(part(Some("web_search"), "USD"), Some(true));
        assert_eq!(part(Some("code_execution"), "USD"), Some(false));
        assert_eq!(part(Some("tokens"), "EUR"), None);
    }
}
