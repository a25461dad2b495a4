//! Reading a batch.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Batch;
use super::item::Item;
use crate::auth;
use crate::call::Call;
use crate::directive::shape::Outcome;
use crate::error::ApiError;
use crate::messages::item_directives;
use crate::request::MessagesRequest;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    requests: Option<Vec<Entry<'a>>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    custom_id: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// The batch that `body` describes.
pub(super) fn read(call: &mut Call, workspace: &str, body: &Bytes) -> Result<Batch, ApiError> {
    let parsed: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(format!("The request body is not valid JSON: {error}")))?;
    let entries = parsed.requests.ok_or_else(|| ApiError::invalid("requests: Field required"))?;
    if entries.is_empty() {
        return Err(ApiError::invalid("requests: List should have at least 1 item after validation, not 0"));
    }
    let most = call.core.config.limits.batch_items;
    if entries.len() > most {
        return Err(ApiError::invalid(format!(
            "requests: List should have at most {most} items after validation"
        )));
    }
    let mut seen = HashSet::with_capacity(entries.len());
    let mut items = Vec::with_capacity(entries.len());
    for (at, entry) in entries.into_iter().enumerate() {
        let custom_id = entry
            .custom_id
            .ok_or_else(|| ApiError::invalid(format!("requests.{at}.custom_id: Field required")))?;
        if !is_custom_id(&custom_id) {
            return Err(ApiError::invalid(format!(
                "requests.{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )));
        }
        if !seen.insert(custom_id.clone()) {
            return Err(ApiError::invalid(format!(
                "requests.{at}.custom_id: duplicate custom_id '{custom_id}'"
            )));
        }
        let params =
            entry.params.ok_or_else(|| ApiError::invalid(format!("requests.{at}.params: Field required")))?;
        let params = body.slice_ref(params.get().as_bytes());
        let mix = &call.steer.batch.mix;
        let mixed = if mix.is_empty() { Outcome::Succeeded } else { mix[at % mix.len()] };
        let outcome = own_outcome(&params).unwrap_or(mixed);
        items.push(Item { custom_id, params, outcome });
    }
    let delay = call.steer.batch.delay.unwrap_or(call.core.config.batch_delay);
    Ok(Batch {
        id: call.ids.id("msgbatch_01"),
        created_ms: call.now_ms,
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        canceled_ms: None,
        billed_to: (auth::presented(&call.head.headers).unwrap_or("").to_owned(), workspace.to_owned()),
        version: call.version().to_owned(),
        items,
        results: None,
    })
}

/// What the item itself asks for with `outcome=…`.
fn own_outcome(params: &[u8]) -> Option<Outcome> {
    memchr::memmem::find(params, b"sim:")?;
    let request = MessagesRequest::of(params).ok()?;
    item_directives(&request, &request.prompt(), params).ok()?.batch.outcome
}

fn is_custom_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
