//! The worker that carries notices out: every channel by itself, so that one that fails or hangs holds no other up.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use claviger_domain::{
    clock::{Clock, Entropy, MICROS_PER_SEC},
    id::ChannelId,
    notice::{
        Notice, NoticeRecord,
        channel::{ChannelRecord, ChannelTarget},
        delivery::{DeliveryError, DeliveryRecord, DeliveryState},
        message::Message,
    },
    ports::{
        Sealer, Store, StoreError,
        notices::{Courier, Letter},
    },
    secret::SecretBytes,
    upstream::ServiceState,
};
use futures_util::future::join_all;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::lock::lock;

/// How often the store is asked what waits.
const LOOK: Duration = Duration::from_secs(1);
/// Deliveries that are taken from a channel's queue at once.
const BATCH: u32 = 16;
/// A delivery that a worker took and never told of is tried again after this.
const TAKEN_MICROS: i64 = 120 * MICROS_PER_SEC;

/// Delivers notices. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries(Arc<Inner>);

pub(crate) struct DeliveryDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

struct Inner {
    deps: DeliveryDeps,
    /// Channels that are being served.
    busy: Mutex<HashSet<ChannelId>>,
}

impl Deliveries {
    pub(crate) fn new(deps: DeliveryDeps) -> Self {
        Self(Arc::new(Inner { deps, busy: Mutex::default() }))
    }

    /// Looks every second; serves each channel as a task of the tracker.
    pub(crate) async fn run(self, tracker: TaskTracker, stop: CancellationToken) {
        loop {
            match self.waiting().await {
                Ok(channels) => {
                    for channel in channels {
                        let (this, stop) = (self.clone(), stop.clone());
                        lock(&self.0.busy).insert(channel.id.clone());
                        tracker.spawn(async move {
                            tokio::select! {
                                () = stop.cancelled() => {}
                                () = this.serve(&channel) => {}
                            }
                            lock(&this.0.busy).remove(&channel.id);
                        });
                    }
                }
                Err(error) => tracing::debug!(%error, "what waits for delivery cannot be seen"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Looks once, and serves every channel that has something to deliver.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tick(&self) -> Result<(), StoreError> {
        let channels = self.waiting().await?;
        join_all(channels.iter().map(|channel| self.serve(channel))).await;
        Ok(())
    }

    /// Delivers through one channel now, beside its queue.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn deliver(&self, channel: &ChannelRecord, notice: &NoticeRecord) -> Result<(), DeliveryError> {
        let letter = self.letter(channel, notice).await;
        let letter = letter.map_err(|error| DeliveryError::Transient(error.to_string()))?;
        let secret = self.secret(channel)?;
        self.0.deps.courier.deliver(channel, secret.as_ref(), &letter).await
    }

    async fn waiting(&self) -> Result<Vec<ChannelRecord>, StoreError> {
        let due = self.0.deps.store.due_channels(self.0.deps.clock.now()).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut channels = self.0.deps.store.channels().await?;
        let busy = lock(&self.0.busy);
        channels.retain(|c| c.state == ServiceState::Active && due.contains(&c.id) && !busy.contains(&c.id));
        Ok(channels)
    }

    /// Until the queue is empty or something fails: then the rest would most likely fail, too, and waits for its turn.
    async fn serve(&self, channel: &ChannelRecord) {
        loop {
            let due = self.0.deps.store.due_deliveries(&channel.id, self.0.deps.clock.now(), BATCH).await;
            let due = match due {
                Ok(due) if due.is_empty() => return,
                Ok(due) => due,
                Err(error) => return tracing::debug!(%error, "a channel's queue cannot be seen"),
            };
            for delivery in due {
                match self.attempt(channel, &delivery).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return tracing::warn!(%error, "how a delivery went could not be kept"),
                }
            }
        }
    }

    /// Whether to go on with the next one.
    async fn attempt(&self, channel: &ChannelRecord, waiting: &DeliveryRecord) -> Result<bool, StoreError> {
        let mut taken = waiting.taken(self.0.deps.clock.now().plus_micros(TAKEN_MICROS));
        match self.0.deps.store.put_delivery(&taken).await {
            Ok(()) => taken.version += 1,
            // Another worker has it.
            Err(StoreError::Conflict { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
        let result = match self.0.deps.store.notice(&waiting.notice).await? {
            Some(notice) => self.deliver(channel, &notice).await,
            None => Err(DeliveryError::Permanent("the notice is gone".to_owned())),
        };
        let delivered = result.is_ok();
        let after = taken.after(result, self.0.deps.clock.now(), self.jitter());
        if !delivered {
            let (channel, notice) = (channel.name.as_str(), after.notice.as_str());
            let (attempts, error) = (after.attempts, after.last_error.as_str());
            match after.state {
                DeliveryState::Dead => {
                    tracing::error!(channel, notice, attempts, error, "a notice is undeliverable")
                }
                DeliveryState::Pending | DeliveryState::Delivered => {
                    tracing::warn!(channel, notice, attempts, error, "a notice could not be delivered yet");
                }
            }
        }
        match self.0.deps.store.put_delivery(&after).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(delivered),
            Err(error) => Err(error),
        }
    }

    fn jitter(&self) -> u32 {
        let mut bytes = [0; 4];
        // Without randomness pauses are merely regular.
        self.0.deps.entropy.fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes))
    }

    fn secret(&self, channel: &ChannelRecord) -> Result<Option<SecretBytes>, DeliveryError> {
        if channel.sealed.is_empty() {
            return Ok(None);
        }
        let opened = self.0.deps.sealer.open(ChannelRecord::seal_context(&channel.id), &channel.sealed);
        opened.map(Some).map_err(|error| DeliveryError::Permanent(error.to_string()))
    }

    async fn letter(&self, channel: &ChannelRecord, notice: &NoticeRecord) -> Result<Letter, StoreError> {
        let mut message = Message::of(notice);
        if let Notice::WeeklyReport { report, .. } = &notice.notice
            && let Some(report) = self.0.deps.store.report(Some(report)).await?
        {
            (message.text, message.html) = (report.markdown, report.html);
        }
        Ok(Letter {
            id: notice.id.clone(),
            at: self.0.deps.clock.now(),
            severity: notice.severity,
            message,
            copies: self.copies(channel, notice).await?,
        })
    }

    async fn copies(
        &self,
        channel: &ChannelRecord,
        notice: &NoticeRecord,
    ) -> Result<Vec<String>, StoreError> {
        let to_owner = matches!(&channel.target, ChannelTarget::Smtp(smtp) if smtp.to_owner);
        let Some(owner) = notice.about.owner.as_ref().filter(|_| to_owner) else { return Ok(Vec::new()) };
        let owners = self.0.deps.store.owners().await?;
        Ok(owners.into_iter().find(|o| o.id == *owner).and_then(|o| o.email).into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
