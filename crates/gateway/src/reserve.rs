//! Stage 7, reserve: what the call can cost at most, and the durable intent that says it was made. An intent that
//! nobody settles is charged at its reservation.

mod particulars;
mod words;

use std::sync::Arc;

use claviger_claude_wire::{
    answers::Answer,
    price::{Call, CallKind, Unbounded},
    usage::MessageSummary,
};
use claviger_domain::{
    budget::{Ask, Charge, Cover, OverBudget},
    clock::{EntropyError, Timestamp},
    id::{IntentId, KeyId},
    ledger::{Intent, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts},
    limit::Headrooms,
    money::PicoUsd,
    permission::{Endpoint, Scopes},
    tenancy::{Resource, ResourceKind},
    token::KeyClass,
};
use claviger_service::{
    admission::Admitted,
    budgets::Held,
    grants::LiveGrant,
    recorder::{Receipt, Slot},
    refusals::RefusalSubject,
};

pub use self::particulars::Particulars;
use self::words::{ended_text, over_text};
use crate::{
    admit::{Admission, wait_secs},
    authorize::{Payload, Permit, betas},
    outlook::Outlook,
    path::Operation,
    recall::{Miss, Part},
    refuse::{Cap, Refusal},
    settle::{Bill, Ending, estimate},
    tokens::{counted, counted_input},
    worker::{Shared, Worker},
};

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
    /// What budgets hold back for it; `None`: none does.
    held: Option<Held>,
    /// What it will likely cost; `None`: no budget asks.
    outlook: Option<Box<Outlook>>,
    /// The periods of budgets that it counts against.
    charges: Vec<Charge>,
    /// The last attempt may have reached the provider.
    sent: bool,
    /// What its answer has to do with the response cache.
    part: Part,
}

/// Why a call may not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// A budget has not as much left.
    #[error("{}", over_text(.0, *.1))]
    OverBudget(Box<OverBudget>, Timestamp),
    /// What it costs has no bound, and a hard budget binds it.
    #[error(transparent)]
    Unbounded(#[from] Unbounded),
    /// What it costs cannot be metered, and a hard budget binds it.
    #[error("what calls of this route cost cannot be metered, which a hard budget does not allow")]
    Unmetered,
}

/// Whose budgets the call counts against: those of the key's line and of the line above a child, whichever key of
/// them it is made with today.
fn payer(live: &LiveGrant, party: &Party) -> (Party, Option<KeyId>) {
    let payer = Party { key: live.grant.key.lineage.clone(), ..party.clone() };
    (payer, live.parent.as_ref().map(|parent| parent.grant.key.lineage.clone()))
}

/// Holds back what the call can cost at most.
///
/// # Errors
/// [`ReserveError`]; nothing was taken then.
pub fn reserve(worker: &Worker, permit: &Permit, miss: Miss) -> Result<Lease, ReserveError> {
    let shared = &worker.shared;
    let live = &permit.caller.live;
    let head = &permit.head;
    let party = particulars::party(live);
    let (Admission { admitted, slot }, part) = miss.into_parts();
    let held = match ask(shared, permit, &party) {
        Ok(Asked { worst, ask: None, outlook }) => Ok((worst, None, outlook)),
        Ok(Asked { worst, ask: Some(ask), outlook }) => {
            let (payer, parent) = payer(live, &party);
            let held = shared.services.budgets.reserve(&payer, parent.as_ref(), ask, head.at);
            held.map(|held| (worst, held, outlook)).map_err(|over| ReserveError::OverBudget(over, head.at))
        }
        Err(error) => Err(error),
    };
    let (worst, held, outlook) = match held {
        Ok(found) => found,
        Err(error) => {
            admitted.refused();
            slot.release();
            return Err(error);
        }
    };
    let charges = held.as_ref().map(|held| held.charges().to_vec()).unwrap_or_default();
    let mut lease = Lease::free(shared, permit, Admission { admitted, slot });
    (lease.reservation, lease.charges, lease.held) = (worst, charges, held);
    (lease.outlook, lease.part) = (outlook, part);
    Ok(lease)
}

/// What a call needs.
struct Asked {
    /// The most that it can cost.
    worst: PicoUsd,
    /// What to ask of budgets, if it counts against any.
    ask: Option<Ask>,
    /// What it will likely cost, if one of them asks.
    outlook: Option<Box<Outlook>>,
}

