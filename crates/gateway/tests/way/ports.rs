//! A store in memory whose group commits the test holds back or lets fail.

mod silent;
mod tokens;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use claviger_domain::{
    audit::{AuditEvent, AuditRecord, DataRecord, Digest, checkpoint::Checkpoint},
    budget::{BudgetRecord, BudgetSubject, Charge},
    clock::{Clock, Timestamp},
    direct_use::CredentialDay,
    id::{KeyId, NodeId, WorkspaceId},
    key::{KeyRecord, KeyUse},
    ledger::{Group, Intent, LedgerRow},
    limit::{Limits, UsedBefore},
    ports::{
        Applied, ChainHead, Change, Clients, DataChain, FeedEntry, FeedKind, FeedPage, GrantRow, KeyFilter,
        LedgerStore, RowCursor, RowPage, RowScan, SavedBefore, SavedQuery, SealedSecret, Store, StoreError,
        UsageQuery, UsageTotal, UsedBy,
        budgets::{BudgetStore, HeldBatch, Learned},
        signing::SigningStore,
    },
    price::Prices,
    proof::Proofs,
    signature::secret::SigningRecord,
    tenancy::{OwnerRecord, Resource, ResourceKind, WorkspaceRecord},
    token::PublicId,
    upstream::{CredentialRecord, UpstreamRecord},
};
use claviger_testkit::ManualClock;

/// A key in a living workspace and in no rotation.
fn alone(state: &State, key: KeyRecord) -> GrantRow {
    let signing = state.signing.iter().filter(|r| r.key == key.id).cloned().collect();
    GrantRow {
        key,
        workspace_archived: false,
        owner_limits: Limits::NONE,
        workspace_limits: Limits::NONE,
        succession: None,
        demanded: Proofs::NONE,
        forbids_cache: false,
        signing,
    }
}

#[derive(Default)]
struct State {
    keys: Vec<KeyRecord>,
    workspaces: Vec<WorkspaceRecord>,
    owners: Vec<OwnerRecord>,
    upstreams: Vec<UpstreamRecord>,
    credentials: Vec<CredentialRecord>,
    secrets: Vec<SealedSecret>,
    budgets: Vec<BudgetRecord>,
    feed: Vec<FeedEntry>,
    seq: i64,
    audit: Vec<AuditRecord>,
    heads: Vec<(NodeId, i64, Digest)>,
    rows: Vec<LedgerRow>,
    intents: Vec<Intent>,
    resources: Vec<Resource>,
    signing: Vec<SigningRecord>,
    tokens: tokens::TokenState,
}

/// What group commits do.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Commits {
    Work,
    Wait,
    Fail,
}

pub struct MemoryStore {
    state: Mutex<State>,
    clock: ManualClock,
    commits: AtomicU8,
}

