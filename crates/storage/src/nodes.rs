//! Which incarnations of nodes live, where several share the database, and how one that died is taken over. A chain whose
//! node has a row here lives; whoever takes it over when it has lapsed takes the row away, in the transaction that closes
//! the chain.

use async_trait::async_trait;
use claviger_domain::{
    audit::AuditEvent,
    budget::{BlockWish, Charge, Ground, blocks::Answer},
    clock::Timestamp,
    id::{IntentId, NodeId},
    ports::{
        StoreError,
        nodes::{Estate, SharedStore},
    },
};

use crate::{
    Database, audit,
    blocks::{self, LEASE},
    chains::{self, ChainRow},
    commit,
    engine::{Db, Tx, args, read, statements},
    failure::Failure,
    feed, intents,
};

statements! {
    BEGIN = "INSERT INTO node_leases (node, until_us) VALUES ($1, $2)";
    RENEW = "UPDATE node_leases SET until_us = $2 WHERE node = $1";
    END = "DELETE FROM node_leases WHERE node = $1";
    END_LAPSED = "DELETE FROM node_leases WHERE node = $1 AND until_us < $2";
    TAKE = "INSERT INTO taken_intents (intent) VALUES ($1) ON CONFLICT (intent) DO NOTHING";
    IS_TAKEN = "SELECT intent AS id FROM taken_intents WHERE intent = $1";
    LIVES = "SELECT node AS id FROM node_leases WHERE node = $1";
}

/// The same on PostgreSQL, so that the node cannot be taken over before the transaction ends.
pub(crate) const HOLD_POSTGRES: &str = "SELECT node AS id FROM node_leases WHERE node = $1 FOR SHARE";

/// Whether the node has not been taken over.
pub(crate) async fn lives(tx: &mut Tx, node: &NodeId) -> Result<bool, Failure> {
    Ok(tx.row(LIVES, args![node.as_str()]).await?.is_some())
}

/// The same, and it stays so until the transaction ends.
pub(crate) async fn hold(tx: &mut Tx, node: &NodeId) -> Result<bool, Failure> {
    let statement = if tx.is_shared() { HOLD_POSTGRES } else { LIVES };
    Ok(tx.row(statement, args![node.as_str()]).await?.is_some())
}

/// Whether a chain's open calls are those of somebody who lives, other than `own`.
pub(crate) async fn is_kept(tx: &mut Tx, chain: &ChainRow, own: Option<&NodeId>) -> Result<bool, Failure> {
    if lives(tx, &chain.chain).await? {
        return Ok(true);
    }
    let row = tx.row(chains::HEIR, args![chain.no.0]).await?;
    let heir =
        row.map(|row| read("data_chains", &row, |row| row.opt_text("id").map(|t| t.map(str::to_owned))));
    let Some(heir) = heir.transpose()?.flatten().and_then(|text| NodeId::parse(&text).ok()) else {
        return Ok(false);
    };
    Ok(Some(&heir) != own && lives(tx, &heir).await?)
}

async fn until(db: &Db, lasts_us: i64) -> Result<Timestamp, StoreError> {
    Ok(feed::clock(db).await?.plus_micros(lasts_us))
}

#[async_trait]
impl SharedStore for Database {
    async fn begin_lease(&self, node: &NodeId, lasts_us: i64) -> Result<(), StoreError> {
        let until = until(&self.db, lasts_us).await?;
        Ok(self.db.execute(BEGIN, args![node.as_str(), until]).await?)
    }

    async fn renew_lease(&self, node: &NodeId, lasts_us: i64) -> Result<(), StoreError> {
        let until = until(&self.db, lasts_us).await?;
        match self.db.touch(RENEW, args![node.as_str(), until]).await? {
            1 => Ok(()),
            _ => Err(StoreError::Conflict { what: LEASE }),
        }
    }

