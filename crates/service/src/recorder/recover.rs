//! What a start does for incarnations that died: their spools are drained, their open calls charged, their chains
//! closed. Each step may be repeated.

use std::{collections::HashMap, path::Path, sync::Arc};

use claviger_domain::{
    audit::Digest,
    clock::Clock,
    id::{IntentId, NodeId},
    ledger::{Group, Intent},
    ports::{ChainHead, LedgerStore, Store},
};

use super::{
    gather::unknown_row,
    spool::{Frame, Leftover, leftovers},
    writer::{Target, close_event, commit},
};
use crate::ServiceError;

/// Rows in one group of charged calls.
const ROWS_A_GROUP: usize = 256;

/// Brings to the store what earlier incarnations spooled: each group once, told by its number. What one spooled that
/// another node has taken over meanwhile comes back: it goes into this incarnation's chain.
pub(crate) async fn drain_leftovers(target: &Target, dir: &Path) -> Result<Vec<Leftover>, ServiceError> {
    let unreadable =
        |error: std::io::Error| ServiceError::Unavailable(format!("the spool cannot be read: {error}"));
    let mut salvaged = Vec::new();
    for leftover in leftovers(dir).map_err(unreadable)? {
        salvaged.extend(drain(target, leftover).await?);
    }
    Ok(salvaged)
}

async fn drain(target: &Target, mut leftover: Leftover) -> Result<Option<Leftover>, ServiceError> {
    let chains = target.ledger.chains().await?;
    let Some(known) = chains.into_iter().find(|c| c.chain == leftover.chain) else {
        let groups = leftover.frames.len();
        tracing::error!(chain = %leftover.chain, groups, "a spool belongs to a chain that the store does not know");
        return Ok(None);
    };
    if known.closed_at.is_some() {
        leftover.frames.retain(|frame| frame.number > known.length);
        return Ok(Some(leftover));
    }
    let mut head = ChainHead { length: known.length, head: known.head };
    let frames = std::mem::take(&mut leftover.frames);
    let mut drained = 0_u64;
    for frame in frames.into_iter().filter(|frame| frame.number > known.length) {
        let group = frame.content.into_group(leftover.chain.clone(), head);
        head = commit_next(target, group).await?;
        drained += 1;
    }
    tracing::info!(chain = %leftover.chain, drained, "drained what an earlier start had spooled");
    remove(leftover).map(|()| None)
}

fn remove(leftover: Leftover) -> Result<(), ServiceError> {
    leftover.remove().map_err(|e| ServiceError::Unavailable(format!("the spool cannot be removed: {e}")))
}

/// Writes what was spooled by an incarnation that was taken over. Calls that the store knew to be open by then are charged
/// by its heir, and are not booked again; all others are.
pub(crate) async fn settle_salvaged(
    (target, store): (&Target, &dyn Store),
    clock: &dyn Clock,
    (chain, mut head): (&NodeId, ChainHead),
    salvaged: Vec<Leftover>,
) -> Result<ChainHead, ServiceError> {
    for mut leftover in salvaged {
        for mut group in salvage(std::mem::take(&mut leftover.frames), clock, chain) {
            leave_out_taken(store, &mut group).await?;
            let group = Group { number: head.length + 1, previous: head.head, ..group };
            head = commit_next(target, group).await?;
        }
        tracing::warn!(chain = %leftover.chain, "booked what a node had spooled that was taken over");
        remove(leftover)?;
    }
    Ok(head)
}

async fn leave_out_taken(store: &dyn Store, group: &mut Group) -> Result<(), ServiceError> {
    let Some(store) = store.shared() else { return Ok(()) };
    let mut rows = Vec::with_capacity(group.rows.len());
    for row in std::mem::take(&mut group.rows) {
        let is_taken = match &row.intent {
            Some(intent) => store.is_taken(intent).await?,
            None => false,
        };
        if !is_taken {
            rows.push(row);
        }
    }
    group.rows = rows;
    Ok(())
}

/// The groups of a spool, with a row for each of its intents that has none.
fn salvage(frames: Vec<Frame>, clock: &dyn Clock, chain: &NodeId) -> Vec<Group> {
    let mut open: HashMap<IntentId, Intent> = HashMap::new();
    let mut groups: Vec<Group> = Vec::with_capacity(frames.len() + 1);
    for frame in frames {
        let mut group = frame.content.into_group(chain.clone(), ChainHead { length: 0, head: Digest::EMPTY });
        open.extend(group.intents.drain(..).map(|intent| (intent.id.clone(), intent)));
        group.rows.iter().filter_map(|row| row.intent.as_ref()).for_each(|id| drop(open.remove(id)));
        group.released.drain(..).for_each(|id| drop(open.remove(&id)));
        groups.push(group);
    }
    let at = clock.now();
    for some in open.into_values().collect::<Vec<_>>().chunks(ROWS_A_GROUP) {
        let rows = some.iter().map(|intent| unknown_row(intent, at, "node died")).collect();
        groups.push(Group {
            chain: chain.clone(),
            number: 0,
            at,
            previous: Digest::EMPTY,
            intents: Vec::new(),
            rows,
            released: Vec::new(),
            resources: Vec::new(),
        });
    }
    groups
}

async fn commit_next(target: &Target, group: Group) -> Result<ChainHead, ServiceError> {
    let length = group.number;
    let head = commit(target.clone(), Arc::new(group)).await?.head;
    Ok(ChainHead { length, head })
}

/// Charges the calls that died with their incarnation at their reservations, in this incarnation's chain, which must
/// be open and empty. Where the chain stands then.
pub(crate) async fn settle_orphans(
    target: &Target,
    clock: &dyn Clock,
    chain: &NodeId,
) -> Result<ChainHead, ServiceError> {
    let mut head = ChainHead { length: 0, head: Digest::EMPTY };
    let orphans = target.ledger.orphans(chain).await?;
    if !orphans.is_empty() {
        tracing::warn!(calls = orphans.len(), "charging calls whose end is unknown at their reservations");
    }
    for some in orphans.chunks(ROWS_A_GROUP) {
        let at = clock.now();
        let group = Group {
            chain: chain.clone(),
            number: head.length + 1,
            at,
            previous: head.head,
            intents: Vec::new(),
            rows: some.iter().map(|intent| unknown_row(intent, at, "node died")).collect(),
            released: Vec::new(),
            resources: Vec::new(),
        };
        head = commit_next(target, group).await?;
    }
    Ok(head)
}

/// Closes the chains of incarnations that died: on one node, all but our own.
pub(crate) async fn close_dead_chains(
    ledger: &Arc<dyn LedgerStore>,
    clock: &dyn Clock,
    own: &NodeId,
) -> Result<(), ServiceError> {
    for dead in ledger.chains().await? {
        if dead.closed_at.is_none() && dead.chain != *own {
            let head = ChainHead { length: dead.length, head: dead.head };
            ledger.close_chain(&dead.chain, close_event(clock.now(), &dead.chain, head, "died")).await?;
        }
    }
    Ok(())
}
