//! Which parts work, for `/readyz`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{grants::Grants, lock::lock, recorder::Recorder, routes::Routes};

/// A clock this far from the store's is worth a warning.
const OFFSET_WARNING_US: u64 = 1_000_000;
/// A clock this far from the store's must not judge expiry.
const OFFSET_FAILING_US: u64 = 5_000_000;
/// A view this old means that a poll has failed.
const VIEW_WARNING_US: u64 = 3_000_000;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Works.
    Ok,
    /// Works, but someone should look.
    Warning,
    /// Does not work: not ready.
    Failing,
}

/// One part and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `store`, `disk`, `clock`, `audit`, `feed`, `recorder`, `credentials`.
    pub name: &'static str,
    /// How it is.
    pub state: PartState,
    /// What is wrong with it; empty when nothing is.
    pub detail: String,
}

/// Which parts work.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    disk_low: Arc<AtomicBool>,
    clock_offset_us: AtomicI64,
    checkpoint_failed: AtomicBool,
    /// Another node has taken this one over.
    fenced: CancellationToken,
    store_error: Mutex<Option<String>>,
    parts: std::sync::OnceLock<(Grants, Recorder, Routes)>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// The parts that say themselves how they are.
    pub(crate) fn watch(&self, grants: Grants, recorder: Recorder, routes: Routes) {
        let _ = self.0.parts.set((grants, recorder, routes));
    }

    /// How far this node's clock is ahead of the store's, in microseconds.
    #[must_use]
    pub fn clock_offset_us(&self) -> i64 {
        self.0.clock_offset_us.load(Ordering::Relaxed)
    }

    pub(crate) fn note_clock_offset(&self, offset_us: i64) {
        self.0.clock_offset_us.store(offset_us, Ordering::Relaxed);
    }

    /// Another node holds this one to be dead: nothing that it writes is taken any more.
    pub(crate) fn fence(&self) {
        self.0.fenced.cancel();
    }

    /// Resolves when another node has taken this one over: the process should end, and may be started again.
    pub async fn fenced(&self) {
        self.0.fenced.cancelled().await;
    }

    /// Whether another node has taken this one over.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.0.fenced.is_cancelled()
    }

    pub(crate) fn note_disk(&self, low: bool) {
        if self.0.disk_low.swap(low, Ordering::Relaxed) != low {
            tracing::warn!(low, "free disk space crossed its threshold");
        }
    }

    pub(crate) fn note_checkpoint(&self, failed: bool) {
        self.0.checkpoint_failed.store(failed, Ordering::Relaxed);
    }

    /// What the last reading of the feed failed with; `None`: it worked.
    pub(crate) fn note_store(&self, error: Option<String>) {
        *lock(&self.0.store_error) = error;
    }

    /// The flag that closes admission.
    pub(crate) fn disk_low(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.disk_low)
    }

    /// All parts.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![self.store(), self.disk(), self.clock(), self.audit()];
        if let Some((grants, recorder, routes)) = self.0.parts.get() {
            parts.push(feed(grants));
            parts.push(recording(recorder));
            parts.push(credentials(routes));
        }
        parts
    }

    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts().iter().all(|p| p.state != PartState::Failing)
    }

    /// A store that does not answer is a failure at once: nothing can be changed, and known keys go on only while the
    /// view of the feed is fresh.
    fn store(&self) -> Part {
        if self.is_fenced() {
            return part("store", PartState::Failing, "another node has taken this one over");
        }
        match lock(&self.0.store_error).clone() {
            Some(error) => part("store", PartState::Failing, error),
            None => part("store", PartState::Ok, ""),
        }
    }

    fn disk(&self) -> Part {
        match self.0.disk_low.load(Ordering::Relaxed) {
            true => part("disk", PartState::Failing, "free disk space is too low to record requests"),
            false => part("disk", PartState::Ok, ""),
        }
    }

    fn clock(&self) -> Part {
        let offset = self.clock_offset_us();
        let state = match offset.unsigned_abs() {
            0..OFFSET_WARNING_US => return part("clock", PartState::Ok, ""),
            OFFSET_WARNING_US..OFFSET_FAILING_US => PartState::Warning,
            OFFSET_FAILING_US.. => PartState::Failing,
        };
        part("clock", state, format!("this clock is {} ms away from the store's", offset / 1_000))
    }

    fn audit(&self) -> Part {
        match self.0.checkpoint_failed.load(Ordering::Relaxed) {
            true => part("audit", PartState::Warning, "the last checkpoint could not be kept"),
            false => part("audit", PartState::Ok, ""),
        }
    }
}

fn part(name: &'static str, state: PartState, detail: impl Into<String>) -> Part {
    Part { name, state, detail: detail.into() }
}

fn feed(grants: &Grants) -> Part {
    let age = grants.view_age_us();
    let detail = || match age {
        u64::MAX => "the change feed was never read".to_owned(),
        age => format!("the change feed was last read {} ms ago", age / 1_000),
    };
    match (grants.is_fresh(), age) {
        (false, _) => part("feed", PartState::Failing, detail()),
        (true, VIEW_WARNING_US..) => part("feed", PartState::Warning, detail()),
        (true, _) => part("feed", PartState::Ok, ""),
    }
}

fn recording(recorder: &Recorder) -> Part {
    if recorder.is_healthy() {
        return match recorder.set_aside() {
            0 => part("recorder", PartState::Ok, ""),
            n => part(
                "recorder",
                PartState::Warning,
                format!("{n} records that the store refuses are set aside"),
            ),
        };
    }
    let waiting = format!("the store takes no records; {} bytes are spooled", recorder.spooled_bytes());
    part("recorder", PartState::Failing, waiting)
}

fn credentials(routes: &Routes) -> Part {
    match routes.snapshot().broken.len() {
        0 => part("credentials", PartState::Ok, ""),
        n => part("credentials", PartState::Warning, format!("{n} provider keys cannot be unsealed")),
    }
}
