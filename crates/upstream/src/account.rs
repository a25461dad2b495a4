//! The provider's account behind an upstream: its keys, and what was billed to each. Asked with an Admin API key, which
//! opens nothing else (`/v1/organizations/…`).

mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use claviger_domain::{
    direct_use::{AccountError, Billed, ProviderAccount, ProviderApiKey},
    reconcile::{BilledPart, CostPart},
    secret::SecretBytes,
};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::wire::{ApiKeys, CostResult, Refusal, Report, UsageResult, day_of, midnight};
use crate::{
    client::UpstreamClient,
    credential::{CredentialForm, ProviderKey},
    target::Target,
    transport::Transport,
};

/// The version that the answers are read in.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The longest wait for an answer's head, and again for its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
/// The most pages of one question: 100,000 keys, or years.
const MAX_PAGES: usize = 100;
/// Days that one page may have.
const DAYS_A_PAGE: i64 = 31;
/// Characters of what the provider says that are passed on.
const MAX_MESSAGE: usize = 200;

/// What was used.
const USAGE: &str = "usage_report/messages";
/// What it cost.
const COST: &str = "cost_report";

/// Asks providers' accounts.
pub struct AdminApi {
    transport: Arc<Transport>,
    allows_plaintext: bool,
}

impl AdminApi {
    /// Asks over this transport. `allows_plaintext`: also over http beyond loopback.
    #[must_use]
    pub const fn new(transport: Arc<Transport>, allows_plaintext: bool) -> Self {
        Self { transport, allows_plaintext }
    }

    fn visit(&self, base_url: &str, admin_key: &SecretBytes) -> Result<Visit, AccountError> {
        let target = Target::parse(base_url, self.allows_plaintext)
            .map_err(|error| AccountError::Unreachable(error.to_string()))?;
        let key = ProviderKey::new(admin_key.clone())
            .map_err(|_| AccountError::Unreadable("the Admin API key cannot stand in a header"))?;
        let client = UpstreamClient::new(Arc::clone(&self.transport), TaskTracker::new());
        Ok(Visit { client, target, key })
    }
}

#[async_trait]
impl ProviderAccount for AdminApi {
    async fn api_keys(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
    ) -> Result<Vec<ProviderApiKey>, AccountError> {
        let visit = self.visit(base_url, admin_key)?;
        let mut keys = Vec::new();
        let mut after = String::new();
        for _ in 0..MAX_PAGES {
            let path = format!("/v1/organizations/api_keys?limit=1000{after}");
            let page: ApiKeys = visit.ask(&path).await?;
            let last = page.last_id;
            keys.extend(page.data.into_iter().map(Into::into));
            match last.filter(|_| page.has_more) {
                Some(last) => after = format!("&after_id={}", escaped(&last)),
                None => return Ok(keys),
            }
        }
        Err(AccountError::Unreadable("the list of keys does not end"))
    }

    async fn billed(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<Billed>, AccountError> {
        let visit = self.visit(base_url, admin_key)?;
        let question = "bucket_width=1d&group_by[]=api_key_id";
        let results: Vec<(i64, UsageResult)> = visit.by_day(USAGE, question, days).await?;
        Ok(results.into_iter().map(|(day, result)| result.on(day)).collect())
    }

    async fn billed_parts(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<BilledPart>, AccountError> {
        let visit = self.visit(base_url, admin_key)?;
        let question = "bucket_width=1d&group_by[]=api_key_id&group_by[]=model\
                        &group_by[]=service_tier&group_by[]=inference_geo&group_by[]=speed";
        let results: Vec<(i64, UsageResult)> = visit.by_day(USAGE, question, days).await?;
        Ok(results.into_iter().map(|(day, result)| result.part_on(day)).collect())
    }

    async fn costs(
        &self,
        base_url: &str,
        admin_key: &SecretBytes,
        days: (i64, i64),
    ) -> Result<Vec<CostPart>, AccountError> {
        let visit = self.visit(base_url, admin_key)?;
        let results: Vec<(i64, CostResult)> =
            visit.by_day(COST, "bucket_width=1d&group_by[]=description", days).await?;
        let part = |(day, result): (i64, CostResult)| result.on(day);
        let parts: Option<Vec<CostPart>> = results.into_iter().map(part).collect();
        parts.ok_or(AccountError::Unreadable("an amount is no decimal number of cents in US dollars"))
    }
}

/// A few questions in a row, to one account.
struct Visit {
    client: UpstreamClient<Empty<Bytes>>,
    target: Target,
    key: ProviderKey,
}

impl Visit {
    /// The results of a report by day, all pages of it.
    async fn by_day<T: DeserializeOwned>(
        &self,
        report: &str,
        question: &str,
        (from, until): (i64, i64),
    ) -> Result<Vec<(i64, T)>, AccountError> {
        // Without an end, the day that has not ended yet is there, too.
        let question = format!(
            "/v1/organizations/{report}?starting_at={}&{question}&limit={}",
            midnight(from),
            until.saturating_sub(from).clamp(1, DAYS_A_PAGE)
        );
        let mut results = Vec::new();
        let mut after = String::new();
        for _ in 0..MAX_PAGES {
            let report: Report<T> = self.ask(&format!("{question}{after}")).await?;
            let mut is_past = false;
            for bucket in report.data {
                let day = day_of(&bucket.starting_at).ok_or(AccountError::Unreadable("a day is no day"))?;
                is_past |= day >= until;
                if from <= day && day < until {
                    results.extend(bucket.results.into_iter().map(|result| (day, result)));
                }
            }
            match report.next_page.filter(|_| report.has_more && !is_past) {
                Some(next) => after = format!("&page={}", escaped(&next)),
                None => return Ok(results),
            }
        }
        Err(AccountError::Unreadable("the report does not end"))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, AccountError> {
        let uri: Uri = path.parse().map_err(|_| AccountError::Unreadable("a page's name"))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("anthropic-version", ANTHROPIC_VERSION);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("claviger/", env!("CARGO_PKG_VERSION"))),
        );
        self.key.apply(headers, CredentialForm::ApiKey);
        let sent = self.client.send(&self.target, request, PATIENCE).await;
        let response = sent.map_err(|failure| AccountError::Unreachable(failure.error.chain()))?;
        let status = response.status();
        let body = timeout(PATIENCE, Limited::new(response.into_body(), MAX_ANSWER).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        if !status.is_success() {
            let message = message(body.as_deref().unwrap_or_default());
            let status = status.as_u16();
            return Err(match status {
                401 | 403 => AccountError::Refused { status, message },
                _ => AccountError::Failing { status, message },
            });
        }
        let body = body.ok_or(AccountError::Unreadable("it ended early, or is too long"))?;
        serde_json::from_slice(&body)
            .map_err(|_| AccountError::Unreadable("a field is missing or of another kind"))
    }
}

/// What an error says, shortened, without line breaks.
fn message(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error.message);
    let said = said.unwrap_or_else(|_| "no reason given".to_owned());
    said.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value in a query.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}
