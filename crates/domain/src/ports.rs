//! What the use cases need from the stores: a few wide ports, object-safe, with no transaction crossing them.
//!
//! Domain functions return [`Change`]s; [`Store::apply`] compares row versions and writes changes, audit event and
//! feed entry in one transaction, or nothing. `Conflict` means: load and decide again.

pub mod budgets;
pub mod children;
pub mod credit;
pub mod idempotency;
pub mod jobs;
pub mod ledger;
pub mod lifecycle;
pub mod nodes;
pub mod notices;
pub mod operators;
pub mod reviews;
pub mod sealing;
pub mod signing;
pub mod tokens;
pub mod workload;

use async_trait::async_trait;

use crate::{
    access_token::{denial::Denial, key_life::TokenKeyRecord},
    audit::{AuditEvent, AuditRecord, Digest},
    budget::BudgetRecord,
    clock::Timestamp,
    credit::AccountRecord,
    id::{ApprovalId, IssuerId, KeyId, OperatorId, OwnerId, TrustId, WorkspaceId},
    key::{KeyRecord, KeyUse},
    limit::{Limits, UsedBefore},
    notice::{NoticeRecord, channel::ChannelRecord, delivery::DeliveryRecord},
    operator::{approval::ApprovalRecord, record::OperatorRecord, token::OperatorTokenRecord},
    policy::PolicyRecord,
    proof::Proofs,
    refresh::{Family, RefreshToken},
    review::ReviewRecord,
    rotation::{RotationRecord, Succession},
    signature::secret::SigningRecord,
    tenancy::{OwnerRecord, WorkspaceRecord},
    token::PublicId,
    upstream::{CredentialRecord, UpstreamRecord},
    workload::{issuer::IssuerRecord, rule::TrustRecord},
    wrapping::WrappingRecord,
};

use self::{
    budgets::{BudgetStore, NewBudget},
    children::{ChildCap, ChildStore},
    credit::{CreditStore, NewEntry},
    idempotency::IdempotencyStore,
    jobs::{JobLease, JobStore},
    lifecycle::{CertificateRecord, LifecycleStore, OwnerCap},
    notices::{NoticeStore, ReportRecord},
    operators::{OperatorStore, StepUp},
    reviews::ReviewStore,
    signing::SigningStore,
    tokens::TokenStore,
    workload::{AssertionUse, WorkloadStore},
};

pub use ledger::{
    ClientUse, Clients, DataChain, DayCheck, LedgerStore, RowCursor, RowPage, RowScan, SavedBefore,
    SavedQuery, UsageBy, UsageQuery, UsageTotal,
};
pub use sealing::{SealContext, SealError, Sealer};

/// A store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The row changed since it was read, or a unique name is taken. Nothing was written.
    #[error("{what} was changed or taken by someone else meanwhile")]
    Conflict {
        /// What collided, such as `key`, `workspace name`.
        what: &'static str,
    },
    /// The owner has as many living keys as the workspace's policy allows. Nothing was written.
    #[error("the owner has {has} living keys, {allowed} are allowed")]
    OverCap {
        /// How many there are already.
        has: u32,
        /// How many there may be.
        allowed: u32,
    },
    /// The store cannot be reached, is locked, or its disk is full. Nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A value can never be stored: a constraint, an encoding or a range forbids it. Nothing was written; trying again
    /// is of no use.
    #[error("the store refuses a value for good ({code})")]
    Refused {
        /// The engine's code, such as `SQLSTATE 22021`.
        code: String,
    },
    /// The store holds something that cannot be read.
    #[error("the store holds an unreadable {table} row `{id}`: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database was written by a newer release.
    #[error("the database has schema {found}, this release knows up to {known}: use a newer release")]
    NewerSchema {
        /// The schema in the database.
        found: i64,
        /// The newest that this release knows.
        known: i64,
    },
}

