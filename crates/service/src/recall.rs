//! The response cache: whole answers in memory, by the digest of what was asked. Bounded by bytes; one call for equal
//! questions that are asked at once; nothing of it ever touches a disk.
//!
//! Whether an answer may be kept, and whom it may be given, is not judged here: whoever asks puts everything that
//! matters into the [`Question`], the workspace first of all.

mod keeping;
mod orders;
mod recording;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use claviger_domain::{
    clock::{BootInstant, Clock, MICROS_PER_SEC},
    id::{RequestId, WorkspaceId},
    key::cache::CacheTtl,
    money::PicoUsd,
    recall::Question,
};
use tokio::sync::watch;

use self::keeping::Keeping;
pub use self::{
    orders::{CacheOrders, CacheState},
    recording::{Kept, Recording},
};
use crate::lock::lock;

/// What one answer takes beside its own bytes, about: the entry, its ids, its head.
const OVERHEAD: usize = 512;

/// An answer that is kept.
#[derive(Debug)]
pub struct Answer {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The request by whose call it was made.
    pub call: RequestId,
    /// The model that made it.
    pub model: String,
    /// What that call cost.
    pub cost: PicoUsd,
    /// Headers that belong to it.
    pub head: Vec<(String, Bytes)>,
    /// Its bytes, as the provider sent them.
    pub body: Bytes,
    /// The pieces in which they came.
    pub pieces: Box<[Piece]>,
    made: BootInstant,
    ttl: CacheTtl,
}

/// A piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it ends.
    pub end: u32,
    /// When it came, in milliseconds from the head.
    pub at_ms: u32,
}

impl Answer {
    /// What it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let head: usize = self.head.iter().map(|(name, value)| name.len() + value.len()).sum();
        OVERHEAD + head + self.body.len() + size_of_val(&*self.pieces)
    }

    fn age_micros(&self, now: BootInstant) -> u64 {
        now.micros_since(self.made)
    }

    /// Whole seconds since it was made.
    #[must_use]
    pub fn age_secs(&self, clock: &dyn Clock) -> u64 {
        self.age_micros(clock.boot()) / MICROS_PER_SEC.unsigned_abs()
    }
}

/// How somebody asks.
#[derive(Debug, Clone)]
pub struct Asking {
    /// What.
    pub question: Question,
    /// Whose key asks.
    pub workspace: WorkspaceId,
    /// How old the answer may be, and how long one that is made now is kept.
    pub ttl: CacheTtl,
    /// It must not be as old as this many seconds; `None`: the time to live alone counts.
    pub max_age_secs: Option<u64>,
}

/// What there is for somebody who asks.
pub enum Asked {
    /// This answer.
    Hit(Arc<Answer>),
    /// Nothing, and nobody is about to make it: the asker is to.
    Lead(Lead),
    /// Nothing yet: somebody else's call is under way.
    Follow(Follow),
}

/// How somebody else's call has ended.
pub enum Ended {
    /// With this answer.
    Kept(Arc<Answer>),
    /// With an answer that nobody else may be given.
    Unkept,
    /// Without one: whoever asks first now makes it.
    Gone,
}

/// Somebody else's call.
pub struct Follow(Flight);

type Flight = watch::Receiver<Option<Option<Arc<Answer>>>>;

impl Follow {
    /// Waits for its end. Has no bound of its own.
    pub async fn ended(mut self) -> Ended {
        match self.0.wait_for(Option::is_some).await.map(|said| (*said).clone()) {
            Ok(Some(Some(answer))) => Ended::Kept(answer),
            Ok(Some(None)) => Ended::Unkept,
            Ok(None) | Err(_) => Ended::Gone,
        }
    }
}

/// The duty to make an answer. Dropped before it is done, the next in line has it.
pub struct Lead {
    inner: Arc<Inner>,
    asking: Asking,
    /// How often the cache had been flushed.
    flushed: u64,
    /// Those who wait; `None`: nobody can, or they were told.
    flight: Option<watch::Sender<Option<Option<Arc<Answer>>>>>,
}

impl Lead {
    /// The answer may be given to nobody else: those who wait make their own.
    pub fn unkept(mut self) {
        let inner = Arc::clone(&self.inner);
        self.tell(&mut lock(&inner.flights), None);
    }

    fn keep(mut self, answer: Arc<Answer>) {
        let inner = Arc::clone(&self.inner);
        let mut flights = lock(&inner.flights);
        // What was asked before a flush is not put back after it.
        if inner.flushed.load(Ordering::Relaxed) == self.flushed {
            inner.keeping.put(self.asking.question, &answer);
        }
        self.tell(&mut flights, Some(answer));
    }

    fn tell(&mut self, flights: &mut Flights, answer: Option<Arc<Answer>>) {
        if let Some(flight) = self.flight.take() {
            flights.remove(&self.asking.question);
            flight.send_replace(Some(answer));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            lock(&self.inner.flights).remove(&self.asking.question);
            drop(flight);
        }
    }
}

