//! How a lease ends: what the call is booked at, and its row in the ledger.

use claviger_domain::{
    budget::Ask,
    ledger::{LedgerRow, Outcome, RowFlags, UsageCounts},
    money::PicoUsd,
    permission::Scopes,
    tenancy::ResourceKind,
    token::KeyClass,
};
use claviger_service::{grants::LiveGrant, recorder::Receipt};

use super::{Lease, ReserveError, ask::Payer, micros};
use crate::{
    settle::{Bill, Ending, estimate},
    tokens::counted,
};

impl Lease {
    /// The key's places are free, and limits count what the call took: all that was held for it, where nobody can tell.
    fn leave(&mut self, row: &LedgerRow) {
        let Some(admitted) = self.admitted.take() else { return };
        let untold = row.outcome == Outcome::Unknown || row.flags.has(RowFlags::UNREADABLE);
        let taken = if untold { admitted.held() } else { counted(&row.usage) };
        admitted.settle(taken, self.shared.clock.now());
    }

    /// A bill for an answer that never told its usage: about one token for four bytes, in and out; under a hard budget,
    /// which nothing may pass unseen, all that was held back.
    #[must_use]
    pub fn guess(&self, answer_bytes: u64) -> Bill {
        let p = &self.particulars;
        let usage = UsageCounts {
            input_tokens: p.body_length.div_ceil(4),
            output_tokens: answer_bytes.div_ceil(4),
            ..UsageCounts::default()
        };
        let cost = if self.is_bound() {
            self.reservation
        } else {
            estimate(&self.shared.prices.load(), p.model.as_deref(), &usage, p.at)
        };
        Bill { model: None, usage, cost, flags: RowFlags::ESTIMATED }
    }

    /// The ending of a call of whose answer too little was seen to bill it. A batch may have been created all the
    /// same, and nobody would ever read its results: it is charged at its reservation, as is every call under a hard
    /// budget. Anything else is billed by the bytes on both sides. What never left costs nothing.
    #[must_use]
    pub fn lost(&self, otherwise: Outcome, answer_bytes: u64) -> Ending {
        if !self.sent {
            Ending::of(otherwise)
        } else if self.particulars.makes_batch || (self.is_bound() && self.reservation > PicoUsd::ZERO) {
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

    /// Nothing was sent after all: the request needs no record.
    pub fn release(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.release();
        }
    }

    /// Books a lost attempt that may have been billed, before another one is made.
    ///
    /// # Errors
    /// [`ReserveError::OverBudget`]: budgets have not enough left for another one; [`ReserveError::Away`].
    pub async fn book_lost(&mut self, detail: &'static str) -> Result<(), ReserveError> {
        let row = self.row(Ending { detail: detail.into(), ..self.unknown() });
        let cost = row.cost;
        if let Some(slot) = &mut self.slot {
            // Nobody waits for it: it goes with the group of the next attempt's intent.
            drop(slot.book(row, Vec::new()));
        }
        self.intent = None;
        let Some(held) = self.held.take() else { return Ok(()) };
        held.settle(cost);
        let budgets = &self.shared.services.budgets;
        let payer = Payer::of(budgets, &self.live, &self.particulars.party);
        let ask = self.outlook.as_ref().map(|outlook| outlook.ask(budgets));
        let ask = ask.unwrap_or(Ask::at_most(self.reservation));
        let now = self.shared.clock.now();
        self.held = match payer {
            Some(payer) => payer.reserve(budgets, ask, now).await?,
            None => None,
        };
        self.charges = self.held.as_ref().map(|held| held.charges().to_vec()).unwrap_or_default();
        Ok(())
    }

    /// Settles: the last thing that is said of a request.
    pub fn settle(mut self, ending: Ending) -> Option<Receipt> {
        let slot = self.slot.take()?;
        let mut ending = ending;
        let mut made = std::mem::take(&mut ending.made);
        let row = self.row(ending);
        if let Some(held) = self.held.take() {
            match made.iter_mut().find(|made| made.kind == ResourceKind::Batch) {
                // Its results are billed later; until then all of it is held back.
                Some(batch) if self.particulars.makes_batch => {
                    batch.held = Some(held.keep_for(&batch.id, self.reservation));
                }
                Some(_) | None => held.settle(row.cost),
            }
        }
        // The key's place is free from here on, whatever the client still has to read.
        self.leave(&row);
        Some(slot.settle(row, made))
    }

    /// What a call of this cost is booked at: the simulator's are free.
    #[must_use]
    pub fn charged(&self, cost: PicoUsd) -> PicoUsd {
        match self.particulars.party.class {
            KeyClass::Live => cost,
            KeyClass::Test => PicoUsd::ZERO,
        }
    }

    /// The ledger row of an ending.
    fn row(&self, ending: Ending) -> LedgerRow {
        let p = &self.particulars;
        let stream = if p.stream { RowFlags::STREAM } else { RowFlags::default() };
        let model = ending.model.or_else(|| p.model.as_deref().map(str::to_owned));
        let class = match p.party.class {
            KeyClass::Live => RowFlags::default(),
            KeyClass::Test => RowFlags::SIMULATED,
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
            cost: self.charged(ending.cost),
            attempts: self.attempts,
            upstream_request_id: ending.upstream_request_id,
            first_byte_us: ending.first_byte_us,
            duration_us: micros(p.began.elapsed()),
            client_ip: p.client_ip.clone(),
            user_agent: p.user_agent.clone(),
            token_scope: scope_words(&self.live),
            detail: ending.detail.into_owned(),
            charges: self.charges.clone(),
            signed: p.signed.by().cloned(),
            recalled: ending.recalled,
        }
    }
}

/// The key's scopes as words joined by spaces.
fn scope_words(live: &LiveGrant) -> String {
    let scopes = live.grant.key.policy.permissions.scopes;
    // What nearly every key has.
    if scopes == Scopes::ALL { "read write".to_owned() } else { scopes.words().join(" ") }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if self.intent.is_none() || (!self.sent && self.attempts <= 1) {
            slot.release();
            return;
        }
        // Nothing of the answer was seen; the input was read, if it was sent.
        let row = self.row(self.lost(Outcome::ClientGone, 0));
        if let Some(held) = self.held.take() {
            held.settle(row.cost);
        }
        self.leave(&row);
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
