//! This node's blocks of budgets that several nodes share. Calls are made from blocks in memory. One loop asks the store for
//! more, ahead of need and for calls that wait, tells others what is in use, and gives back what is not.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    budget::{Ask, BudgetRecord, BudgetSubject, Charge, Ground, OverBudget, Standing, blocks::Answer},
    clock::Timestamp,
    id::{KeyId, NodeId},
    ledger::Party,
    ports::{
        StoreError,
        nodes::{Estate, SharedStore},
    },
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Budgets, Held, Inner};
use crate::{ServiceError, lock::lock};

/// How long a call waits at most for what other nodes do not use.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);
/// How soon it asks again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// How often others' demands are looked for while there is something to give.
const TICK: Duration = Duration::from_millis(200);
/// How often others are told what is in use, in ticks.
const TELL: u64 = 5;
/// How often blocks of periods that are over are cleared away, in ticks.
const CLEAR: u64 = 300;
/// Accounts that others are told of at once, at most.
const TOLD: usize = 64;
/// An account that was used within this is told of, in microseconds.
const FRESH_US: i64 = 3_000_000;

/// Why a call may not be made.
#[derive(Debug)]
pub enum Lacking {
    /// Not as much is left of a budget.
    Over(Box<OverBudget>),
    /// This node's block has not as much, and the store, which knows what is left, does not answer.
    Away,
}

/// What has come of the questions of one round.
#[derive(Debug, Default, Clone)]
pub(super) struct Round {
    number: u64,
    pub(super) is_away: bool,
    pub(super) answers: Arc<HashMap<Charge, Answer>>,
}

/// What the loop and those who wait for it share.
#[derive(Debug)]
pub(super) struct Blocks {
    node: NodeId,
    wake: Notify,
    /// The number of the round that has begun last.
    begun: AtomicU64,
    ended: watch::Sender<Round>,
}

impl Blocks {
    pub(super) fn of(node: NodeId) -> Self {
        let (ended, _) = watch::channel(Round::default());
        Self { node, wake: Notify::new(), begun: AtomicU64::new(0), ended }
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Inner {
    /// The store and this node's blocks, where several nodes share the budgets.
    pub(super) fn sharing(&self) -> Option<(&dyn SharedStore, &Blocks)> {
        self.deps.store.shared().zip(self.blocks.as_ref())
    }
}

impl Budgets {
    /// Holds back as [`Budgets::reserve`] does; where this node's block has not enough, waits for a larger one, and until
    /// others have given back what they do not use, but not for long.
    ///
    /// # Errors
    /// [`Lacking`]: nothing was held back.
    pub async fn reserve_in_time(
        &self,
        party: &Party,
        parent: Option<&KeyId>,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Option<Held>, Lacking> {
        let mut over = match self.reserve(party, parent, ask, now) {
            Ok(held) => return Ok(held),
            Err(over) => over,
        };
        let Some((_, blocks)) = self.0.sharing() else { return Err(Lacking::Over(over)) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(round) = blocks.next_round(deadline).await else { return Err(Lacking::Away) };
            over = match self.reserve(party, parent, ask, now) {
                Ok(held) => return Ok(held),
                Err(over) => over,
            };
            if round.is_away {
                return Err(Lacking::Away);
            }
            let charge = Charge { budget: over.record.id.clone(), window: over.window.start };
            let lacks = over.needed - over.left;
            if let Some(answer) = round.answers.get(&charge) {
                let is_hopeless = answer.is_hopeless(lacks);
                if is_hopeless || Instant::now() + AGAIN >= deadline {
                    over.left = over.left.max(0) + answer.left();
                    return Err(Lacking::Over(over));
                }
                sleep(AGAIN).await;
            } else if Instant::now() >= deadline {
                return Err(Lacking::Over(over));
            }
        }
    }

    /// Asks for larger blocks, gives back, and tells, until it is stopped; then gives back all.
    pub(crate) async fn keep_blocks(self, stop: CancellationToken) {
        let Some((store, blocks)) = self.0.sharing() else { return };
        let mut ticks: u64 = 0;
        let mut next_tick = Instant::now() + TICK;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = blocks.wake.notified() => self.round(store, blocks).await,
                () = tokio::time::sleep_until(next_tick) => {
                    next_tick = Instant::now() + TICK;
                    ticks += 1;
                    self.round(store, blocks).await;
                    if let Err(error) = self.tick(store, blocks, ticks).await {
                        tracing::debug!(%error, "blocks of budgets could not be told of");
                    }
                }
            }
        }
        let rest = lock(&self.0.book).give_all_back();
        for charge in rest {
            if let Err(error) = self.ask_store(store, blocks, &charge, 0).await {
                tracing::debug!(%error, "a block could not be given back; it ends with this node's lease");
            }
        }
    }

    /// Asks for whatever is wanted.
    async fn round(&self, store: &dyn SharedStore, blocks: &Blocks) {
        let number = blocks.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let wanted = lock(&self.0.book).take_wanted();
        let mut round = Round { number, ..Round::default() };
        let mut answers = HashMap::with_capacity(wanted.len());
        for (charge, lacks) in wanted {
            match self.ask_store(store, blocks, &charge, lacks).await {
                Ok(Some(answer)) => drop(answers.insert(charge, answer)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, budget = %charge.budget, "no larger block of a budget");
                    round.is_away = true;
                    break;
                }
            }
        }
        round.answers = Arc::new(answers);
        blocks.ended.send_replace(round);
    }

