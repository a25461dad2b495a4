//! A signed body that is passed on while it comes: its last piece is held back until the signature holds, and the
//! upstream's request is broken off if it does not, so that nothing of it is kept there.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{ProveError, Proving};
use crate::worker::Shared;

/// How a streamed body's proof came out; not set while it is under way.
#[derive(Debug, Clone, Default)]
pub struct Outcome(Arc<OnceLock<Result<(), ProveError>>>);

impl Outcome {
    /// Whether the body may count as proved.
    ///
    /// # Errors
    /// What it failed by; [`ProveError::Unfinished`] while it is under way.
    pub fn check(&self) -> Result<(), ProveError> {
        self.0.get().cloned().unwrap_or(Err(ProveError::Unfinished))
    }
}

type Finishing = Pin<Box<dyn Future<Output = Result<(), ProveError>> + Send>>;

/// Stands between a body and whoever sends it on.
pub struct Guard {
    shared: Arc<Shared>,
    outcome: Outcome,
    held: Option<Bytes>,
    state: State,
}

enum State {
    Reading(Proving),
    /// Never locked: only so that a request may be looked at from several threads.
    Finishing(Mutex<Finishing>),
    Ended,
}

impl Guard {
    /// A guard for one body.
    #[must_use]
    pub fn new(shared: Arc<Shared>, proving: Proving, outcome: Outcome) -> Self {
        Self { shared, outcome, held: None, state: State::Reading(proving) }
    }

    /// Takes the next piece in, and lets go of the one before.
    pub fn pass(&mut self, piece: Bytes) -> Option<Bytes> {
        if let State::Reading(proving) = &mut self.state {
            proving.update(&piece);
        }
        self.held.replace(piece).filter(|before| !before.is_empty())
    }

    /// The body has ended.
    pub fn end(&mut self) {
        if let State::Reading(proving) = std::mem::replace(&mut self.state, State::Ended) {
            let shared = Arc::clone(&self.shared);
            self.state = State::Finishing(Mutex::new(Box::pin(async move { proving.finish(&shared).await })));
        }
    }

    /// Whether more of the body may come.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Gives the last piece once the proof holds; `None`: there is nothing more.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ProveError>> {
        let State::Finishing(finishing) = &mut self.state else { return Poll::Ready(Ok(None)) };
        let finishing = finishing.get_mut().unwrap_or_else(PoisonError::into_inner);
        let done = ready!(finishing.as_mut().poll(cx));
        self.state = State::Ended;
        // Set once: there is one body.
        let _ = self.outcome.0.set(done.clone());
        Poll::Ready(done.map(|()| self.held.take().filter(|last| !last.is_empty())))
    }

    /// Whether nothing more will come out.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}
