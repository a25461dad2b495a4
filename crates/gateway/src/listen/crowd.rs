//! How many connections there are, in all and from each address block.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use claviger_domain::address::counting_block;
use ipnet::IpNet;

use crate::config::ConnectionLimits;

/// Counts connections over all workers.
#[derive(Debug)]
pub struct Crowd {
    total: usize,
    per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_block: HashMap<IpNet, usize>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    block: IpNet,
}

impl Crowd {
    /// With these caps.
    #[must_use]
    pub fn new(limits: &ConnectionLimits) -> Arc<Self> {
        let (total, per_address) = (limits.total, limits.per_address);
        Arc::new(Self { total, per_address, counts: Mutex::default() })
    }

    /// Takes a place, if there is one.
    #[must_use]
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let block = counting_block(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.by_block.get(&block).copied().unwrap_or(0);
        if counts.all >= self.total || here >= self.per_address {
            return None;
        }
        counts.all += 1;
        counts.by_block.insert(block, here + 1);
        Some(Place { crowd: Arc::clone(self), block })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(here) = counts.by_block.get_mut(&self.block) {
            *here -= 1;
            if *here == 0 {
                counts.by_block.remove(&self.block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_in_all_and_for_each_address_and_places_come_back() {
        let limits = ConnectionLimits { total: 3, per_address: 2, ..ConnectionLimits::default() };
        let crowd = Crowd::new(&limits);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let a = crowd.enter(ip("192.0.2.1")).unwrap();
        let _b = crowd.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        let _c = crowd.enter(ip("2001:db8::1")).unwrap();
        assert!(crowd.enter(ip("2001:db8:1::1")).is_none());
        drop(a);
        assert!(crowd.enter(ip("2001:db8::2")).is_some());
        assert_eq!(crowd.counts.lock().unwrap().by_block.len(), 2);
    }
}
