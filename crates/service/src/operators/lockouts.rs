//! Who is locked out, in memory of a fixed size: names share a place by a keyed hash, known and unknown ones alike, so
//! that nothing tells them apart and no flood of names pushes one out.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Mutex,
};

use claviger_domain::{clock::Timestamp, operator::lockout::Lockout};

use crate::lock::lock;

/// Places. Two names in one place lock each other out, which strangers cannot aim at.
const PLACES: u64 = 1 << 14;

#[derive(Default)]
pub(super) struct Lockouts {
    hasher: RandomState,
    places: Mutex<HashMap<u64, Lockout>>,
}

impl Lockouts {
    fn place(&self, name: &str) -> u64 {
        self.hasher.hash_one(name) % PLACES
    }

    /// Until when nothing is tried.
    pub fn locked_until(&self, name: &str, now: Timestamp) -> Option<Timestamp> {
        lock(&self.places).get(&self.place(name))?.locked_until(now)
    }

    /// Counts a failure; how many there are now.
    pub fn failed(&self, name: &str, now: Timestamp) -> u32 {
        let mut places = lock(&self.places);
        let place = places.entry(self.place(name)).or_default();
        *place = place.failed(now);
        place.failures()
    }

    /// A proof that held.
    pub fn passed(&self, name: &str) {
        lock(&self.places).remove(&self.place(name));
    }
}
