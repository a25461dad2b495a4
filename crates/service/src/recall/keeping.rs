//! Answers by question, within a bound of bytes. What goes for want of room is what was not asked for again: the cache
//! below is S3-FIFO's kin, so that a flood of questions that are asked once does not push out what is asked often.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use claviger_domain::recall::Question;

use super::Answer;

/// Parts that are locked one by one.
const SHARDS: usize = 4;
/// An answer takes at most this share of the cache.
const LARGEST: u64 = 16;
/// What an answer takes, about: how many places are made ready.
const USUAL_BYTES: u64 = 8 * 1024;

/// The answers.
pub(super) struct Keeping {
    cache: Cache<Question, Arc<Answer>, Weight, DefaultHashBuilder, Evictions>,
    capacity: u64,
    evictions: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Question, Arc<Answer>> for Weight {
    fn weight(&self, _: &Question, answer: &Arc<Answer>) -> u64 {
        answer.bytes() as u64
    }
}

/// Counts.
#[derive(Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Question, Arc<Answer>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Question, _: Arc<Answer>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Keeping {
    pub(super) fn new(capacity: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let places = usize::try_from(capacity / USUAL_BYTES).unwrap_or(usize::MAX).max(128);
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(places).weight_capacity(capacity);
        let counting = Evictions(Arc::clone(&evictions));
        let cache = match options.build() {
            Ok(options) => Cache::with_options(options, Weight, DefaultHashBuilder::default(), counting),
            // What it complains of is a number that was not given.
            Err(_) => Cache::with(places, capacity, Weight, DefaultHashBuilder::default(), counting),
        };
        Self { cache, capacity, evictions }
    }

    /// The most that one answer may take.
    pub(super) fn largest(&self) -> usize {
        usize::try_from(self.capacity / LARGEST).unwrap_or(usize::MAX)
    }

    pub(super) fn put(&self, question: Question, answer: &Arc<Answer>) {
        if answer.bytes() <= self.largest() {
            self.cache.insert(question, Arc::clone(answer));
        }
    }

    pub(super) fn get(&self, question: &Question) -> Option<Arc<Answer>> {
        self.cache.get(question)
    }

    pub(super) fn remove(&self, question: &Question) {
        self.cache.remove(question);
    }

    pub(super) fn retain(&self, keep: impl Fn(&Answer) -> bool) {
        self.cache.retain(|_, answer| keep(answer));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Answer>> {
        self.cache.iter().map(|(_, answer)| answer)
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(super) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}
