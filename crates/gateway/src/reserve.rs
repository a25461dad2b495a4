//! Stage 7, reserve: what the call can cost at most, and the durable intent that says it was made. An intent that
//! nobody settles is charged at its reservation.

mod ask;
mod booking;
mod particulars;
mod words;

use std::sync::Arc;

use claviger_claude_wire::{answers::Answer, price::Unbounded, usage::MessageSummary};
use claviger_domain::{
    budget::{Charge, Nearest, OverBudget},
    clock::{EntropyError, Timestamp},
    id::IntentId,
    ledger::{Intent, Route},
    limit::Headrooms,
    money::PicoUsd,
    tenancy::{Resource, ResourceKind},
};
use claviger_service::{
    admission::Admitted,
    budgets::Held,
    grants::LiveGrant,
    recorder::{Receipt, Slot},
    refusals::RefusalSubject,
};

pub use self::particulars::Particulars;
use self::{
    ask::{Asked, Payer, ask},
    words::{ended_text, over_text},
};
use crate::{
    admit::{Admission, wait_secs},
    authorize::Permit,
    outlook::Outlook,
    recall::{Miss, Part},
    refuse::{Cap, Refusal},
    tokens::counted_input,
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
    /// This node's block of a budget is used up, and the store does not answer.
    #[error("what is left of a budget cannot be told now")]
    Away,
    /// What it costs has no bound, and a hard budget binds it.
    #[error(transparent)]
    Unbounded(#[from] Unbounded),
    /// What it costs cannot be metered, and a hard budget binds it.
    #[error("what calls of this route cost cannot be metered, which a hard budget does not allow")]
    Unmetered,
}

/// Holds back what the call can cost at most.
///
/// # Errors
/// [`ReserveError`]; nothing was taken then.
pub async fn reserve(worker: &Worker, permit: &Permit, miss: Miss) -> Result<Lease, ReserveError> {
    let shared = &worker.shared;
    let live = &permit.caller.live;
    let head = &permit.head;
    let party = particulars::party(live);
    let (Admission { admitted, slot }, part) = miss.into_parts();
    let budgets = &shared.services.budgets;
    let payer = Payer::of(budgets, live, &party);
    let held = match ask(shared, permit, payer.as_ref()) {
        Ok(Asked { worst, ask, outlook }) => {
            let held = match payer.zip(ask) {
                Some((payer, ask)) => payer.reserve(budgets, ask, head.at).await,
                None => Ok(None),
            };
            held.map(|held| (worst, held, outlook))
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

    /// The ceiling on money that the caller is nearest to.
    #[must_use]
    pub fn nearest(&self) -> Option<Nearest> {
        self.held.as_ref().and_then(Held::nearest)
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

    /// The place among the records, to book more rows on it.
    pub const fn slot_mut(&mut self) -> Option<&mut Slot> {
        self.slot.as_mut()
    }
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
            ReserveError::Away => Self::new(Answer::Unavailable, "budget_away", text),
            ReserveError::Unbounded(_) => Self::new(Answer::InvalidRequest, "budget_unbounded", text),
            ReserveError::Unmetered => Self::new(Answer::NotSupported, "budget_unmetered", text),
        }
    }
}
