//! Group commit: the data plane's one write path. One transaction a group, as few statements and as little work a
//! row as can be.
//!
//! The writer keeps in memory where its chain stands. After any error it forgets that and reads it again, so that a
//! commit whose answer was lost is recognised when the same group is committed once more.

mod state;

use std::{borrow::Cow, collections::HashSet};

use claviger_domain::{
    audit::{AuditEvent, DataRecord, Digest},
    clock::Timestamp,
    id::{IntentId, NodeId},
    ledger::{Group, LedgerRow},
    ports::StoreError,
};

use crate::{
    audit,
    budgets::{self, Charged},
    bulk::Bulk,
    chains::{self, DATA_CHAIN},
    engine::{Arg, Db, Tx, args, read},
    failure::Failure,
    intents, ledger, resources,
};
use state::{ChainState, Committed, Orphan};
pub(crate) use state::{Writer, fold_rest, unfolded};

/// What is billed already is left out.
static INSERT_ITEMS: Bulk = Bulk::new(
    "INSERT INTO batch_items (batch, custom_id) VALUES ",
    2,
    " ON CONFLICT (batch, custom_id) DO NOTHING RETURNING batch AS id, custom_id",
);

/// Those that have many rows.
pub(crate) static BULKS: [(&str, &Bulk); 2] =
    [("INSERT_ITEMS", &INSERT_ITEMS), ("INSERT_ROWS", &ledger::INSERT)];

/// Opens a chain, once what dead incarnations left is counted and cleared.
pub(crate) async fn open_chain(
    db: &Db,
    writer: &mut Writer,
    chain: &NodeId,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    writer.forget();
    state::fold_dead(db).await?;
    intents::clear_settled(db).await?;
    chains::open(db, chain, event).await?;
    writer.load(db, chain).await?;
    Ok(())
}

/// Closes a chain: everything in memory is written, the event says so in the same transaction.
pub(crate) async fn close_chain(
    db: &Db,
    writer: &mut Writer,
    chain: &NodeId,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let mut own = std::mem::take(writer);
    let (state, _) = own.load(db, chain).await?;
    let mut tx = db.begin().await?;
    state.write_pending(&mut tx, state.swept_after(&HashSet::new())).await?;
    audit::append(&mut tx, event).await?;
    let closed = tx.execute(chains::CLOSE, args![state.no.0, event.at]).await?;
    if closed != 1 {
        return Err(StoreError::Conflict { what: DATA_CHAIN });
    }
    Ok(tx.commit().await?)
}

/// Writes totals that would wait for the next group.
pub(crate) async fn fold(
    db: &Db,
    writer: &mut Writer,
    chain: &NodeId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut own = std::mem::take(writer);
    let (state, _) = own.load(db, chain).await?;
    if state.is_unfolded() {
        let mut tx = db.begin().await?;
        let carried = HashSet::new();
        state.write_pending(&mut tx, state.swept_after(&carried)).await?;
        tx.commit().await?;
        state.folded_at(at, &carried);
    }
    *writer = own;
    Ok(())
}

/// Commits one group; the chain's new head. After an error the very same group may be given again.
pub(crate) async fn commit(db: &Db, writer: &mut Writer, group: &Group) -> Result<Digest, StoreError> {
    // Given back only after success: an error, or a caller that goes away in the middle, leaves a writer that knows
    // nothing and reads again what is stored.
    let mut own = std::mem::take(writer);
    let mut answer = try_commit(db, &mut own, group).await.map_err(|failure| failure.conflict(DATA_CHAIN));
    if let Err(StoreError::Refused { code }) = &answer
        && own.puts_fold_off(group)
    {
        // Totals are a sum over many groups: what is refused in them must not stop this one.
        tracing::error!(%code, "daily totals cannot be written; they wait");
        answer = try_commit(db, &mut own, group).await.map_err(|failure| failure.conflict(DATA_CHAIN));
    }
    if matches!(answer, Err(StoreError::Conflict { .. })) {
        // A commit whose connection broke may have gone on in the server until now: what looks like somebody else's
        // record can be this very group.
        own.forget();
        answer = try_commit(db, &mut own, group).await.map_err(|failure| failure.conflict(DATA_CHAIN));
    }
    let head = answer?;
    *writer = own;
    Ok(head)
}

