//! Lists: what is not the caller's is left out, and the page is filled up again from the following ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use claviger_claude_wire::resource::{Page, read_page};
use http::{Request, Uri, header};
use serde_json::value::RawValue;

use super::{MOST, RelayError, is_simulated, redirect_results};
use crate::{
    authorize::Permit,
    body::outgoing::Outgoing,
    headers::{Coding, upstream_headers},
    path::Operation,
    relay::{collect, source::Source},
    reserve::Lease,
    worker::Worker,
};

/// Pages that are asked for at most to fill one.
const MOST_PAGES: usize = 20;
/// The page size of the API where none is asked for.
const DEFAULT_LIMIT: usize = 20;

/// The page of what is the caller's own, beginning with the page that came.
pub(super) async fn own(
    worker: &Worker,
    permit: &Permit,
    lease: &Lease,
    first: Bytes,
) -> Result<Bytes, RelayError> {
    let page = read(&first)?;
    let kept = keep(worker, permit, lease, &page).await?;
    if kept.iter().all(|k| *k) {
        return Ok(redirect_results(permit, lease, first, &page.items));
    }
    let mut query = Query::of(&permit.head.uri);
    let limit = query.limit();
    let mut collected = taken(permit, lease, &first, &page, &kept);
    let (mut last, mut last_body) = (page, first);
    for _ in 1..MOST_PAGES {
        let left = limit.saturating_sub(collected.len());
        if left == 0 || !query.advance(&last, left) {
            break;
        }
        last_body = fetch(worker, permit, lease, &query).await?;
        last = read(&last_body)?;
        let kept = keep(worker, permit, lease, &last).await?;
        let mut more = taken(permit, lease, &last_body, &last, &kept);
        if query.backwards {
            // A page further back stands before what is there.
            std::mem::swap(&mut more, &mut collected);
        }
        collected.append(&mut more);
    }
    write(&last_body, &last, &collected)
}

fn read(body: &[u8]) -> Result<Page, RelayError> {
    read_page(body).map_err(|_| RelayError::Unreadable)
}

/// For each item, whether the caller may see it.
async fn keep(worker: &Worker, permit: &Permit, lease: &Lease, page: &Page) -> Result<Vec<bool>, RelayError> {
    let key = &permit.caller.live.grant.key;
    let credential = worker.candidate(lease.route().credential.as_ref());
    let bound = credential.is_some_and(|c| c.workspace.as_ref() == Some(&key.workspace));
    let mut kept = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let Some(id) = item.id.as_deref() else {
            kept.push(false);
            continue;
        };
        kept.push(if permit.head.operation == Operation::ListModels {
            key.policy.permissions.allows_model(id)
        } else if is_simulated(permit) {
            true
        } else {
            let found = worker.shared.services.resources.find(id).await?;
            // What nobody is known to have made is the workspace's where the credential is its alone.
            found.map_or(bound, |r| r.workspace == key.workspace)
        });
    }
    Ok(kept)
}

/// Takes the kept items over, byte for byte but for `results_url`.
fn taken(permit: &Permit, lease: &Lease, body: &Bytes, page: &Page, kept: &[bool]) -> Vec<Bytes> {
    let own = page.items.iter().zip(kept).filter(|(_, keep)| **keep).map(|(item, _)| {
        let mut own = item.clone();
        let start = item.span.start;
        own.results_url = item.results_url.clone().map(|s| s.start - start..s.end - start);
        redirect_results(permit, lease, body.slice(item.span.clone()), &[own])
    });
    own.collect()
}

