//! What a call asks for: the most that it can cost, and what of it budgets hold back.

use claviger_claude_wire::price::{Call, CallKind};
use claviger_domain::{
    budget::{Ask, Cover},
    clock::Timestamp,
    id::KeyId,
    ledger::Party,
    money::PicoUsd,
    permission::Endpoint,
    token::KeyClass,
};
use claviger_service::{
    budgets::{Budgets, Held, Lacking},
    grants::LiveGrant,
};

use super::ReserveError;
use crate::{
    authorize::{Payload, Permit, betas},
    outlook::Outlook,
    path::Operation,
    worker::Shared,
};

/// Whose budgets a call counts against: those of the key's line and of the line above a child, whichever key of them it
/// is made with today.
pub struct Payer {
    party: Party,
    parent: Option<KeyId>,
}

impl Payer {
    /// `None`: there is no budget at all.
    pub fn of(budgets: &Budgets, live: &LiveGrant, party: &Party) -> Option<Self> {
        budgets.any().then(|| Self {
            party: Party { key: live.grant.key.lineage.clone(), ..party.clone() },
            parent: live.parent.as_ref().map(|parent| parent.grant.key.lineage.clone()),
        })
    }

    /// Holds back from all of them, or from none.
    ///
    /// # Errors
    /// [`ReserveError::OverBudget`], [`ReserveError::Away`].
    pub async fn reserve(
        &self,
        budgets: &Budgets,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Option<Held>, ReserveError> {
        let held = budgets.reserve_in_time(&self.party, self.parent.as_ref(), ask, now).await;
        held.map_err(|lacking| match lacking {
            Lacking::Over(over) => ReserveError::OverBudget(over, now),
            Lacking::Away => ReserveError::Away,
        })
    }

    fn cover(&self, budgets: &Budgets) -> Cover {
        match self.party.class {
            KeyClass::Live => budgets.cover(&self.party, self.parent.as_ref()),
            KeyClass::Test => Cover::None,
        }
    }

    fn expects(&self, budgets: &Budgets) -> bool {
        budgets.expects(&self.party, self.parent.as_ref())
    }

    /// Of whose calls is learned: of a child the line above it.
    fn learns_as(&self) -> KeyId {
        self.parent.as_ref().unwrap_or(&self.party.key).clone()
    }
}

/// What a call needs.
pub struct Asked {
    /// The most that it can cost.
    pub worst: PicoUsd,
    /// What to ask of budgets, if it counts against any.
    pub ask: Option<Ask>,
    /// What it will likely cost, if one of them asks.
    pub outlook: Option<Box<Outlook>>,
}

/// The most that the call can cost; and what to ask of budgets, if it counts against any.
///
/// # Errors
/// [`ReserveError::Unmetered`], [`ReserveError::Unbounded`].
pub fn ask(shared: &Shared, permit: &Permit, payer: Option<&Payer>) -> Result<Asked, ReserveError> {
    let head = &permit.head;
    let cover = payer.map_or(Cover::None, |payer| payer.cover(&shared.services.budgets));
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
            return Ok(Asked { worst, ask: None, outlook: to_count(shared, permit, payer) });
        }
        Some(Ok(ceiling)) => PicoUsd::saturating(ceiling),
        Some(Err(unbounded)) if cover == Cover::Hard => return Err(unbounded.into()),
        Some(Err(_)) => PicoUsd::saturating(worst),
    };
    let outlook = outlook(shared, permit, payer, worst);
    let ask = outlook.as_ref().map(|outlook| outlook.ask(&shared.services.budgets));
    Ok(Asked { worst, ask: Some(ask.unwrap_or(Ask::at_most(worst))), outlook })
}

/// A prompt whose tokens are to be counted, by which others are estimated; the simulator's counts are its own.
fn to_count(shared: &Shared, permit: &Permit, payer: Option<&Payer>) -> Option<Box<Outlook>> {
    let payer = payer.filter(|payer| payer.party.class == KeyClass::Live)?;
    let Payload::Message { body, facts } = &permit.payload else { return None };
    if permit.head.operation != Operation::CountTokens || !shared.services.budgets.learns() {
        return None;
    }
    let at = permit.head.at;
    let asked = (facts, &*body.bytes);
    Outlook::of_message(&shared.prices.load(), asked, payer.learns_as(), PicoUsd::ZERO, at)
}

/// What a message will likely cost, where a budget in expected mode asks. Batches are billed long after they are made:
/// the most is held back for them.
fn outlook(shared: &Shared, permit: &Permit, payer: Option<&Payer>, worst: PicoUsd) -> Option<Box<Outlook>> {
    let payer = payer.filter(|payer| payer.expects(&shared.services.budgets))?;
    let Payload::Message { body, facts } = &permit.payload else { return None };
    let (at, asked) = (permit.head.at, (facts, &*body.bytes));
    Outlook::of_message(&shared.prices.load(), asked, payer.learns_as(), worst, at)
}
