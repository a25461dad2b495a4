//! What is thought of each (upstream, credential): may it be used, and until when not.
//!
//! A circuit: closed while all is well; open for a while after a reason to stay away; then half open, when one
//! request is let through to find out. All of it is one pure step over a small value that fits into 64 bits, so
//! that workers share it without a lock and a success on a healthy credential writes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    clock::BootInstant,
    id::{CredentialId, UpstreamId},
};

mod circuit;

pub use circuit::{Availability, Cause, Circuit, HealthPolicy, Signal};

#[cfg(test)]
mod tests;

/// One credential's circuit, shared by all workers.
#[derive(Debug, Default)]
pub struct HealthCell(AtomicU64);

impl HealthCell {
    /// Whether a request may use the credential now, without taking anything: for choosing among many.
    #[must_use]
    pub fn availability(&self, now: BootInstant) -> Availability {
        Circuit::unpack(self.0.load(Ordering::Acquire)).availability(now)
    }

    /// Takes the right to send. In a half-open circuit one request gets it, and the others get `false` until
    /// that one has reported or its time is up.
    pub fn admit(&self, now: BootInstant, policy: &HealthPolicy) -> bool {
        self.update(|circuit| circuit.admit(now, policy))
    }

    /// Reports how a request went.
    pub fn report(&self, signal: Signal, now: BootInstant, policy: &HealthPolicy) {
        self.update(|circuit| (circuit.step(signal, now, policy), ()));
    }

    /// The circuit as it stands, for reports.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        Circuit::unpack(self.0.load(Ordering::Acquire))
    }

    /// Applies a pure step; repeated when another worker came between.
    fn update<T>(&self, step: impl Fn(Circuit) -> (Circuit, T)) -> T {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (next, result) = step(Circuit::unpack(seen));
            let next = next.pack();
            if next == seen {
                return result;
            }
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return result,
                Err(newer) => seen = newer,
            }
        }
    }
}

/// All circuits by upstream and credential. Routing tables hold the cells themselves, so that this is asked
/// only when a table is built.
#[derive(Debug, Default)]
pub struct HealthBoard(Mutex<HashMap<(UpstreamId, CredentialId), Arc<HealthCell>>>);

impl HealthBoard {
    /// The cell of a credential, closed when it is new.
    pub fn cell(&self, upstream: &UpstreamId, credential: &CredentialId) -> Arc<HealthCell> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry((upstream.clone(), credential.clone())).or_default())
    }

    /// Forgets all but the named ones: call it when credentials were removed.
    pub fn retain(&self, keep: impl Fn(&UpstreamId, &CredentialId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(u, c), _| keep(u, c));
    }

    /// All circuits, for reports and metrics.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(UpstreamId, CredentialId, Circuit)> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|((u, c), cell)| (u.clone(), c.clone(), cell.circuit())).collect()
    }
}

/// Milliseconds since boot, the unit that circuits count in.
const fn millis(at: BootInstant) -> u64 {
    at.as_micros() / 1_000
}

/// A duration in whole milliseconds, saturating.
fn duration_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
