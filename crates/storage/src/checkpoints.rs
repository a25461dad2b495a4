//! Signed checkpoints: the newest few. Their lasting place is outside.

use claviger_domain::{audit::checkpoint::Checkpoint, ports::StoreError};

use crate::engine::{Db, args, read, statements};

/// How many are kept: an hour of steady traffic.
const KEPT: i64 = 3_600;

statements! {
    INSERT = "INSERT INTO checkpoints (number, at_us, body) VALUES ($1, $2, $3)";
    FORGET = "DELETE FROM checkpoints WHERE number <= $1";
    LAST = "SELECT number AS id, body FROM checkpoints ORDER BY number DESC LIMIT 1";
}

pub(crate) async fn put(db: &Db, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let body = serde_json::to_string(checkpoint).map_err(|_| StoreError::Corrupt {
        table: "checkpoints",
        id: checkpoint.number.to_string(),
        why: "it cannot be written as JSON".to_owned(),
    })?;
    let mut tx = db.begin().await?;
    let inserted = tx.execute(INSERT, args![checkpoint.number, checkpoint.at, body]).await;
    inserted.map_err(|failure| failure.conflict("checkpoint"))?;
    tx.execute(FORGET, args![checkpoint.number - KEPT]).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn last(db: &Db) -> Result<Option<Checkpoint>, StoreError> {
    let row = db.row(LAST, args![]).await?;
    row.map(|row| read("checkpoints", &row, |row| row.parsed("body", |text| serde_json::from_str(text).ok())))
        .transpose()
}
