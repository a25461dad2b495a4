//! Failed proofs, which a restart does not forgive.

use claviger_domain::{clock::Timestamp, operator::lockout::Lockout, ports::StoreError};

use crate::engine::{Db, Row, Unreadable, args, read, statements};

statements! {
    GET = "SELECT place AS id, failures, until_us FROM lockouts WHERE place = $1";
    /// Locks the place's row, whether it was there or not.
    HOLD = "INSERT INTO lockouts (place, failures, until_us) VALUES ($1, 0, 0) \
            ON CONFLICT (place) DO UPDATE SET failures = lockouts.failures";
    PUT = "UPDATE lockouts SET failures = $2, until_us = $3 WHERE place = $1";
    CLEAR = "DELETE FROM lockouts WHERE place = $1";
}

/// Places are few: every number of one fits.
fn key(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn lockout(row: &Row) -> Result<Lockout, Unreadable> {
    let failures = u32::try_from(row.int("failures")?).map_err(|_| Unreadable("failures"))?;
    Ok(Lockout::of(failures, row.time("until_us")?))
}

pub(crate) async fn get(db: &Db, place: u64) -> Result<Lockout, StoreError> {
    let row = db.row(GET, args![key(place)]).await?;
    row.map_or_else(|| Ok(Lockout::default()), |row| read("lockouts", &row, lockout))
}

pub(crate) async fn count(db: &Db, place: u64, at: Timestamp) -> Result<Lockout, StoreError> {
    let mut tx = db.begin().await?;
    tx.execute(HOLD, args![key(place)]).await?;
    let row = tx.row(GET, args![key(place)]).await?;
    let before = row.map_or_else(|| Ok(Lockout::default()), |row| read("lockouts", &row, lockout))?;
    let after = before.failed(at);
    tx.execute(PUT, args![key(place), after.failures(), after.until()]).await?;
    tx.commit().await?;
    Ok(after)
}

pub(crate) async fn clear(db: &Db, place: u64) -> Result<(), StoreError> {
    Ok(db.execute(CLEAR, args![key(place)]).await?)
}
