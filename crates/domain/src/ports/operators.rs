//! What operators, their tokens and approvals need from the store. What changes goes through
//! [`super::Store::apply`], but for the moment of a token's last use.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    audit::Digest,
    clock::Timestamp,
    id::{ApprovalId, OperatorId, OperatorTokenId, WorkspaceId},
    operator::{
        approval::ApprovalRecord, lockout::Lockout, name::OperatorName, record::OperatorRecord,
        token::OperatorTokenRecord,
    },
};

/// A proof of the second factor, bound to one action of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUp {
    /// The session.
    pub token: OperatorTokenId,
    /// What is done ([`crate::operator::approval::action_digest`]).
    pub action: Digest,
    /// When it was proved.
    pub at: Timestamp,
    /// It counts until then.
    pub until: Timestamp,
}

/// Operators, their tokens, and requests that wait for a second person.
#[async_trait]
pub trait OperatorStore: Send + Sync + 'static {
    /// All operators, removed ones too, by creation.
    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError>;
    /// One operator.
    async fn operator(&self, id: &OperatorId) -> Result<Option<OperatorRecord>, StoreError>;
    /// The operator with this name, removed or not.
    async fn operator_by_name(&self, name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError>;
    /// Whether anyone was ever enrolled.
    async fn has_operators(&self) -> Result<bool, StoreError>;
    /// One token.
    async fn operator_token(&self, id: &OperatorTokenId) -> Result<Option<OperatorTokenRecord>, StoreError>;
    /// Tokens that are not ended, and break-glass sessions, newest first; at most 1,000.
    async fn operator_tokens(&self) -> Result<Vec<OperatorTokenRecord>, StoreError>;
    /// Notes that a token was used.
    async fn touch_operator_token(&self, id: &OperatorTokenId, at: Timestamp) -> Result<(), StoreError>;
    /// The newest proof of a session for an action.
    async fn step_up(&self, token: &OperatorTokenId, action: Digest) -> Result<Option<StepUp>, StoreError>;
    /// One approval.
    async fn approval(&self, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError>;
    /// Approvals, newest first, at most 1,000; with `open_at`, only those that wait at that moment.
    async fn approvals(&self, open_at: Option<Timestamp>) -> Result<Vec<ApprovalRecord>, StoreError>;
    /// Approvals that were decided before a moment and not done yet, the oldest first; at most 100.
    async fn unfinished_approvals(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError>;
    /// Approvals decided before a moment whose answer's secret nobody took; at most 100.
    async fn untaken_answers(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError>;
    /// The sealed answer of an approval.
    async fn approval_answer(&self, id: &ApprovalId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Failed proofs of a place.
    async fn lockout(&self, place: u64) -> Result<Lockout, StoreError>;
    /// Counts one more failure, durably, and gives back what counts now. Of two at once both count.
    async fn count_failure(&self, place: u64, at: Timestamp) -> Result<Lockout, StoreError>;
    /// Forgets the failures of a place.
    async fn clear_lockout(&self, place: u64) -> Result<(), StoreError>;
    /// The workspace that a thing belongs to, by its id: a key, a workspace, whatever a key has. `None`: there is no
    /// such thing, or it belongs to no workspace.
    async fn workspace_of(&self, id: &str) -> Result<Option<WorkspaceId>, StoreError>;
}