/// One row to be written. Updates carry the row as it shall be; its `version` is the one that was read, and the
/// store keeps `version + 1`.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new key.
    InsertKey(Box<KeyRecord>),
    /// A changed key.
    UpdateKey(Box<KeyRecord>),
    /// A new workspace.
    InsertWorkspace(WorkspaceRecord),
    /// A changed workspace.
    UpdateWorkspace(WorkspaceRecord),
    /// A new owner.
    InsertOwner(OwnerRecord),
    /// A changed owner.
    UpdateOwner(OwnerRecord),
    /// A new upstream.
    InsertUpstream(UpstreamRecord),
    /// A changed upstream.
    UpdateUpstream(UpstreamRecord),
    /// A new credential.
    InsertCredential(CredentialRecord),
    /// A changed credential.
    UpdateCredential(CredentialRecord),
    /// A sealed secret of our own (pepper, signing key, wrapped data key), by name; replaces.
    PutSecret(SealedSecret),
    /// A notice, and its deliveries by every channel that it concerns. One that was raised before is left out.
    RaiseNotice(Box<NoticeRecord>),
    /// A new channel.
    InsertChannel(Box<ChannelRecord>),
    /// A changed channel.
    UpdateChannel(Box<ChannelRecord>),
    /// How a delivery stands by an operator's word.
    UpdateDelivery(DeliveryRecord),
    /// A report to be kept.
    InsertReport(Box<ReportRecord>),
    /// A new operator.
    InsertOperator(Box<OperatorRecord>),
    /// A changed operator. The step that was used last stays as it is.
    UpdateOperator(Box<OperatorRecord>),
    /// A code of the second factor is used up; a conflict when it or a later one was before.
    UseTotpStep(OperatorId, i64),
    /// A new session, machine's token or break-glass code.
    InsertOperatorToken(Box<OperatorTokenRecord>),
    /// A changed one. The moment of its last use stays as it is.
    UpdateOperatorToken(Box<OperatorTokenRecord>),
    /// Ends the sessions and machines' tokens of an operator.
    EndOperatorTokens(OperatorId, Timestamp),
    /// A fresh proof of the second factor. Those that are over are forgotten.
    InsertStepUp(StepUp),
    /// A request that waits for a second person.
    InsertApproval(Box<ApprovalRecord>),
    /// What has become of it. Its answer stays as it is.
    UpdateApproval(Box<ApprovalRecord>),
    /// What an approved operation answered, sealed; empty: it is forgotten.
    KeepApprovalAnswer(ApprovalId, Vec<u8>),
    /// The rest is written only if the owner has no more living keys than allowed. It follows the key's insertion.
    HoldOwnerCap(OwnerCap),
    /// The rest is written only if the parent has no more living children than allowed. It follows the child's insertion.
    HoldChildCap(ChildCap),
    /// A workspace's policy, or the default one; version 0: it had none.
    PutPolicy(PolicyRecord),
    /// Drops a policy that has this version.
    DropPolicy(Option<WorkspaceId>, i64),
    /// A new signing secret or public key.
    InsertSigning(Box<SigningRecord>),
    /// A changed one: its end, or that nothing is left of it.
    UpdateSigning(Box<SigningRecord>),
    /// A new rotation; a conflict when one of its keys is in an open one.
    InsertRotation(Box<RotationRecord>),
    /// A changed rotation.
    UpdateRotation(Box<RotationRecord>),
    /// A new wrapped delivery.
    InsertWrapping(Box<WrappingRecord>),
    /// An opened or emptied one.
    UpdateWrapping(Box<WrappingRecord>),
    /// A key's certificate of revocation; a conflict when it has one.
    InsertCertificate(Box<CertificateRecord>),
    /// The revocation of a child key that this transaction holds gets a certificate of its own, as those of other keys
    /// do anyway.
    Certify(KeyId),
    /// A review that waits, or was decided at once; a conflict when the key has one that waits.
    InsertReview(Box<ReviewRecord>),
    /// What has become of it.
    UpdateReview(Box<ReviewRecord>),
    /// A new key that signs access tokens; a conflict when there is one in its place already.
    InsertTokenKey(Box<TokenKeyRecord>),
    /// A changed one.
    UpdateTokenKey(Box<TokenKeyRecord>),
    /// A new family of refresh tokens.
    InsertTokenFamily(Box<Family>),
    /// A changed one.
    UpdateTokenFamily(Box<Family>),
    /// A new refresh token; a conflict when the one before it has a successor.
    InsertRefreshToken(Box<RefreshToken>),
    /// Access tokens are refused from now on.
    DenyTokens(Denial),
    /// A new issuer; a conflict when its name or `iss` is taken.
    InsertIssuer(Box<IssuerRecord>),
    /// Drops an issuer that has this version.
    DropIssuer(IssuerId, i64),
    /// A new rule of trust; a conflict when its name is taken.
    InsertTrust(Box<TrustRecord>),
    /// A changed one.
    UpdateTrust(Box<TrustRecord>),
    /// Drops a rule that has this version.
    DropTrust(TrustId, i64),
    /// The rest is written only if this token was not used before.
    UseAssertion(AssertionUse),
    /// A new budget; a conflict when its subject has one of the same period.
    InsertBudget(Box<NewBudget>),
    /// A changed or dropped budget. Its subject, period and zone stay as they are.
    UpdateBudget(Box<BudgetRecord>),
    /// A new account of prepaid credit; a conflict when its subject has one. Its budget is inserted beside it.
    InsertCreditAccount(Box<AccountRecord>),
    /// A new entry in the book of prepaid credit.
    BookCredit(Box<NewEntry>),
    /// The rest is written only if this job still runs under this fencing token.
    HoldLease(JobLease),
}

