//! Retention: rows go, their daily totals and leaves stay.
//!
//! What was saved on them is worked out first: rows do not change. Then one transaction keeps that, moves the marks up to
//! which rows are gone and says so on the control chain; from then on nobody reads them. Then the rows are deleted in small steps, which any later call finishes if this one does not.

use claviger_domain::{
    audit::AuditEvent,
    clock::{MICROS_PER_DAY, Timestamp},
    ports::StoreError,
    price::Prices,
    savings::{SavedDay, SavedDays},
};

use crate::{
    audit,
    chains::{self, ChainRow, RecordRow},
    engine::{Db, Tx, args, read, statements},
    failure::Failure,
    ledger, saved_days,
};

/// Rows that one transaction deletes: it holds the writer for a few milliseconds.
const STEP: i64 = 1_000;

statements! {
    /// All chains.
    CHAINS = "SELECT c.no, c.chain AS id, c.opened_us, c.closed_us, c.folded, c.folded_row, c.swept, c.retired, \
              c.retired_row, c.purged_row FROM data_chains c ORDER BY c.no";
    SET_FIRST_DAY = "UPDATE retention SET first_day = CASE WHEN first_day < $1 THEN $1 ELSE first_day END, \
                     runs = runs + 1 WHERE one = 1";
    /// Results of a batch can be fetched for 29 days: who was billed is not asked later.
    FORGET_ITEMS = "DELETE FROM batch_items WHERE batch IN (SELECT id FROM resources \
                    WHERE kind = 'batch' AND billed_us < $1 AND created_us < $1)";
}

/// The rows of one chain that go.
struct Stretch {
    chain: ChainRow,
    last: RecordRow,
}

/// Gives up the rows of groups that were committed before the day of `before` began; how many rows were deleted. The
/// event gets the details `retired` (chain → number of the last group whose rows are gone), `rows` and `before_us`.
pub(crate) async fn retire(
    db: &Db,
    before: Timestamp,
    prices: &dyn Prices,
    event: AuditEvent,
) -> Result<u64, StoreError> {
    let day = before.utc_day();
    let midnight = Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
    let mut stretches = Vec::new();
    let mut seen = db.snapshot().await?;
    for chain in chains::rows(&mut seen, CHAINS).await? {
        if let Some(last) = last_before(&mut seen, &chain, midnight).await? {
            stretches.push(Stretch { chain, last });
        }
    }
    drop(seen);
    if !stretches.is_empty() {
        let saved = saved_on(db, &stretches, prices).await?;
        let mut tx = db.begin().await?;
        mark(&mut tx, &stretches).await?;
        tx.execute(SET_FIRST_DAY, args![day]).await?;
        saved_days::keep(&mut tx, saved).await?;
        tx.execute(FORGET_ITEMS, args![midnight]).await?;
        audit::append(&mut tx, &describe(event, &stretches, midnight)).await?;
        tx.commit().await?;
    }
    purge(db).await
}

/// The newest group that is counted and was committed before the moment, if its rows are still there. Groups are in
/// the order of time, so it is found in a few looks.
async fn last_before(tx: &mut Tx, chain: &ChainRow, moment: Timestamp) -> Result<Option<RecordRow>, Failure> {
    let (mut low, mut high) = (chain.retired, chain.folded);
    let mut found = None;
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match chains::record(tx, chain.no, middle).await? {
            Some(record) if record.at < moment => {
                low = middle;
                found = Some(record);
            }
            Some(_) | None => high = middle - 1,
        }
    }
    Ok(found)
}

/// What was saved on the rows that go, read a page at a time.
async fn saved_on(db: &Db, stretches: &[Stretch], prices: &dyn Prices) -> Result<Vec<SavedDay>, StoreError> {
    let mut days = SavedDays::default();
    for Stretch { chain, last } in stretches {
        let (mut next, end) = (chain.retired_row + 1, last.last_row() + 1);
        while next < end {
            let mut tx = db.snapshot().await?;
            let mut last_id = None;
            tx.each(ledger::BETWEEN_SOME, args![next, end, STEP], |row| {
                let (id, row) = read("ledger", &row, |row| Ok((row.int("id")?, ledger::record(row)?)))?;
                days.add(&row, prices);
                last_id = Some(id);
                Ok(())
            })
            .await?;
            next = last_id.map_or(end, |id| id + 1);
        }
    }
    Ok(days.finish().collect())
}

async fn mark(tx: &mut Tx, stretches: &[Stretch]) -> Result<(), Failure> {
    for Stretch { chain, last } in stretches {
        let values = args![chain.no.0, chain.retired, last.number, last.last_row()];
        if tx.execute(chains::SET_RETIRED, values).await? != 1 {
            return Err(StoreError::Conflict { what: chains::DATA_CHAIN }.into());
        }
    }
    Ok(())
}

fn describe(event: AuditEvent, stretches: &[Stretch], midnight: Timestamp) -> AuditEvent {
    let retired: serde_json::Map<_, _> =
        stretches.iter().map(|s| (s.chain.chain.to_string(), s.last.number.into())).collect();
    let rows: i64 = stretches.iter().map(|s| s.last.last_row() - s.chain.retired_row).sum();
    event.with("retired", retired).with("rows", rows).with("before_us", midnight.as_micros())
}

/// Deletes rows behind the marks; each step is a transaction of its own.
async fn purge(db: &Db) -> Result<u64, StoreError> {
    let mut snapshot = db.snapshot().await?;
    let chains = chains::rows(&mut snapshot, CHAINS).await?;
    drop(snapshot);
    let mut deleted = 0;
    for chain in chains {
        let mut done = chain.purged_row;
        while done < chain.retired_row {
            let next = chain.retired_row.min(done + STEP);
            let mut tx = db.begin().await?;
            deleted += tx.execute(ledger::DELETE_BETWEEN, args![done, next]).await?;
            tx.execute(chains::SET_PURGED, args![chain.no.0, next]).await?;
            tx.commit().await?;
            done = next;
        }
    }
    Ok(deleted)
}
