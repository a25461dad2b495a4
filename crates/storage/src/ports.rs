//! The ports beside keys and ledger.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{ChannelId, NoticeId, ReportId},
    notice::{NoticeRecord, channel::ChannelRecord, delivery::DeliveryRecord},
    ports::{
        StoreError,
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobRun, JobStore},
        notices::{NoticeFilter, NoticeStore, ReportRecord},
    },
};

use crate::{Database, jobs, notices};

#[async_trait]
impl NoticeStore for Database {
    async fn channels(&self) -> Result<Vec<ChannelRecord>, StoreError> {
        notices::channels(&self.db).await
    }
    async fn notice(&self, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
        notices::notice(&self.db, id).await
    }
    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRecord>, StoreError> {
        notices::notices(&self.db, filter).await
    }
    async fn deliveries(&self, notice: &NoticeId) -> Result<Vec<DeliveryRecord>, StoreError> {
        notices::deliveries(&self.db, notice).await
    }
    async fn due_channels(&self, now: Timestamp) -> Result<Vec<ChannelId>, StoreError> {
        notices::due_channels(&self.db, now).await
    }
    async fn due_deliveries(
        &self,
        channel: &ChannelId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        notices::due(&self.db, channel, now, limit).await
    }
    async fn put_delivery(&self, delivery: &DeliveryRecord) -> Result<(), StoreError> {
        notices::keep_delivery(&self.db, delivery).await
    }
    async fn report(&self, id: Option<&ReportId>) -> Result<Option<ReportRecord>, StoreError> {
        notices::report(&self.db, id).await
    }
    async fn forget_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        notices::forget(&self.db, before).await
    }
}

#[async_trait]
impl JobStore for Database {
    async fn jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        jobs::list(&self.db).await
    }
    async fn job_runs(&self, name: &str, limit: u32) -> Result<Vec<JobRun>, StoreError> {
        jobs::runs(&self.db, name, limit).await
    }
    async fn add_job(&self, name: &str, next_run_at: Timestamp) -> Result<(), StoreError> {
        jobs::add(&self.db, name, next_run_at).await
    }
    async fn move_job(&self, seen: &JobRecord, next_run_at: Timestamp) -> Result<(), StoreError> {
        jobs::move_to(&self.db, seen, next_run_at).await
    }
    async fn claim_job(&self, claim: &JobClaim) -> Result<Option<JobLease>, StoreError> {
        jobs::claim(&self.db, claim).await
    }
    async fn renew_job(&self, lease: &JobLease, until: Timestamp) -> Result<bool, StoreError> {
        jobs::renew(&self.db, lease, until).await
    }
    async fn end_job(&self, lease: &JobLease, end: &JobEnd, now: Timestamp) -> Result<bool, StoreError> {
        jobs::end(&self.db, lease, end, now).await
    }
}
