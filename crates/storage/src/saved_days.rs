//! What was saved on rows that retention took: worked out in the transaction in which they go, so that no row counts twice
//! and none is missed.

use claviger_domain::{
    id::{KeyId, OwnerId, WorkspaceId},
    ports::{SavedBefore, SavedQuery, StoreError},
    savings::SavedDay,
};

use crate::{
    bulk::Bulk,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    DAYS = "SELECT utc_day, key_id AS id, model, workspace_id, owner_id, saved FROM saved_days \
            WHERE utc_day >= $1 AND utc_day < $2 AND (CAST($3 AS TEXT) IS NULL OR key_id = $3) \
            AND (CAST($4 AS TEXT) IS NULL OR workspace_id = $4) ORDER BY utc_day, key_id, model";
    KNOWN = "SELECT first_day, saved_from, runs FROM retention WHERE one = 1";
}

static INSERT: Bulk = Bulk::new(
    "INSERT INTO saved_days (utc_day, key_id, model, workspace_id, owner_id, run, saved) VALUES ",
    7,
    "",
);
/// Those that have many rows.
pub(crate) static BULKS: [(&str, &Bulk); 1] = [("INSERT", &INSERT)];

/// Keeps what was saved on the rows of the run that was just counted.
pub(crate) async fn keep(tx: &mut Tx, days: Vec<SavedDay>) -> Result<(), Failure> {
    let run = runs(tx).await?;
    let mut values = Vec::with_capacity(days.len() * 7);
    for day in days {
        let savings = serde_json::to_string(&day.savings).map_err(|error| StoreError::Corrupt {
            table: "saved_days",
            id: day.key.to_string(),
            why: error.to_string(),
        })?;
        values.extend(args![
            day.day,
            day.key.as_str(),
            // PostgreSQL keeps no NUL in a text.
            day.model.replace('\0', ""),
            day.workspace.as_str(),
            day.owner.as_str(),
            run,
            savings
        ]);
    }
    INSERT.execute(tx, values).await
}

/// How often rows went.
pub(crate) async fn runs(tx: &mut Tx) -> Result<i64, Failure> {
    Ok(known(tx).await?.2)
}

async fn known(tx: &mut Tx) -> Result<(i64, i64, i64), Failure> {
    let row = tx.row(KNOWN, args![]).await?;
    let known = |row: &Row| Ok((row.int("first_day")?, row.int("saved_from")?, row.int("runs")?));
    let known = row.map(|row| read("retention", &row, known)).transpose()?;
    Ok(known.unwrap_or((i64::MIN, i64::MIN, 0)))
}

/// What is known of rows that are gone.
pub(crate) async fn before(db: &Db, query: &SavedQuery) -> Result<SavedBefore, StoreError> {
    let mut tx = db.snapshot().await?;
    let (first_day, saved_from, runs) = known(&mut tx).await?;
    let mut days = Vec::new();
    let values = args![
        query.days.0,
        query.days.1,
        query.key.as_ref().map(|id| id.as_str()),
        query.workspace.as_ref().map(|id| id.as_str()),
    ];
    tx.each(DAYS, values, |row| {
        days.push(read("saved_days", &row, stored)?);
        Ok(())
    })
    .await?;
    Ok(SavedBefore { days, first_day, saved_from, runs })
}

fn stored(row: &Row) -> Result<SavedDay, Unreadable> {
    Ok(SavedDay {
        day: row.int("utc_day")?,
        key: row.parsed("id", |t| KeyId::parse(t).ok())?,
        model: row.text("model")?.to_owned(),
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        owner: row.parsed("owner_id", |t| OwnerId::parse(t).ok())?,
        savings: row.parsed("saved", |text| serde_json::from_str(text).ok())?,
    })
}
