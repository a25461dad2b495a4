//! The fake store's budgets.

use async_trait::async_trait;
use claviger_domain::{
    budget::{BudgetRecord, BudgetSubject, Charge},
    clock::Timestamp,
    id::KeyId,
    ports::{
        StoreError,
        budgets::{BudgetStore, HeldBatch, Learned, NewBudget},
    },
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct BudgetState {
    records: Vec<BudgetRecord>,
    before: Vec<(Charge, i128)>,
    learned: Vec<Learned>,
}

impl BudgetState {
    pub(super) fn insert(&mut self, new: NewBudget) -> Result<(), StoreError> {
        let same = |r: &BudgetRecord| {
            r.dropped_at.is_none()
                && r.subject == new.record.subject
                && r.calendar.period() == new.record.calendar.period()
                && r.credit == new.record.credit
        };
        if self.records.iter().any(same) {
            return Err(conflict("budget"));
        }
        self.records.push(new.record);
        self.before.push((new.charge, new.settled));
        Ok(())
    }

    pub(super) fn update(&mut self, mut record: BudgetRecord) -> Result<(), StoreError> {
        let place = self.records.iter_mut().find(|r| r.id == record.id && r.version == record.version);
        record.version += 1;
        *place.ok_or(conflict("budget"))? = record;
        Ok(())
    }
}

#[async_trait]
impl BudgetStore for FakeStore {
    async fn budgets(&self) -> Result<Vec<BudgetRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.budgets.records.iter().filter(|r| r.dropped_at.is_none()).cloned().collect())
    }

    async fn budget_totals(&self, periods: &[Charge]) -> Result<Vec<i128>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let rows = state.all_rows();
        let total = |period: &Charge| {
            let before = state.budgets.before.iter().filter(|(charge, _)| charge == period).map(|(_, n)| *n);
            let charged = rows.iter().filter(|row| row.charges.contains(period));
            before.chain(charged.map(|row| i128::from(row.cost.as_pico()))).sum()
        };
        Ok(periods.iter().map(total).collect())
    }

    async fn keys_of(&self, subject: &BudgetSubject) -> Result<Vec<KeyId>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let covered = state.keys.iter().filter(|key| match subject {
            BudgetSubject::Key(id) => key.id == *id || key.parent.as_ref() == Some(id),
            BudgetSubject::Owner(id) => key.owner == *id,
            BudgetSubject::Workspace(id) => key.workspace == *id,
            BudgetSubject::All => true,
        });
        Ok(covered.map(|key| key.id.clone()).collect())
    }

    async fn held_batches(&self) -> Result<Vec<HeldBatch>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let rows = state.all_rows();
        let held = state.resources.iter().filter_map(|r| Some((r.id.clone(), r.held.clone()?)));
        let batch = |(batch, hold): (String, _)| {
            let of = |row: &&claviger_domain::ledger::LedgerRow| {
                row.batch.as_ref().is_some_and(|item| item.batch == batch)
            };
            let spent = rows.iter().filter(of).map(|row| i128::from(row.cost.as_pico())).sum();
            HeldBatch { batch, hold, spent }
        };
        Ok(held.map(batch).collect())
    }

    async fn learned(&self, _limit: u32) -> Result<Vec<Learned>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).budgets.learned.clone())
    }

    async fn keep_learned(&self, learned: &[Learned], before: Timestamp) -> Result<(), StoreError> {
        self.up()?;
        let kept = &mut lock(&self.state).budgets.learned;
        let same = |a: &Learned, b: &Learned| a.key == b.key && a.model == b.model;
        kept.retain(|old| old.at >= before && !learned.iter().any(|new| same(old, new)));
        kept.extend_from_slice(learned);
        Ok(())
    }
}
