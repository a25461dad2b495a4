//! Who is this? Verified keys, held in memory and kept true by the change feed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use claviger_domain::{grant::{AuthFailure, Grant}, token::Token};

/// A key as the hot path holds it: what may be done, and what is being done.
#[derive(Debug)]
pub struct LiveGrant {
    /// What the key may do.
    pub grant: Grant,
    /// Its limit state, calls in flight and cut signal: the same for all grants of one key, across reloads.
    pub runtime: Arc<KeyRuntime>,
}

/// What is going on with one key right now.
#[derive(Debug)]
pub struct KeyRuntime {}

impl KeyRuntime {
    /// Resolves when calls of this key must be cut.
    #[must_use]
    pub fn cut_signal(self: &Arc<Self>) -> CutSignal {
        CutSignal { runtime: Arc::clone(self) }
    }

    /// Whether calls of this key must be cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        false
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        0
    }
}

/// A future that resolves when the key's calls must be cut. Cheap to poll while they need not.
#[derive(Debug)]
pub struct CutSignal {
    runtime: Arc<KeyRuntime>,
}

impl CutSignal {
    /// Whether the signal was given, without waiting.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.runtime.is_cut()
    }
}

impl Future for CutSignal {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Why a token was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not a working key: 401.
    #[error(transparent)]
    Auth(#[from] AuthFailure),
    /// The store would have to be asked and does not answer: 503.
    #[error("keys cannot be verified now: the store does not answer")]
    Unavailable,
    /// Too many unknown ids are being looked up at once: 529.
    #[error("too many unknown keys are being looked up")]
    Busy,
}

/// The table of verified keys.
#[derive(Clone)]
pub struct Grants(Arc<Inner>);

struct Inner {}

impl Grants {
    /// Finds and checks a key. For a known key and a fresh view no store is asked and nothing is awaited.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify(&self, token: &Token) -> Result<Arc<LiveGrant>, VerifyError> {
        let _ = (token, &self.0);
        Err(VerifyError::Unavailable)
    }

    /// How long ago, in microseconds, the last successful poll of the feed was sent.
    #[must_use]
    pub fn view_age_us(&self) -> u64 {
        u64::MAX
    }
}
