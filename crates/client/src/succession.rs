//! Follows a signing secret from one month to the next: the gateway announces the successor a week ahead, it is fetched
//! with a signed request, and used from its day on.

use std::sync::{Mutex, PoisonError};

use claviger_domain::clock::Timestamp;
use http::{HeaderMap, HeaderName};

use crate::secret::Secret;

pub(crate) const PATH: &str = "/v1/claviger/signing-secret";
const ANNOUNCEMENT: HeaderName = HeaderName::from_static("x-claviger-signing-secret");

/// What is known of one source's secret. A source that gives another one than before is believed, whatever was fetched.
#[derive(Default)]
pub(crate) struct Succession(Mutex<State>);

#[derive(Default)]
struct State {
    /// What the source gave.
    source: Option<Secret>,
    /// Stands in its place once a successor's day has come.
    active: Option<Secret>,
    next: Option<Next>,
    is_announced: bool,
}

/// A secret that follows.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    pub(crate) secret: Secret,
    pub(crate) valid_from: Timestamp,
}

#[derive(serde::Deserialize)]
struct Answer {
    next: Option<Told>,
}

#[derive(serde::Deserialize)]
struct Told {
    signing_secret: String,
    valid_from: String,
}

impl Succession {
    /// The secret to sign with at this time, where the source gives this one.
    pub(crate) fn current(&self, source: Secret, now_secs: i64) -> Secret {
        let mut state = self.state();
        if !state.source.as_ref().is_some_and(|known| known.is(&source)) {
            *state = State { source: Some(source.clone()), ..State::default() };
        }
        if let Some(next) = state.next.take_if(|next| now_secs >= next.valid_from.as_secs()) {
            state.active = Some(next.secret);
        }
        state.active.clone().unwrap_or(source)
    }

    /// Learns from an answer whether there is a successor.
    pub(crate) fn notice(&self, headers: &HeaderMap) {
        if headers.contains_key(ANNOUNCEMENT) {
            let mut state = self.state();
            state.is_announced = state.next.is_none();
        }
    }

    /// True once after an announcement.
    pub(crate) fn wants(&self) -> bool {
        std::mem::take(&mut self.state().is_announced)
    }

    /// Reads the answer of [`PATH`]. `None`: it says nothing new.
    pub(crate) fn succeed(&self, answer: &[u8]) -> Option<Next> {
        let told = serde_json::from_slice::<Answer>(answer).ok()?.next?;
        let secret = Secret::new(&told.signing_secret)?;
        let valid_from = Timestamp::parse_rfc3339(&told.valid_from)?;
        let mut state = self.state();
        let current = state.active.as_ref().or(state.source.as_ref());
        if state.next.is_some() || current.is_some_and(|current| current.is(&secret)) {
            return None;
        }
        let next = Next { secret, valid_from };
        state.next = Some(next.clone());
        Some(next)
    }

    /// Gives the word back to the source.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