/// Whether the store would take the group: everything is done, and then rolled back.
pub(crate) async fn would_take(db: &Db, writer: &mut Writer, group: &Group) -> Result<(), StoreError> {
    let mut own = std::mem::take(writer);
    let (state, orphans) = own.load(db, &group.chain).await?;
    if group.number != state.length + 1 || group.previous != state.head {
        return Err(StoreError::Conflict { what: DATA_CHAIN });
    }
    let late = orphans.settled_by(group);
    let fresh = fresh_intents(group);
    let intents = intents::pack_group(fresh.iter().map(|(_, packed)| &**packed), &group.released);
    let mut tx = db.begin().await?;
    let answer = write(&mut tx, state, group, (intents, &late)).await;
    drop(tx);
    // Nothing was written, and nothing in memory has changed.
    *writer = own;
    answer.map(drop).map_err(|failure| failure.conflict(DATA_CHAIN))
}

/// Everything of a group but the totals.
async fn write<'a>(
    tx: &mut Tx,
    state: &ChainState,
    group: &'a Group,
    (intents, late): (Option<Vec<u8>>, &[Orphan]),
) -> Result<(DataRecord, Cow<'a, [LedgerRow]>), Failure> {
    settle_orphans(tx, late).await?;
    let rows = billable(tx, &group.rows, late).await?;
    let record = record_of(group, &rows);
    insert(tx, state, &record, intents, &rows).await?;
    resources::insert(tx, &group.resources).await?;
    budgets::hold(tx, &group.chain, &group.resources).await?;
    Ok((record, rows))
}

async fn try_commit(db: &Db, writer: &mut Writer, group: &Group) -> Result<Digest, Failure> {
    let (state, orphans) = writer.load(db, &group.chain).await?;
    if state.is_newest(group) {
        return Ok(state.head);
    }
    if group.number != state.length + 1 || group.previous != state.head {
        return Err(StoreError::Conflict { what: DATA_CHAIN }.into());
    }
    let late = orphans.settled_by(group);
    let fold = state.is_fold_due(group.at);
    let carried = if fold { state.overdue(group.at) } else { HashSet::new() };
    let fresh = fresh_intents(group);
    let old = carried.iter().filter_map(|id| state.open.get(id)).map(|open| &*open.packed);
    let packed: Vec<&[u8]> = fresh.iter().map(|(_, packed)| &**packed).chain(old).collect();
    let intents = intents::pack_group(packed.into_iter(), &group.released);

    let plain = !fold && late.is_empty() && group.resources.is_empty() && is_plain(&group.rows);
    let lines = 1 + usize::from(intents.is_some()) + group.rows.len();
    let (record, rows) = match db.group_statement(lines).filter(|_| plain) {
        Some(statement) => {
            (at_once(db, state, group, statement, intents).await?, Cow::Borrowed(&*group.rows))
        }
        None => {
            let mut tx = db.begin().await?;
            let (record, rows) = write(&mut tx, state, group, (intents, &late)).await?;
            if fold {
                state.write_pending(&mut tx, state.swept_after(&carried)).await?;
            }
            Charged::of_items(&rows).write(&mut tx).await?;
            tx.commit().await?;
            (record, rows)
        }
    };

    orphans.mark(late);
    if fold {
        state.folded_at(group.at, &carried);
    }
    state.advance(group, Committed { record: &record, fresh, carried: &carried, rows: &rows });
    Ok(record.head)
}

fn record_of(group: &Group, rows: &[LedgerRow]) -> DataRecord {
    DataRecord::append(group.chain.clone(), group.number, group.at, group.previous, rows)
}

/// Whether no row can have been billed before.
fn is_plain(rows: &[LedgerRow]) -> bool {
    rows.iter().all(|row| row.batch.is_none())
}

/// Intents that the same group does not settle at once.
fn fresh_intents(group: &Group) -> Vec<(IntentId, Box<[u8]>)> {
    let settled: HashSet<&IntentId> =
        group.rows.iter().filter_map(|row| row.intent.as_ref()).chain(&group.released).collect();
    let fresh = group.intents.iter().filter(|intent| !settled.contains(&intent.id));
    fresh.map(|intent| (intent.id.clone(), intents::pack(intent))).collect()
}