/// A secret of our own, sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// `pepper`, `audit_signing_key`, `data_key` …
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What kind of row a feed entry speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedKind {
    /// A key.
    Key,
    /// A workspace.
    Workspace,
    /// An owner.
    Owner,
    /// An upstream.
    Upstream,
    /// A credential.
    Credential,
    /// A secret of our own.
    Secret,
    /// A key that signs access tokens.
    TokenKey,
    /// Access tokens that are refused.
    TokenDenial,
    /// A budget.
    Budget,
}

impl FeedKind {
    const ALL: [Self; 9] = [
        Self::Key,
        Self::Workspace,
        Self::Owner,
        Self::Upstream,
        Self::Credential,
        Self::Secret,
        Self::TokenKey,
        Self::TokenDenial,
        Self::Budget,
    ];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Workspace => "workspace",
            Self::Owner => "owner",
            Self::Upstream => "upstream",
            Self::Credential => "credential",
            Self::Secret => "secret",
            Self::TokenKey => "token_key",
            Self::TokenDenial => "token_denial",
            Self::Budget => "budget",
        }
    }

    /// The reverse of [`FeedKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// One entry of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its number: gapless, in commit order. All rows of one mutation share one.
    pub seq: i64,
    /// What kind of row changed.
    pub kind: FeedKind,
    /// Which.
    pub id: String,
}

/// A stretch of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The feed's number when the page was read.
    pub head: i64,
    /// The store's clock when the page was read.
    pub store_time: Timestamp,
    /// Entries after the asked number, in order.
    pub entries: Vec<FeedEntry>,
}

/// A mutation was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number in the change feed.
    pub seq: i64,
    /// Its number in the control chain.
    pub audit_number: i64,
}

/// A key with what of its surroundings decides.
#[derive(Debug, Clone)]
pub struct GrantRow {
    /// The key.
    pub key: KeyRecord,
    /// Its workspace was archived.
    pub workspace_archived: bool,
    /// The limits of all keys of its owner together.
    pub owner_limits: Limits,
    /// The limits of all keys of its workspace together.
    pub workspace_limits: Limits,
    /// The open rotation in which it is the key that goes.
    pub succession: Option<Succession>,
    /// What the workspace's policy demands to be shown beside the key.
    pub demanded: Proofs,
    /// The workspace's policy keeps its keys from the response cache.
    pub forbids_cache: bool,
    /// Its signing secrets and public keys, those that are over left out.
    pub signing: Vec<SigningRecord>,
}

