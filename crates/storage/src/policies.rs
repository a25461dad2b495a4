//! What workspaces demand of their keys.

use claviger_domain::{
    id::{OwnerId, WorkspaceId},
    policy::PolicyRecord,
    ports::{StoreError, lifecycle::OwnerCap},
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    LIST = "SELECT id, body, updated_us, version FROM policies ORDER BY id";
    INSERT = "INSERT INTO policies (id, body, updated_us, version) VALUES ($1, $2, $3, $4)";
    UPDATE = "UPDATE policies SET body = $3, updated_us = $4, version = version + 1 WHERE id = $1 AND version = $2";
    DELETE = "DELETE FROM policies WHERE id = $1 AND version = $2";
    /// Whoever else makes a key of this owner waits here until this transaction has ended, and counts what it made.
    HOLD_OWNER = "UPDATE owners SET version = version WHERE id = $1";
    COUNT = "SELECT COUNT(DISTINCT lineage) AS has FROM api_keys WHERE owner_id = $1 AND workspace_id = $2 \
             AND parent_id IS NULL AND state IN ('active', 'suspended') \
             AND (expires_us IS NULL OR expires_us > $3)";
}

pub(crate) async fn list(db: &Db) -> Result<Vec<PolicyRecord>, StoreError> {
    let rows = db.rows(LIST, args![]).await?;
    rows.iter().map(|row| read("policies", row, policy)).collect()
}

fn policy(row: &Row) -> Result<PolicyRecord, Unreadable> {
    let workspace = match row.text("id")? {
        "" => None,
        id => Some(WorkspaceId::parse(id).map_err(|_| Unreadable("id"))?),
    };
    Ok(PolicyRecord {
        workspace,
        policy: serde_json::from_str(row.text("body")?).map_err(|_| Unreadable("body"))?,
        updated_at: row.time("updated_us")?,
        version: row.int("version")?,
    })
}

/// A record of version 0 is new.
pub(crate) async fn put(tx: &mut Tx, record: &PolicyRecord) -> Result<(), Failure> {
    let id = name(record.workspace.as_ref());
    let body = serde_json::to_string(&record.policy).map_err(|_| StoreError::Corrupt {
        table: "policies",
        id: id.to_owned(),
        why: "it cannot be written as JSON".to_owned(),
    })?;
    if record.version == 0 {
        let inserted = tx.execute(INSERT, args![id, body, record.updated_at, 1_i64]).await;
        return inserted.map(drop).map_err(|e| Failure::Store(e.conflict("policy")));
    }
    expect_one(tx.execute(UPDATE, args![id, record.version, body, record.updated_at]).await?, "policy")
}

pub(crate) async fn drop_policy(
    tx: &mut Tx,
    workspace: Option<&WorkspaceId>,
    version: i64,
) -> Result<(), Failure> {
    expect_one(tx.execute(DELETE, args![name(workspace), version]).await?, "policy")
}

pub(crate) fn name(workspace: Option<&WorkspaceId>) -> &str {
    workspace.map_or("", WorkspaceId::as_str)
}

pub(crate) async fn hold_cap(tx: &mut Tx, cap: &OwnerCap) -> Result<(), Failure> {
    expect_one(tx.execute(HOLD_OWNER, args![OwnerId::as_str(&cap.owner)]).await?, "owner")?;
    let row = tx.row(COUNT, args![cap.owner.as_str(), cap.workspace.as_str(), cap.now]).await?;
    let has = row.map(|row| read("api_keys", &row, |row| row.int("has"))).transpose()?.unwrap_or(0);
    let has = u32::try_from(has).unwrap_or(u32::MAX);
    if has > cap.max_keys {
        return Err(StoreError::OverCap { has: has.saturating_sub(1), allowed: cap.max_keys }.into());
    }
    Ok(())
}