type Flights = HashMap<Question, Flight>;

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Recall(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    keeping: Keeping,
    /// Calls under way: never more than requests in flight.
    flights: Mutex<Flights>,
    flushed: AtomicU64,
    /// Bytes of answers that are on their way.
    recording: AtomicUsize,
    most_recording: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is in the cache, and what came of it since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecallStats {
    /// Answers.
    pub answers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// What they may take with those on their way, in bytes.
    pub most_bytes: u64,
    /// Requests that were answered out of the cache.
    pub hits: u64,
    /// Requests that could have been, and were not.
    pub misses: u64,
    /// Answers that went for want of room.
    pub evictions: u64,
    /// Calls under way on which others may wait.
    pub flights: u64,
}

/// What one workspace has in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub workspace: WorkspaceId,
    /// Answers.
    pub answers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
}

impl Recall {
    /// A cache of so many bytes, a quarter of them for answers on their way; 0: none at all.
    #[must_use]
    pub fn new(memory: u64, clock: Arc<dyn Clock>) -> Self {
        let on_their_way = memory / 4;
        Self(Arc::new(Inner {
            clock,
            keeping: Keeping::new(memory - on_their_way),
            flights: Mutex::default(),
            flushed: AtomicU64::new(0),
            recording: AtomicUsize::new(0),
            most_recording: usize::try_from(on_their_way).unwrap_or(usize::MAX),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }))
    }

    /// Whether there is a cache at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.most_recording > 0
    }

    /// Asks. Whoever is given the lead is to make the answer.
    #[must_use]
    pub fn ask(&self, asking: &Asking) -> Asked {
        // Held while the cache is looked at: a call that has just ended has put its answer there.
        let mut flights = lock(&self.0.flights);
        if let Some(answer) = self.fresh(asking) {
            return Asked::Hit(answer);
        }
        if let Some(flight) = flights.get(&asking.question) {
            return Asked::Follow(Follow(flight.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(asking.question, receiver);
        Asked::Lead(self.lead(asking, Some(sender)))
    }

    /// Makes an answer anew, whatever there is: nobody waits for it, and it takes the place of what there was.
    #[must_use]
    pub fn anew(&self, asking: &Asking) -> Lead {
        self.lead(asking, None)
    }

    fn lead(&self, asking: &Asking, flight: Option<watch::Sender<Option<Option<Arc<Answer>>>>>) -> Lead {
        let flushed = self.0.flushed.load(Ordering::Relaxed);
        Lead { inner: Arc::clone(&self.0), asking: asking.clone(), flushed, flight }
    }

    fn fresh(&self, asking: &Asking) -> Option<Arc<Answer>> {
        let answer = self.0.keeping.get(&asking.question)?;
        let age = answer.age_micros(self.0.clock.boot());
        if age >= answer.ttl.micros() {
            self.0.keeping.remove(&asking.question);
            return None;
        }
        let young = |secs: u64| age < secs.saturating_mul(MICROS_PER_SEC.unsigned_abs());
        let fits = age < asking.ttl.micros() && asking.max_age_secs.is_none_or(young);
        // The digest says so already; a mistake there must not show one tenant another's words.
        (fits && answer.workspace == asking.workspace).then_some(answer)
    }

    /// Counts a request that was answered out of the cache, or that was not.
    pub fn count(&self, hit: bool) {
        let counter = if hit { &self.0.hits } else { &self.0.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go of what is too old to be given to anybody.
    pub fn sweep(&self) {
        let now = self.0.clock.boot();
        self.0.keeping.retain(|answer| answer.age_micros(now) < answer.ttl.micros());
    }

    /// Throws away what there is, of one workspace or of all; what is being made now is not kept either.
    pub fn flush(&self, workspace: Option<&WorkspaceId>) -> Vec<Share> {
        let flights = lock(&self.0.flights);
        self.0.flushed.fetch_add(1, Ordering::Relaxed);
        let mut gone = self.shares();
        gone.retain(|share| workspace.is_none_or(|w| *w == share.workspace));
        self.0.keeping.retain(|answer| workspace.is_some_and(|w| *w != answer.workspace));
        drop(flights);
        gone
    }

    /// What each workspace has in the cache, in the order of their ids.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for answer in self.0.keeping.all() {
            let bytes = answer.bytes() as u64;
            match shares.binary_search_by(|share| share.workspace.cmp(&answer.workspace)) {
                Ok(at) => {
                    if let Some(share) = shares.get_mut(at) {
                        share.answers += 1;
                        share.bytes += bytes;
                    }
                }
                Err(at) => {
                    shares.insert(at, Share { workspace: answer.workspace.clone(), answers: 1, bytes });
                }
            }
        }
        shares
    }

    /// What is in it, and what came of it.
    #[must_use]
    pub fn stats(&self) -> RecallStats {
        let Inner { keeping, hits, misses, flights, most_recording, .. } = &*self.0;
        RecallStats {
            answers: keeping.len() as u64,
            bytes: keeping.bytes(),
            most_bytes: keeping.capacity() + *most_recording as u64,
            hits: hits.load(Ordering::Relaxed),
            misses: misses.load(Ordering::Relaxed),
            evictions: keeping.evictions(),
            flights: lock(flights).len() as u64,
        }
    }
}

#[cfg(test)]
mod tests;