/// Whose requests and tokens are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBy<'a> {
    /// One key's, its children's left out.
    Key(&'a KeyId),
    /// All keys' of an owner.
    Owner(&'a OwnerId),
    /// All keys' of a workspace.
    Workspace(&'a WorkspaceId),
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only of this owner.
    pub owner: Option<OwnerId>,
    /// Only after this id, in the order of creation.
    pub after: Option<KeyId>,
    /// At most this many.
    pub limit: u32,
}

/// Where an audit chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// How many records it has.
    pub length: i64,
    /// Its head.
    pub head: Digest,
}

/// Keys, workspaces, owners, upstreams, credentials, secrets, the feed and the control chain.
#[async_trait]
pub trait Store:
    NoticeStore
    + JobStore
    + OperatorStore
    + IdempotencyStore
    + LifecycleStore
    + ReviewStore
    + SigningStore
    + WorkloadStore
    + ChildStore
    + TokenStore
    + BudgetStore
    + CreditStore
    + Send
    + Sync
    + 'static
{
    /// Writes all changes, their feed entries and the audit event in one transaction, or nothing.
    async fn apply(&self, changes: Vec<Change>, event: AuditEvent) -> Result<Applied, StoreError>;
    /// The feed after `seq`, at most `limit` mutations.
    async fn feed_after(&self, seq: i64, limit: u32) -> Result<FeedPage, StoreError>;
    /// One key.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;
    /// One key by its public id with its surroundings, and the feed number as of which they were read.
    async fn key_for_grant(&self, id: PublicId) -> Result<(i64, Option<GrantRow>), StoreError>;
    /// Keys, by creation.
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError>;
    /// How many keys work at this time, deprecated ones among them.
    async fn working_keys(&self, now: Timestamp) -> Result<u64, StoreError>;
    /// How much keys were used; keys never used are missing.
    async fn key_uses(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, KeyUse)>, StoreError>;
    /// What was recorded since `since`, which is the begin of a UTC day: requests and tokens. For day quotas after a start.
    async fn used_since(&self, by: UsedBy<'_>, since: Timestamp) -> Result<UsedBefore, StoreError>;
    /// All workspaces.
    async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError>;
    /// All owners.
    async fn owners(&self) -> Result<Vec<OwnerRecord>, StoreError>;
    /// The workspace of this id, else of this name. A store that need not read all of them does not.
    async fn workspace(&self, id_or_name: &str) -> Result<Option<WorkspaceRecord>, StoreError> {
        let all = self.workspaces().await?;
        let named = |w: &&WorkspaceRecord| w.id.as_str() == id_or_name;
        Ok(all.iter().find(named).or_else(|| all.iter().find(|w| w.name == id_or_name)).cloned())
    }
    /// The oldest workspace that is not archived.
    async fn first_workspace(&self) -> Result<Option<WorkspaceRecord>, StoreError> {
        Ok(self.workspaces().await?.into_iter().find(|w| w.archived_at.is_none()))
    }
    /// The owner of this id, else of this name.
    async fn owner(&self, id_or_name: &str) -> Result<Option<OwnerRecord>, StoreError> {
        let all = self.owners().await?;
        let named = |o: &&OwnerRecord| o.id.as_str() == id_or_name;
        Ok(all.iter().find(named).or_else(|| all.iter().find(|o| o.name == id_or_name)).cloned())
    }
    /// The oldest owner that is not archived.
    async fn first_owner(&self) -> Result<Option<OwnerRecord>, StoreError> {
        Ok(self.owners().await?.into_iter().find(|o| o.archived_at.is_none()))
    }
    /// All upstreams, removed ones too.
    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError>;
    /// All credentials, removed ones too.
    async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError>;
    /// All secrets of our own.
    async fn secrets(&self) -> Result<Vec<SealedSecret>, StoreError>;
    /// Control records after `number`, in order.
    async fn audit_after(&self, number: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
    /// Where the control chain stands.
    async fn audit_head(&self) -> Result<ChainHead, StoreError>;
    /// The store's clock.
    async fn store_time(&self) -> Result<Timestamp, StoreError>;
}
