//! Data chains: one a node incarnation, their records, and where things of a chain stand in the tables.

use claviger_domain::{
    audit::{AuditEvent, DataRecord, Digest},
    clock::Timestamp,
    id::NodeId,
    ports::{DataChain, StoreError},
};

use crate::{
    audit,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

/// What a chain is called when it is not as its writer believes.
pub(crate) const DATA_CHAIN: &str = "data chain";

macro_rules! chain_columns {
    () => {
        "c.no, c.chain AS id, c.opened_us, c.closed_us, c.folded, c.folded_row, c.swept, c.retired, \
         c.retired_row, c.purged_row"
    };
}

statements! {
    /// All chains with the newest record of each.
    LIST = concat!(
        "SELECT ", chain_columns!(), ", r.id AS record_id, r.head FROM data_chains c \
         LEFT JOIN data_records r ON r.id = (SELECT MAX(d.id) FROM data_records d \
         WHERE d.id > c.no * 1099511627776 AND d.id < (c.no + 1) * 1099511627776) ORDER BY c.no"
    );
    FIND = concat!("SELECT ", chain_columns!(), " FROM data_chains c WHERE c.chain = $1");
    /// Chains with rows that no daily total holds.
    UNFOLDED = concat!(
        "SELECT ", chain_columns!(), " FROM data_chains c WHERE EXISTS (SELECT 1 FROM ledger l \
         WHERE l.id > c.folded_row AND l.id < (c.no + 1) * 1099511627776) ORDER BY c.no"
    );
    /// Chains with intents that may be open.
    WITH_INTENTS = concat!(
        "SELECT ", chain_columns!(), " FROM data_chains c WHERE EXISTS (SELECT 1 FROM intent_groups i \
         WHERE i.id > c.no * 1099511627776 AND i.id < (c.no + 1) * 1099511627776) ORDER BY c.no"
    );
    /// Serialised by the control chain's lock, which opening takes first.
    NEXT_NO = "SELECT COALESCE(MAX(no), 0) + 1 AS no FROM data_chains";
    OPEN = "INSERT INTO data_chains (no, chain, opened_us, folded, folded_row, swept, retired, retired_row, \
            purged_row) VALUES ($1, $2, $3, 0, $4, 0, 0, $4, $4)";
    CLOSE = "UPDATE data_chains SET closed_us = $2 WHERE no = $1 AND closed_us IS NULL";
    /// Only from where the writer believes it to be, so that no row is ever counted twice.
    SET_FOLDED = "UPDATE data_chains SET folded = $3, folded_row = $4, swept = $5 WHERE no = $1 AND folded = $2";
    /// Chains whose nodes are not heard of any more, or were closed with calls that nobody settled; not those that
    /// somebody who lives has taken over.
    LAPSED = "SELECT c.chain AS id FROM data_chains c WHERE c.chain <> $1 AND ((c.closed_us IS NULL \
              AND NOT EXISTS (SELECT 1 FROM node_leases n WHERE n.node = c.chain AND n.until_us >= $2)) \
              OR (c.closed_us IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node_leases n WHERE n.node = c.heir) \
              AND EXISTS (SELECT 1 FROM intent_groups i WHERE i.id > c.no * 1099511627776 \
              AND i.id < (c.no + 1) * 1099511627776))) ORDER BY c.no";
    INHERIT = "UPDATE data_chains SET heir = $2 WHERE chain = $1 AND (heir IS NULL OR heir = $2 \
               OR NOT EXISTS (SELECT 1 FROM node_leases n WHERE n.node = data_chains.heir))";
    HEIR = "SELECT heir AS id FROM data_chains WHERE no = $1";
    SET_RETIRED = "UPDATE data_chains SET retired = $3, retired_row = $4 WHERE no = $1 AND retired = $2";
    SET_PURGED = "UPDATE data_chains SET purged_row = $2 WHERE no = $1";
    INSERT_RECORD = "INSERT INTO data_records (id, at_us, row_count, first_row, leaf, head) \
                     VALUES ($1, $2, $3, $4, $5, $6)";
    RECORD = "SELECT id, at_us, row_count, first_row, leaf, head FROM data_records WHERE id = $1";
    RECORDS_AFTER = "SELECT id, at_us, row_count, first_row, leaf, head FROM data_records \
                     WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";
    LAST_RECORD = "SELECT id, at_us, row_count, first_row, leaf, head FROM data_records \
                   WHERE id > $1 AND id < $2 ORDER BY id DESC LIMIT 1";
}

/// The number under which the store knows a chain. Everything of chain `no` has ids from `no · 2^40` on, which
/// makes each table grow at one place a writer: 8 million incarnations, 10^12 rows each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChainNo(pub i64);

impl ChainNo {
    const SPAN: i64 = 1 << 40;

    /// The id just before its first.
    pub const fn base(self) -> i64 {
        self.0 * Self::SPAN
    }

    /// The id at a position, from 1.
    pub const fn id(self, position: i64) -> i64 {
        self.base() + position
    }

    /// The position that an id stands for.
    pub const fn position(id: i64) -> i64 {
        id % Self::SPAN
    }

    /// The base of the next chain: all ids of this one are smaller.
    pub const fn end(self) -> i64 {
        (self.0 + 1) * Self::SPAN
    }
}

/// A chain's row.
#[derive(Debug, Clone)]
pub(crate) struct ChainRow {
    pub no: ChainNo,
    pub chain: NodeId,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// Groups up to this one are in the daily totals.
    pub folded: i64,
    pub folded_row: i64,
    /// No intent of this group or an earlier one is open.
    pub swept: i64,
    /// The rows of this group and earlier ones are gone.
    pub retired: i64,
    pub retired_row: i64,
    pub purged_row: i64,
}

impl ChainRow {
    pub fn read(row: &Row) -> Result<Self, Unreadable> {
        Ok(Self {
            no: ChainNo(row.int("no")?),
            chain: row.parsed("id", |t| NodeId::parse(t).ok())?,
            opened_at: row.time("opened_us")?,
            closed_at: row.opt_time("closed_us")?,
            folded: row.int("folded")?,
            folded_row: row.int("folded_row")?,
            swept: row.int("swept")?,
            retired: row.int("retired")?,
            retired_row: row.int("retired_row")?,
            purged_row: row.int("purged_row")?,
        })
    }
}

/// A group's record with the place of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRow {
    pub number: i64,
    pub at: Timestamp,
    pub rows: i64,
    pub first_row: i64,
    pub leaf: Digest,
    pub head: Digest,
}