/// The most that the call can cost; and what to ask of budgets, if it counts against any.
fn ask(shared: &Shared, permit: &Permit, party: &Party) -> Result<Asked, ReserveError> {
    let (live, head) = (&permit.caller.live, &permit.head);
    let cover = match party.class {
        KeyClass::Live if shared.services.budgets.any() => {
            let (payer, parent) = payer(live, party);
            shared.services.budgets.cover(&payer, parent.as_ref())
        }
        KeyClass::Live => Cover::None,
        KeyClass::Test => Cover::None,
    };
    if head.operation == Operation::Other && cover == Cover::Hard {
        return Err(ReserveError::Unmetered);
    }
    let (worst, bounded) = match &permit.payload {
        Payload::Message { body, facts } if head.operation.endpoint() == Endpoint::Messages => {
            let prices = shared.prices.load();
            let at = head.at.as_micros();
            let models = std::iter::once(&*facts.model).chain(facts.other_models.iter().map(|m| &**m));
            let worst = prices.dearest_case(models, body.bytes.len() as u64, facts.max_tokens, at);
            let bounded = (cover != Cover::None).then(|| {
                let call = Call {
                    model: &facts.model,
                    body_len: body.bytes.len() as u64,
                    max_tokens: facts.max_tokens,
                    exposure: facts.exposure(&body.bytes),
                    kind: CallKind::Single,
                };
                prices.ceiling(&call, betas(&head.headers), at)
            });
            (worst, bounded)
        }
        Payload::Batch { facts, .. } => {
            // Half the price, rounded up.
            let worst = facts.worst_case_pico.saturating_add(1) / 2;
            (worst, (cover != Cover::None).then(|| facts.ceiling.0.clone()))
        }
        Payload::None | Payload::Message { .. } | Payload::Held { .. } | Payload::Streamed { .. } => {
            (0, None)
        }
    };
    let worst = match bounded {
        None => {
            let worst = PicoUsd::saturating(worst);
            return Ok(Asked { worst, ask: None, outlook: to_count(shared, permit, party) });
        }
        Some(Ok(ceiling)) => PicoUsd::saturating(ceiling),
        Some(Err(unbounded)) if cover == Cover::Hard => return Err(unbounded.into()),
        Some(Err(_)) => PicoUsd::saturating(worst),
    };
    let outlook = outlook(shared, permit, party, worst);
    let ask = outlook.as_ref().map(|outlook| outlook.ask(&shared.services.budgets));
    Ok(Asked { worst, ask: Some(ask.unwrap_or(Ask::at_most(worst))), outlook })
}

/// A prompt whose tokens are to be counted, by which others are estimated; the simulator's counts are its own.
fn to_count(shared: &Shared, permit: &Permit, party: &Party) -> Option<Box<Outlook>> {
    let Payload::Message { body, facts } = &permit.payload else { return None };
    if permit.head.operation != Operation::CountTokens || party.class == KeyClass::Test {
        return None;
    }
    let (payer, parent) = payer(&permit.caller.live, party);
    let payer = parent.unwrap_or(payer.key);
    let at = permit.head.at;
    Outlook::of_message(&shared.prices.load(), (facts, &body.bytes), payer, PicoUsd::ZERO, at)
}

/// What a message will likely cost, where a budget in expected mode asks. Batches are billed long after they are made:
/// the most is held back for them.
fn outlook(shared: &Shared, permit: &Permit, party: &Party, worst: PicoUsd) -> Option<Box<Outlook>> {
    let (payer, parent) = payer(&permit.caller.live, party);
    let Payload::Message { body, facts } = &permit.payload else { return None };
    if !shared.services.budgets.expects(&payer, parent.as_ref()) {
        return None;
    }
    let at = permit.head.at;
    Outlook::of_message(&shared.prices.load(), (facts, &body.bytes), parent.unwrap_or(payer.key), worst, at)
}

impl Lease {
    /// Of a request that is answered without a call, and costs nothing.
    #[must_use]
    pub fn free(shared: &Arc<Shared>, permit: &Permit, admission: Admission) -> Self {
        let Admission { admitted, slot } = admission;
        Self {
            particulars: Particulars::of(permit),
            live: Arc::clone(&permit.caller.live),
            shared: Arc::clone(shared),
            admitted: Some(admitted),
            slot: Some(slot),
            intent: None,
            route: Route { upstream: None, credential: None },
            attempts: 0,
            reservation: PicoUsd::ZERO,
            charges: Vec::new(),
            held: None,
            outlook: None,
            sent: false,
            part: Part::None,
        }
    }

    /// What its answer has to do with the response cache.
    #[must_use]
    pub const fn part(&self) -> &Part {
        &self.part
    }

    /// Takes that out: whoever passes the answer on writes it down.
    #[must_use]
    pub fn take_part(&mut self) -> Part {
        std::mem::take(&mut self.part)
    }

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

    /// What is left of the limits that hold for the key.
    #[must_use]
    pub fn headrooms(&self) -> Headrooms {
        self.admitted.as_ref().map(|a| a.headrooms).unwrap_or_default()
    }

    /// The provider has said what it read.
    pub fn learn_input(&mut self, message: &MessageSummary) {
        if let Some(admitted) = &mut self.admitted {
            admitted.learn_input(counted_input(&message.usage), self.shared.clock.now());
        }
        if let Some(outlook) = &self.outlook {
            outlook.learn_input(&self.shared.services.budgets, &self.shared.prices.load(), message);
        }
    }