    /// One question.
    async fn ask_store(
        &self,
        store: &dyn SharedStore,
        blocks: &Blocks,
        charge: &Charge,
        lacks: i128,
    ) -> Result<Option<Answer>, StoreError> {
        let now = self.0.deps.clock.now();
        let Some(wish) = lock(&self.0.book).wish(charge, lacks, now) else { return Ok(None) };
        let answer = match store.ask_block(&blocks.node, charge, wish).await {
            Ok(answer) => answer,
            // It was dropped; the feed says so soon.
            Err(StoreError::Conflict { what: "budget" }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let crossed = lock(&self.0.book).answered(charge, &wish, &answer);
        self.untold(crossed);
        Ok(Some(answer))
    }

    async fn tick(&self, store: &dyn SharedStore, blocks: &Blocks, ticks: u64) -> Result<(), StoreError> {
        let now = self.0.deps.clock.now();
        let has_idle = lock(&self.0.book).has_idle();
        let demanded = match has_idle {
            true => store.demands(&blocks.node).await?,
            false => Vec::new(),
        };
        let returned = lock(&self.0.book).give_back(&demanded, now);
        for charge in returned {
            self.ask_store(store, blocks, &charge, 0).await?;
        }
        if ticks.is_multiple_of(TELL) {
            // What is in the record but not in totals would count for nobody.
            store.fold(&blocks.node, now).await?;
            let busy = lock(&self.0.book).busy(now, FRESH_US);
            for charge in busy.iter().take(TOLD) {
                self.ask_store(store, blocks, charge, 0).await?;
            }
        }
        if ticks.is_multiple_of(CLEAR) {
            let stored = store.blocks_of(&blocks.node).await?;
            let over: Vec<Charge> = {
                let book = lock(&self.0.book);
                stored.into_iter().map(|(charge, _)| charge).filter(|charge| !book.has(charge)).collect()
            };
            store.forget_blocks(&blocks.node, &over).await?;
        }
        Ok(())
    }

    /// What was taken over before this start was settled, as it is stored.
    pub(super) async fn inherit_stored(&self) -> Result<(), ServiceError> {
        let Some((store, blocks)) = self.0.sharing() else { return Ok(()) };
        let blocks = store.blocks_of(&blocks.node).await?;
        self.inherit(&Estate { intents: Vec::new(), blocks });
        Ok(())
    }

    /// Whether several nodes share the budgets: then a call is made only once its intent is in the store itself.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.0.blocks.is_some()
    }

    /// Takes over what a node that died leaves: its blocks, and its calls at what they held back.
    pub(crate) fn inherit(&self, estate: &Estate) {
        let mut crossed = Vec::new();
        let mut book = lock(&self.0.book);
        for (charge, amount) in &estate.blocks {
            book.adopt(charge, *amount);
        }
        for intent in &estate.intents {
            crossed.extend(book.charge(&intent.charges, intent.reservation).crossed);
        }
        drop(book);
        self.untold(crossed);
    }

    /// How every budget of a subject stands, over all nodes; `None`: of all subjects.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] when several nodes share a store that does not answer.
    pub async fn standings_of_all(
        &self,
        subject: Option<&BudgetSubject>,
    ) -> Result<Vec<Standing>, ServiceError> {
        let mut standings = self.standings(subject);
        let Some((store, blocks)) = self.0.sharing() else { return Ok(standings) };
        let charge = |s: &Standing| Charge { budget: s.record.id.clone(), window: s.window.start };
        let charges: Vec<Charge> = standings.iter().map(charge).collect();
        let grounds = store.grounds(&blocks.node, &charges).await?;
        for ((standing, charge), ground) in standings.iter_mut().zip(&charges).zip(&grounds) {
            let here = lock(&self.0.book).in_flight(charge);
            over_all(standing, here, ground);
        }
        Ok(standings)
    }
}

impl Blocks {
    /// Wakes the loop, and waits for the end of a round that begins after this; `None`: there was none in time.
    pub(super) async fn next_round(&self, deadline: Instant) -> Option<Round> {
        let mut ended = self.ended.subscribe();
        let goal = self.begun.load(Ordering::Acquire) + 1;
        self.wake();
        let round = timeout_at(deadline, ended.wait_for(|round| round.number >= goal)).await;
        Some(round.ok()?.ok()?.clone())
    }
}

/// What of a budget all nodes together have settled and hold back. What others said last is never more than their blocks
/// hold.
fn over_all(standing: &mut Standing, (reserved, beyond): (i128, i128), ground: &Ground) {
    let record: &BudgetRecord = &standing.record;
    let limit = i128::from(record.limit.as_pico());
    let within = |reserved: i128, amount: i128| match record.hard {
        true => reserved.clamp(0, amount.max(0)),
        false => reserved.max(0),
    };
    let of_others: i128 = ground.others.iter().map(|held| within(held.reserved, held.amount)).sum();
    let beyond_of_others: i128 = ground.others.iter().map(|held| held.beyond.max(0)).sum();
    standing.settled = ground.settled;
    standing.reserved = ground.batches + of_others + within(reserved, ground.own.amount);
    let left = limit - standing.settled - standing.reserved;
    standing.left = left.max(0);
    standing.overshoot_bound = (beyond + beyond_of_others - left).max(0);
}
