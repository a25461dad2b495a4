//! What notices need from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    clock::Timestamp,
    id::{ChannelId, NoticeId, ReportId},
    notice::{
        NoticeRecord, Severity,
        channel::ChannelRecord,
        delivery::{DeliveryError, DeliveryRecord, DeliveryState},
        message::Message,
    },
    secret::SecretBytes,
};

/// Which notices to list.
#[derive(Debug, Clone, Default)]
pub struct NoticeFilter {
    /// Only those with a delivery in this state.
    pub state: Option<DeliveryState>,
    /// Only those older than this one.
    pub before: Option<NoticeId>,
    /// At most this many.
    pub limit: u32,
}

/// A report that was made and is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRecord {
    /// Its id.
    pub id: ReportId,
    /// It speaks of what happened from here on
    pub from: Timestamp,
    /// and before this.
    pub until: Timestamp,
    /// When it was made.
    pub made_at: Timestamp,
    /// As Markdown.
    pub markdown: String,
    /// As a whole HTML page.
    pub html: String,
    /// As JSON.
    pub json: String,
}

/// Notices, channels, deliveries and reports. What changes them but for the course of deliveries goes through
/// [`super::Store::apply`].
#[async_trait]
pub trait NoticeStore: Send + Sync + 'static {
    /// All channels, removed ones too.
    async fn channels(&self) -> Result<Vec<ChannelRecord>, StoreError>;
    /// One notice.
    async fn notice(&self, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError>;
    /// Notices, newest first.
    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRecord>, StoreError>;
    /// The deliveries of a notice.
    async fn deliveries(&self, notice: &NoticeId) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// Channels that have a delivery to be tried now.
    async fn due_channels(&self, now: Timestamp) -> Result<Vec<ChannelId>, StoreError>;
    /// A channel's deliveries to be tried now, those first that wait longest.
    async fn due_deliveries(
        &self,
        channel: &ChannelId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// Keeps how a delivery stands; [`StoreError::Conflict`] when somebody else was faster.
    async fn put_delivery(&self, delivery: &DeliveryRecord) -> Result<(), StoreError>;
    /// One report; `None`: the newest.
    async fn report(&self, id: Option<&ReportId>) -> Result<Option<ReportRecord>, StoreError>;
    /// Forgets notices that were raised before that moment and wait for nothing; how many.
    async fn forget_notices(&self, before: Timestamp) -> Result<u64, StoreError>;
}

/// A message for one channel.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The notice's id, the same at every try.
    pub id: NoticeId,
    /// When this try is made.
    pub at: Timestamp,
    /// How grave it is.
    pub severity: Severity,
    /// What it says.
    pub message: Message,
    /// Who gets it beside the channel's own recipients: addresses of owners.
    pub copies: Vec<String>,
}

/// Carries messages out of the house.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Delivers through one channel, within a bounded time.
    async fn deliver(
        &self,
        channel: &ChannelRecord,
        secret: Option<&SecretBytes>,
        letter: &Letter,
    ) -> Result<(), DeliveryError>;
}
