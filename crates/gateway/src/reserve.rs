//! Stage 7, reserve: what the call can cost at most, and the durable intent that says it was made. An intent that
//! nobody settles is charged at its reservation.

use std::sync::Arc;

use claviger_domain::{
    clock::EntropyError,
    id::{IntentId, RequestId},
    ledger::{Intent, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts},
    money::PicoUsd,
    permission::{Endpoint, Scopes},
    tenancy::{Resource, ResourceKind},
    token::KeyClass,
};
use claviger_service::{
    admission::Admitted,
    grants::LiveGrant,
    recorder::{Receipt, Slot},
};
use tokio::time::Instant;

use crate::{
    admit::Admission,
    authorize::{Payload, Permit},
    metrics::method_label,
    settle::{Bill, Ending, estimate},
    worker::{Shared, Worker},
};

/// What every record of one request says.
#[derive(Debug)]
pub struct Particulars {
    /// Its id.
    pub request_id: RequestId,
    /// Whose it is.
    pub party: Party,
    /// When it arrived.
    pub at: claviger_domain::clock::Timestamp,
    /// The same moment, for measuring.
    pub began: Instant,
    /// Which group of routes.
    pub endpoint: Endpoint,
    /// The method, as a label.
    pub method: &'static str,
    /// Method and path.
    pub api_endpoint: String,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// The client's address.
    pub client_ip: String,
    /// The client's program.
    pub user_agent: String,
    /// Whether an event stream was asked for.
    pub stream: bool,
    /// The request body's length in bytes.
    pub body_length: u64,
    /// Whether a batch is to be made, which is billed by its results.
    pub makes_batch: bool,
}

/// A request with money and a record at stake. Dropped before it is settled, it is booked as one whose client went
/// away, if anything was sent for it.
pub struct Lease {
    particulars: Particulars,
    live: Arc<LiveGrant>,
    shared: Arc<Shared>,
    admitted: Option<Admitted>,
    slot: Option<Slot>,
    intent: Option<IntentId>,
    route: Route,
    attempts: u32,
    reservation: PicoUsd,
}

/// Works out what the call can cost at most.
#[must_use]
pub fn reserve(worker: &Worker, permit: &Permit, admission: Admission) -> Lease {
    let shared = &worker.shared;
    let key = &permit.caller.live.grant.key;
    let head = &permit.head;
    let worst = match &permit.payload {
        Payload::Message { body, facts } if head.operation.endpoint() == Endpoint::Messages => {
            let prices = shared.prices.load();
            let models = std::iter::once(&*facts.model).chain(facts.other_models.iter().map(|m| &**m));
            prices.dearest_case(models, body.bytes.len() as u64, facts.max_tokens, head.at.as_micros())
        }
        // Half the price, rounded up.
        Payload::Batch { facts, .. } => facts.worst_case_pico.saturating_add(1) / 2,
        Payload::None | Payload::Message { .. } | Payload::Held { .. } | Payload::Streamed { .. } => 0,
    };
    Lease {
        particulars: Particulars {
            request_id: head.request_id.clone(),
            party: Party {
                key: key.id.clone(),
                workspace: key.workspace.clone(),
                owner: key.owner.clone(),
                class: key.class,
            },
            at: head.at,
            began: head.began,
            endpoint: head.operation.endpoint(),
            method: method_label(&head.method),
            api_endpoint: head.api_endpoint(),
            model: permit.model().cloned(),
            client_ip: head.client_ip.to_string(),
            user_agent: head.user_agent(),
            stream: permit.wants_stream(),
            body_length: permit.payload.length(),
            makes_batch: matches!(permit.payload, Payload::Batch { .. }),
        },
        live: Arc::clone(&permit.caller.live),
        shared: Arc::clone(shared),
        admitted: Some(admission.admitted),
        slot: Some(admission.slot),
        intent: None,
        route: Route { upstream: None, credential: None },
        attempts: 0,
        reservation: PicoUsd::saturating(worst),
    }
}

impl Lease {
    /// What every record of the request says.
    #[must_use]
    pub const fn particulars(&self) -> &Particulars {
        &self.particulars
    }

    /// The key.
    #[must_use]
    pub const fn live(&self) -> &Arc<LiveGrant> {
        &self.live
    }

    /// What all workers share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where the last attempt went.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// What is left of the key's limits.
    #[must_use]
    pub fn headroom(&self) -> Option<claviger_domain::limit::Headroom> {
        self.admitted.as_ref().and_then(|a| a.headroom)
    }

    /// Writes the intent of one attempt down; an earlier one of this request is superseded.
    ///
    /// # Errors
    /// [`EntropyError`] when no id can be made; nothing may be sent then.
    pub fn intent(&mut self, worker: &Worker, route: Route) -> Result<Option<Receipt>, EntropyError> {
        let id = IntentId::generate(&worker.chance)?;
        self.attempts += 1;
        self.route = route;
        let p = &self.particulars;
        let intent = Intent {
            id: id.clone(),
            request_id: p.request_id.clone(),
            party: p.party.clone(),
            route: self.route.clone(),
            at: p.at,
            endpoint: p.endpoint,
            api_endpoint: p.api_endpoint.clone(),
            model: p.model.as_deref().unwrap_or_default().to_owned(),
            reservation: self.reservation,
            attempt: self.attempts,
            client_ip: p.client_ip.clone(),
        };
        self.intent = Some(id);
        Ok(self.slot.as_mut().map(|slot| slot.intent(intent)))
    }

