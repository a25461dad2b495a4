//! Lists: what is not the caller's is left out, and the page is filled up again from the following ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use claviger_claude_wire::resource::{Page, read_page, read_resource};
use claviger_domain::tenancy::ResourceKind;
use http::{Request, StatusCode, Uri, header};
use serde_json::value::RawValue;

use super::{MOST, RelayError, is_simulated, redirect_results};
use crate::{
    authorize::Permit,
    body::outgoing::Outgoing,
    headers::{Coding, upstream_headers},
    path::{Operation, cursors},
    relay::{collect, source::Source},
    reserve::Lease,
    worker::Worker,
};

/// Pages that are asked for at most to fill one.
const MOST_PAGES: u32 = 20;
/// The page size of the API where none is asked for.
const DEFAULT_LIMIT: usize = 20;
/// The largest page that the API gives.
const LARGEST_PAGE: usize = 1_000;
/// Resources that one look into the store brings.
const LISTED: u32 = 1_000;

/// The page of what is the caller's own, beginning with the page that came. Whatever it says, cursors included, is
/// of the caller's own things: from such a cursor the upstream goes on as from any other.
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
    let mut list = List { items: taken(permit, lease, &first, &page, &kept), has_more: false };
    let mut last = Fetched { body: first, page, kept };
    for number in 1..MOST_PAGES {
        let left = limit.saturating_sub(list.items.len());
        if left == 0 || !query.advance(&last.page, look_ahead(left, number)) {
            break;
        }
        last = fetch_page(worker, permit, lease, &query).await?;
        if let Some(length) = last.longer_than(left, query.backwards) {
            if query.is_by_token() {
                // The upstream's token leads behind this whole page, so the page is made to end with our last item.
                query.limit = Some(format!("limit={length}"));
                last = fetch_page(worker, permit, lease, &query).await?;
            } else {
                last.leave_out_beyond(length, query.backwards);
                list.has_more = true;
            }
        }
        list.add(taken(permit, lease, &last.body, &last.page, &last.kept), query.backwards);
    }
    list.has_more |= last.page.has_more;
    let buried = list.items.len() < limit && (list.has_more || last.page.next_page.is_some());
    if buried && !query.backwards && last.page.next_page.is_some() {
        // The token stands behind another's item, and could name it.
        return Err(RelayError::ListTooLong);
    }
    if buried && list.items.is_empty() {
        list.items.extend(next_own(worker, permit, lease).await?);
        list.has_more = !list.items.is_empty();
    }
    write(&last, &list)
}

/// What goes to the caller.
struct List {
    items: Vec<Bytes>,
    has_more: bool,
}

impl List {
    fn add(&mut self, mut more: Vec<Bytes>, backwards: bool) {
        if backwards {
            // A page further back stands before what is there.
            std::mem::swap(&mut more, &mut self.items);
        }
        self.items.append(&mut more);
    }
}

/// A page of the upstream, and which of its items the caller may see.
struct Fetched {
    body: Bytes,
    page: Page,
    kept: Vec<bool>,
}

impl Fetched {
    /// How many items of it reach to the last one that is wanted, if there is anything behind that.
    fn longer_than(&self, wanted: usize, backwards: bool) -> Option<usize> {
        let own = |(n, kept): (usize, &bool)| kept.then_some(n + 1);
        let length = if backwards {
            self.kept.iter().rev().enumerate().filter_map(own).nth(wanted.checked_sub(1)?)
        } else {
            self.kept.iter().enumerate().filter_map(own).nth(wanted.checked_sub(1)?)
        };
        length.filter(|length| *length < self.kept.len())
    }

    fn leave_out_beyond(&mut self, length: usize, backwards: bool) {
        let beyond = if backwards {
            let start = self.kept.len().saturating_sub(length);
            self.kept.get_mut(..start)
        } else {
            self.kept.get_mut(length..)
        };
        beyond.unwrap_or_default().fill(false);
    }
}

/// How large a page to ask for: where the first ones hold little of the caller's, further ones are larger.
fn look_ahead(left: usize, number: u32) -> usize {
    let growing = DEFAULT_LIMIT << (2 * number.min(4));
    left.max(growing).min(LARGEST_PAGE)
}

