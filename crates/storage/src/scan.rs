//! Rows of the ledger in the order of time, a page at a time: each page is a read of its own, so that no report holds
//! the database for long.

use claviger_domain::ports::{RowCursor, RowPage, RowScan, StoreError};

use crate::{
    engine::{Db, args, read, statements},
    ledger, saved_days, usage,
};

/// The most rows of one page.
const MOST: u32 = 5_000;

statements! {
    PAGE = concat!(
        "SELECT ", ledger::columns!(), " FROM ledger \
         WHERE at_us >= $1 AND (at_us > $1 OR id > $2) AND at_us < $3 \
         AND (CAST($4 AS TEXT) IS NULL OR key_id = $4) AND (CAST($5 AS TEXT) IS NULL OR workspace_id = $5) \
         AND EXISTS (SELECT 1 FROM data_chains c WHERE c.no = ledger.id / 1099511627776 \
                     AND ledger.id > c.retired_row) \
         ORDER BY at_us, id LIMIT $6"
    );
}

/// The next rows after a place.
pub(crate) async fn page(db: &Db, scan: &RowScan, after: Option<RowCursor>) -> Result<RowPage, StoreError> {
    let mut tx = db.snapshot().await?;
    let first_day = usage::first_day(&mut tx).await?;
    let runs = saved_days::runs(&mut tx).await?;
    let limit = scan.limit.clamp(1, MOST);
    let (from, last) = after.map_or((scan.from, -1), |cursor| (cursor.at, cursor.id));
    let mut rows = Vec::new();
    let mut place = None;
    let values = args![
        from,
        last,
        scan.until,
        scan.key.as_ref().map(|id| id.as_str()),
        scan.workspace.as_ref().map(|id| id.as_str()),
        i64::from(limit),
    ];
    tx.each(PAGE, values, |row| {
        let (id, row) = read("ledger", &row, |row| Ok((row.int("id")?, ledger::record(row)?)))?;
        place = Some(RowCursor { at: row.at, id });
        rows.push(row);
        Ok(())
    })
    .await?;
    let next = place.filter(|_| rows.len() >= limit as usize);
    Ok(RowPage { rows, next, first_day, runs })
}
