//! An in-memory store whose failures are given by the test. What real stores do is covered by the conformance suite.

#![expect(clippy::wildcard_enum_match_arm, reason = "each part takes its own changes and hands on the rest")]

mod budgets;
mod children;
mod courier;
mod credit;
mod house;
mod idempotency;
mod ledger;
mod lifecycle;
mod notices;
mod operators;
mod reviews;
mod signing;
mod tokens;
mod workload;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use claviger_domain::{
    audit::{AuditEvent, AuditRecord, DataRecord, Digest, checkpoint::Checkpoint},
    clock::{Clock, Timestamp},
    id::{KeyId, NodeId, WorkspaceId},
    key::{KeyRecord, KeyStatus, KeyUse},
    ledger::{Intent, LedgerRow},
    limit::{Limits, UsedBefore},
    ports::{
        Applied, ChainHead, Change, DataChain, DayCheck, FeedEntry, FeedKind, FeedPage, GrantRow, KeyFilter,
        SealedSecret, Store, StoreError, UsedBy,
    },
    tenancy::{OwnerRecord, Resource, WorkspaceRecord},
    token::PublicId,
    upstream::{CredentialRecord, UpstreamRecord},
};
use claviger_testkit::ManualClock;
use tokio::sync::Semaphore;

pub(crate) use self::{
    courier::{FakeCourier, Fate},
    house::House,
    ledger::{intent, row},
    workload::FakeKeys,
};
use self::{
    idempotency::Requests, lifecycle::LifecycleState, notices::NoticeState, operators::OperatorState,
    workload::WorkloadState,
};
use crate::lock::lock;

/// What the next group commits do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Commits {
    /// They work.
    #[default]
    Work,
    /// They fail; nothing is written.
    Fail,
    /// They work, but the answer says that they failed.
    LoseAnswer,
    /// They never answer; what was begun ends when they work again.
    Hang,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) workspaces: Vec<WorkspaceRecord>,
    pub(crate) owners: Vec<OwnerRecord>,
    pub(crate) upstreams: Vec<UpstreamRecord>,
    pub(crate) credentials: Vec<CredentialRecord>,
    pub(crate) secrets: Vec<SealedSecret>,
    pub(crate) feed: Vec<FeedEntry>,
    pub(crate) seq: i64,
    pub(crate) audit: Vec<AuditRecord>,
    pub(crate) chains: Vec<DataChain>,
    pub(crate) data: Vec<DataRecord>,
    pub(crate) rows: HashMap<(NodeId, i64), Vec<LedgerRow>>,
    pub(crate) intents: Vec<(NodeId, Intent)>,
    pub(crate) resources: Vec<Resource>,
    /// What is said of the only day.
    pub(crate) wrong_total: Option<DayCheck>,
    pub(crate) billed: HashSet<(String, String)>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) notices: NoticeState,
    pub(crate) operators: OperatorState,
    pub(crate) requests: Requests,
    pub(crate) lifecycle: LifecycleState,
    pub(crate) reviews: Vec<claviger_domain::review::ReviewRecord>,
    pub(crate) signing: Vec<claviger_domain::signature::secret::SigningRecord>,
    pub(crate) tokens: tokens::TokenState,
    pub(crate) workload: WorkloadState,
    pub(crate) budgets: budgets::BudgetState,
    pub(crate) credit: credit::CreditState,
    /// Requests of today and uses, as a store would count them.
    pub(crate) used: HashMap<KeyId, (u64, u64, u64)>,
    pub(crate) last_used: HashMap<KeyId, Timestamp>,
}

impl State {
    fn record(&mut self, event: AuditEvent) -> i64 {
        let head = self.audit.last().map_or(Digest::EMPTY, |r| r.head);
        let record = AuditRecord::append(self.audit.len() as i64, head, event);
        let number = record.number;
        self.audit.push(record);
        number
    }

    pub(crate) fn all_rows(&self) -> Vec<LedgerRow> {
        self.data
            .iter()
            .flat_map(|r| self.rows.get(&(r.chain.clone(), r.number)).cloned().unwrap_or_default())
            .collect()
    }
}

