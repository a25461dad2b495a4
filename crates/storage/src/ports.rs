//! The ports beside keys and ledger.

mod lifecycle;
mod tokens;

use async_trait::async_trait;
use claviger_domain::{
    audit::Digest,
    clock::Timestamp,
    id::{ApprovalId, ChannelId, NoticeId, OperatorId, OperatorTokenId, ReportId, WorkspaceId},
    notice::{NoticeRecord, channel::ChannelRecord, delivery::DeliveryRecord},
    operator::{
        approval::ApprovalRecord, lockout::Lockout, name::OperatorName, record::OperatorRecord,
        token::OperatorTokenRecord,
    },
    ports::{
        StoreError,
        idempotency::{IdempotencyStore, KeptAnswer, Known, Reservation},
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobRun, JobStore},
        notices::{NoticeFilter, NoticeStore, ReportRecord},
        operators::{OperatorStore, StepUp},
    },
};

use crate::{Database, approvals, idempotency, jobs, lockouts, notices, operators};

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

#[async_trait]
impl OperatorStore for Database {
    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError> {
        operators::list(&self.db).await
    }
    async fn operator(&self, id: &OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
        operators::get(&self.db, id).await
    }
    async fn operator_by_name(&self, name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError> {
        operators::by_name(&self.db, name).await
    }
    async fn has_operators(&self) -> Result<bool, StoreError> {
        operators::any(&self.db).await
    }
    async fn operator_token(&self, id: &OperatorTokenId) -> Result<Option<OperatorTokenRecord>, StoreError> {
        operators::token(&self.db, id).await
    }
    async fn operator_tokens(&self) -> Result<Vec<OperatorTokenRecord>, StoreError> {
        operators::tokens(&self.db).await
    }
    async fn touch_operator_token(&self, id: &OperatorTokenId, at: Timestamp) -> Result<(), StoreError> {
        operators::touch_token(&self.db, id, at).await
    }
    async fn step_up(&self, token: &OperatorTokenId, action: Digest) -> Result<Option<StepUp>, StoreError> {
        operators::step_up(&self.db, token, action).await
    }
    async fn approval(&self, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
        approvals::get(&self.db, id).await
    }
    async fn approvals(&self, open_at: Option<Timestamp>) -> Result<Vec<ApprovalRecord>, StoreError> {
        approvals::list(&self.db, open_at).await
    }
    async fn unfinished_approvals(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        approvals::unfinished(&self.db, before).await
    }
    async fn untaken_answers(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        approvals::untaken(&self.db, before).await
    }
    async fn approval_answer(&self, id: &ApprovalId) -> Result<Option<Vec<u8>>, StoreError> {
        approvals::answer(&self.db, id).await
    }
    async fn lockout(&self, place: u64) -> Result<Lockout, StoreError> {
        lockouts::get(&self.db, place).await
    }
    async fn count_failure(&self, place: u64, at: Timestamp) -> Result<Lockout, StoreError> {
        lockouts::count(&self.db, place, at).await
    }
    async fn clear_lockout(&self, place: u64) -> Result<(), StoreError> {
        lockouts::clear(&self.db, place).await
    }
    async fn workspace_of(&self, id: &str) -> Result<Option<WorkspaceId>, StoreError> {
        operators::workspace_of(&self.db, id).await
    }
}

#[async_trait]
impl IdempotencyStore for Database {
    async fn reserve(&self, wanted: &Reservation) -> Result<Option<Known>, StoreError> {
        idempotency::reserve(&self.db, wanted).await
    }
    async fn known_request(&self, principal: &str, key: &str) -> Result<Option<Known>, StoreError> {
        idempotency::get(&self.db, principal, key).await
    }
    async fn take_over(&self, request_id: &str, wanted: &Reservation) -> Result<bool, StoreError> {
        idempotency::take_over(&self.db, request_id, wanted).await
    }
    async fn keep_answer(&self, request_id: &str, answer: &KeptAnswer) -> Result<(), StoreError> {
        idempotency::keep_answer(&self.db, request_id, answer).await
    }
    async fn release(&self, request_id: &str) -> Result<(), StoreError> {
        idempotency::release(&self.db, request_id).await
    }
    async fn forget_requests(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        idempotency::forget(&self.db, before, limit).await
    }
}
