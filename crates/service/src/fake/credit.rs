//! The fake store's book of prepaid credit.

use async_trait::async_trait;
use claviger_domain::{
    credit::{AccountRecord, Entry},
    id::{CreditAccountId, CreditEntryId},
    ports::{
        StoreError,
        credit::{CreditStore, NewEntry},
    },
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct CreditState {
    accounts: Vec<AccountRecord>,
    entries: Vec<Entry>,
}

impl CreditState {
    pub(super) fn open(&mut self, account: AccountRecord) -> Result<(), StoreError> {
        if self.accounts.iter().any(|a| a.subject == account.subject) {
            return Err(conflict("credit account"));
        }
        self.accounts.push(account);
        Ok(())
    }

    pub(super) fn book(&mut self, new: NewEntry) -> Result<(), StoreError> {
        let NewEntry { account, entry } = new;
        let taken = entry.reference.is_some() && self.entries.iter().any(|e| e.reference == entry.reference);
        let place = self.accounts.iter_mut().find(|a| a.id == account.id && a.entries + 1 == account.entries);
        match place {
            Some(place) if !taken => *place = account,
            Some(_) | None => return Err(conflict("credit entry")),
        }
        self.entries.push(entry);
        Ok(())
    }
}

#[async_trait]
impl CreditStore for FakeStore {
    async fn credit_accounts(&self) -> Result<Vec<AccountRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).credit.accounts.clone())
    }

    async fn credit_entry(&self, id: &CreditEntryId) -> Result<Option<Entry>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).credit.entries.iter().find(|e| e.id == *id).cloned())
    }

    async fn credit_reference(&self, reference: &str) -> Result<Option<Entry>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.credit.entries.iter().find(|e| e.reference.as_deref() == Some(reference)).cloned())
    }

    async fn credit_entries(
        &self,
        account: &CreditAccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let ours = state.credit.entries.iter().filter(|e| e.account == *account && e.number > after);
        Ok(ours.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn credit_taken(&self, hold: &CreditEntryId) -> Result<i128, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let taken = state.credit.entries.iter().filter(|e| e.hold.as_ref() == Some(hold));
        Ok(taken.map(|e| i128::from(e.amount.as_pico())).sum())
    }
}
