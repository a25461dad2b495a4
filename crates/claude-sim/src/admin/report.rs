//! `/v1/organizations/usage_report/messages`

use std::collections::BTreeMap;

use super::books::{Books, Counts, Group};
use crate::call::Reply;
use crate::error::{ApiError, quoted};
use crate::headers::rfc3339_secs;
use crate::page::PageQuery;
use crate::simulator::Core;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;
/// What the name of a page begins with.
const PAGE: &str = "page_";
/// What results can be grouped by, in the order of the answer's fields.
const GROUPS: [&str; 9] = [
    "api_key_id",
    "workspace_id",
    "model",
    "service_tier",
    "context_window",
    "inference_geo",
    "speed",
    "account_id",
    "service_account_id",
];

/// How long a bucket is, how many a page has unless told, and at most.
struct Width {
    millis: u64,
    usual: u64,
    most: u64,
}

impl Width {
    fn of(query: &PageQuery) -> Result<Self, ApiError> {
        match query.get("bucket_width").unwrap_or("1d") {
            "1m" => Ok(Self { millis: MINUTE_MS, usual: 60, most: 1_440 }),
            "1h" => Ok(Self { millis: HOUR_MS, usual: 24, most: 168 }),
            "1d" => Ok(Self { millis: DAY_MS, usual: 7, most: 31 }),
            _ => Err(ApiError::invalid("bucket_width: Input should be '1m', '1h' or '1d'")),
        }
    }

    fn limit(&self, query: &PageQuery) -> Result<u64, ApiError> {
        let Some(text) = query.get("limit") else { return Ok(self.usual) };
        let limit = text.parse().ok().filter(|limit| (1..=self.most).contains(limit));
        limit.ok_or_else(|| ApiError::invalid(format!("limit: Input should be between 1 and {}", self.most)))
    }
}

/// Answers a report: as many buckets as a page holds, empty ones too.
pub(super) fn messages(core: &Core, query: &PageQuery, now_ms: u64) -> Result<Reply, ApiError> {
    let width = Width::of(query)?;
    let limit = width.limit(query)?;
    let grouped = grouped_by(query)?;
    let started = query.get("starting_at").ok_or_else(|| ApiError::invalid("starting_at: Field required"))?;
    let from = moment("starting_at", started)?;
    let until = query.get("ending_at").map(|text| moment("ending_at", text)).transpose()?;
    let until = until.unwrap_or(u64::MAX).min(now_ms.saturating_add(1));
    if let Some(text) = query.get("ending_at").filter(|_| until <= from && until <= now_ms) {
        return Err(ApiError::invalid(format!("ending_at: {text} is not after starting_at")));
    }
    let first = match query.get("page") {
        None => from / width.millis,
        Some(page) => {
            page_start(page).ok_or_else(|| ApiError::invalid("page: unknown"))?.max(from) / width.millis
        }
    };
    let end = until.div_ceil(width.millis).max(first);
    let stop = first.saturating_add(limit).min(end);
    let books = core.books();
    let data: Vec<String> = (first..stop)
        .map(|at| bucket(&books, query, &grouped, (at * width.millis, (at + 1) * width.millis)))
        .collect();
    let has_more = stop < end;
    let next = if has_more { quoted(&format!("{PAGE}{}", stop * width.millis)) } else { "null".to_owned() };
    Ok(Reply::json(format!(r#"{{"data":[{}],"has_more":{has_more},"next_page":{next}}}"#, data.join(","))))
}

fn grouped_by(query: &PageQuery) -> Result<Vec<&str>, ApiError> {
    let wanted = query.all("group_by[]");
    match wanted.iter().find(|name| !GROUPS.contains(name)) {
        Some(name) => Err(ApiError::invalid(format!("group_by: '{name}' is not a dimension of this report"))),
        None => Ok(wanted),
    }
}

pub(super) fn moment(field: &str, text: &str) -> Result<u64, ApiError> {
    let read = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    read.ok_or_else(|| ApiError::invalid(format!("{field}: Input should be a valid RFC 3339 datetime")))
}

pub(super) fn page_start(page: &str) -> Option<u64> {
    page.strip_prefix(PAGE)?.parse().ok()
}

fn bucket(books: &Books, query: &PageQuery, grouped: &[&str], (from, until): (u64, u64)) -> String {
    let mut sums: BTreeMap<Vec<Option<&str>>, Counts> = BTreeMap::new();
    for (group, counts) in books.between(from, until).filter(|(group, _)| is_wanted(group, query)) {
        let name = GROUPS.map(|name| value(group, name).filter(|_| grouped.contains(&name)));
        sums.entry(name.to_vec()).or_default().add(*counts);
    }
    let results: Vec<String> = sums.iter().map(|(name, counts)| result(name, counts)).collect();
    format!(
        r#"{{"starting_at":{},"ending_at":{},"results":[{}]}}"#,
        quoted(&rfc3339_secs(from)),
        quoted(&rfc3339_secs(until)),
        results.join(",")
    )
}

fn value<'a>(group: &'a Group, name: &str) -> Option<&'a str> {
    match name {
        "api_key_id" => Some(&group.api_key_id),
        "workspace_id" => Some(&group.workspace_id),
        "model" => Some(&group.model),
        "service_tier" => Some(&group.service_tier),
        "context_window" => Some(group.context_window),
        "inference_geo" => Some(&group.inference_geo),
        "speed" => Some(&group.speed),
        // All calls come with a key: nobody's account, no service's.
        _ => None,
    }
}

fn is_wanted(group: &Group, query: &PageQuery) -> bool {
    let filters = [
        ("api_key_ids[]", "api_key_id"),
        ("workspace_ids[]", "workspace_id"),
        ("models[]", "model"),
        ("service_tiers[]", "service_tier"),
        ("context_window[]", "context_window"),
        ("inference_geos[]", "inference_geo"),
        ("speeds[]", "speed"),
        ("account_ids[]", "account_id"),
    ];
    filters.iter().all(|(filter, name)| {
        let wanted = query.all(filter);
        wanted.is_empty() || value(group, name).is_some_and(|value| wanted.contains(&value))
    })
}

fn result(name: &[Option<&str>], counts: &Counts) -> String {
    let named: Vec<String> = GROUPS
        .iter()
        .zip(name)
        .map(|(field, value)| format!(r#""{field}":{}"#, value.map_or_else(|| "null".to_owned(), quoted)))
        .collect();
    format!(
        r#"{{"uncached_input_tokens":{},"cache_creation":{{"ephemeral_1h_input_tokens":{},"ephemeral_5m_input_tokens":{}}},"cache_read_input_tokens":{},"output_tokens":{},"server_tool_use":{{"web_search_requests":{}}},{}}}"#,
        counts.uncached_input,
        counts.write_1h,
        counts.write_5m,
        counts.read,
        counts.output,
        counts.web_searches,
        named.join(",")
    )
}
