//! What a verification asks for: rows in stretches, rows that no record covers, totals beside the rows that they sum up.

use std::collections::BTreeMap;

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::NodeId,
    ledger::LedgerRow,
    ports::{DayCheck, StoreError},
};

use crate::{
    chains::{self, RecordRow},
    engine::{Arg, Db, Tx, args, read, statements},
    failure::Failure,
    fold::{DayKey, DayTotal, Pending},
    ledger, usage,
};

statements! {
    /// Any row within a stretch of ids.
    ANY_BETWEEN = "SELECT MIN(id) AS id FROM ledger WHERE id >= $1 AND id <= $2";
    /// The next day that has a total.
    NEXT_DAY = "SELECT MIN(utc_day) AS utc_day FROM usage_days WHERE utc_day >= $1";
    /// The next row in time.
    NEXT_ROW = "SELECT MIN(at_us) AS at_us FROM ledger WHERE at_us >= $1";
}

/// The rows of the groups from the first number to the last.
pub(crate) async fn rows_of(
    db: &Db,
    chain: &NodeId,
    first: i64,
    last: i64,
) -> Result<BTreeMap<i64, Vec<LedgerRow>>, StoreError> {
    let mut tx = db.snapshot().await?;
    let Some(chain) = chains::find(&mut tx, chain).await? else { return Ok(BTreeMap::new()) };
    let first = first.max(chain.retired + 1);
    let records = chains::records_between(&mut tx, chain.no, first, last).await?;
    let with_rows: Vec<&RecordRow> = records.iter().filter(|record| record.rows > 0).collect();
    let (Some(start), Some(end)) = (
        with_rows.iter().map(|record| record.first_row).min(),
        with_rows.iter().map(|record| record.last_row()).max(),
    ) else {
        return Ok(BTreeMap::new());
    };
    // No more than were written: marks that were tampered with must not bring in everything.
    let most = with_rows.iter().map(|record| record.rows).fold(1, i64::saturating_add);
    let mut rows = Vec::new();
    tx.each(ledger::BETWEEN_SOME, args![start, end.saturating_add(1), most], |row| {
        rows.push((read("ledger", &row, |row| row.int("id"))?, read("ledger", &row, ledger::record)?));
        Ok(())
    })
    .await?;
    let of_group = |record: &&RecordRow| {
        let from = rows.partition_point(|(id, _)| *id < record.first_row);
        let until = rows.partition_point(|(id, _)| *id <= record.last_row());
        let own = rows.get(from..until).unwrap_or_default();
        (record.number, own.iter().map(|(_, row)| row.clone()).collect())
    };
    Ok(with_rows.iter().map(of_group).collect())
}

/// The position of a row that no record of the chain covers: behind its newest record, or where retention has deleted.
pub(crate) async fn stray_row(db: &Db, chain: &NodeId) -> Result<Option<i64>, StoreError> {
    let mut tx = db.snapshot().await?;
    let Some(chain) = chains::find(&mut tx, chain).await? else { return Ok(None) };
    let newest = chains::last_record(&mut tx, chain.no).await?;
    let end = newest.map_or(chain.no.base(), |record| record.last_row());
    for (from, until) in [(end + 1, chain.no.end() - 1), (chain.no.base(), chain.purged_row)] {
        if let Some(id) = least(&mut tx, ANY_BETWEEN, args![from, until], "id").await? {
            return Ok(Some(id - chain.no.base()));
        }
    }
    Ok(None)
}

/// Holds the totals of the next day after `day` against its rows. Each day is one short reading.
pub(crate) async fn check_totals(db: &Db, day: i64) -> Result<Option<DayCheck>, StoreError> {
    let mut tx = db.snapshot().await?;
    let from = day.saturating_add(1).max(usage::first_day(&mut tx).await?);
    let start = from.saturating_mul(MICROS_PER_DAY);
    let total = least(&mut tx, NEXT_DAY, args![from], "utc_day").await?;
    let row = least(&mut tx, NEXT_ROW, args![start], "at_us").await?;
    let row = row.map(|at| Timestamp::from_micros(at).utc_day());
    let Some(day) = total.into_iter().chain(row).min() else { return Ok(None) };

    let span = [day, day.saturating_add(1)].map(|day| Arg::Int(day.saturating_mul(MICROS_PER_DAY)));
    let mut summed = Pending::default();
    let values = span.into_iter().chain([Arg::OptText(None), Arg::OptText(None)]).collect();
    tx.each(ledger::FOLDED_IN_TIME, values, |row| {
        summed.add(&read("ledger", &row, ledger::record)?);
        Ok(())
    })
    .await?;
    let kept: BTreeMap<DayKey, DayTotal> = usage::totals_of_day(&mut tx, day).await?;
    let agrees = |key: &DayKey, total: &DayTotal| {
        // What was read and written was not noted from the beginning.
        let sum = summed.days.get(key).filter(|sum| sum.accesses.includes(total.accesses));
        sum.is_some_and(|sum| DayTotal { accesses: sum.accesses, ..*total } == *sum)
    };
    let differs = kept.iter().find(|(key, total)| !agrees(key, total)).map(|(key, _)| key);
    let differs = differs.or_else(|| summed.days.keys().find(|key| !kept.contains_key(key)));
    Ok(Some(DayCheck { day, differs: differs.map(|key| key.key.to_string()) }))
}

/// What a statement with `MIN` gives back.
async fn least(
    tx: &mut Tx,
    statement: &'static str,
    values: Vec<Arg>,
    column: &'static str,
) -> Result<Option<i64>, Failure> {
    let row = tx.row(statement, values).await?;
    Ok(row.map(|row| read("ledger", &row, |row| row.opt_int(column))).transpose()?.flatten())
}
