//! Taking the steps that are due. Each is one transaction decided by what is stored and observed, so that whoever
//! dies between two of them, or is overtaken by another node, loses nothing: the next turn decides again.
//!
//! It is a durable job: whoever holds its lease acts, and every transaction fails without it.

use std::time::Duration;

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, RotationId},
    key::KeyRecord,
    ports::lifecycle::RotationFilter,
    rotation::{Observed, RotationRecord, RotationState, Step, decide, take},
    schedule::Schedule,
};

use super::{Rotations, StepError, Write, event_of};
use crate::{
    Caller, ServiceError,
    scheduler::{Job, Turn},
};

/// Rotations a page.
const PAGE: u32 = 200;
/// The longest way from a start to an end, and some more.
const MOST_STEPS: usize = 16;
/// Whoever is not heard of for so long has died, and another runner goes on.
const LEASE: Duration = Duration::from_secs(15);

/// The durable job that takes rotations on.
pub(crate) struct RotationJob {
    pub(crate) schedule: Schedule,
    pub(crate) rotations: Rotations,
}

#[async_trait]
impl Job for RotationJob {
    fn name(&self) -> &'static str {
        "rotations"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn is_wanted(&self) -> Result<bool, ServiceError> {
        Ok(self.rotations.0.wrappings.has_lapsed().await? || self.rotations.is_any_due().await?)
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let emptied = self.rotations.0.wrappings.sweep(Some(turn)).await?;
        let taken = self.rotations.advance_all(Some(turn)).await?;
        Ok(format!("{taken} steps, {emptied} lapsed deliveries emptied"))
    }
}

/// A step that is due, and the key that goes as it was seen.
struct DueStep {
    step: Step,
    name: &'static str,
    old: KeyRecord,
    now: Timestamp,
}

impl Rotations {
    /// Takes every step that is due now, under the lease of this turn if there is one; how many were taken. A rotation
    /// that cannot be advanced keeps no other from it.
    ///
    /// # Errors
    /// The last failure, when there were only failures.
    pub async fn advance_all(&self, turn: Option<&Turn>) -> Result<usize, ServiceError> {
        let (mut taken, mut failed) = (0, None);
        let mut after = None;
        loop {
            let page = self.open_page(after).await?;
            for rotation in &page {
                match self.advance(rotation.clone(), turn).await {
                    Ok(steps) => taken += steps,
                    Err(error) => {
                        tracing::warn!(rotation = %rotation.id, %error, "a rotation could not be advanced");
                        failed = Some(error);
                    }
                }
            }
            after = page.last().map(|last| last.id.clone());
            if page.len() < PAGE as usize {
                return match failed {
                    Some(error) if taken == 0 => Err(error),
                    Some(_) | None => Ok(taken),
                };
            }
        }
    }

    /// Whether there is a step to be taken now.
    async fn is_any_due(&self) -> Result<bool, ServiceError> {
        let mut after = None;
        loop {
            let page = self.open_page(after).await?;
            for rotation in &page {
                if self.due(rotation).await?.is_some() {
                    return Ok(true);
                }
            }
            after = page.last().map(|last| last.id.clone());
            if page.len() < PAGE as usize {
                return Ok(false);
            }
        }
    }

    async fn open_page(&self, after: Option<RotationId>) -> Result<Vec<RotationRecord>, ServiceError> {
        let filter = RotationFilter { open: true, after, limit: PAGE, ..RotationFilter::default() };
        Ok(self.0.store.rotations(&filter).await?)
    }

    pub(super) async fn advance(
        &self,
        mut rotation: RotationRecord,
        turn: Option<&Turn>,
    ) -> Result<usize, ServiceError> {
        for steps in 0..MOST_STEPS {
            match self.step(&rotation, turn).await {
                Ok(true) => rotation = self.rotation(&rotation.id).await?,
                Ok(false) | Err(StepError::Overtaken) => return Ok(steps),
                Err(StepError::Service(error)) => return Err(error),
            }
        }
        Ok(MOST_STEPS)
    }

    /// Takes one step, if one is due.
    async fn step(&self, rotation: &RotationRecord, turn: Option<&Turn>) -> Result<bool, StepError> {
        let Some(DueStep { step, name, old, now }) = self.due(rotation).await? else { return Ok(false) };
        let Some(taken) = take(rotation, &old, step, now) else { return Ok(false) };
        let event = event_of(&Caller::system(), now, name, rotation);
        let event = match step {
            Step::Rung(stage) => event.with("stage", stage.as_str()),
            Step::Hold(why) => event.with("why", why.as_str()),
            Step::Wait(_)
            | Step::Deliver
            | Step::Activate
            | Step::Retire
            | Step::Finish
            | Step::Close
            | Step::Abandon
            | Step::Release => event,
        };
        let hold = turn.map(Turn::hold);
        self.write(Write { before: rotation, old: &old, taken, event, hold }).await?;
        Ok(true)
    }

    /// The step that is due now, if one is.
    async fn due(&self, rotation: &RotationRecord) -> Result<Option<DueStep>, ServiceError> {
        let (old, successor) = (self.key(&rotation.old).await?, self.key(&rotation.successor).await?);
        let waits = matches!(rotation.state, RotationState::Created | RotationState::Delivered);
        let seen = Observed {
            old: &old,
            successor: &successor,
            old_last_used: if rotation.state == RotationState::Overlapping {
                self.last_used(&old.id).await?
            } else {
                None
            },
            successor_used: waits && self.last_used(&successor.id).await?.is_some(),
            unwrapped: rotation.state == RotationState::Created && self.is_unwrapped(&successor.id).await?,
        };
        let now = self.0.clock.now();
        let step = decide(rotation, &seen, now);
        Ok(step.name().map(|name| DueStep { step, name, old, now }))
    }

    /// When a key or a child of it was last used.
    pub(super) async fn last_used(&self, key: &KeyId) -> Result<Option<Timestamp>, ServiceError> {
        let own = self.0.store.key_uses(std::slice::from_ref(key)).await?;
        let own = own.first().and_then(|(_, used)| used.last_used_at);
        Ok(own.max(self.0.store.children_last_used(key).await?))
    }

    async fn is_unwrapped(&self, key: &KeyId) -> Result<bool, ServiceError> {
        Ok(self.0.store.wrapping_of(key).await?.is_some_and(|w| w.opened.is_some()))
    }
}
