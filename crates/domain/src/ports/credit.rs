//! What prepaid credit needs from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    credit::{AccountRecord, Entry},
    id::{CreditAccountId, CreditEntryId},
};

/// An entry that goes into the book. It is a conflict when the account has other entries than were seen, or the entry's
/// reference is booked already.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The account after it.
    pub account: AccountRecord,
    /// The entry.
    pub entry: Entry,
}

/// The book of prepaid credit. Entries are only ever added.
#[async_trait]
pub trait CreditStore: Send + Sync + 'static {
    /// All accounts, by when they were opened.
    async fn credit_accounts(&self) -> Result<Vec<AccountRecord>, StoreError>;
    /// The entry with this id.
    async fn credit_entry(&self, id: &CreditEntryId) -> Result<Option<Entry>, StoreError>;
    /// The entry with this reference.
    async fn credit_reference(&self, reference: &str) -> Result<Option<Entry>, StoreError>;
    /// Entries of an account whose number is larger, in their order, at most `limit`.
    async fn credit_entries(
        &self,
        account: &CreditAccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError>;
    /// What was given back or taken of a hold, in pico-dollars.
    async fn credit_taken(&self, hold: &CreditEntryId) -> Result<i128, StoreError>;
}