/// The caller's next item, where too many of others' stand before it: by what the store says was made. The order is
/// that of the requests, which is the upstream's but where two were made in the same moment.
async fn next_own(worker: &Worker, permit: &Permit, lease: &Lease) -> Result<Option<Bytes>, RelayError> {
    if permit.head.operation == Operation::ListModels || is_simulated(permit) {
        return Ok(None);
    }
    let files = permit.head.operation == Operation::ListFiles;
    let kind = if files { ResourceKind::File } else { ResourceKind::Batch };
    let uri = &permit.head.uri;
    let cursor = |wanted| cursors(uri.query()).find(|(name, _)| *name == wanted).map(|(_, id)| id);
    let (after, before) = (cursor("after_id"), cursor("before_id"));
    let workspace = &permit.caller.live.grant.key.workspace;
    let resources = &worker.shared.services.resources;
    let mut own = resources.list(workspace, kind, after.as_deref(), LISTED).await?;
    let whole = own.len() < LISTED as usize;
    if let Some(before) = before {
        let newer = own.iter().position(|r| r.id == before);
        if newer.is_none() && !whole {
            return Err(RelayError::ListTooLong);
        }
        own.truncate(newer.unwrap_or(own.len()));
        own.reverse();
    }
    own.retain(|r| lease.route().credential.as_ref() == Some(&r.credential));
    let rest = Query::of(uri).rest;
    for resource in own.iter().take(MOST_PAGES as usize) {
        let path = format!("{}/{}", uri.path(), resource.id);
        // What was deleted or has expired is still known here.
        if let Some(body) = get(worker, permit, lease, with_query(&path, rest.iter())).await? {
            let object = read_resource(&body).map_err(|_| RelayError::Unreadable)?;
            return Ok(Some(redirect_results(permit, lease, body, &[object])));
        }
    }
    if whole && own.len() <= MOST_PAGES as usize { Ok(None) } else { Err(RelayError::ListTooLong) }
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
            permit.caller.live.allows_model(id)
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

/// Asks for one more page.
async fn fetch_page(
    worker: &Worker,
    permit: &Permit,
    lease: &Lease,
    query: &Query,
) -> Result<Fetched, RelayError> {
    let uri = query.uri(permit.head.uri.path());
    let body = get(worker, permit, lease, uri).await?.ok_or(RelayError::Unreadable)?;
    let page = read(&body)?;
    let kept = keep(worker, permit, lease, &page).await?;
    Ok(Fetched { body, page, kept })
}

/// Asks the upstream for something, by the same credential; `None`: it is not there.
async fn get(
    worker: &Worker,
    permit: &Permit,
    lease: &Lease,
    uri: Option<Uri>,
) -> Result<Option<Bytes>, RelayError> {
    let route = lease.route();
    let candidate = worker.candidate(route.credential.as_ref()).ok_or(RelayError::Unreadable)?;
    let mut request = Request::new(Outgoing::Empty);
    *request.uri_mut() = uri.ok_or(RelayError::Unreadable)?;
    let forward_trace = worker.shared.config().forward_trace_headers;
    *request.headers_mut() = upstream_headers(&permit.head.headers, Coding::Identity, forward_trace);
    candidate.key.apply(request.headers_mut(), permit.caller.form);
    let limits = worker.shared.config().upstream;
    let sent = worker.client.send(&candidate.target, request, limits.first_byte).await;
    let answer = sent.map_err(|failure| RelayError::Upstream(failure.error.into()))?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let coded = answer.headers().contains_key(header::CONTENT_ENCODING);
    if !answer.status().is_success() || coded {
        return Err(RelayError::Unreadable);
    }
    let mut source = Source::upstream(answer.into_body(), false, limits);
    collect(&mut source, MOST).await.map(Some)
}

/// The list as it goes to the caller: the last page's members, with our items and cursors.
fn write(last: &Fetched, list: &List) -> Result<Bytes, RelayError> {
    let members: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(&last.body).map_err(|_| RelayError::Unreadable)?;
    let id = |item: Option<&Bytes>| {
        let id = item.and_then(|b| read_resource(b).ok()?.id);
        serde_json::to_string(&id).unwrap_or_else(|_| "null".to_owned())
    };
    let items = &list.items;
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
    // Whatever else a token is, another's id it is not.
    let items_left_out = || last.page.items.iter().zip(&last.kept).filter(|(_, kept)| !**kept);
    let names_another =
        last.page.next_page.is_some() && items_left_out().any(|(i, _)| i.id == last.page.next_page);
    for (name, value) in members {
        let value = match name {
            "data" => continue,
            "first_id" => first_id.as_str(),
            "last_id" => last_id.as_str(),
            "has_more" if list.has_more => "true",
            "has_more" => "false",
            "next_page" if names_another => "null",
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
            (_, true) if self.backwards => page.first_id.as_ref().map(|id| ("before_id", id)),
            (_, false) if self.backwards => None,
            (Some(next), _) => Some(("page", next)),
            (None, true) => page.last_id.as_ref().map(|id| ("after_id", id)),
            (None, false) => None,
        };
        let Some((name, value)) = cursor else { return false };
        self.cursor = Some(format!("{name}={}", escape(value)));
        self.limit = Some(format!("limit={limit}"));
        true
    }

    /// Whether the list goes on by tokens of the upstream's instead of ids.
    fn is_by_token(&self) -> bool {
        self.cursor.as_deref().is_some_and(|c| c.starts_with("page="))
    }

    fn uri(&self, path: &str) -> Option<Uri> {
        with_query(path, self.rest.iter().chain(&self.limit).chain(&self.cursor))
    }
}

fn with_query<'a>(path: &str, parts: impl Iterator<Item = &'a String>) -> Option<Uri> {
    let query = parts.map(String::as_str).collect::<Vec<_>>().join("&");
    if query.is_empty() { path.parse().ok() } else { format!("{path}?{query}").parse().ok() }
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