impl MemoryStore {
    pub fn new(clock: ManualClock) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), clock, commits: AtomicU8::new(0) })
    }

    pub fn set_commits(&self, commits: Commits) {
        self.commits.store(commits as u8, Ordering::SeqCst);
    }

    pub fn rows(&self) -> Vec<LedgerRow> {
        self.state().rows.clone()
    }

    pub fn events(&self) -> Vec<AuditEvent> {
        self.state().audit.iter().map(|record| record.event.clone()).collect()
    }

    pub fn open_intents(&self) -> usize {
        self.state().intents.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! put {
    ($list:expr, $row:expr, $kind:ident) => {{
        let mut row = $row;
        let id = row.id.to_string();
        match $list.iter_mut().find(|r| r.id == row.id) {
            Some(place) => {
                row.version = place.version + 1;
                *place = row;
            }
            None => $list.push(row),
        }
        (FeedKind::$kind, id)
    }};
}

/// What running nodes hear of; `None`: nothing that a gateway reads.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest of what can change does not concern a gateway")]
fn write(state: &mut State, change: Change) -> Option<(FeedKind, String)> {
    Some(match change {
        Change::InsertKey(key) | Change::UpdateKey(key) => put!(state.keys, *key, Key),
        Change::InsertWorkspace(row) | Change::UpdateWorkspace(row) => put!(state.workspaces, row, Workspace),
        Change::InsertOwner(row) | Change::UpdateOwner(row) => put!(state.owners, row, Owner),
        Change::InsertUpstream(row) | Change::UpdateUpstream(row) => put!(state.upstreams, row, Upstream),
        Change::InsertCredential(row) | Change::UpdateCredential(row) => {
            put!(state.credentials, row, Credential)
        }
        Change::InsertSigning(record) | Change::UpdateSigning(record) => {
            let key = record.key.to_string();
            state.signing.retain(|r| r.id != record.id);
            state.signing.push(*record);
            (FeedKind::Key, key)
        }
        Change::UpdateBudget(record) => {
            let id = record.id.to_string();
            state.budgets.retain(|known| known.id != record.id);
            state.budgets.push(BudgetRecord { version: record.version + 1, ..*record });
            (FeedKind::Budget, id)
        }
        Change::InsertBudget(new) => {
            let id = new.record.id.to_string();
            state.budgets.push(new.record);
            (FeedKind::Budget, id)
        }
        Change::PutSecret(secret) => {
            let id = secret.name.clone();
            state.secrets.push(secret);
            (FeedKind::Secret, id)
        }
        other => return state.tokens.write(other),
    })
}

#[async_trait]
impl BudgetStore for MemoryStore {
    async fn budgets(&self) -> Result<Vec<BudgetRecord>, StoreError> {
        Ok(self.state().budgets.clone())
    }
    async fn budget_totals(&self, periods: &[Charge]) -> Result<Vec<i128>, StoreError> {
        let state = self.state();
        let total = |period: &Charge| {
            let rows = state.rows.iter().filter(|row| row.charges.contains(period));
            rows.map(|row| i128::from(row.cost.as_pico())).sum()
        };
        Ok(periods.iter().map(total).collect())
    }
    async fn keys_of(&self, _subject: &BudgetSubject) -> Result<Vec<KeyId>, StoreError> {
        Ok(Vec::new())
    }
    async fn held_batches(&self) -> Result<Vec<HeldBatch>, StoreError> {
        Ok(Vec::new())
    }
    async fn learned(&self, _limit: u32) -> Result<Vec<Learned>, StoreError> {
        Ok(Vec::new())
    }
    async fn keep_learned(&self, _learned: &[Learned], _before: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn apply(&self, changes: Vec<Change>, event: AuditEvent) -> Result<Applied, StoreError> {
        let mut state = self.state();
        state.seq += 1;
        let seq = state.seq;
        for change in changes {
            let entry = write(&mut state, change);
            state.feed.extend(entry.map(|(kind, id)| FeedEntry { seq, kind, id }));
        }
        let head = state.audit.last().map_or(Digest::EMPTY, |r| r.head);
        let length = i64::try_from(state.audit.len()).unwrap_or(i64::MAX);
        let record = AuditRecord::append(length, head, event);
        let audit_number = record.number;
        state.audit.push(record);
        Ok(Applied { seq, audit_number })
    }
    async fn feed_after(&self, seq: i64, _limit: u32) -> Result<FeedPage, StoreError> {
        let state = self.state();
        let entries = state.feed.iter().filter(|e| e.seq > seq).cloned().collect();
        Ok(FeedPage { head: state.seq, store_time: self.clock.now(), entries })
    }
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.state().keys.iter().find(|k| k.id == *id).cloned())
    }
    async fn key_for_grant(&self, id: PublicId) -> Result<(i64, Option<GrantRow>), StoreError> {
        let state = self.state();
        let found = state.keys.iter().find(|k| k.public_id == id).cloned();
        Ok((state.seq, found.map(|key| alone(&state, key))))
    }
    async fn keys(&self, _filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.state().keys.clone())
    }
    async fn working_keys(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn key_uses(&self, _ids: &[KeyId]) -> Result<Vec<(KeyId, KeyUse)>, StoreError> {
        Ok(Vec::new())
    }
    async fn used_since(&self, _by: UsedBy<'_>, _since: Timestamp) -> Result<UsedBefore, StoreError> {
        Ok(UsedBefore::default())
    }
    async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        Ok(self.state().workspaces.clone())
    }
    async fn owners(&self) -> Result<Vec<OwnerRecord>, StoreError> {
        Ok(self.state().owners.clone())
    }
    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError> {
        Ok(self.state().upstreams.clone())
    }
    async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError> {
        Ok(self.state().credentials.clone())
    }
    async fn secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        Ok(self.state().secrets.clone())
    }
    async fn audit_after(&self, number: i64, _limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(self.state().audit.iter().filter(|r| r.number > number).cloned().collect())
    }
    async fn audit_head(&self) -> Result<ChainHead, StoreError> {
        let state = self.state();
        let head = state.audit.last().map_or(Digest::EMPTY, |r| r.head);
        Ok(ChainHead { length: i64::try_from(state.audit.len()).unwrap_or(i64::MAX), head })
    }
    async fn store_time(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }
}

