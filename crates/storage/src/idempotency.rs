//! Requests with an `Idempotency-Key`.

use claviger_domain::{
    audit::{AuditEvent, Digest},
    clock::Timestamp,
    ports::{
        StoreError,
        idempotency::{DETAIL, KeptAnswer, Known, Reservation},
    },
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    RESERVE = "INSERT INTO idempotency (principal, key, request, request_id, at_us) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (principal, key) DO NOTHING";
    GET = "SELECT request_id AS id, request, at_us, made, status, sealed FROM idempotency \
           WHERE principal = $1 AND key = $2";
    TAKE_OVER = "UPDATE idempotency SET request = $2, request_id = $3, at_us = $4 \
                 WHERE request_id = $1 AND made IS NULL AND status IS NULL";
    /// Marks what a request made; the first of several stays. No row: another request took it over.
    MADE = "UPDATE idempotency SET made = COALESCE(made, $2) WHERE request_id = $1";
    ANSWER = "UPDATE idempotency SET status = $2, sealed = $3 WHERE request_id = $1";
    RELEASE = "DELETE FROM idempotency WHERE request_id = $1 AND made IS NULL";
    FORGET = "DELETE FROM idempotency WHERE request_id IN \
              (SELECT request_id FROM idempotency WHERE at_us < $1 ORDER BY at_us LIMIT $2)";
}

pub(crate) async fn reserve(db: &Db, wanted: &Reservation) -> Result<Option<Known>, StoreError> {
    let (principal, key) = (wanted.principal.as_str(), wanted.key.as_str());
    // The row may be forgotten between the two statements; then there is room again.
    loop {
        let mut tx = db.begin().await?;
        let values = args![principal, key, wanted.request, wanted.request_id.as_str(), wanted.at];
        if tx.execute(RESERVE, values).await? == 1 {
            tx.commit().await?;
            return Ok(None);
        }
        let row = tx.row(GET, args![principal, key]).await?;
        tx.commit().await?;
        if let Some(row) = row {
            return read("idempotency", &row, known).map(Some);
        }
    }
}

fn known(row: &Row) -> Result<Known, Unreadable> {
    let status =
        row.opt_int("status")?.map(|s| u16::try_from(s).map_err(|_| Unreadable("status"))).transpose()?;
    Ok(Known {
        request: Digest(row.blob("request")?.try_into().map_err(|_| Unreadable("request"))?),
        request_id: row.text("id")?.to_owned(),
        at: row.time("at_us")?,
        made: row.opt_text("made")?.map(str::to_owned),
        answer: match status {
            Some(status) => Some(KeptAnswer {
                status,
                sealed: Some(row.blob("sealed")?.to_vec()).filter(|s| !s.is_empty()),
            }),
            None => None,
        },
    })
}

pub(crate) async fn get(db: &Db, principal: &str, key: &str) -> Result<Option<Known>, StoreError> {
    let row = db.row(GET, args![principal, key]).await?;
    row.map(|row| read("idempotency", &row, known)).transpose()
}

pub(crate) async fn take_over(db: &Db, request_id: &str, wanted: &Reservation) -> Result<bool, StoreError> {
    let mut tx = db.begin().await?;
    let values = args![request_id, wanted.request, wanted.request_id.as_str(), wanted.at];
    let touched = tx.execute(TAKE_OVER, values).await?;
    tx.commit().await?;
    Ok(touched == 1)
}

/// In the transaction of what a request does.
pub(crate) async fn mark(tx: &mut Tx, event: &AuditEvent) -> Result<(), Failure> {
    if !event.details.contains_key(DETAIL) {
        return Ok(());
    }
    let touched = tx.execute(MADE, args![event.request_id.as_str(), event.target.as_str()]).await?;
    expect_one(touched, "idempotency key")
}

pub(crate) async fn keep_answer(db: &Db, request_id: &str, answer: &KeptAnswer) -> Result<(), StoreError> {
    let sealed = answer.sealed.clone().unwrap_or_default();
    Ok(db.execute(ANSWER, args![request_id, i64::from(answer.status), sealed]).await?)
}

pub(crate) async fn release(db: &Db, request_id: &str) -> Result<(), StoreError> {
    Ok(db.execute(RELEASE, args![request_id]).await?)
}

pub(crate) async fn forget(db: &Db, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let gone = tx.execute(FORGET, args![before, limit]).await?;
    tx.commit().await?;
    Ok(gone)
}
