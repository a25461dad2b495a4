//! The signal that calls of a key must be cut.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::KeyRuntime;
use crate::lock::lock;

/// One flag and whoever waits for it. Given once, it stays given: a revoked key never comes back.
#[derive(Debug, Default)]
pub(super) struct Cut {
    given: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// Wakers by place; places are used again, so that there are never more than calls in flight.
#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Cut {
    pub(super) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    pub(super) fn give(&self) {
        self.given.store(true, Ordering::Release);
        let wakers: Vec<Waker> = lock(&self.waiting).wakers.iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    fn enter(&mut self, place: Option<usize>, waker: &Waker) -> usize {
        let place = place.or_else(|| self.free.pop()).unwrap_or(self.wakers.len());
        if place == self.wakers.len() {
            self.wakers.push(None);
        }
        if let Some(slot) = self.wakers.get_mut(place)
            && !slot.as_ref().is_some_and(|w| w.will_wake(waker))
        {
            *slot = Some(waker.clone());
        }
        place
    }

    fn leave(&mut self, place: usize) {
        if let Some(slot) = self.wakers.get_mut(place) {
            *slot = None;
            self.free.push(place);
        }
    }
}

/// A future that resolves when the key's calls must be cut. Cheap to poll while they need not.
#[derive(Debug)]
pub struct CutSignal {
    runtime: Arc<KeyRuntime>,
    place: Option<usize>,
    /// The waker that stands at `place`, so that polling again from the same task takes no lock.
    known: Option<Waker>,
}

impl CutSignal {
    pub(super) const fn new(runtime: Arc<KeyRuntime>) -> Self {
        Self { runtime, place: None, known: None }
    }

    /// Whether the signal was given, without waiting.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.runtime.is_cut()
    }
}

impl Future for CutSignal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let cut = this.runtime.cut();
        if cut.is_given() {
            return Poll::Ready(());
        }
        if this.known.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        this.place = Some(lock(&cut.waiting).enter(this.place, cx.waker()));
        this.known = Some(cx.waker().clone());
        // Given between the first look and the registration.
        if cut.is_given() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for CutSignal {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            lock(&self.runtime.cut().waiting).leave(place);
        }
    }
}