#[async_trait]
impl LedgerStore for MemoryStore {
    async fn open_chain(&self, chain: &NodeId, _event: AuditEvent) -> Result<(), StoreError> {
        self.state().heads.push((chain.clone(), 0, Digest::EMPTY));
        Ok(())
    }
    async fn close_chain(&self, _chain: &NodeId, _event: AuditEvent) -> Result<(), StoreError> {
        Ok(())
    }
    async fn commit_group(&self, group: &Group) -> Result<Digest, StoreError> {
        while self.commits.load(Ordering::SeqCst) == Commits::Wait as u8 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if self.commits.load(Ordering::SeqCst) == Commits::Fail as u8 {
            return Err(StoreError::Unavailable("the test says so".to_owned()));
        }
        let mut state = self.state();
        let record =
            DataRecord::append(group.chain.clone(), group.number, group.at, group.previous, &group.rows);
        let done: Vec<_> = group
            .rows
            .iter()
            .filter_map(|r| r.intent.clone())
            .chain(group.released.iter().cloned())
            .collect();
        state.intents.extend(group.intents.iter().cloned());
        state.intents.retain(|i| !done.contains(&i.id));
        state.rows.extend(group.rows.iter().cloned());
        state.resources.extend(group.resources.iter().cloned());
        Ok(record.head)
    }
    async fn would_take(&self, _group: &Group) -> Result<(), StoreError> {
        Ok(())
    }
    async fn orphans(&self, _own: &NodeId) -> Result<Vec<Intent>, StoreError> {
        Ok(Vec::new())
    }
    async fn resource(&self, id: &str) -> Result<Option<Resource>, StoreError> {
        Ok(self.state().resources.iter().find(|r| r.id == id).cloned())
    }
    async fn resources(
        &self,
        workspace: &WorkspaceId,
        kind: ResourceKind,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Resource>, StoreError> {
        let state = self.state();
        let own = state.resources.iter().rev().filter(|r| r.workspace == *workspace && r.kind == kind);
        let behind = own.skip_while(|r| before.is_some_and(|id| r.id != id));
        Ok(behind.skip(usize::from(before.is_some())).take(limit as usize).cloned().collect())
    }
    async fn unbilled_batches(&self, _limit: u32) -> Result<Vec<Resource>, StoreError> {
        Ok(Vec::new())
    }
    async fn batch_billed(&self, _id: &str, _at: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn clients_since(&self, _k: &[KeyId], _at: Timestamp, _rows: u32) -> Result<Clients, StoreError> {
        Ok(Clients::default())
    }
    async fn rows_in(&self, _wanted: &RowScan, _after: Option<RowCursor>) -> Result<RowPage, StoreError> {
        Ok(RowPage { rows: Vec::new(), next: None, first_day: i64::MIN, runs: 0 })
    }
    async fn usage(&self, _query: &UsageQuery) -> Result<Vec<UsageTotal>, StoreError> {
        Ok(Vec::new())
    }
    async fn credential_days(&self, _days: (i64, i64)) -> Result<Vec<CredentialDay>, StoreError> {
        Ok(Vec::new())
    }

    async fn chains(&self) -> Result<Vec<DataChain>, StoreError> {
        Ok(Vec::new())
    }
    async fn data_after(&self, _c: &NodeId, _n: i64, _limit: u32) -> Result<Vec<DataRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn rows_of(
        &self,
        _chain: &NodeId,
        _first: i64,
        _last: i64,
    ) -> Result<std::collections::BTreeMap<i64, Vec<LedgerRow>>, StoreError> {
        Ok(std::collections::BTreeMap::new())
    }
    async fn stray_row(&self, _chain: &NodeId) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
    async fn check_totals(&self, _day: i64) -> Result<Option<claviger_domain::ports::DayCheck>, StoreError> {
        Ok(None)
    }
    async fn put_checkpoint(&self, _checkpoint: &Checkpoint) -> Result<(), StoreError> {
        Ok(())
    }
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
    async fn saved_before(&self, _query: &SavedQuery) -> Result<SavedBefore, StoreError> {
        Ok(SavedBefore::default())
    }

    async fn retire_rows(
        &self,
        _before: Timestamp,
        _prices: &dyn Prices,
        _event: AuditEvent,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl SigningStore for MemoryStore {
    async fn signing_of(&self, key: &KeyId) -> Result<Vec<SigningRecord>, StoreError> {
        Ok(self.state().signing.iter().filter(|r| r.key == *key).cloned().collect())
    }
    async fn signing_due(&self, _begun: Timestamp, _limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn signing_over(&self, _now: Timestamp, _limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        Ok(Vec::new())
    }
}
