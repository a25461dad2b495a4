//! The change feed: numbers without gaps in the order of commits, because the head row stays locked from the
//! moment a number is taken until it is committed.

use claviger_domain::{
    clock::Timestamp,
    ports::{FeedEntry, FeedKind, FeedPage, StoreError},
};

use crate::{
    engine::{Db, Tx, args, postgres, read, sqlite, statements},
    failure::Failure,
};

statements! {
    /// The last statement of each mutation but for its entries.
    TAKE_NUMBER = "UPDATE feed_head SET seq = seq + 1 WHERE one = 1 RETURNING seq";
    INSERT = "INSERT INTO changes (seq, ordinal, kind, id) VALUES ($1, $2, $3, $4)";
    HEAD = "SELECT seq FROM feed_head WHERE one = 1";
    AFTER = "SELECT seq, kind, id FROM changes WHERE seq > $1 AND seq <= $2 ORDER BY seq, ordinal";
}

/// The row that the first migration makes is gone.
pub(crate) fn no_head() -> StoreError {
    StoreError::Corrupt { table: "feed_head", id: "1".to_owned(), why: "it is missing".to_owned() }
}

/// Numbers the mutation and writes its entries. A mutation that changed nothing takes no number.
pub(crate) async fn append(tx: &mut Tx, entries: &[(FeedKind, &str)]) -> Result<i64, Failure> {
    let statement = if entries.is_empty() { HEAD } else { TAKE_NUMBER };
    let row = tx.row(statement, args![]).await?.ok_or_else(no_head)?;
    let seq = read("feed_head", &row, |row| row.int("seq"))?;
    for (ordinal, (kind, id)) in (0_i64..).zip(entries) {
        tx.execute(INSERT, args![seq, ordinal, kind.as_str(), *id]).await?;
    }
    Ok(seq)
}

/// The head is read before the entries: what is committed between the two is left to the next page.
pub(crate) async fn after(db: &Db, seq: i64, limit: u32) -> Result<FeedPage, StoreError> {
    let row = db.row(HEAD, args![]).await?.ok_or_else(no_head)?;
    let head = read("feed_head", &row, |row| row.int("seq"))?;
    let store_time = clock(db).await?;
    if head <= seq {
        return Ok(FeedPage { head, store_time, entries: Vec::new() });
    }
    let last = head.min(seq.saturating_add(i64::from(limit)));
    let rows = db.rows(AFTER, args![seq, last]).await?;
    let entry = |row: &_| {
        read("changes", row, |row| {
            let kind = row.parsed("kind", FeedKind::parse)?;
            Ok(FeedEntry { seq: row.int("seq")?, kind, id: row.text("id")?.to_owned() })
        })
    };
    Ok(FeedPage { head, store_time, entries: rows.iter().map(entry).collect::<Result<_, _>>()? })
}

/// The clock that all nodes compare with.
pub(crate) async fn clock(db: &Db) -> Result<Timestamp, StoreError> {
    let row = db.row(db.pick(sqlite::CLOCK, postgres::CLOCK), args![]).await?;
    let row = row.ok_or_else(|| StoreError::Unavailable("the database has no clock".to_owned()))?;
    read("clock", &row, |row| row.time("now_us"))
}
