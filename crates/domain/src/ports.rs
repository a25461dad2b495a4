//! What the use cases need from the stores: a few wide ports, object-safe, with no transaction crossing them.
//!
//! Domain functions return [`Change`]s; [`Store::apply`] compares row versions and writes changes, audit event and
//! feed entry in one transaction, or nothing. `Conflict` means: load and decide again.

pub mod budgets;
pub mod children;
pub mod idempotency;
pub mod jobs;
pub mod lifecycle;
pub mod notices;
pub mod operators;
pub mod reviews;
pub mod signing;
pub mod tokens;
pub mod workload;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{
    access_token::{denial::Denial, key_life::TokenKeyRecord},
    audit::{AuditEvent, AuditRecord, DataRecord, Digest, checkpoint::Checkpoint},
    budget::BudgetRecord,
    clock::Timestamp,
    direct_use::CredentialDay,
    id::{ApprovalId, IssuerId, KeyId, NodeId, OperatorId, OwnerId, TrustId, WorkspaceId},
    key::{KeyRecord, KeyUse},
    ledger::{Group, Intent, LedgerRow},
    limit::{Limits, UsedBefore},
    notice::{NoticeRecord, channel::ChannelRecord, delivery::DeliveryRecord},
    operator::{approval::ApprovalRecord, record::OperatorRecord, token::OperatorTokenRecord},
    permission::Scopes,
    policy::PolicyRecord,
    proof::Proofs,
    refresh::{Family, RefreshToken},
    review::ReviewRecord,
    rotation::{RotationRecord, Succession},
    signature::secret::SigningRecord,
    tenancy::{OwnerRecord, Resource, ResourceKind, WorkspaceRecord},
    token::PublicId,
    upstream::{CredentialRecord, UpstreamRecord},
    workload::{issuer::IssuerRecord, rule::TrustRecord},
    wrapping::WrappingRecord,
};

use self::{
    budgets::{BudgetStore, NewBudget},
    children::{ChildCap, ChildStore},
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

/// How one day's totals stand to its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCheck {
    /// The day, as a number of days since the epoch (UTC).
    pub day: i64,
    /// A key whose totals are not the sum of its rows; `None`: all are.
    pub differs: Option<String>,
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
    /// Its signing secrets and public keys, those that are over left out.
    pub signing: Vec<SigningRecord>,
}

/// Which clients used some keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clients {
    /// Each address and program once, the one that was seen last first.
    pub seen: Vec<ClientUse>,
    /// There was more than was looked through, or than is told: what is older than this is not in it.
    pub truncated_at: Option<Timestamp>,
}

/// What one address did with one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientUse {
    /// The address.
    pub client_ip: String,
    /// The program.
    pub user_agent: String,
    /// How many requests.
    pub requests: u64,
    /// When the last one was.
    pub last_used_at: Timestamp,
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

/// What usage is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// One row a key.
    Key,
    /// One row a model.
    Model,
    /// One row a UTC day.
    Day,
    /// One row a workspace.
    Workspace,
}

/// Which usage to report.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// How to group; `None`: one total row.
    pub by: Option<UsageBy>,
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// One row of a usage report. Sums are folded in 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTotal {
    /// The group: a key id, model, `YYYY-MM-DD`, workspace id, or empty for the total.
    pub group: String,
    /// Requests that were sent (or answered by the simulator); refusals not counted.
    pub requests: u64,
    /// Requests that ended in an error or were cut.
    pub errors: u64,
    /// Uncached input tokens.
    pub input_tokens: u64,
    /// Tokens written to the 5-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Tokens written to the 1-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Web searches.
    pub web_search_requests: u64,
    /// Rows whose output was estimated.
    pub estimated: u64,
    /// Pico-dollars.
    pub cost_pusd: i128,
    /// Which endpoints were read and written.
    pub accesses: Scopes,
}

/// How far one data chain has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChain {
    /// The chain.
    pub chain: NodeId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed; `None`: still open, or its node died.
    pub closed_at: Option<Timestamp>,
    /// Its length.
    pub length: i64,
    /// Its head.
    pub head: Digest,
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

