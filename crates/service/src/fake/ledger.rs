//! Groups, chains, intents and resources.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering,
};

use async_trait::async_trait;
use claviger_domain::{
    audit::{AuditEvent, DataRecord, Digest, checkpoint::Checkpoint},
    clock::Timestamp,
    direct_use::CredentialDay,
    id::{IntentId, KeyId, NodeId, OwnerId, RequestId, WorkspaceId},
    ledger::{Group, Intent, LedgerRow, Outcome, Party, Route},
    money::PicoUsd,
    permission::{Access, Endpoint, Scopes},
    ports::{
        Clients, DataChain, DayCheck, LedgerStore, RowCursor, RowPage, RowScan, SavedBefore, SavedQuery,
        StoreError, UsageQuery, UsageTotal,
    },
    price::Prices,
    tenancy::{Resource, ResourceKind},
    token::KeyClass,
};
use claviger_testkit::SeededEntropy;

use super::{Commits, FakeStore, conflict};
use crate::lock::lock;

impl FakeStore {
    /// The model `poison` can be stored nowhere.
    fn refuses(&self, group: &Group) -> Result<(), StoreError> {
        let is_poisoned = group.rows.iter().any(|row| row.model == "poison");
        let is_poisoned = is_poisoned || group.resources.iter().any(|made| made.id == "poison");
        if is_poisoned { Err(StoreError::Refused { code: "of the fake".to_owned() }) } else { Ok(()) }
    }

    fn commit(&self, group: &Group) -> Result<Digest, StoreError> {
        self.refuses(group)?;
        let mut state = lock(&self.state);
        let chain = state.chains.iter().find(|c| c.chain == group.chain).cloned();
        let chain = chain.filter(|c| c.closed_at.is_none()).ok_or_else(|| conflict("data chain"))?;
        if (chain.length + 1, chain.head) != (group.number, group.previous) {
            return Err(conflict("data chain"));
        }
        let is_new = |row: &&LedgerRow| match &row.batch {
            Some(item) => !state.billed.contains(&(item.batch.clone(), item.custom_id.clone())),
            None => true,
        };
        let rows: Vec<LedgerRow> = group.rows.iter().filter(is_new).cloned().collect();
        let items = rows.iter().filter_map(|r| r.batch.clone()).map(|b| (b.batch, b.custom_id));
        state.billed.extend(items.collect::<Vec<_>>());
        let record = DataRecord::append(group.chain.clone(), group.number, group.at, group.previous, &rows);
        let done: HashSet<IntentId> =
            rows.iter().filter_map(|r| r.intent.clone()).chain(group.released.iter().cloned()).collect();
        state.intents.extend(group.intents.iter().map(|i| (group.chain.clone(), i.clone())));
        state.intents.retain(|(_, i)| !done.contains(&i.id));
        state.resources.extend(group.resources.iter().cloned());
        state.rows.insert((group.chain.clone(), group.number), rows);
        let head = record.head;
        state.data.push(record);
        if let Some(chain) = state.chains.iter_mut().find(|c| c.chain == group.chain) {
            (chain.length, chain.head) = (group.number, head);
        }
        Ok(head)
    }
}