    /// The provider has counted the tokens of a prompt.
    pub fn learn_tokens(&self, tokens: u64) {
        if let Some(outlook) = &self.outlook {
            outlook.learn_tokens(&self.shared.services.budgets, tokens);
        }
    }

    /// The answer came to its end.
    pub fn learn_output(&self, message: &MessageSummary) {
        if let Some(outlook) = &self.outlook {
            outlook.learn_output(&self.shared.services.budgets, &self.shared.prices.load(), message);
        }
    }

    /// What an output token of the model that was asked costs, in pico-dollars, where a budget asks what the call will
    /// likely cost.
    #[must_use]
    pub fn output_pico(&self) -> i128 {
        self.outlook.as_ref().map(|outlook| outlook.output_pico()).unwrap_or_default()
    }

    /// What the call may cost before [`Lease::stretch`] must be asked; `None`: all that it can.
    #[must_use]
    pub fn room(&self) -> Option<i128> {
        self.held.as_ref().and_then(Held::room)
    }

    /// Holds back as much as the call has come to, and `ahead` as far as that is left.
    ///
    /// # Errors
    /// [`OverBudget`]: not as much is left as it has come to.
    pub fn stretch(&mut self, come_to: PicoUsd, ahead: PicoUsd) -> Result<(), Box<OverBudget>> {
        self.held.as_mut().map_or(Ok(()), |held| held.stretch(come_to, ahead))
    }

    /// What a caller reads whose answer is ended because nothing is left; counted as a refusal.
    #[must_use]
    pub fn ended_by(&self, over: &OverBudget) -> String {
        let now = self.shared.clock.now();
        let subject = RefusalSubject::Key(self.live.grant.key.public_id);
        self.shared.services.refusals.count("budget_stream", subject, now);
        ended_text(over, now)
    }

    /// The key's places are free, and limits count what the call took: all that was held for it, where nobody can tell.
    fn leave(&mut self, row: &LedgerRow) {
        let Some(admitted) = self.admitted.take() else { return };
        let untold = row.outcome == Outcome::Unknown || row.flags.has(RowFlags::UNREADABLE);
        let taken = if untold { admitted.held() } else { counted(&row.usage) };
        admitted.settle(taken, self.shared.clock.now());
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
            charges: self.charges.clone(),
        };
        self.intent = Some(id);
        self.sent = false;
        Ok(self.slot.as_mut().map(|slot| slot.intent(intent)))
    }

    /// From here on the provider may work on the call, and bill it.
    pub const fn sending(&mut self) {
        self.sent = true;
    }

    /// Whether a hard budget binds the call: it may be sent only once its intent is durable.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.held.as_ref().is_some_and(Held::binds)
    }

    /// The worst case of the call.
    #[must_use]
    pub const fn reservation(&self) -> PicoUsd {
        self.reservation
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
            held: None,
        })
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
    /// [`ReserveError::OverBudget`]: budgets have not enough left for another one.
    pub fn book_lost(&mut self, detail: &'static str) -> Result<(), ReserveError> {
        let row = self.row(Ending { detail: detail.into(), ..self.unknown() });
        let cost = row.cost;
        if let Some(slot) = &mut self.slot {
            // Nobody waits for it: it goes with the group of the next attempt's intent.
            drop(slot.book(row, Vec::new()));
        }
        self.intent = None;
        let Some(held) = self.held.take() else { return Ok(()) };
        held.settle(cost);
        let (payer, parent) = payer(&self.live, &self.particulars.party);
        let budgets = &self.shared.services.budgets;
        let ask = self.outlook.as_ref().map(|outlook| outlook.ask(budgets));
        let ask = ask.unwrap_or(Ask::at_most(self.reservation));
        let now = self.shared.clock.now();
        let again = self.shared.services.budgets.reserve(&payer, parent.as_ref(), ask, now);
        self.held = again.map_err(|over| ReserveError::OverBudget(over, now))?;
        self.charges = self.held.as_ref().map(|held| held.charges().to_vec()).unwrap_or_default();
        Ok(())
    }

    /// The place among the records, to book more rows on it.
    pub const fn slot_mut(&mut self) -> Option<&mut Slot> {
        self.slot.as_mut()
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

/// A duration in whole microseconds.
#[must_use]
pub fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<ReserveError> for Refusal {
    fn from(error: ReserveError) -> Self {
        let text = error.to_string();
        match error {
            ReserveError::OverBudget(over, now) => {
                let wait = over.window.end.and_then(|end| u64::try_from(wait_secs(now, end)).ok());
                let period = over.record.calendar.period();
                let cap = Cap { period: period.as_str(), reset: over.window.end };
                Self {
                    retry_after_secs: wait,
                    cap: Some(cap),
                    ..Self::new(Answer::SpendCapReached, "budget", text)
                }
            }
            ReserveError::Unbounded(_) => Self::new(Answer::InvalidRequest, "budget_unbounded", text),
            ReserveError::Unmetered => Self::new(Answer::NotSupported, "budget_unmetered", text),
        }
    }
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