pub(crate) struct FakeStore {
    pub(crate) state: Mutex<State>,
    pub(crate) clock: ManualClock,
    /// Everything but group commits fails.
    pub(crate) is_down: AtomicBool,
    pub(crate) commits: Mutex<Commits>,
    pub(crate) commit_calls: AtomicUsize,
    pub(crate) lookups: AtomicUsize,
    /// Reads of keys are made, and then wait here for a permit before they answer.
    pub(crate) slow_reads: Mutex<Option<Arc<Semaphore>>>,
}

impl FakeStore {
    pub(crate) fn new(clock: ManualClock) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            clock,
            is_down: AtomicBool::new(false),
            commits: Mutex::default(),
            commit_calls: AtomicUsize::new(0),
            lookups: AtomicUsize::new(0),
            slow_reads: Mutex::default(),
        })
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.is_down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn set_commits(&self, commits: Commits) {
        *lock(&self.commits) = commits;
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    /// From now on reads of keys hang between reading and answering.
    pub(crate) fn slow_down(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *lock(&self.slow_reads) = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) fn up(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("the fake store is down".to_owned()))
        } else {
            Ok(())
        }
    }
}

pub(crate) fn conflict(what: &'static str) -> StoreError {
    StoreError::Conflict { what }
}

macro_rules! update {
    ($list:expr, $row:expr, $what:literal) => {{
        let mut row = $row;
        let place = $list.iter_mut().find(|r| r.id == row.id).ok_or_else(|| conflict($what))?;
        if place.version != row.version {
            return Err(conflict($what));
        }
        row.version += 1;
        *place = row;
    }};
}

