//! Rotations of client keys.

use claviger_domain::{
    id::{KeyId, OwnerId, RotationId, WorkspaceId},
    ports::{StoreError, lifecycle::RotationFilter},
    rotation::{Hold, HoldReason, RotationRecord, RotationState},
};

use crate::{
    apply::expect_one,
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! columns {
    () => {
        "id, old_key_id, successor_id, owner_id, workspace_id, reason, state, overlap_secs, started_us, \
         delivered_us, activated_us, retiring_us, ended_us, hold_why, hold_us, extended_us, version"
    };
}

statements! {
    GET = concat!("SELECT ", columns!(), " FROM rotations WHERE id = $1");
    LIST = concat!(
        "SELECT ", columns!(), " FROM rotations \
         WHERE (CAST($1 AS TEXT) IS NULL OR old_key_id = $1 OR successor_id = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR workspace_id = $2) AND ($3 = 0 OR ended_us IS NULL) \
         ORDER BY started_us, id LIMIT $4"
    );
    LIST_AFTER = concat!(
        "SELECT ", columns!(), " FROM rotations \
         WHERE (CAST($1 AS TEXT) IS NULL OR old_key_id = $1 OR successor_id = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR workspace_id = $2) AND ($3 = 0 OR ended_us IS NULL) \
         AND (started_us, id) > (SELECT a.started_us, a.id FROM rotations a WHERE a.id = $5) \
         ORDER BY started_us, id LIMIT $4"
    );
    INSERT = concat!(
        "INSERT INTO rotations (", columns!(), ") \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    );
    UPDATE = "UPDATE rotations SET state = $3, delivered_us = $4, activated_us = $5, retiring_us = $6, ended_us = $7, \
              hold_why = $8, hold_us = $9, extended_us = $10, version = version + 1 WHERE id = $1 AND version = $2";
}

pub(crate) async fn get(db: &Db, id: &RotationId) -> Result<Option<RotationRecord>, StoreError> {
    let row = db.row(GET, args![id.as_str()]).await?;
    row.map(|row| read("rotations", &row, rotation)).transpose()
}

pub(crate) async fn list(db: &Db, filter: &RotationFilter) -> Result<Vec<RotationRecord>, StoreError> {
    let key = filter.key.as_ref().map(KeyId::as_str);
    let workspace = filter.workspace.as_ref().map(WorkspaceId::as_str);
    let mut args: Vec<Arg> = args![key, workspace, filter.open, filter.limit];
    let rows = match &filter.after {
        None => db.rows(LIST, args).await?,
        Some(after) => {
            args.push(after.as_str().into());
            db.rows(LIST_AFTER, args).await?
        }
    };
    rows.iter().map(|row| read("rotations", row, rotation)).collect()
}

fn rotation(row: &Row) -> Result<RotationRecord, Unreadable> {
    Ok(RotationRecord {
        id: row.parsed("id", |t| RotationId::parse(t).ok())?,
        old: row.parsed("old_key_id", |t| KeyId::parse(t).ok())?,
        successor: row.parsed("successor_id", |t| KeyId::parse(t).ok())?,
        owner: row.parsed("owner_id", |t| OwnerId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        reason: row.text("reason")?.to_owned(),
        state: row.parsed("state", RotationState::parse)?,
        overlap_secs: u64::try_from(row.int("overlap_secs")?).map_err(|_| Unreadable("overlap_secs"))?,
        started_at: row.time("started_us")?,
        delivered_at: row.opt_time("delivered_us")?,
        activated_at: row.opt_time("activated_us")?,
        retiring_at: row.opt_time("retiring_us")?,
        ended_at: row.opt_time("ended_us")?,
        hold: match row.opt_time("hold_us")? {
            Some(since) => Some(Hold { why: row.parsed("hold_why", HoldReason::parse)?, since }),
            None => None,
        },
        extended_to: row.opt_time("extended_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, rotation: &RotationRecord) -> Result<(), Failure> {
    let overlap = i64::try_from(rotation.overlap_secs).unwrap_or(i64::MAX);
    let args = args![
        rotation.id.as_str(),
        rotation.old.as_str(),
        rotation.successor.as_str(),
        rotation.owner.as_str(),
        rotation.workspace.as_str(),
        rotation.reason.as_str(),
        rotation.state.as_str(),
        overlap,
        rotation.started_at,
        rotation.delivered_at,
        rotation.activated_at,
        rotation.retiring_at,
        rotation.ended_at,
        rotation.hold.map(|hold| hold.why.as_str()),
        rotation.hold.map(|hold| hold.since),
        rotation.extended_to,
        rotation.version,
    ];
    tx.execute(INSERT, args)
        .await
        .map(drop)
        .map_err(|e| Failure::Store(e.conflict("open rotation of the key")))
}

pub(crate) async fn update(tx: &mut Tx, rotation: &RotationRecord) -> Result<(), Failure> {
    let args = args![
        rotation.id.as_str(),
        rotation.version,
        rotation.state.as_str(),
        rotation.delivered_at,
        rotation.activated_at,
        rotation.retiring_at,
        rotation.ended_at,
        rotation.hold.map(|hold| hold.why.as_str()),
        rotation.hold.map(|hold| hold.since),
        rotation.extended_to,
    ];
    expect_one(tx.execute(UPDATE, args).await?, "rotation")
}
