//! What a gateway never asks of its store: always empty.

use async_trait::async_trait;
use claviger_domain::{
    audit::Digest,
    clock::Timestamp,
    credit::{AccountRecord, Entry},
    id::{
        ApprovalId, CertificateId, ChannelId, CreditAccountId, CreditEntryId, KeyId, NoticeId, OperatorId,
        OperatorTokenId, ReportId, RotationId, WorkspaceId,
    },
    key::KeyRecord,
    limit::set::UsedBefore,
    notice::{NoticeRecord, channel::ChannelRecord, delivery::DeliveryRecord},
    operator::{
        approval::ApprovalRecord, lockout::Lockout, name::OperatorName, record::OperatorRecord,
        token::OperatorTokenRecord,
    },
    policy::PolicyRecord,
    ports::{
        StoreError,
        children::ChildStore,
        credit::CreditStore,
        idempotency::{IdempotencyStore, KeptAnswer, Known, Reservation},
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobRun, JobStore},
        lifecycle::{
            CertificateFilter, CertificateRecord, LifePlace, LifecycleStore, RotationFilter, UncertifiedKey,
        },
        notices::{NoticeFilter, NoticeStore, ReportRecord},
        operators::{OperatorStore, StepUp},
        reviews::{ReviewFilter, ReviewStore},
        workload::WorkloadStore,
    },
    review::ReviewRecord,
    rotation::RotationRecord,
    token::PublicId,
    workload::{issuer::IssuerRecord, rule::TrustRecord},
    wrapping::WrappingRecord,
};

use super::MemoryStore;

#[async_trait]
impl CreditStore for MemoryStore {
    async fn credit_accounts(&self) -> Result<Vec<AccountRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn credit_entry(&self, _id: &CreditEntryId) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
    async fn credit_reference(&self, _reference: &str) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
    async fn credit_entries(
        &self,
        _account: &CreditAccountId,
        _after: i64,
        _limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }
    async fn credit_taken(&self, _hold: &CreditEntryId) -> Result<i128, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl ChildStore for MemoryStore {
    async fn used_by_children(&self, _parent: &KeyId, _since: Timestamp) -> Result<UsedBefore, StoreError> {
        Ok(UsedBefore::default())
    }
    async fn children_last_used(&self, _parent: &KeyId) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl NoticeStore for MemoryStore {
    async fn channels(&self) -> Result<Vec<ChannelRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn notice(&self, _id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
        Ok(None)
    }
    async fn notices(&self, _filter: &NoticeFilter) -> Result<Vec<NoticeRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn deliveries(&self, _notice: &NoticeId) -> Result<Vec<DeliveryRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn due_channels(&self, _now: Timestamp) -> Result<Vec<ChannelId>, StoreError> {
        Ok(Vec::new())
    }
    async fn due_deliveries(
        &self,
        _channel: &ChannelId,
        _now: Timestamp,
        _limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn put_delivery(&self, _delivery: &DeliveryRecord) -> Result<(), StoreError> {
        Ok(())
    }
    async fn report(&self, _id: Option<&ReportId>) -> Result<Option<ReportRecord>, StoreError> {
        Ok(None)
    }
    async fn forget_notices(&self, _before: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn job_runs(&self, _name: &str, _limit: u32) -> Result<Vec<JobRun>, StoreError> {
        Ok(Vec::new())
    }
    async fn add_job(&self, _name: &str, _next_run_at: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn move_job(&self, _seen: &JobRecord, _next_run_at: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn claim_job(&self, _claim: &JobClaim) -> Result<Option<JobLease>, StoreError> {
        Ok(None)
    }
    async fn renew_job(&self, _lease: &JobLease, _until: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn end_job(&self, _lease: &JobLease, _end: &JobEnd, _now: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn reserve(&self, _wanted: &Reservation) -> Result<Option<Known>, StoreError> {
        Ok(None)
    }
    async fn known_request(&self, _principal: &str, _key: &str) -> Result<Option<Known>, StoreError> {
        Ok(None)
    }
    async fn take_over(&self, _request_id: &str, _wanted: &Reservation) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn keep_answer(&self, _request_id: &str, _answer: &KeptAnswer) -> Result<(), StoreError> {
        Ok(())
    }
    async fn release(&self, _request_id: &str) -> Result<(), StoreError> {
        Ok(())
    }
    async fn forget_requests(&self, _before: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl LifecycleStore for MemoryStore {
    async fn policies(&self) -> Result<Vec<PolicyRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn rotation(&self, _id: &RotationId) -> Result<Option<RotationRecord>, StoreError> {
        Ok(None)
    }
    async fn rotations(&self, _filter: &RotationFilter) -> Result<Vec<RotationRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn wrapping(&self, _id: PublicId) -> Result<Option<WrappingRecord>, StoreError> {
        Ok(None)
    }
    async fn lapsed_wrappings(&self, _at: Timestamp, _limit: u32) -> Result<Vec<WrappingRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn wrapping_of(&self, _key: &KeyId) -> Result<Option<WrappingRecord>, StoreError> {
        Ok(None)
    }
    async fn certificate(&self, _id: &CertificateId) -> Result<Option<CertificateRecord>, StoreError> {
        Ok(None)
    }
    async fn certificate_of(&self, _key: &KeyId) -> Result<Option<CertificateRecord>, StoreError> {
        Ok(None)
    }
    async fn certificates(&self, _filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn uncertified_keys(&self, _limit: u32) -> Result<Vec<UncertifiedKey>, StoreError> {
        Ok(Vec::new())
    }
    async fn unexpired_keys(&self, _after: &LifePlace, _limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn living_children(&self, _parent: &KeyId, _now: Timestamp) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn children(&self, _parent: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn lineage(&self, _lineage: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ReviewStore for MemoryStore {
    async fn reviews(&self, _filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl WorkloadStore for MemoryStore {
    async fn issuers(&self) -> Result<Vec<IssuerRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn trust_rules(&self) -> Result<Vec<TrustRecord>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl OperatorStore for MemoryStore {
    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn operator(&self, _id: &OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
        Ok(None)
    }
    async fn operator_by_name(&self, _name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError> {
        Ok(None)
    }
    async fn has_operators(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn operator_token(&self, _id: &OperatorTokenId) -> Result<Option<OperatorTokenRecord>, StoreError> {
        Ok(None)
    }
    async fn operator_tokens(&self) -> Result<Vec<OperatorTokenRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn touch_operator_token(&self, _id: &OperatorTokenId, _at: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn step_up(&self, _token: &OperatorTokenId, _action: Digest) -> Result<Option<StepUp>, StoreError> {
        Ok(None)
    }
    async fn approval(&self, _id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
        Ok(None)
    }
    async fn approvals(&self, _open_at: Option<Timestamp>) -> Result<Vec<ApprovalRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn unfinished_approvals(&self, _before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn untaken_answers(&self, _before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn approval_answer(&self, _id: &ApprovalId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    async fn lockout(&self, _place: u64) -> Result<Lockout, StoreError> {
        Ok(Lockout::default())
    }
    async fn count_failure(&self, _place: u64, at: Timestamp) -> Result<Lockout, StoreError> {
        Ok(Lockout::default().failed(at))
    }
    async fn clear_lockout(&self, _place: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn workspace_of(&self, _id: &str) -> Result<Option<WorkspaceId>, StoreError> {
        Ok(None)
    }
}