/// Asks for one more page, by the same credential.
async fn fetch(worker: &Worker, permit: &Permit, lease: &Lease, query: &Query) -> Result<Bytes, RelayError> {
    let route = lease.route();
    let candidate = worker.candidate(route.credential.as_ref()).ok_or(RelayError::Unreadable)?;
    let mut request = Request::new(Outgoing::Empty);
    *request.uri_mut() = query.uri(permit.head.uri.path()).ok_or(RelayError::Unreadable)?;
    let forward_trace = worker.shared.config().forward_trace_headers;
    *request.headers_mut() = upstream_headers(&permit.head.headers, Coding::Identity, forward_trace);
    candidate.key.apply(request.headers_mut(), permit.caller.form);
    let limits = worker.shared.config().upstream;
    let sent = worker.client.send(&candidate.target, request, limits.first_byte).await;
    let answer = sent.map_err(|failure| RelayError::Upstream(failure.error.into()))?;
    let coded = answer.headers().contains_key(header::CONTENT_ENCODING);
    if !answer.status().is_success() || coded {
        return Err(RelayError::Unreadable);
    }
    let mut source = Source::upstream(answer.into_body(), false, limits);
    let body = collect(&mut source, MOST).await?;
    Ok(body)
}

/// The list as it goes to the caller: the last page's members, with our items and cursors.
fn write(last_body: &[u8], last: &Page, items: &[Bytes]) -> Result<Bytes, RelayError> {
    let members: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(last_body).map_err(|_| RelayError::Unreadable)?;
    let id = |item: Option<&Bytes>| {
        let id = item.and_then(|b| claviger_claude_wire::resource::read_resource(b).ok()?.id);
        serde_json::to_string(&id).unwrap_or_else(|_| "null".to_owned())
    };
    let mut out = Vec::with_capacity(items.iter().map(|i| i.len() + 1).sum::<usize>() + 256);
    out.extend_from_slice(b"{\"data\":[");
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    let (first_id, last_id) = (id(items.first()), id(items.last()));
    for (name, value) in members {
        let value = match name {
            "data" => continue,
            "first_id" => first_id.as_str(),
            // Where nothing of a page was kept, the next one begins behind all that was looked at.
            "last_id" if items.is_empty() && last.has_more => value.get(),
            "last_id" => last_id.as_str(),
            _ => value.get(),
        };
        let name = serde_json::to_string(name).map_err(|_| RelayError::Unreadable)?;
        out.push(b',');
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
    Ok(Bytes::from(out))
}

/// The query of a list, with its cursor.
struct Query {
    /// Everything but limit and cursor, as it was sent.
    rest: Vec<String>,
    limit: Option<String>,
    cursor: Option<String>,
    backwards: bool,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let mut query = Self { rest: Vec::new(), limit: None, cursor: None, backwards: false };
        for part in uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            match part.split_once('=').map_or(part, |(name, _)| name) {
                "limit" => query.limit = Some(part.to_owned()),
                "after_id" | "page" => query.cursor = Some(part.to_owned()),
                "before_id" => {
                    query.cursor = Some(part.to_owned());
                    query.backwards = true;
                }
                _ => query.rest.push(part.to_owned()),
            }
        }
        query
    }

    fn limit(&self) -> usize {
        let asked = self.limit.as_deref().and_then(|l| l.split_once('=')?.1.parse().ok());
        asked.unwrap_or(DEFAULT_LIMIT)
    }

    /// Moves on behind a page, asking for so many; `false` when there is nothing behind it.
    fn advance(&mut self, page: &Page, limit: usize) -> bool {
        let cursor = match (&page.next_page, page.has_more) {
            (Some(next), _) => Some(("page", next)),
            (None, true) if self.backwards => page.first_id.as_ref().map(|id| ("before_id", id)),
            (None, true) => page.last_id.as_ref().map(|id| ("after_id", id)),
            (None, false) => None,
        };
        let Some((name, value)) = cursor else { return false };
        self.cursor = Some(format!("{name}={}", escape(value)));
        self.limit = Some(format!("limit={limit}"));
        true
    }

    fn uri(&self, path: &str) -> Option<Uri> {
        let parts = self.rest.iter().chain(&self.limit).chain(&self.cursor);
        let query = parts.map(String::as_str).collect::<Vec<_>>().join("&");
        format!("{path}?{query}").parse().ok()
    }
}

/// Percent-encodes what may not stand in a query value.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
