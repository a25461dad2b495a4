//! What holders may ask about their own keys: bounded apart from the keys' limits, so that a busy key can still keep
//! its children alive and its tokens fresh.

use std::{collections::HashMap, sync::Mutex};

use claviger_domain::{
    clock::Timestamp,
    limit::{
        Exceeded, Headroom, LimitKind, LimitSubject,
        gcra::{Gcra, Rate},
    },
    token::PublicId,
};

use crate::lock::lock;

/// What a holder may ask of its own key: enough for the heartbeats of all its children three times over.
const RATE: Rate = Rate::per_minute(600);
/// Holders whose rate is remembered.
const HOLDERS: usize = 4_096;

/// How often each holder has asked.
#[derive(Default)]
pub(crate) struct HolderRates(Mutex<HashMap<PublicId, Gcra>>);

impl HolderRates {
    /// Counts one request.
    pub(crate) fn count(&self, holder: PublicId, now: Timestamp) -> Result<(), Exceeded> {
        let mut rates = lock(&self.0);
        if rates.len() >= HOLDERS {
            rates.clear();
        }
        let state = rates.entry(holder).or_default();
        let (next, decision) = state.step(RATE, now, 1);
        *state = next;
        if decision.admitted {
            return Ok(());
        }
        let headroom = Headroom {
            subject: LimitSubject::Key,
            kind: LimitKind::RequestsPerMinute,
            limit: RATE.limit(),
            remaining: decision.remaining,
            reset: decision.reset,
        };
        Err(Exceeded { headroom, retry_at: decision.retry_at })
    }
}
