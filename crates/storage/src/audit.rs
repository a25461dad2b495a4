//! The control chain: one record for whatever changes anything, written in the mutation's own transaction.

use claviger_domain::{
    audit::{AuditEvent, AuditRecord, Digest},
    ports::{ChainHead, FeedKind, StoreError},
};

use crate::{
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
    feed,
};

statements! {
    /// Made by the first record, so that no migration needs to know the digest of an empty chain.
    START = "INSERT INTO audit_head (one, length, head) VALUES (1, 0, $1) ON CONFLICT (one) DO NOTHING";
    /// Takes the next number and locks the chain until the commit; gives back the head before it.
    TAKE_NUMBER = "UPDATE audit_head SET length = length + 1 WHERE one = 1 RETURNING length, head";
    INSERT = "INSERT INTO audit (number, at_us, event, leaf, head) VALUES ($1, $2, $3, $4, $5)";
    SET_HEAD = "UPDATE audit_head SET head = $1 WHERE one = 1";
    HEAD = "SELECT length, head FROM audit_head WHERE one = 1";
    AFTER = "SELECT number, at_us, event, leaf, head FROM audit WHERE number > $1 ORDER BY number LIMIT $2";
}

/// Makes sure that there is a head to lock.
pub(crate) async fn start(tx: &mut Tx) -> Result<(), Failure> {
    tx.execute(START, args![Digest::EMPTY]).await.map(drop)
}

/// Appends one record; its number.
pub(crate) async fn append(tx: &mut Tx, event: &AuditEvent) -> Result<i64, Failure> {
    let record = take(tx, event).await?;
    tx.execute(INSERT, values(&record)?).await?;
    tx.execute(SET_HEAD, args![record.head]).await?;
    Ok(record.number)
}

/// Appends one record and numbers the mutation with its feed entries; the record's number and the feed's. All that other
/// writers wait for is one statement where the engine has one.
pub(crate) async fn append_with(
    tx: &mut Tx,
    event: &AuditEvent,
    entries: &[(FeedKind, &str)],
) -> Result<(i64, i64), Failure> {
    let Some(statement) = tx.append_statement().filter(|_| !entries.is_empty()) else {
        let number = append(tx, event).await?;
        return Ok((number, feed::append(tx, entries).await?));
    };
    let record = take(tx, event).await?;
    let told: Vec<(&str, &str)> = entries.iter().map(|(kind, id)| (kind.as_str(), *id)).collect();
    let told = serde_json::to_string(&told).map_err(|_| unwritable(record.number))?;
    let mut values = values(&record)?;
    values.push(told.into());
    let row = tx.row(statement, values).await?.ok_or_else(feed::no_head)?;
    Ok((record.number, read("feed_head", &row, |row| row.int("seq"))?))
}

/// The next record; the chain stays locked until the commit.
async fn take(tx: &mut Tx, event: &AuditEvent) -> Result<AuditRecord, Failure> {
    let row = tx.row(TAKE_NUMBER, args![]).await?.ok_or_else(no_head)?;
    let before = read("audit_head", &row, head)?;
    Ok(AuditRecord::append(before.length - 1, before.head, event.clone()))
}

fn values(record: &AuditRecord) -> Result<Vec<Arg>, Failure> {
    let text = serde_json::to_string(&record.event).map_err(|_| unwritable(record.number))?;
    Ok(args![record.number, record.event.at, text, record.leaf, record.head])
}

pub(crate) async fn head_of(db: &Db) -> Result<ChainHead, StoreError> {
    let row = db.row(HEAD, args![]).await?.ok_or_else(no_head)?;
    read("audit_head", &row, head)
}

pub(crate) async fn after(db: &Db, number: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    let rows = db.rows(AFTER, args![number, limit]).await?;
    rows.iter().map(|row| read("audit", row, record)).collect()
}

fn head(row: &Row) -> Result<ChainHead, Unreadable> {
    Ok(ChainHead { length: row.int("length")?, head: row.digest("head")? })
}

fn record(row: &Row) -> Result<AuditRecord, Unreadable> {
    let event = event(row.text("event")?).ok_or(Unreadable("event"))?;
    // The only column that no hash covers: it says again what the event says.
    if row.time("at_us")? != event.at {
        return Err(Unreadable("at_us"));
    }
    Ok(AuditRecord {
        number: row.int("number")?,
        event,
        leaf: row.digest("leaf")?,
        head: row.digest("head")?,
    })
}

/// The event, if the text says it and nothing else: what is passed over in reading is in no hash either.
fn event(text: &str) -> Option<AuditEvent> {
    let event: AuditEvent = serde_json::from_str(text).ok()?;
    let whole = serde_json::to_string(&event).is_ok_and(|written| written == text);
    // As another release may have written it.
    let same = || serde_json::from_str::<serde_json::Value>(text).ok() == serde_json::to_value(&event).ok();
    (whole || same()).then_some(event)
}

fn no_head() -> StoreError {
    StoreError::Corrupt { table: "audit_head", id: "1".to_owned(), why: "it is missing".to_owned() }
}

fn unwritable(number: i64) -> StoreError {
    StoreError::Corrupt {
        table: "audit",
        id: number.to_string(),
        why: "the event cannot be written as JSON".to_owned(),
    }
}
