//! What was saved by day, key, model and workspace: all that is kept of rows that retention takes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MOST_PRICES, Saved, SavedCall};
use crate::{
    id::{KeyId, OwnerId, WorkspaceId},
    ledger::{LedgerRow, UsageCounts},
    price::{PriceUsed, Prices},
};

/// What was saved on some calls of one UTC day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DaySavings {
    /// What was saved.
    pub saved: Saved,
    /// Tokens of the calls that used the prompt cache.
    pub cached: UsageCounts,
    /// The prices that were used.
    pub prices: BTreeSet<PriceUsed>,
}

/// The calls of one key to one model on one UTC day, made for one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedDay {
    /// The UTC day, since 1970.
    pub day: i64,
    /// The key.
    pub key: KeyId,
    /// The model.
    pub model: String,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The key's owner.
    pub owner: OwnerId,
    /// What was saved.
    pub savings: DaySavings,
}

type Place = (i64, KeyId, String, WorkspaceId, OwnerId);

/// Days in the making: takes rows one by one.
#[derive(Debug, Default)]
pub struct SavedDays(BTreeMap<Place, DaySavings>);

impl SavedDays {
    /// Counts a row at the prices of now. What was never sent and what the simulator answered is none.
    pub fn add(&mut self, row: &LedgerRow, prices: &dyn Prices) {
        let Some(call) = SavedCall::of(row, prices) else { return };
        let party = &row.party;
        let place = (
            row.at.utc_day(),
            party.key.clone(),
            row.model.clone(),
            party.workspace.clone(),
            party.owner.clone(),
        );
        let sum = self.0.entry(place).or_default();
        sum.saved.add(&call.saved);
        if call.is_cached() {
            sum.cached = sum.cached.plus(row.usage);
        }
        if let Some(price) = call.price.filter(|_| sum.prices.len() < MOST_PRICES) {
            sum.prices.insert(price);
        }
    }

    /// The days.
    pub fn finish(self) -> impl Iterator<Item = SavedDay> {
        self.0.into_iter().map(|((day, key, model, workspace, owner), savings)| SavedDay {
            day,
            key,
            model,
            workspace,
            owner,
            savings,
        })
    }
}

/// Amounts as decimal text: JSON has no integers of 128 bits.
pub(super) mod pico {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(amount: &i128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(amount)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
