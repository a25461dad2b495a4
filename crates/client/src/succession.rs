//! Follows a signing secret from one month to the next: the gateway announces the successor a week ahead, it is fetched
//! with a signed request, and used from its time on.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use claviger_domain::clock::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, header::DATE};

use crate::secret::Secret;

pub(crate) const PATH: &str = "/v1/claviger/signing-secret";
/// A call waits for it, and can do without.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
const ANNOUNCEMENT: HeaderName = HeaderName::from_static("x-claviger-signing-secret");
const PAUSE_SECS: i64 = 60;

/// What is known of one source's secret. An announcement is asked about once if the answer can be read, else again after
/// a minute, however the asking ended. A source that gives another secret than before is believed, whatever was fetched.
#[derive(Default)]
pub(crate) struct Succession(Mutex<State>);

#[derive(Default)]
struct State {
    /// What the source gave.
    source: Option<Secret>,
    /// Stands in its place once a successor's time has come.
    active: Option<Secret>,
    /// What follows, and when by this machine's clock.
    next: Option<(Secret, Timestamp)>,
    announced: Option<HeaderValue>,
    asking: Option<HeaderValue>,
    settled: Option<HeaderValue>,
    asked_at: Option<Timestamp>,
}

/// A secret that follows, and from when it counts by the gateway's clock.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    pub(crate) secret: Secret,
    pub(crate) valid_from: Timestamp,
}

#[derive(serde::Deserialize)]
struct Answer {
    current: Option<Held>,
    next: Option<Held>,
}

#[derive(serde::Deserialize)]
struct Held {
    signing_secret: String,
    valid_from: String,
}

impl Held {
    fn read(self) -> Option<Next> {
        let is_one_word = self.signing_secret.bytes().all(|b| b.is_ascii_graphic());
        let secret = Secret::new(&self.signing_secret).filter(|_| is_one_word)?;
        Some(Next { secret, valid_from: Timestamp::parse_rfc3339(&self.valid_from)? })
    }
}

/// Both at once, or nothing where one of them cannot be read.
fn read(answer: &[u8]) -> Option<(Option<Next>, Option<Next>)> {
    let Answer { current, next } = serde_json::from_slice(answer).ok()?;
    let one = |held: Option<Held>| held.map_or(Some(None), |held| held.read().map(Some));
    Some((one(current)?, one(next)?))
}

impl Succession {
    /// The secret to sign with at this time, where the source gives this one.
    pub(crate) fn current(&self, source: Secret, now: Timestamp) -> Secret {
        let mut state = self.state();
        if !state.source.as_ref().is_some_and(|known| known.is(&source)) {
            state.source = Some(source.clone());
            (state.active, state.next, state.settled) = (None, None, None);
        }
        if let Some((next, _)) = state.next.take_if(|(_, at)| now >= *at) {
            state.active = Some(next);
        }
        state.active.clone().unwrap_or(source)
    }

    /// Learns from an answer whether there is a successor.
    pub(crate) fn notice(&self, headers: &HeaderMap) {
        if let Some(said) = headers.get(ANNOUNCEMENT) {
            self.state().announced = Some(said.clone());
        }
    }

    /// Whether it is time to ask. Whoever is told so asks.
    pub(crate) fn wants(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        let since = state.asked_at.map(|at| now.as_secs() - at.as_secs());
        // A clock that was set back pauses nothing.
        let pauses = since.is_some_and(|secs| (0..PAUSE_SECS).contains(&secs));
        if state.announced.is_none() || state.announced == state.settled || pauses {
            return false;
        }
        state.asking = state.announced.clone();
        state.asked_at = Some(now);
        true
    }

    /// Reads the answer of [`PATH`]: what is news, in the order in which it counts.
    pub(crate) fn succeed(&self, headers: &HeaderMap, answer: &[u8], now: Timestamp) -> Vec<Next> {
        let Some((current, next)) = read(answer) else { return Vec::new() };
        let mut state = self.state();
        state.settled = state.asking.clone();
        let mine = state.active.clone().or_else(|| state.source.clone());
        let is_mine = |one: &Next| mine.as_ref().is_some_and(|mine| mine.is(&one.secret));
        if next.as_ref().is_some_and(is_mine) {
            return Vec::new();
        }
        let mut news = Vec::new();
        if let Some(current) = current.filter(|current| !is_mine(current)) {
            // Somebody put it in this one's place.
            (state.active, state.next) = (Some(current.secret.clone()), None);
            news.push(current);
        }
        let is_known = |next: &Next| state.next.as_ref().is_some_and(|(known, _)| known.is(&next.secret));
        if let Some(next) = next.filter(|next| !is_known(next)) {
            let at = next.valid_from.plus_micros(-ahead_micros(headers, now));
            state.next = Some((next.secret.clone(), at));
            news.push(next);
        }
        news
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how much the gateway's clock is ahead of this one, as far as it told.
fn ahead_micros(headers: &HeaderMap, now: Timestamp) -> i64 {
    let told = headers.get(DATE).and_then(|date| date.to_str().ok());
    let told = told.and_then(|date| httpdate::parse_http_date(date).ok());
    let told = told.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    let told = told.and_then(|since| i64::try_from(since.as_secs()).ok());
    told.map_or(0, |secs| Timestamp::from_secs(secs).micros_since(now))
}
