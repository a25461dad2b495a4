//! What is asked of the ledger: groups, chains, intents, resources, and what they sum up to.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::StoreError;
use crate::{
    audit::{AuditEvent, DataRecord, Digest, checkpoint::Checkpoint},
    clock::Timestamp,
    direct_use::CredentialDay,
    id::{KeyId, NodeId, OwnerId, WorkspaceId},
    ledger::{Group, Intent, LedgerRow},
    permission::Scopes,
    price::Prices,
    savings::SavedDay,
    tenancy::{Resource, ResourceKind},
};

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
    /// Single rows by the time of their requests, a page at a time. What settles while a report is read may be left out
    /// of it.
    async fn rows_in(&self, wanted: &RowScan, after: Option<RowCursor>) -> Result<RowPage, StoreError>;
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
    /// Drops the rows of full days before `before`, in bounded steps; the number of rows dropped. Their daily totals stay,
    /// and what was saved on them by these prices is kept ([`LedgerStore::saved_before`]). The event goes to the control
    /// chain in the same transaction.
    async fn retire_rows(
        &self,
        before: Timestamp,
        prices: &dyn Prices,
        event: AuditEvent,
    ) -> Result<u64, StoreError>;
    /// What was saved on rows that are gone.
    async fn saved_before(&self, query: &SavedQuery) -> Result<SavedBefore, StoreError>;
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
    /// One row an owner of keys.
    Owner,
}

/// Which usage to report.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// How to group; `None`: one total row.
    pub by: Option<UsageBy>,
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only of keys of this owner.
    pub owner: Option<OwnerId>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// Which rows to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowScan {
    /// From this moment on.
    pub from: Timestamp,
    /// Before this moment.
    pub until: Timestamp,
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Rows of one page, at most a few thousand.
    pub limit: u32,
}

/// The last row of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCursor {
    /// When its request arrived.
    pub at: Timestamp,
    /// Its number.
    pub id: i64,
}

/// Some rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPage {
    /// By time.
    pub rows: Vec<LedgerRow>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<RowCursor>,
    /// Single rows are kept from this UTC day on; older ones are only in daily totals.
    pub first_day: i64,
    /// How often rows went until then: as long as it is the same, none has gone.
    pub runs: i64,
}

/// Which of the rows that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedQuery {
    /// From the first UTC day on, before the second.
    pub days: (i64, i64),
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
}

/// What was saved on rows that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedBefore {
    /// By day, key, model and workspace; rows of one day that went at different times stand apart.
    pub days: Vec<SavedDay>,
    /// Single rows are kept from this UTC day on.
    pub first_day: i64,
    /// Rows of days before this one went before it was worked out what was saved on them.
    pub saved_from: i64,
    /// How often rows went until then.
    pub runs: i64,
}

/// One row of a usage report. Sums are folded in 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTotal {
    /// The group: a key id, model, `YYYY-MM-DD`, workspace id, owner id, or empty for the total.
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
    /// Requests that were answered out of the response cache.
    pub recalled: u64,
    /// Pico-dollars.
    pub cost_pusd: i128,
    /// Which endpoints were read and written.
    pub accesses: Scopes,
}

impl UsageTotal {
    /// Adds another row's sums; the group stays.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.input_tokens += other.input_tokens;
        self.cache_write_5m_tokens += other.cache_write_5m_tokens;
        self.cache_write_1h_tokens += other.cache_write_1h_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.output_tokens += other.output_tokens;
        self.web_search_requests += other.web_search_requests;
        self.estimated += other.estimated;
        self.recalled += other.recalled;
        self.cost_pusd += other.cost_pusd;
        self.accesses = self.accesses.and(other.accesses);
    }
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

/// How one day's totals stand to its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCheck {
    /// The day, as a number of days since the epoch (UTC).
    pub day: i64,
    /// A key whose totals are not the sum of its rows; `None`: all are.
    pub differs: Option<String>,
}
