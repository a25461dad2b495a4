//! What several nodes need of a store that they share: who lives, and their blocks of budgets.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    audit::AuditEvent,
    budget::{BlockWish, Charge, Ground, blocks::Answer},
    clock::Timestamp,
    id::{IntentId, NodeId},
    ledger::Intent,
};

/// What a node leaves to the one that takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estate {
    /// Calls whose end is not known: to be charged at their reservations.
    pub intents: Vec<Intent>,
    /// What it had been given and not spent, in pico-dollars: the heir's now.
    pub blocks: Vec<(Charge, i128)>,
}

/// A store that several nodes share. What nodes compare uses its clock.
#[async_trait]
pub trait SharedStore: Send + Sync + 'static {
    /// An incarnation begins to live.
    async fn begin_lease(&self, node: &NodeId, lasts_us: i64) -> Result<(), StoreError>;
    /// It goes on. A conflict: another one has taken it over, and nothing that it writes is taken any more.
    async fn renew_lease(&self, node: &NodeId, lasts_us: i64) -> Result<(), StoreError>;
    /// It has ended, and its chain is closed.
    async fn end_lease(&self, node: &NodeId) -> Result<(), StoreError>;
    /// It is known to have died: nobody needs to wait for its lease to lapse.
    async fn lapse(&self, node: &NodeId) -> Result<(), StoreError>;
    /// Incarnations that ended without settling their calls, and that nobody who lives has taken over.
    async fn lapsed(&self, own: &NodeId) -> Result<Vec<NodeId>, StoreError>;
    /// Takes one of them over: counts its rows, closes its chain (`event`, with the chain's head added, says so), and makes
    /// its blocks the heir's. `None`: it lives, or somebody else was faster.
    async fn take_over(
        &self,
        own: &NodeId,
        dead: &NodeId,
        event: AuditEvent,
    ) -> Result<Option<Estate>, StoreError>;

    /// Whether the call was open when its node was taken over: its heir charges it.
    async fn is_taken(&self, intent: &IntentId) -> Result<bool, StoreError>;

    /// Changes a node's block, and tells others what it says of itself. A question that was answered before is answered
    /// alike. A conflict: the node was taken over, or there is no such budget.
    async fn ask_block(&self, node: &NodeId, charge: &Charge, wish: BlockWish) -> Result<Answer, StoreError>;
    /// Of which periods other nodes lacked something a moment ago.
    async fn demands(&self, node: &NodeId) -> Result<Vec<Charge>, StoreError>;
    /// How periods stand at one moment, in the same order: what is settled holds rows that are in no total yet, and blocks
    /// are what is left of them. A budget that is gone is all nothing.
    async fn grounds(&self, node: &NodeId, charges: &[Charge]) -> Result<Vec<Ground>, StoreError>;
    /// The node's blocks as they are stored, which are not nothing.
    async fn blocks_of(&self, node: &NodeId) -> Result<Vec<(Charge, i128)>, StoreError>;
    /// Takes the node's blocks of periods away that began before: nobody holds anything back there.
    async fn forget_blocks(&self, node: &NodeId, charges: &[Charge]) -> Result<(), StoreError>;
    /// Adds what its group commits have written to the totals, if that waits for the next one.
    async fn fold(&self, node: &NodeId, at: Timestamp) -> Result<(), StoreError>;
}
