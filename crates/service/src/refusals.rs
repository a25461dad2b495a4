//! Refusals before authentication: counted, and recorded once per reason, subject and ten seconds with their count. A
//! flood of 401 must not become a flood of writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{MICROS_PER_SEC, Timestamp},
    id::OperatorId,
    ports::Store,
    token::PublicId,
};
use ipnet::IpNet;

use crate::lock::lock;

/// How long one record counts.
pub const WINDOW_US: i64 = 10 * MICROS_PER_SEC;
/// Counters at once; what comes beyond is counted together, by reason.
const COUNTERS: usize = 256;
/// Records that one flush writes; what is left over is folded together, by reason.
const RECORDS_A_FLUSH: usize = 64;

/// Whom a refusal is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RefusalSubject {
    /// A key that was named.
    Key(PublicId),
    /// An address block (`domain::address::counting_block`).
    Block(IpNet),
    /// An operator, when the one that was named exists, and the address block; no block on the local socket.
    Operator(Option<OperatorId>, Option<IpNet>),
}

/// What one record will say. Without a subject: everything beyond the bound.
type Counter = (&'static str, Option<RefusalSubject>);

#[derive(Debug, Clone, Copy)]
struct Count {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            count: self.count.saturating_add(other.count),
        }
    }
}

/// Counters of refusals.
#[derive(Clone)]
pub struct Refusals(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    counts: Mutex<HashMap<Counter, Count>>,
}

impl Refusals {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Inner { store, counts: Mutex::default() }))
    }

    /// Counts one refusal. Never waits and never writes.
    pub fn count(&self, reason: &'static str, subject: RefusalSubject, now: Timestamp) {
        let mut counts = lock(&self.0.counts);
        let counter = (reason, Some(subject));
        let fits = counts.len() < COUNTERS || counts.contains_key(&counter);
        let one = Count { first: now, last: now, count: 1 };
        add(&mut counts, if fits { counter } else { (reason, None) }, one);
    }

    /// Writes what was counted in windows that are over; with `all`, everything. What cannot be written is counted on.
    pub(crate) async fn flush(&self, now: Timestamp, all: bool) {
        let over = |count: &Count| all || now.micros_since(count.first) >= WINDOW_US;
        let mut due: Vec<(Counter, Count)> =
            lock(&self.0.counts).extract_if(|_, count| over(count)).collect();
        due.sort_by_key(|(counter, count)| (counter.1.is_none(), std::cmp::Reverse(count.count)));
        let mut records: HashMap<Counter, Count> = HashMap::new();
        for (counter, count) in due {
            let fits = records.len() < RECORDS_A_FLUSH;
            add(&mut records, if fits { counter } else { (counter.0, None) }, count);
        }
        for (counter, count) in records {
            if let Err(error) = self.0.store.apply(Vec::new(), event(counter.clone(), count)).await {
                tracing::warn!(%error, "refusals could not be recorded; they are counted on");
                add(&mut lock(&self.0.counts), counter, count);
            }
        }
    }
}

fn add(counts: &mut HashMap<Counter, Count>, counter: Counter, count: Count) {
    let present = counts.get(&counter).copied();
    counts.insert(counter, present.map_or(count, |p| p.and(count)));
}

fn event((reason, subject): Counter, count: Count) -> AuditEvent {
    let (target, key, client_ip) = match subject {
        Some(RefusalSubject::Key(id)) => {
            let key = format!("key_{}", id.as_str());
            (key.clone(), key, String::new())
        }
        Some(RefusalSubject::Block(block)) => (block.to_string(), String::new(), block.to_string()),
        Some(RefusalSubject::Operator(id, block)) => {
            let block = block.map(|b| b.to_string()).unwrap_or_default();
            (id.map_or_else(|| "operator".to_owned(), |id| id.to_string()), String::new(), block)
        }
        None => ("other".to_owned(), String::new(), String::new()),
    };
    let mut event = AuditEvent::new(count.last, Actor::Anonymous, "auth.refused", &target);
    reason.clone_into(&mut event.outcome);
    event.key = key;
    event.client_ip = client_ip;
    event.with("count", count.count).with("first_us", count.first.as_micros())
}

#[cfg(test)]
mod tests;