#[async_trait]
impl LedgerStore for FakeStore {
    async fn open_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let opened_at = event.at;
        state.record(event);
        let chain =
            DataChain { chain: chain.clone(), opened_at, closed_at: None, length: 0, head: Digest::EMPTY };
        state.chains.push(chain);
        Ok(())
    }

    async fn close_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let at = event.at;
        let open = state.chains.iter_mut().find(|c| c.chain == *chain && c.closed_at.is_none());
        open.ok_or_else(|| conflict("data chain"))?.closed_at = Some(at);
        state.record(event);
        Ok(())
    }

    async fn commit_group(&self, group: &Group) -> Result<Digest, StoreError> {
        self.commit_calls.fetch_add(1, Ordering::SeqCst);
        let lost = || StoreError::Unavailable("the fake store lost the answer".to_owned());
        let mode = *lock(&self.commits);
        match mode {
            Commits::Work => self.commit(group),
            Commits::Fail => Err(lost()),
            Commits::LoseAnswer => {
                self.commit(group)?;
                Err(lost())
            }
            Commits::Hang => {
                while *lock(&self.commits) == Commits::Hang {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                self.commit(group)
            }
        }
    }

    async fn would_take(&self, group: &Group) -> Result<(), StoreError> {
        self.up()?;
        self.refuses(group)
    }

    async fn orphans(&self, own: &NodeId) -> Result<Vec<Intent>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.intents.iter().filter(|(chain, _)| chain != own).map(|(_, i)| i.clone()).collect())
    }

    async fn resource(&self, id: &str) -> Result<Option<Resource>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).resources.iter().find(|r| r.id == id).cloned())
    }

    async fn resources(
        &self,
        workspace: &WorkspaceId,
        kind: ResourceKind,
        _before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Resource>, StoreError> {
        let state = lock(&self.state);
        let of_it = state.resources.iter().filter(|r| r.workspace == *workspace && r.kind == kind);
        Ok(of_it.take(limit as usize).cloned().collect())
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

    async fn usage(&self, _query: &UsageQuery) -> Result<Vec<UsageTotal>, StoreError> {
        let state = lock(&self.state);
        let total = |(key, used): (&KeyId, &(u64, u64, u64))| UsageTotal {
            group: key.to_string(),
            requests: used.2,
            accesses: Scopes::default().with(Endpoint::Messages, Access::Write),
            ..UsageTotal::default()
        };
        Ok(state.used.iter().map(total).collect())
    }

    async fn rows_in(&self, _wanted: &RowScan, _after: Option<RowCursor>) -> Result<RowPage, StoreError> {
        let rows = lock(&self.state).rows.values().flatten().cloned().collect();
        Ok(RowPage { rows, next: None, first_day: i64::MIN, runs: 0 })
    }

    async fn credential_days(&self, _days: (i64, i64)) -> Result<Vec<CredentialDay>, StoreError> {
        Ok(Vec::new())
    }

    async fn chains(&self) -> Result<Vec<DataChain>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).chains.clone())
    }

    async fn data_after(
        &self,
        chain: &NodeId,
        number: i64,
        limit: u32,
    ) -> Result<Vec<DataRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let after = state.data.iter().filter(|r| r.chain == *chain && r.number > number);
        Ok(after.take(limit as usize).cloned().collect())
    }

    async fn rows_of(
        &self,
        chain: &NodeId,
        first: i64,
        last: i64,
    ) -> Result<BTreeMap<i64, Vec<LedgerRow>>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let of_it = state.rows.iter().filter(|((of, n), _)| of == chain && (first..=last).contains(n));
        Ok(of_it.map(|((_, number), rows)| (*number, rows.clone())).collect())
    }

    async fn stray_row(&self, chain: &NodeId) -> Result<Option<i64>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let covered = |number| state.data.iter().any(|r| r.chain == *chain && r.number == number);
        Ok(state.rows.keys().filter(|(of, n)| of == chain && !covered(*n)).map(|(_, n)| *n).min())
    }

    async fn check_totals(&self, day: i64) -> Result<Option<DayCheck>, StoreError> {
        self.up()?;
        let wrong = lock(&self.state).wrong_total.clone().filter(|wrong| wrong.day > day);
        Ok(wrong)
    }

    async fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.up()?;
        lock(&self.state).checkpoints.push(checkpoint.clone());
        Ok(())
    }

    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).checkpoints.last().cloned())
    }

    async fn saved_before(&self, _query: &SavedQuery) -> Result<SavedBefore, StoreError> {
        Ok(SavedBefore::default())
    }

    async fn retire_rows(
        &self,
        before: Timestamp,
        _prices: &dyn Prices,
        event: AuditEvent,
    ) -> Result<u64, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let old: Vec<DataRecord> = state.data.iter().filter(|r| r.at < before).cloned().collect();
        let mut retired = serde_json::Map::new();
        let mut rows = 0;
        for record in old {
            let gone = state.rows.remove(&(record.chain.clone(), record.number));
            rows += gone.map_or(0, |r| r.len() as u64);
            retired.insert(record.chain.to_string(), record.number.into());
        }
        state.record(event.with("retired", retired));
        Ok(rows)
    }
}

/// An intent that costs 100 pico-dollars if its end is never known.
pub(crate) fn intent(n: u64) -> Intent {
    Intent {
        id: IntentId::generate(&SeededEntropy::new(n)).unwrap(),
        request_id: RequestId::generate(&SeededEntropy::new(n)).unwrap(),
        party: Party {
            key: KeyId::parse("key_0123456789").unwrap(),
            workspace: WorkspaceId::parse("ws_1").unwrap(),
            owner: OwnerId::parse("own_1").unwrap(),
            class: KeyClass::Live,
        },
        route: Route { upstream: None, credential: None },
        at: Timestamp::from_secs(1_700_000_000),
        endpoint: Endpoint::Messages,
        api_endpoint: "POST /v1/messages".to_owned(),
        model: "claude-opus-4-5".to_owned(),
        reservation: PicoUsd::new(100).unwrap(),
        attempt: 1,
        client_ip: "192.0.2.7".to_owned(),
        charges: Vec::new(),
    }
}

/// The row that settles an intent.
pub(crate) fn row(intent: &Intent) -> LedgerRow {
    let settled =
        LedgerRow { outcome: Outcome::Completed, status: 200, detail: String::new(), ..unknown(intent) };
    LedgerRow { cost: PicoUsd::new(7).unwrap(), ..settled }
}

fn unknown(intent: &Intent) -> LedgerRow {
    crate::recorder::unknown_row(intent, intent.at, "")
}
