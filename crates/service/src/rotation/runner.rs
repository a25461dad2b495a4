//! Taking the steps that are due. Each is one transaction decided by what is stored and observed, so that whoever
//! dies between two of them, or is overtaken by another node, loses nothing: the next turn decides again.

use std::time::Duration;

use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    ports::lifecycle::RotationFilter,
    rotation::{Observed, RotationRecord, RotationState, Step, decide, take},
};
use tokio_util::sync::CancellationToken;

use super::{Rotations, StepError, event_of};
use crate::{Caller, ServiceError};

/// How often open rotations are looked through.
const TURN: Duration = Duration::from_secs(2);
/// How often lapsed deliveries are looked for, in turns.
const SWEEP_TURNS: u32 = 15;
/// Rotations a page.
const PAGE: u32 = 200;
/// The longest way from a start to an end, and some more.
const MOST_STEPS: usize = 16;

impl Rotations {
    /// Takes due steps until `stop`: every two seconds, and when a delivery was opened.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut turn: u32 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TURN) => {}
                () = self.0.wrappings.opened() => {}
            }
            if let Err(error) = self.advance_all().await {
                tracing::warn!(%error, "rotations could not be advanced");
            }
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(SWEEP_TURNS)
                && let Err(error) = self.0.wrappings.sweep().await
            {
                tracing::warn!(%error, "lapsed deliveries could not be emptied");
            }
        }
    }

    /// Takes every step that is due now; how many were taken.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; what was taken stays taken.
    pub async fn advance_all(&self) -> Result<usize, ServiceError> {
        let mut taken = 0;
        let mut after = None;
        loop {
            let filter = RotationFilter { open: true, after, limit: PAGE, ..RotationFilter::default() };
            let page = self.0.store.rotations(&filter).await?;
            for rotation in &page {
                taken += self.advance(rotation.clone()).await?;
            }
            after = page.last().map(|last| last.id.clone());
            if page.len() < PAGE as usize {
                return Ok(taken);
            }
        }
    }

    pub(super) async fn advance(&self, mut rotation: RotationRecord) -> Result<usize, ServiceError> {
        for steps in 0..MOST_STEPS {
            match self.step(&rotation).await {
                Ok(true) => rotation = self.rotation(&rotation.id).await?,
                Ok(false) | Err(StepError::Overtaken) => return Ok(steps),
                Err(StepError::Service(error)) => return Err(error),
            }
        }
        Ok(MOST_STEPS)
    }

    /// Takes one step, if one is due.
    async fn step(&self, rotation: &RotationRecord) -> Result<bool, StepError> {
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
        let (Some(name), Some(taken)) = (step.name(), take(rotation, &old, step, now)) else {
            return Ok(false);
        };
        let mut event = event_of(&Caller::system(), now, name, rotation);
        if let Step::Rung(stage) = step {
            event = event.with("stage", stage.as_str());
        }
        self.write(rotation, &old, taken, event).await?;
        Ok(true)
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
