//! Holds calls back on the client's side: first a slot, first come, first served, then the rate (GCRA).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};

use crate::error::ClientError;

const DEFAULT_QUEUE: usize = 1_000;
/// As good as for ever, and no overflow.
const FOREVER: Duration = Duration::from_secs(3_600 * 24 * 365);

/// Limits; what is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Calls under way; a stream is until its body has ended or is dropped.
    pub concurrency: Option<usize>,
    /// Starts in a second, evenly.
    pub per_second: Option<f64>,
    /// Starts at once, at least 1.
    pub burst: u32,
    /// How long a call may wait for its turn; it fails with [`ClientError::Limited`] when that would be longer.
    pub max_wait: Option<Duration>,
    /// Calls that may wait for a slot.
    pub max_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: None, per_second: None, burst: 1, max_wait: None, max_queue: DEFAULT_QUEUE }
    }
}

/// The limiter. Clones share it.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    slots: Option<Arc<Semaphore>>,
    waiting: AtomicUsize,
    /// The theoretical arrival time of the next call.
    next: Mutex<Option<Instant>>,
}

/// A call's slot; dropped when the call is over.
#[derive(Debug)]
pub struct Turn {
    _slot: Option<OwnedSemaphorePermit>,
}

impl Limiter {
    /// From its limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let slots = limits.concurrency.map(|slots| Arc::new(Semaphore::new(slots)));
        Self(Arc::new(Shared { limits, slots, waiting: AtomicUsize::new(0), next: Mutex::new(None) }))
    }

    /// Waits for a call's turn.
    ///
    /// # Errors
    /// [`ClientError::Limited`] when the wait would be too long or too many wait already.
    pub async fn turn(&self) -> Result<Turn, ClientError> {
        let latest = self.0.limits.max_wait.map(|wait| Instant::now() + wait);
        let slot = self.slot(latest).await?;
        let start = self.book(latest)?;
        if start > Instant::now() {
            sleep_until(start).await;
        }
        Ok(Turn { _slot: slot })
    }

    async fn slot(&self, latest: Option<Instant>) -> Result<Option<OwnedSemaphorePermit>, ClientError> {
        let Some(slots) = &self.0.slots else { return Ok(None) };
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Ok(Some(slot));
        }
        let _place = Place::take(&self.0).ok_or(ClientError::Limited)?;
        let latest = latest.unwrap_or_else(|| Instant::now() + FOREVER);
        let slot = timeout_at(latest, Arc::clone(slots).acquire_owned()).await;
        slot.ok().and_then(Result::ok).map(Some).ok_or(ClientError::Limited)
    }

    /// Books a start at the rate. What would come too late books nothing.
    fn book(&self, latest: Option<Instant>) -> Result<Instant, ClientError> {
        let now = Instant::now();
        let Some(per_second) = self.0.limits.per_second.filter(|rate| *rate > 0.0) else { return Ok(now) };
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let mut booked = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = booked.unwrap_or(now).max(now);
        let ahead = interval.saturating_mul(self.0.limits.burst.saturating_sub(1));
        let start = next.checked_sub(ahead).unwrap_or(now).max(now);
        if latest.is_some_and(|latest| start > latest) {
            return Err(ClientError::Limited);
        }
        *booked = Some(next + interval);
        Ok(start)
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let most = shared.limits.max_queue;
        let fits = |waiting: usize| (waiting < most).then_some(waiting + 1);
        let taken = shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok().map(|_| Self(&shared.waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