/// What changed, for the feed; `None`: nobody reacts to it.
fn write(state: &mut State, change: Change) -> Result<Option<(FeedKind, String)>, StoreError> {
    let Some(change) = state.notices.write(change)? else { return Ok(None) };
    let Some(change) = state.operators.write(change)? else { return Ok(None) };
    let policy_of = match &change {
        Change::PutPolicy(policy) => Some(policy.workspace.clone()),
        Change::DropPolicy(workspace, _) => Some(workspace.clone()),
        _ => None,
    };
    let Some(change) = state.lifecycle.write(&state.keys, change)? else {
        let name = |workspace: Option<WorkspaceId>| workspace.map_or_else(String::new, |id| id.to_string());
        return Ok(policy_of.map(|workspace| (FeedKind::Workspace, name(workspace))));
    };
    let Some(change) = reviews::write(&mut state.reviews, change)? else { return Ok(None) };
    let Some(change) = state.workload.write(change)? else { return Ok(None) };
    let Some(change) = children::write(&state.keys, change)? else { return Ok(None) };
    let change = match signing::write(&mut state.signing, change)? {
        Ok(entry) => return Ok(Some(entry)),
        Err(change) => change,
    };
    let change = match state.tokens.write(change)? {
        Ok(said) => return Ok(said),
        Err(change) => change,
    };
    Ok(Some(match change {
        Change::InsertKey(key) => {
            let id = key.id.to_string();
            state.keys.push(*key);
            (FeedKind::Key, id)
        }
        Change::UpdateKey(key) => {
            let id = key.id.to_string();
            update!(state.keys, *key, "key");
            (FeedKind::Key, id)
        }
        Change::InsertWorkspace(row) => {
            if state.workspaces.iter().any(|w| w.name == row.name) {
                return Err(conflict("workspace name"));
            }
            let id = row.id.to_string();
            state.workspaces.push(row);
            (FeedKind::Workspace, id)
        }
        Change::UpdateWorkspace(row) => {
            let id = row.id.to_string();
            update!(state.workspaces, row, "workspace");
            (FeedKind::Workspace, id)
        }
        Change::InsertOwner(row) => {
            let id = row.id.to_string();
            state.owners.push(row);
            (FeedKind::Owner, id)
        }
        Change::UpdateOwner(row) => {
            let id = row.id.to_string();
            update!(state.owners, row, "owner");
            (FeedKind::Owner, id)
        }
        Change::InsertUpstream(row) => {
            let id = row.id.to_string();
            state.upstreams.push(row);
            (FeedKind::Upstream, id)
        }
        Change::UpdateUpstream(row) => {
            let id = row.id.to_string();
            update!(state.upstreams, row, "upstream");
            (FeedKind::Upstream, id)
        }
        Change::InsertCredential(row) => {
            let id = row.id.to_string();
            state.credentials.push(row);
            (FeedKind::Credential, id)
        }
        Change::UpdateCredential(row) => {
            let id = row.id.to_string();
            update!(state.credentials, row, "credential");
            (FeedKind::Credential, id)
        }
        Change::PutSecret(secret) => {
            let id = secret.name.clone();
            state.secrets.retain(|s| (&s.name, s.version) != (&secret.name, secret.version));
            state.secrets.push(secret);
            (FeedKind::Secret, id)
        }
        Change::InsertBudget(new) => {
            let id = new.record.id.to_string();
            state.budgets.insert(*new)?;
            (FeedKind::Budget, id)
        }
        Change::UpdateBudget(record) => {
            let id = record.id.to_string();
            state.budgets.update(*record)?;
            (FeedKind::Budget, id)
        }
        Change::InsertCreditAccount(account) => {
            state.credit.open(*account)?;
            return Ok(None);
        }
        Change::BookCredit(new) => {
            state.credit.book(*new)?;
            return Ok(None);
        }
        Change::RaiseNotice(_)
        | Change::InsertChannel(_)
        | Change::UpdateChannel(_)
        | Change::UpdateDelivery(_)
        | Change::InsertReport(_)
        | Change::InsertOperator(_)
        | Change::UpdateOperator(_)
        | Change::UseTotpStep(..)
        | Change::InsertOperatorToken(_)
        | Change::UpdateOperatorToken(_)
        | Change::EndOperatorTokens(..)
        | Change::InsertStepUp(_)
        | Change::InsertApproval(_)
        | Change::UpdateApproval(_)
        | Change::KeepApprovalAnswer(..)
        | Change::HoldOwnerCap(_)
        | Change::HoldChildCap(_)
        | Change::PutPolicy(_)
        | Change::DropPolicy(..)
        | Change::InsertSigning(_)
        | Change::UpdateSigning(_)
        | Change::InsertRotation(_)
        | Change::UpdateRotation(_)
        | Change::InsertWrapping(_)
        | Change::UpdateWrapping(_)
        | Change::InsertCertificate(_)
        | Change::Certify(_)
        | Change::InsertReview(_)
        | Change::UpdateReview(_)
        | Change::InsertTokenKey(_)
        | Change::UpdateTokenKey(_)
        | Change::InsertTokenFamily(_)
        | Change::UpdateTokenFamily(_)
        | Change::InsertRefreshToken(_)
        | Change::DenyTokens(_)
        | Change::InsertIssuer(_)
        | Change::DropIssuer(..)
        | Change::InsertTrust(_)
        | Change::UpdateTrust(_)
        | Change::DropTrust(..)
        | Change::UseAssertion(_)
        | Change::HoldLease(_) => return Ok(None),
    }))
}

