//! The record at an answer's end: settled once, and awaited before the last byte leaves.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use claviger_claude_wire::{price::PriceTable, usage::MessageSummary};
use claviger_domain::ledger::{Outcome, RowFlags};
use claviger_service::{
    recall::{Kept, Recording},
    recorder::{RecordError, Slot},
};

use super::minted::MintedTap;
use crate::{
    metrics::Answered,
    pump::{Pump, Wait},
    reserve::{Lease, micros},
    settle::{Bill, Ending},
    worker::{Shared, Worker},
};

/// What is known of an answer once its head is there.
#[derive(Debug)]
pub struct AnswerFacts {
    /// Its status.
    pub status: u16,
    /// The upstream's id of it.
    pub upstream_request_id: Option<String>,
    /// From arrival to the head, in microseconds.
    pub first_byte_us: i64,
}

/// The lease of a request whose answer is being relayed.
pub struct Account {
    lease: Option<Lease>,
    shared: Arc<Shared>,
    facts: AnswerFacts,
    minted: Option<MintedTap>,
    /// The answer, written down for the response cache.
    recording: Option<Box<Recording>>,
    /// It is whole, and others may be given it.
    is_good: bool,
    pump: Arc<Pump>,
    record: Wait,
    settled: bool,
}

impl Account {
    /// Opens the account.
    #[must_use]
    pub fn new(worker: &Worker, lease: Lease, facts: AnswerFacts, minted: Option<MintedTap>) -> Self {
        let shared = Arc::clone(lease.shared());
        Self {
            lease: Some(lease),
            shared,
            facts,
            minted,
            recording: None,
            is_good: false,
            pump: Arc::clone(&worker.pump),
            record: Wait::default(),
            settled: false,
        }
    }

    /// Writes the answer down as it passes.
    #[must_use]
    pub fn recording(mut self, recording: Option<Box<Recording>>) -> Self {
        self.recording = recording;
        self
    }

    /// A whole message has passed: whether it may be given to others as well. What was refused, paused, or ended in a
    /// way that is not known is nobody else's.
    pub fn judge(&mut self, message: &MessageSummary) {
        let ended = message.stop_reason.as_deref();
        self.is_good = message.has_usage
            && matches!(ended, Some("end_turn" | "stop_sequence" | "max_tokens" | "tool_use"));
    }

    /// Bytes of the answer pass.
    pub fn pass(&mut self, bytes: &[u8]) {
        if let Some(minted) = &mut self.minted {
            minted.feed(bytes);
        }
        if let Some(recording) = &mut self.recording {
            recording.take(bytes);
        }
    }

    /// The lease, until it is settled.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The lease, until it is settled, to be changed.
    pub const fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    /// The provider has said what it read.
    pub fn learn_input(&mut self, message: &MessageSummary) {
        if let Some(lease) = &mut self.lease {
            lease.learn_input(message);
        }
    }

    /// The provider has counted the tokens of a prompt.
    pub fn learn_tokens(&self, tokens: u64) {
        if let Some(lease) = &self.lease {
            lease.learn_tokens(tokens);
        }
    }

    /// The answer came to its end.
    pub fn learn_output(&self, message: &MessageSummary) {
        if let Some(lease) = &self.lease {
            lease.learn_output(message);
        }
    }

    /// Lets rows be booked beside the one that settles.
    pub fn book(&mut self, work: impl FnOnce(&mut Slot, &PriceTable)) {
        if let Some(slot) = self.lease.as_mut().and_then(Lease::slot_mut) {
            work(slot, &self.shared.prices.load());
        }
    }

    /// Notes that all results of a batch are in the ledger.
    pub fn batch_billed(&self, batch: String, cost: i128) {
        self.shared.services.budgets.batch_done(&batch, cost);
        let shared = Arc::clone(&self.shared);
        self.shared.tracker.spawn(async move {
            let done = shared.services.resources.batch_billed(&batch, shared.clock.now()).await;
            if let Err(error) = done {
                // The job finds it again and bills nothing twice.
                tracing::warn!(batch, %error, "a batch could not be marked as billed");
            }
        });
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.facts.status
    }

    /// The id by which the client knows the answer, until its end is booked: the upstream's, else ours.
    #[must_use]
    pub fn answered_as(&self) -> Option<&str> {
        let own = self.lease.as_ref()?.particulars().request_id.as_str();
        Some(self.facts.upstream_request_id.as_deref().unwrap_or(own))
    }

    /// Whether the end was booked.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Books the end; again: nothing.
    pub fn settle(&mut self, ending: Ending) {
        let Some(lease) = self.lease.take() else { return };
        self.settled = true;
        let mut ending = ending;
        ending.status = self.facts.status;
        for (kind, id) in self.minted.take().map(MintedTap::finish).unwrap_or_default() {
            ending.made.extend(lease.made(kind, &id));
        }
        ending.first_byte_us = self.facts.first_byte_us;
        ending.upstream_request_id = self.facts.upstream_request_id.take();
        let particulars = lease.particulars();
        let shared = &self.shared;
        let model = ending.model.as_deref().or(particulars.model.as_deref());
        let prices = shared.prices.load();
        shared.metrics.answered(&Answered {
            endpoint: particulars.endpoint,
            method: particulars.method,
            model: model.map_or("none", |m| prices.label(m)),
            status: ending.status,
            outcome: ending.outcome,
            usage: &ending.usage,
            duration_us: micros(particulars.began.elapsed()),
        });
        if let Some(recording) = self.recording.take() {
            let call = particulars.request_id.clone();
            let model = model.unwrap_or_default().to_owned();
            match ending.outcome {
                _ if self.is_good => recording.keep(Kept { call, model, cost: lease.charged(ending.cost) }),
                Outcome::Completed | Outcome::UpstreamError => recording.unkept(),
                // It broke off: the next in line makes its own.
                Outcome::Unreachable
                | Outcome::UpstreamCut
                | Outcome::ClientGone
                | Outcome::Cut
                | Outcome::Refused
                | Outcome::Unknown => drop(recording),
            }
        }
        self.record = Wait::on(lease.settle(ending));
    }

    /// Books the end of a call with its bill.
    pub fn settle_billed(&mut self, outcome: Outcome, bill: Option<Bill>, detail: &'static str) {
        let mut ending = Ending { detail: detail.into(), ..Ending::of(outcome) };
        if let Some(bill) = bill {
            ending = ending.billed(bill);
        }
        self.settle(ending);
    }

    /// Books a call whose answer, which tells no usage, did not come whole.
    pub fn settle_lost(&mut self, outcome: Outcome, detail: &'static str) {
        let Some(lease) = &self.lease else { return };
        let ending = if lease.particulars().makes_batch { lease.unknown() } else { Ending::of(outcome) };
        self.settle(Ending { detail: detail.into(), ..ending });
    }

    /// Books a call whose usage cannot be read at the most that it can have cost.
    pub fn settle_unreadable(&mut self, outcome: Outcome) {
        let Some(lease) = &self.lease else { return };
        let cost = lease.reservation();
        tracing::warn!(request_id = %lease.particulars().request_id, "an answer's usage could not be read: charged at its worst case");
        let flags = RowFlags::UNREADABLE.with(RowFlags::ESTIMATED);
        self.settle(Ending { flags, cost, detail: "unreadable".into(), ..Ending::of(outcome) });
    }

    /// Ready when what was settled is durable.
    pub fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        self.record.poll(&self.pump, cx)
    }
}
