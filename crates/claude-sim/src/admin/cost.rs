//! `/v1/organizations/cost_report`: days only, grouped by workspace or description; amounts are cents in decimal text.

use std::collections::BTreeMap;

use super::books::{Books, Group};
use super::report::{DAY_MS, moment, page_start};
use crate::call::Reply;
use crate::error::{ApiError, quoted};
use crate::headers::rfc3339_secs;
use crate::page::PageQuery;
use crate::simulator::Core;

/// Days of a page unless told, and at most.
const USUAL: u64 = 7;
const MOST: u64 = 31;
/// The classes of tokens and searches, as the report calls them.
const CLASSES: [(&str, Option<&str>); 6] = [
    ("tokens", Some("uncached_input_tokens")),
    ("tokens", Some("cache_creation.ephemeral_1h_input_tokens")),
    ("tokens", Some("cache_creation.ephemeral_5m_input_tokens")),
    ("tokens", Some("cache_read_input_tokens")),
    ("tokens", Some("output_tokens")),
    ("web_search", None),
];

/// What a result stands for.
#[derive(PartialEq, Eq, PartialOrd, Ord, Default)]
struct Title<'a> {
    workspace: Option<&'a str>,
    /// Class, model, tier, window, geography.
    description: Option<(usize, &'a str, &'a str, &'a str, &'a str)>,
}

/// Answers a report: as many days as a page holds, empty ones too.
pub(super) fn report(core: &Core, query: &PageQuery, now_ms: u64) -> Result<Reply, ApiError> {
    if query.get("bucket_width").is_some_and(|width| width != "1d") {
        return Err(ApiError::invalid("bucket_width: Input should be '1d'"));
    }
    let grouped = query.all("group_by[]");
    if let Some(name) = grouped.iter().find(|name| !["workspace_id", "description"].contains(name)) {
        return Err(ApiError::invalid(format!("group_by: '{name}' is not a dimension of this report")));
    }
    let limit = match query.get("limit") {
        None => USUAL,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MOST).contains(n))
            .ok_or_else(|| ApiError::invalid(format!("limit: Input should be between 1 and {MOST}")))?,
    };
    let started = query.get("starting_at").ok_or_else(|| ApiError::invalid("starting_at: Field required"))?;
    let from = moment("starting_at", started)? / DAY_MS;
    let until = query.get("ending_at").map(|text| moment("ending_at", text)).transpose()?;
    let end = until.unwrap_or(u64::MAX).min(now_ms.saturating_add(1)).div_ceil(DAY_MS);
    let first = match query.get("page") {
        None => from,
        Some(page) => {
            (page_start(page).ok_or_else(|| ApiError::invalid("page: unknown"))? / DAY_MS).max(from)
        }
    };
    let stop = first.saturating_add(limit).min(end.max(first));
    let books = core.books();
    let days: Vec<String> = (first..stop).map(|day| bucket(&books, &grouped, day)).collect();
    let has_more = stop < end;
    let next = if has_more { quoted(&format!("page_{}", stop * DAY_MS)) } else { "null".to_owned() };
    Ok(Reply::json(format!(r#"{{"data":[{}],"has_more":{has_more},"next_page":{next}}}"#, days.join(","))))
}

fn bucket(books: &Books, grouped: &[&str], day: u64) -> String {
    let (from, until) = (day * DAY_MS, (day + 1) * DAY_MS);
    let mut sums: BTreeMap<Title<'_>, u128> = BTreeMap::new();
    for (group, counts) in books.between(from, until) {
        for (class, pico) in counts.pico.into_iter().enumerate().filter(|(_, pico)| *pico > 0) {
            *sums.entry(title(group, class, grouped)).or_default() += u128::from(pico);
        }
    }
    let results: Vec<String> = sums.iter().map(|(title, pico)| result(title, *pico)).collect();
    format!(
        r#"{{"starting_at":{},"ending_at":{},"results":[{}]}}"#,
        quoted(&rfc3339_secs(from)),
        quoted(&rfc3339_secs(until)),
        results.join(",")
    )
}

fn title<'a>(group: &'a Group, class: usize, grouped: &[&str]) -> Title<'a> {
    Title {
        workspace: grouped.contains(&"workspace_id").then_some(group.workspace_id.as_str()),
        description: grouped.contains(&"description").then_some((
            class,
            group.model.as_str(),
            group.service_tier.as_str(),
            group.context_window,
            group.inference_geo.as_str(),
        )),
    }
}

fn result(title: &Title<'_>, pico: u128) -> String {
    let text = |value: Option<&str>| value.map_or_else(|| "null".to_owned(), quoted);
    let mut fields = [None; 6];
    let mut description = None;
    if let Some((class, model, tier, window, geography)) = title.description {
        let (cost_type, token_type) = CLASSES.get(class).copied().unwrap_or_default();
        description = Some(format!("{model} Usage - {}", token_type.unwrap_or(cost_type)));
        fields = [Some(cost_type), token_type, Some(model), Some(tier), Some(window), Some(geography)];
    }
    let [cost_type, token_type, model, tier, window, geography] = fields.map(text);
    format!(
        r#"{{"currency":"USD","amount":{},"workspace_id":{},"description":{},"cost_type":{cost_type},"token_type":{token_type},"model":{model},"service_tier":{tier},"context_window":{window},"inference_geo":{geography}}}"#,
        quoted(&cents(pico)),
        text(title.workspace),
        text(description.as_deref()),
    )
}

/// Pico-dollars as cents in plain decimal.
fn cents(pico: u128) -> String {
    const CENT: u128 = 10_000_000_000;
    let text = format!("{}.{:010}", pico / CENT, pico % CENT);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_cents_without_loss() {
        assert_eq!(cents(0), "0");
        assert_eq!(cents(1_234_500_000_000), "123.45");
        assert_eq!(cents(5_500), "0.00000055");
    }
}