#[async_trait]
impl Store for FakeStore {
    async fn apply(&self, changes: Vec<Change>, event: AuditEvent) -> Result<Applied, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        state.requests.mark(&event)?;
        let (keys, tokens) = (state.keys.clone(), state.tokens.clone());
        let revoked = changes.iter().filter_map(|change| match change {
            Change::UpdateKey(key) if key.revocation.is_some() && key.parent.is_none() => {
                Some(key.id.clone())
            }
            Change::Certify(child) => Some(child.clone()),
            _ => None,
        });
        let revoked: Vec<KeyId> = revoked.collect();
        let written: Result<Vec<_>, _> = changes.into_iter().map(|c| write(&mut state, c)).collect();
        // Of a transaction that failed, keys and tokens at least are not left behind.
        let written = written.inspect_err(|_| (state.keys, state.tokens) = (keys, tokens))?;
        let entries: Vec<_> = written.into_iter().flatten().collect();
        if !entries.is_empty() {
            state.seq += 1;
        }
        let seq = state.seq;
        state.feed.extend(entries.into_iter().map(|(kind, id)| FeedEntry { seq, kind, id }));
        let audit_number = state.record(event);
        state.lifecycle.expect(revoked, seq, audit_number);
        Ok(Applied { seq, audit_number })
    }

    async fn feed_after(&self, seq: i64, limit: u32) -> Result<FeedPage, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let last = seq.saturating_add(i64::from(limit));
        let entries = state.feed.iter().filter(|e| e.seq > seq && e.seq <= last).cloned().collect();
        Ok(FeedPage { head: state.seq, store_time: self.clock.now(), entries })
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).keys.iter().find(|k| k.id == *id).cloned())
    }

    async fn key_for_grant(&self, id: PublicId) -> Result<(i64, Option<GrantRow>), StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.up()?;
        let read = {
            let state = lock(&self.state);
            let key = state.keys.iter().find(|k| k.public_id == id).cloned();
            let archived = |key: &KeyRecord| {
                state.workspaces.iter().any(|w| w.id == key.workspace && w.archived_at.is_some())
            };
            let found = key.map(|key| GrantRow {
                workspace_archived: archived(&key),
                owner_limits: state
                    .owners
                    .iter()
                    .find(|o| o.id == key.owner)
                    .map_or(Limits::NONE, |o| o.limits),
                workspace_limits: state
                    .workspaces
                    .iter()
                    .find(|w| w.id == key.workspace)
                    .map_or(Limits::NONE, |w| w.limits),
                succession: state.lifecycle.succession(&key.id),
                demanded: state.lifecycle.demanded(&key.workspace),
                forbids_cache: state.lifecycle.forbids_cache(&key.workspace),
                signing: state.signing.iter().filter(|r| r.key == key.id).cloned().collect(),
                key,
            });
            (state.seq, found)
        };
        let gate = lock(&self.slow_reads).clone();
        if let Some(gate) = gate {
            gate.acquire().await.map(|permit| permit.forget()).ok();
        }
        Ok(read)
    }

    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let place = |after: &KeyId| state.keys.iter().position(|k| k.id == *after).map(|at| at + 1);
        let from = filter.after.as_ref().map_or(Some(0), place).unwrap_or(usize::MAX);
        Ok(state.keys.iter().skip(from).take(filter.limit as usize).cloned().collect())
    }

    async fn working_keys(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.up()?;
        let works = |key: &&KeyRecord| matches!(key.status(now), KeyStatus::Active | KeyStatus::Deprecated);
        Ok(lock(&self.state).keys.iter().filter(works).count() as u64)
    }

    async fn key_uses(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, KeyUse)>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let used = |id: &KeyId| {
            let (_, _, uses) = state.used.get(id)?;
            let last_used_at = state.last_used.get(id).copied();
            Some((id.clone(), KeyUse { uses: *uses, last_used_at, ..KeyUse::default() }))
        };
        Ok(ids.iter().filter_map(used).collect())
    }

    async fn used_since(&self, by: UsedBy<'_>, _since: Timestamp) -> Result<UsedBefore, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let concerned = |key: &&KeyRecord| match by {
            UsedBy::Key(id) => key.id == *id,
            UsedBy::Owner(id) => key.owner == *id,
            UsedBy::Workspace(id) => key.workspace == *id,
        };
        let used = state.keys.iter().filter(concerned).filter_map(|key| state.used.get(&key.id));
        Ok(used.fold(UsedBefore::default(), |sum, (work_today, look_today, _)| {
            sum.plus(UsedBefore { work_today: *work_today, look_today: *look_today, ..UsedBefore::default() })
        }))
    }

    async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).workspaces.clone())
    }

    async fn owners(&self) -> Result<Vec<OwnerRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).owners.clone())
    }

    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).upstreams.clone())
    }

    async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).credentials.clone())
    }

    async fn secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).secrets.clone())
    }

    async fn audit_after(&self, number: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.audit.iter().filter(|r| r.number > number).take(limit as usize).cloned().collect())
    }

    async fn audit_head(&self) -> Result<ChainHead, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let head = state.audit.last().map_or(Digest::EMPTY, |r| r.head);
        Ok(ChainHead { length: state.audit.len() as i64, head })
    }

    async fn store_time(&self) -> Result<Timestamp, StoreError> {
        self.up()?;
        Ok(self.clock.now())
    }
}