    async fn end_lease(&self, node: &NodeId) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        if chains::find(&mut tx, node).await?.is_some_and(|chain| chain.closed_at.is_none()) {
            // Something of it is not written: whoever takes it over settles that.
            tx.execute(RENEW, args![node.as_str(), Timestamp::from_micros(0)]).await?;
        } else {
            tx.execute(blocks::FORGET_NODE, args![node.as_str()]).await?;
            tx.execute(END, args![node.as_str()]).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn lapse(&self, node: &NodeId) -> Result<(), StoreError> {
        self.db.touch(RENEW, args![node.as_str(), Timestamp::from_micros(0)]).await?;
        Ok(())
    }

    async fn lapsed(&self, own: &NodeId) -> Result<Vec<NodeId>, StoreError> {
        let now = feed::clock(&self.db).await?;
        let rows = self.db.rows(chains::LAPSED, args![own.as_str(), now]).await?;
        let node = |row: &_| read("data_chains", row, |row| row.parsed("id", |t| NodeId::parse(t).ok()));
        rows.iter().map(node).collect()
    }

    async fn take_over(
        &self,
        own: &NodeId,
        dead: &NodeId,
        event: AuditEvent,
    ) -> Result<Option<Estate>, StoreError> {
        let mut writer = self.writer.lock().await;
        let estate = take_over(&self.db, own, dead, event).await?;
        if let Some(estate) = &estate {
            writer.inherit(&estate.intents);
        }
        Ok(estate)
    }

    async fn is_taken(&self, intent: &IntentId) -> Result<bool, StoreError> {
        Ok(self.db.row(IS_TAKEN, args![intent.as_str()]).await?.is_some())
    }

    async fn ask_block(&self, node: &NodeId, charge: &Charge, wish: BlockWish) -> Result<Answer, StoreError> {
        blocks::ask(&self.db, node, charge, wish).await
    }

    async fn demands(&self, node: &NodeId) -> Result<Vec<Charge>, StoreError> {
        blocks::demands(&self.db, node).await
    }

    async fn grounds(&self, node: &NodeId, charges: &[Charge]) -> Result<Vec<Ground>, StoreError> {
        blocks::grounds(&self.db, node, charges).await
    }

    async fn blocks_of(&self, node: &NodeId) -> Result<Vec<(Charge, i128)>, StoreError> {
        blocks::of_node(&self.db, node).await
    }

    async fn forget_blocks(&self, node: &NodeId, charges: &[Charge]) -> Result<(), StoreError> {
        blocks::forget(&self.db, node, charges).await
    }

    async fn fold(&self, node: &NodeId, at: Timestamp) -> Result<(), StoreError> {
        commit::fold(&self.db, &mut *self.writer.lock().await, node, at).await
    }
}

async fn take_over(
    db: &Db,
    own: &NodeId,
    dead: &NodeId,
    event: AuditEvent,
) -> Result<Option<Estate>, StoreError> {
    let mut tx = db.begin().await?;
    let now = tx.now().await?;
    tx.execute(END_LAPSED, args![dead.as_str(), now]).await?;
    if lives(&mut tx, dead).await?
        || tx.execute(chains::INHERIT, args![dead.as_str(), own.as_str()]).await? != 1
    {
        return Ok(None);
    }
    // From here on nobody else writes to the chain: its row is locked, and closed in the end.
    let Some(chain) = chains::find(&mut tx, dead).await? else { return Ok(None) };
    commit::fold_rest(&mut tx, &chain).await?;
    let blocks = blocks::inherit(&mut tx, own, dead).await?;
    let open = intents::open_of(&mut tx, &chain).await?;
    if open.is_empty() {
        tx.execute(intents::DELETE_BETWEEN, args![chain.no.base(), chain.no.end()]).await?;
    }
    for id in open.keys() {
        tx.execute(TAKE, args![id.as_str()]).await?;
    }
    if chain.closed_at.is_none() {
        let newest = chains::last_record(&mut tx, chain.no).await?;
        let (length, head) =
            newest.map_or((0, claviger_domain::audit::Digest::EMPTY), |r| (r.number, r.head));
        let event = event.with("head", head.to_hex()).with("length", length);
        audit::append(&mut tx, &event).await?;
        tx.execute(chains::CLOSE, args![chain.no.0, event.at]).await?;
    }
    tx.commit().await?;
    let mut intents: Vec<_> = open.into_values().map(|(_, intent)| intent).collect();
    intents.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(Some(Estate { intents, blocks }))
}
