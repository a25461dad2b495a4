//! May one more request of this key begin? Rates, day quotas, total uses and concurrency, all or nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    clock::{Clock, Timestamp},
    limit::{Bucket, Exceeded, Headroom, LimitKind},
};
use tokio::time::{Instant, timeout_at};

use crate::grants::{KeyRuntime, LiveGrant};

/// How long a request waits for one of its key's places.
const WAIT: Duration = Duration::from_secs(2);
/// When a request that found no place is told to try again, in microseconds: calls end all the time.
const CROWDED_RETRY_US: i64 = 1_000_000;
/// Requests of one key that wait at once.
const WAITING_PER_KEY: u32 = 64;
/// Requests of all keys that wait at once.
const WAITING: u32 = 1_024;

/// Admission of requests.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    waiting: AtomicU32,
}

/// A request that was admitted. Its place among the key's concurrent calls is free again when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// What is left of the limit that binds most tightly; `None`: the key has no limits.
    pub headroom: Option<Headroom>,
    runtime: Arc<KeyRuntime>,
    /// Of a child's request: it takes a place of the parent's, too.
    parent: Option<Arc<KeyRuntime>>,
    unsent: bool,
}

impl Admitted {
    /// Nothing was sent for this request: it does not count against the key's total uses.
    pub fn unsent(mut self) {
        self.unsent = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.runtime.leave(self.unsent);
        if let Some(parent) = &self.parent {
            parent.leave(self.unsent);
        }
    }
}

impl Admission {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, waiting: AtomicU32::new(0) }))
    }

    /// Takes the request from all limits of its key, or from none; does not wait.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds.
    pub fn admit(&self, live: &Arc<LiveGrant>, bucket: Bucket, now: Timestamp) -> Result<Admitted, Exceeded> {
        take(live, bucket, now, false)
    }

    /// As [`Admission::admit`], but when only concurrency is in the way, waits up to 2 s for a place; at most 64
    /// requests of one key and 1,024 in all wait at once. Places are given in the order of arrival.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds.
    pub async fn admit_wait(&self, live: &Arc<LiveGrant>, bucket: Bucket) -> Result<Admitted, Exceeded> {
        let refused = match take(live, bucket, self.0.clock.now(), false) {
            Err(refused) if refused.headroom.kind == LimitKind::Concurrency => refused,
            decided => return decided,
        };
        // A family waits in one line: each of its requests that ends leaves a place of the parent's.
        let runtime = live.parent.as_ref().map_or(&live.runtime, |parent| &parent.runtime);
        let Some(waiting) = Waiting::enter(&self.0.waiting, runtime.waiting()) else { return Err(refused) };
        let deadline = Instant::now() + WAIT;
        // The first in line asks again at once: a place may have become free before it was seen waiting.
        let mut my_turn = waiting.is_first;
        loop {
            let mut place = std::pin::pin!(runtime.place().notified());
            place.as_mut().enable();
            if my_turn {
                let decided = take(live, bucket, self.0.clock.now(), true);
                if !decided.as_ref().is_err_and(|e| e.headroom.kind == LimitKind::Concurrency) {
                    // Another limit may have left the place free, or there is a second one: the next in line asks.
                    runtime.pass_on();
                    return decided;
                }
            }
            if timeout_at(deadline, place).await.is_err() {
                return Err(refused);
            }
            my_turn = true;
        }
    }
}

fn take(
    live: &Arc<LiveGrant>,
    bucket: Bucket,
    now: Timestamp,
    has_waited: bool,
) -> Result<Admitted, Exceeded> {
    let policy = &live.grant.key.policy;
    let parent = live.parent.as_ref();
    let admitted = match parent {
        None => live.runtime.admit(policy, bucket, now, has_waited),
        Some(parent) => {
            let theirs = (&*parent.runtime, &parent.grant.key.policy);
            live.runtime.admit_within(policy, theirs, (bucket, now), has_waited)
        }
    };
    let headroom = admitted.map_err(|refused| match refused.headroom.kind {
        LimitKind::Concurrency => Exceeded { retry_at: Some(now.plus_micros(CROWDED_RETRY_US)), ..refused },
        LimitKind::RequestsPerSecond
        | LimitKind::RequestsPerMinute
        | LimitKind::RequestsPerHour
        | LimitKind::RequestsPerDay
        | LimitKind::TotalUses => refused,
    })?;
    let parent = parent.map(|parent| Arc::clone(&parent.runtime));
    Ok(Admitted { headroom, runtime: Arc::clone(&live.runtime), parent, unsent: false })
}

/// A place among those who wait, of the key and in all.
struct Waiting<'a> {
    all: &'a AtomicU32,
    key: &'a AtomicU32,
    is_first: bool,
}

impl<'a> Waiting<'a> {
    fn enter(all: &'a AtomicU32, key: &'a AtomicU32) -> Option<Self> {
        count_up(all, WAITING)?;
        let Some(before) = count_up(key, WAITING_PER_KEY) else {
            all.fetch_sub(1, Ordering::AcqRel);
            return None;
        };
        Some(Self { all, key, is_first: before == 0 })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        self.key.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts one more, if there is room; how many there were before.
fn count_up(counter: &AtomicU32, most: u32) -> Option<u32> {
    counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < most).then_some(n + 1)).ok()
}

#[cfg(test)]
mod tests;
