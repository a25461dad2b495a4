//! Answers that are given again to an equal request: same key, address, API version, betas, and the same body byte for
//! byte. Only whole, successful, non-streaming answers of `/v1/messages` and `count_tokens` are kept. Sampling makes
//! repeated answers differ, so this is off unless it is asked for.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use bytes::Bytes;
use claviger_domain::clock::{BootInstant, Clock};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde::Deserialize;

use crate::{body::Body, key::KeySource};

/// On answers from the cache, with the value `hit`.
pub const CACHE_HEADER: &str = "x-claviger-client-cache";
/// Of a request's headers, what decides the answer.
const DECIDING: [&str; 3] = ["anthropic-version", "anthropic-beta", "anthropic-workspace-id"];

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// How long an answer is given again.
    pub ttl: Duration,
    /// Answers at most; the least recently used goes first.
    pub entries: usize,
    /// The longest body that is kept, in bytes.
    pub entry_bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(300), entries: 256, entry_bytes: 1 << 20 }
    }
}

/// The cache. Clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    limits: CacheLimits,
    store: Mutex<Store>,
}

type Key = [u8; 32];

#[derive(Default)]
struct Store {
    entries: HashMap<Key, Entry>,
    /// By when they were last used.
    order: BTreeMap<u64, Key>,
    uses: u64,
}

struct Entry {
    headers: HeaderMap,
    body: Bytes,
    until: u64,
    used: u64,
}

impl Cache {
    /// With its bounds.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self(Arc::new(Shared { limits, store: Mutex::default() }))
    }

    /// The place of a request; `None`: it is never answered from here.
    pub(crate) async fn place(
        &self,
        parts: &Parts,
        body: Option<&Bytes>,
        source: &dyn KeySource,
        clock: &dyn Clock,
    ) -> Option<Place> {
        let path = parts.uri.path();
        let known = path.ends_with("/v1/messages") || path.ends_with("/v1/messages/count_tokens");
        let body = body.filter(|body| parts.method == Method::POST && known && is_whole(body))?;
        let secret = source.key().await.ok()?;
        let mut hash = digest::Context::new(&digest::SHA256);
        // Another key is another tenant, with other rights and limits. Every part is preceded by its length.
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(secret.reveal().as_bytes());
        add(parts.uri.to_string().as_bytes());
        for name in DECIDING {
            let values: Vec<&[u8]> = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            add(&values.join(&b","[..]));
        }
        add(body);
        let key = hash.finish().as_ref().try_into().ok()?;
        Some(Place { cache: self.clone(), key, at: clock.boot(), headers: HeaderMap::new() })
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(CacheLimits::default())
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cache").field(&self.0.limits).finish()
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    stream: serde_json::Value,
}

/// A body that is not understood is not cached either.
fn is_whole(body: &[u8]) -> bool {
    let head = serde_json::from_slice::<Head>(body);
    head.is_ok_and(|head| head.stream.is_null() || head.stream == false)
}

pub(crate) fn is_keepable(status: StatusCode, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    status == StatusCode::OK
        && kind.starts_with(b"application/json")
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Where an answer is, or will be kept.
pub(crate) struct Place {
    cache: Cache,
    key: Key,
    at: BootInstant,
    headers: HeaderMap,
}

impl Place {
    /// A fresh answer.
    pub(crate) fn answer(&self) -> Option<Response<Body>> {
        let mut store = self.cache.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (headers, body) = store.fresh(&self.key, self.at.as_micros())?;
        drop(store);
        let mut answer = Response::new(Body::whole(body));
        *answer.headers_mut() = headers;
        answer.headers_mut().insert(CACHE_HEADER, HeaderValue::from_static("hit"));
        Some(answer)
    }

    pub(crate) fn with(mut self, headers: &HeaderMap) -> Self {
        self.headers = headers.clone();
        self
    }

    pub(crate) fn most_bytes(&self) -> usize {
        self.cache.0.limits.entry_bytes
    }

    /// Keeps an answer that came whole.
    pub(crate) fn keep(self, body: Bytes) {
        let limits = self.cache.0.limits;
        let ttl = u64::try_from(limits.ttl.as_micros()).unwrap_or(u64::MAX);
        let until = self.at.as_micros().saturating_add(ttl);
        let mut store = self.cache.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.put(self.key, Entry { headers: self.headers, body, until, used: 0 }, limits.entries);
    }
}

impl Store {
    fn fresh(&mut self, key: &Key, now: u64) -> Option<(HeaderMap, Bytes)> {
        let mut entry = self.take(key).filter(|entry| now < entry.until)?;
        let found = (entry.headers.clone(), entry.body.clone());
        entry.used = self.next_use();
        self.order.insert(entry.used, *key);
        self.entries.insert(*key, entry);
        Some(found)
    }

    fn put(&mut self, key: Key, mut entry: Entry, most: usize) {
        self.take(&key);
        while self.entries.len() >= most.max(1) {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.entries.remove(&oldest);
        }
        entry.used = self.next_use();
        self.order.insert(entry.used, key);
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        Some(entry)
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}