async fn settle_orphans(tx: &mut Tx, late: &[Orphan]) -> Result<(), Failure> {
    for orphan in late.iter().filter(|orphan| orphan.first) {
        tx.execute(intents::SETTLE_FOREIGN, args![orphan.id.as_str()]).await?;
    }
    Ok(())
}

/// The rows that go in: not those of an orphan that is booked already, nor of a batch item that is billed already.
async fn billable<'a>(
    tx: &mut Tx,
    rows: &'a [LedgerRow],
    late: &[Orphan],
) -> Result<Cow<'a, [LedgerRow]>, Failure> {
    let booked = |row: &LedgerRow| {
        row.intent.as_ref().is_some_and(|id| late.iter().any(|orphan| !orphan.first && orphan.id == *id))
    };
    if is_plain(rows) && !rows.iter().any(booked) {
        return Ok(Cow::Borrowed(rows));
    }
    let mut new = new_items(tx, rows).await?;
    let goes_in = |row: &&LedgerRow| {
        let billed =
            row.batch.as_ref().is_some_and(|item| !new.remove(&(item.batch.clone(), item.custom_id.clone())));
        !billed && !booked(row)
    };
    Ok(Cow::Owned(rows.iter().filter(goes_in).cloned().collect()))
}

/// Claims the batch items of the rows; those that nobody had.
async fn new_items(tx: &mut Tx, rows: &[LedgerRow]) -> Result<HashSet<(String, String)>, Failure> {
    let items: HashSet<_> = rows
        .iter()
        .filter_map(|row| row.batch.as_ref())
        .map(|b| (b.batch.as_str(), b.custom_id.as_str()))
        .collect();
    let values = items.into_iter().flat_map(|(batch, item)| args![batch, item]).collect();
    let claimed = INSERT_ITEMS.rows(tx, values).await?;
    let item = |row: &_| {
        read("batch_items", row, |row| Ok((row.text("id")?.to_owned(), row.text("custom_id")?.to_owned())))
    };
    Ok(claimed.iter().map(item).collect::<Result<_, _>>()?)
}

async fn insert(
    tx: &mut Tx,
    state: &ChainState,
    record: &DataRecord,
    intents: Option<Vec<u8>>,
    rows: &[LedgerRow],
) -> Result<(), Failure> {
    let id = state.no.id(record.number);
    let values = args![id, record.at, record.rows, state.last_row + 1, record.leaf, record.head];
    // An incarnation that was taken over writes nothing any more.
    if tx.insert_record(values).await? != 1 {
        return Err(StoreError::Conflict { what: DATA_CHAIN }.into());
    }
    if let Some(body) = intents {
        tx.execute(intents::INSERT, args![id, body]).await?;
    }
    let mut values: Vec<Arg> = Vec::with_capacity(rows.len() * ledger::COLUMNS);
    for (id, row) in (state.last_row + 1..).zip(rows) {
        ledger::values(&mut values, id, row);
    }
    ledger::INSERT.execute(tx, values).await
}

/// The same in one statement, where the engine has one: see [`crate::engine::sqlite`].
async fn at_once(
    db: &Db,
    state: &ChainState,
    group: &Group,
    statement: &'static str,
    intents: Option<Vec<u8>>,
) -> Result<DataRecord, Failure> {
    let record = record_of(group, &group.rows);
    let id = state.no.id(record.number);
    let mut values: Vec<Arg> = Vec::with_capacity((group.rows.len() + 2) * (1 + ledger::COLUMNS));
    let nothing = |count: usize| std::iter::repeat_n(Arg::OptInt(None), count);
    values.extend(args![1_i64, id, record.at, record.leaf]);
    values.extend(nothing(2));
    values.extend(args![record.rows]);
    values.extend(nothing(1));
    values.extend(args![state.last_row + 1]);
    values.extend(nothing(7));
    values.extend(args![record.head]);
    if let Some(body) = intents {
        values.extend(args![2_i64, id]);
        values.extend(nothing(14));
        values.extend(args![body]);
    }
    for (id, row) in (state.last_row + 1..).zip(&group.rows) {
        values.push(Arg::Int(0));
        ledger::values(&mut values, id, row);
    }
    db.execute(statement, values).await?;
    Ok(record)
}