impl RecordRow {
    pub fn read(row: &Row) -> Result<Self, Unreadable> {
        Ok(Self {
            number: ChainNo::position(row.int("id")?),
            at: row.time("at_us")?,
            rows: row.int("row_count")?,
            first_row: row.int("first_row")?,
            leaf: row.digest("leaf")?,
            head: row.digest("head")?,
        })
    }

    /// The id of its last row; of the last row before it when it has none.
    pub const fn last_row(&self) -> i64 {
        self.first_row + self.rows - 1
    }
}

/// All chains that a statement names.
pub(crate) async fn rows(tx: &mut Tx, statement: &'static str) -> Result<Vec<ChainRow>, Failure> {
    let rows = tx.rows(statement, args![]).await?;
    Ok(rows.iter().map(|row| read("data_chains", row, ChainRow::read)).collect::<Result<_, _>>()?)
}

pub(crate) async fn find(tx: &mut Tx, chain: &NodeId) -> Result<Option<ChainRow>, Failure> {
    let row = tx.row(FIND, args![chain.as_str()]).await?;
    Ok(row.map(|row| read("data_chains", &row, ChainRow::read)).transpose()?)
}

pub(crate) async fn record(tx: &mut Tx, no: ChainNo, number: i64) -> Result<Option<RecordRow>, Failure> {
    let row = tx.row(RECORD, args![no.id(number)]).await?;
    Ok(row.map(|row| read("data_records", &row, RecordRow::read)).transpose()?)
}

pub(crate) async fn last_record(tx: &mut Tx, no: ChainNo) -> Result<Option<RecordRow>, Failure> {
    let row = tx.row(LAST_RECORD, args![no.base(), no.end()]).await?;
    Ok(row.map(|row| read("data_records", &row, RecordRow::read)).transpose()?)
}

/// The records from the first number to the last.
pub(crate) async fn records_between(
    tx: &mut Tx,
    no: ChainNo,
    first: i64,
    last: i64,
) -> Result<Vec<RecordRow>, Failure> {
    let count = last.saturating_sub(first).saturating_add(1).max(0);
    let rows = tx.rows(RECORDS_AFTER, args![no.id(first) - 1, no.id(last) + 1, count]).await?;
    Ok(rows.iter().map(|row| read("data_records", row, RecordRow::read)).collect::<Result<_, _>>()?)
}

/// Writes the chain's first line together with the event that says so.
pub(crate) async fn open(db: &Db, chain: &NodeId, event: &AuditEvent) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    audit::append(&mut tx, event).await?;
    let row = tx.row(NEXT_NO, args![]).await?.ok_or(StoreError::Conflict { what: DATA_CHAIN })?;
    let no = ChainNo(read("data_chains", &row, |row| row.int("no"))?);
    let values = args![no.0, chain.as_str(), event.at, no.base()];
    tx.execute(OPEN, values).await.map_err(|e| e.conflict(DATA_CHAIN))?;
    Ok(tx.commit().await?)
}

pub(crate) async fn list(db: &Db) -> Result<Vec<DataChain>, StoreError> {
    let rows = db.rows(LIST, args![]).await?;
    let chain = |row: &Row| {
        let chain = ChainRow::read(row)?;
        let newest = row.opt_int("record_id")?;
        Ok(DataChain {
            chain: chain.chain,
            opened_at: chain.opened_at,
            closed_at: chain.closed_at,
            length: newest.map_or(0, ChainNo::position),
            head: if newest.is_some() { row.digest("head")? } else { Digest::EMPTY },
        })
    };
    rows.iter().map(|row| read("data_chains", row, chain)).collect()
}

pub(crate) async fn records_after(
    db: &Db,
    chain: &NodeId,
    number: i64,
    limit: u32,
) -> Result<Vec<DataRecord>, StoreError> {
    let Some(row) = db.row(FIND, args![chain.as_str()]).await? else { return Ok(Vec::new()) };
    let no = read("data_chains", &row, ChainRow::read)?.no;
    let rows = db.rows(RECORDS_AFTER, args![no.id(number), no.end(), limit]).await?;
    let record = |row: &Row| {
        let RecordRow { number, at, rows, first_row: _, leaf, head } = RecordRow::read(row)?;
        Ok(DataRecord { chain: chain.clone(), number, at, rows, leaf, head })
    };
    rows.iter().map(|row| read("data_records", row, record)).collect()
}
