//! Asking the store about one key: once for all who wait for it, and about few unknown ones at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use claviger_domain::{clock::BootInstant, token::PublicId};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::{LiveGrant, VerifyError};
use crate::lock::lock;

/// Look-ups of ids that are not in the table, at once.
pub(super) const UNKNOWN_AT_ONCE: usize = 64;
/// Look-ups of known ids (while the view is stale), at once.
const KNOWN_AT_ONCE: usize = 256;
/// How long it stays known that an id does not exist.
const ABSENT_US: u64 = 1_000_000;
const ABSENT_IDS: usize = 10_000;

/// What a look-up found; `None`: there is no such key.
pub(super) type Found = Result<Option<Arc<LiveGrant>>, VerifyError>;

pub(super) struct Lookups {
    running: Mutex<Running>,
    absent: Cache<PublicId, BootInstant>,
}

#[derive(Default)]
struct Running {
    flights: HashMap<PublicId, Arc<Flight>>,
    unknown: usize,
}

/// One look-up that is under way.
struct Flight {
    known: bool,
    outcome: OnceLock<Found>,
    /// Closed when the look-up has ended, whether or not it found anything.
    ended: Semaphore,
}

/// Whose turn it is to ask.
pub(super) enum Turn<'a> {
    /// The caller's: it must look up and [`Lead::finish`].
    Lead(Lead<'a>),
    /// Another one asks already.
    Follow(Follow),
    /// Too many are being asked about.
    Busy,
}

/// The right and duty to look up. Dropped unfinished, the next who waits takes over.
pub(super) struct Lead<'a> {
    lookups: &'a Lookups,
    id: PublicId,
    flight: Arc<Flight>,
}

/// A place among those who wait.
pub(super) struct Follow(Arc<Flight>);

impl Lookups {
    pub(super) fn new() -> Self {
        Self { running: Mutex::default(), absent: Cache::new(ABSENT_IDS) }
    }

    /// Whether the id was found not to exist within the last second.
    pub(super) fn is_absent(&self, id: &PublicId, now: BootInstant) -> bool {
        self.absent.get(id).is_some_and(|since| now.micros_since(since) < ABSENT_US)
    }

    /// The id was not there when the store was asked at `asked`.
    pub(super) fn note_absent(&self, id: PublicId, asked: BootInstant) {
        self.absent.insert(id, asked);
    }

    /// The id may exist from now on.
    pub(super) fn note_made(&self, id: &PublicId) {
        self.absent.remove(id);
    }

    /// Joins the look-up of this id, or begins one.
    pub(super) fn join(&self, id: PublicId, known: bool) -> Turn<'_> {
        let mut running = lock(&self.running);
        if let Some(flight) = running.flights.get(&id) {
            return Turn::Follow(Follow(Arc::clone(flight)));
        }
        let at_once = if known { running.flights.len() - running.unknown } else { running.unknown };
        if at_once >= if known { KNOWN_AT_ONCE } else { UNKNOWN_AT_ONCE } {
            return Turn::Busy;
        }
        let flight = Arc::new(Flight { known, outcome: OnceLock::new(), ended: Semaphore::new(0) });
        running.flights.insert(id, Arc::clone(&flight));
        running.unknown += usize::from(!known);
        Turn::Lead(Lead { lookups: self, id, flight })
    }
}

impl Lead<'_> {
    /// Tells all who wait what was found.
    pub(super) fn finish(self, found: Found) -> Found {
        let _ = self.flight.outcome.set(found.clone());
        found
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut running = lock(&self.lookups.running);
        running.flights.remove(&self.id);
        running.unknown -= usize::from(!self.flight.known);
        drop(running);
        self.flight.ended.close();
    }
}

impl Follow {
    /// What the other one found; `None`: it went away without finding out.
    pub(super) async fn outcome(self) -> Option<Found> {
        // The semaphore has no permits: this ends when it is closed.
        let closed = self.0.ended.acquire().await;
        drop(closed);
        self.0.outcome.get().cloned()
    }
}