    /// The worst case of the call.
    #[must_use]
    pub const fn reservation(&self) -> PicoUsd {
        self.reservation
    }

    /// A bill for an answer that never told its usage: about one token for four bytes, in and out.
    #[must_use]
    pub fn guess(&self, answer_bytes: u64) -> Bill {
        let p = &self.particulars;
        let usage = UsageCounts {
            input_tokens: p.body_length.div_ceil(4),
            output_tokens: answer_bytes.div_ceil(4),
            ..UsageCounts::default()
        };
        let cost = estimate(&self.shared.prices.load(), p.model.as_deref(), &usage, p.at);
        Bill { model: None, usage, cost, flags: RowFlags::ESTIMATED }
    }

    /// The ending of a call of whose answer too little was seen to bill it. A batch may have been created all the
    /// same, and nobody would ever read its results: it is charged at its reservation. Anything else is billed by
    /// the bytes on both sides.
    #[must_use]
    pub fn lost(&self, otherwise: Outcome, answer_bytes: u64) -> Ending {
        if self.particulars.makes_batch {
            self.unknown()
        } else {
            Ending::of(otherwise).billed(self.guess(answer_bytes))
        }
    }

    /// The ending of a call that the provider may have worked on, or not: charged at its reservation.
    #[must_use]
    pub fn unknown(&self) -> Ending {
        let batch = if self.particulars.makes_batch { RowFlags::BATCH } else { RowFlags::default() };
        Ending {
            cost: self.reservation,
            flags: RowFlags::ESTIMATED.with(batch),
            ..Ending::of(Outcome::Unknown)
        }
    }

    /// The record of something made at the provider by this call; the simulator's things are its own.
    #[must_use]
    pub fn made(&self, kind: ResourceKind, id: &str) -> Option<Resource> {
        Some(Resource {
            id: id.to_owned(),
            kind,
            workspace: self.particulars.party.workspace.clone(),
            key: self.particulars.party.key.clone(),
            upstream: self.route.upstream.clone()?,
            credential: self.route.credential.clone()?,
            created_at: self.particulars.at,
        })
    }

    /// Nothing was sent after all: the request needs no record.
    pub fn release(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.release();
        }
    }

    /// Books a lost attempt that may have been billed, before another one is made.
    pub fn book_lost(&mut self, detail: &'static str) {
        let row = self.row(Ending { detail: detail.into(), ..self.unknown() });
        if let Some(slot) = &mut self.slot {
            // Nobody waits for it: it goes with the group of the next attempt's intent.
            drop(slot.book(row, Vec::new()));
        }
        self.intent = None;
    }

    /// The place among the records, to book more rows on it.
    pub const fn slot_mut(&mut self) -> Option<&mut Slot> {
        self.slot.as_mut()
    }

    /// Settles: the last thing that is said of a request.
    pub fn settle(mut self, ending: Ending) -> Option<Receipt> {
        let slot = self.slot.take()?;
        let mut ending = ending;
        let made = std::mem::take(&mut ending.made);
        let row = self.row(ending);
        // The key's place is free from here on, whatever the client still has to read.
        self.admitted = None;
        Some(slot.settle(row, made))
    }

    /// The ledger row of an ending.
    fn row(&self, ending: Ending) -> LedgerRow {
        let p = &self.particulars;
        let stream = if p.stream { RowFlags::STREAM } else { RowFlags::default() };
        let model = ending.model.or_else(|| p.model.as_deref().map(str::to_owned));
        let (cost, class) = match p.party.class {
            KeyClass::Live => (ending.cost, RowFlags::default()),
            KeyClass::Test => (PicoUsd::ZERO, RowFlags::SIMULATED),
        };
        LedgerRow {
            request_id: p.request_id.clone(),
            intent: self.intent.clone(),
            party: p.party.clone(),
            route: self.route.clone(),
            batch: None,
            at: p.at,
            endpoint: p.endpoint,
            api_endpoint: p.api_endpoint.clone(),
            model: model.unwrap_or_default(),
            status: ending.status,
            outcome: ending.outcome,
            flags: ending.flags.with(stream).with(class),
            usage: ending.usage,
            cost,
            attempts: self.attempts,
            upstream_request_id: ending.upstream_request_id,
            first_byte_us: ending.first_byte_us,
            duration_us: micros(p.began.elapsed()),
            client_ip: p.client_ip.clone(),
            user_agent: p.user_agent.clone(),
            token_scope: scope_words(&self.live),
            detail: ending.detail.into_owned(),
        }
    }
}

/// The key's scopes as words joined by spaces.
fn scope_words(live: &LiveGrant) -> String {
    let scopes = live.grant.key.policy.permissions.scopes;
    // What nearly every key has.
    if scopes == Scopes::ALL { "read write".to_owned() } else { scopes.words().join(" ") }
}

/// A duration in whole microseconds.
#[must_use]
pub fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if self.intent.is_none() {
            slot.release();
            return;
        }
        // Nothing of the answer was seen; the input was read.
        let row = self.row(self.lost(Outcome::ClientGone, 0));
        drop(slot.settle(row, Vec::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scopes_are_written_as_the_domain_writes_them() {
        assert_eq!(Scopes::ALL.words().join(" "), "read write");
    }
}