/// The ledger, data chains, intents, resources and checkpoints.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Opens this incarnation's data chain (an event on the control chain says so). Intents that dead incarnations left
    /// are found by [`LedgerStore::orphans`].
    async fn open_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError>;
    /// Closes the chain, likewise.
    async fn close_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError>;
    /// Commits one group durably and gives back the chain's new head. A batch item that is already billed is left
    /// out of the group before its leaf is made.
    async fn commit_group(&self, group: &Group) -> Result<Digest, StoreError>;
    /// Whether the store would take the group now: everything that [`LedgerStore::commit_group`] does but the end.
    /// Nothing is written. Finds the rows of a group that are [`StoreError::Refused`].
    async fn would_take(&self, group: &Group) -> Result<(), StoreError>;
    /// Intents without a settlement in chains other than `own` (on one node: of dead incarnations).
    async fn orphans(&self, own: &NodeId) -> Result<Vec<Intent>, StoreError>;
    /// Whose a provider's id is.
    async fn resource(&self, id: &str) -> Result<Option<Resource>, StoreError>;
    /// A workspace's resources of a kind, newest first, before the given id.
    async fn resources(
        &self,
        workspace: &WorkspaceId,
        kind: ResourceKind,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Resource>, StoreError>;
    /// Batches whose results were not yet billed, oldest first.
    async fn unbilled_batches(&self, limit: u32) -> Result<Vec<Resource>, StoreError>;
    /// Marks a batch as billed to its end.
    async fn batch_billed(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;
    /// Which clients used any of these keys since a moment, as the newest `rows` requests of all keys tell.
    async fn clients_since(&self, keys: &[KeyId], since: Timestamp, rows: u32)
    -> Result<Clients, StoreError>;
    /// Usage, summed from roll-ups and ledger rows.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageTotal>, StoreError>;
    /// What went through each credential by day: from the first day, before the second (UTC days since 1970).
    async fn credential_days(&self, days: (i64, i64)) -> Result<Vec<CredentialDay>, StoreError>;
    /// All data chains, by opening.
    async fn chains(&self) -> Result<Vec<DataChain>, StoreError>;
    /// A chain's records after `number`.
    async fn data_after(
        &self,
        chain: &NodeId,
        number: i64,
        limit: u32,
    ) -> Result<Vec<DataRecord>, StoreError>;
    /// The ledger rows of the groups from the first number to the last, each group's in their order. A group that has no
    /// rows, or whose rows retention took, is not there.
    async fn rows_of(
        &self,
        chain: &NodeId,
        first: i64,
        last: i64,
    ) -> Result<BTreeMap<i64, Vec<LedgerRow>>, StoreError>;
    /// The ledger rows of one group, likewise.
    async fn group_rows(&self, chain: &NodeId, number: i64) -> Result<Vec<LedgerRow>, StoreError> {
        Ok(self.rows_of(chain, number, number).await?.remove(&number).unwrap_or_default())
    }
    /// The position in its chain of a ledger row that no record of the chain covers; `None`: there is none.
    async fn stray_row(&self, chain: &NodeId) -> Result<Option<i64>, StoreError>;
    /// Holds the next day's totals after `day` against the rows that they sum up; days without all of their rows are
    /// left out. `None`: no day is left.
    async fn check_totals(&self, day: i64) -> Result<Option<DayCheck>, StoreError>;
    /// Keeps a signed checkpoint.
    async fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;
    /// The newest checkpoint.
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError>;
    /// Rolls full days before `before` up into daily totals and drops their rows, in bounded steps; the number of rows
    /// dropped. The event goes to the control chain in the same transaction.
    async fn retire_rows(&self, before: Timestamp, event: AuditEvent) -> Result<u64, StoreError>;
}

/// What a sealed value is bound to: moved to another row, it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The table it lives in.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

/// Sealing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value cannot be opened: it was changed, moved, or sealed under another key.
    #[error("a sealed value cannot be opened: changed, moved, or sealed under another master key")]
    CannotOpen,
    /// The value names a data key that is not there.
    #[error("a sealed value names data key {0}, which is not there")]
    UnknownDataKey(u32),
    /// No randomness.
    #[error("the system's random source failed")]
    Entropy,
    /// The data key has sealed as much as one key safely may: a new one is needed.
    #[error("data key {0} has sealed as much as one key safely may: make a new one")]
    WornOut(u32),
}

/// The door to encryption at rest.
pub trait Sealer: Send + Sync + 'static {
    /// Seals bytes for one row.
    ///
    /// # Errors
    /// [`SealError::Entropy`], [`SealError::WornOut`].
    fn seal(&self, context: SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError>;
    /// Opens what [`Sealer::seal`] made for the same row.
    ///
    /// # Errors
    /// [`SealError::CannotOpen`], [`SealError::UnknownDataKey`].
    fn open(&self, context: SealContext<'_>, sealed: &[u8]) -> Result<crate::secret::SecretBytes, SealError>;
}
