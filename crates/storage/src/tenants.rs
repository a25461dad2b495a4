//! Workspaces and owners.

use claviger_domain::{
    id::{OwnerId, WorkspaceId},
    limit::Limits,
    ports::StoreError,
    tenancy::{Environment, OwnerRecord, WorkspaceRecord},
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

const WORKSPACE_NAME: &str = "workspace name";
const OWNER_NAME: &str = "owner name";

statements! {
    LIST_WORKSPACES = "SELECT id, name, environment, limits, created_us, archived_us, version FROM workspaces \
                       ORDER BY created_us, id";
    WORKSPACE_NAMED = "SELECT id, name, environment, limits, created_us, archived_us, version FROM workspaces \
                       WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
    FIRST_WORKSPACE = "SELECT id, name, environment, limits, created_us, archived_us, version FROM workspaces \
                       WHERE archived_us IS NULL ORDER BY created_us, id LIMIT 1";
    INSERT_WORKSPACE = "INSERT INTO workspaces (id, name, environment, created_us, archived_us, version, limits) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    UPDATE_WORKSPACE = "UPDATE workspaces SET name = $3, environment = $4, archived_us = $5, limits = $6, \
                        version = version + 1 WHERE id = $1 AND version = $2";
    LIST_OWNERS = "SELECT id, name, email, limits, created_us, archived_us, version FROM owners \
                   ORDER BY created_us, id";
    OWNER_NAMED = "SELECT id, name, email, limits, created_us, archived_us, version FROM owners \
                   WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
    FIRST_OWNER = "SELECT id, name, email, limits, created_us, archived_us, version FROM owners \
                   WHERE archived_us IS NULL ORDER BY created_us, id LIMIT 1";
    INSERT_OWNER = "INSERT INTO owners (id, name, email, created_us, archived_us, version, limits) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7)";
    UPDATE_OWNER = "UPDATE owners SET name = $3, email = $4, archived_us = $5, limits = $6, version = version + 1 \
                    WHERE id = $1 AND version = $2";
}

/// Limits as they are stored.
pub(crate) fn limits(row: &Row, column: &'static str) -> Result<Limits, Unreadable> {
    serde_json::from_str(row.text(column)?).map_err(|_| Unreadable(column))
}

fn written(limits: &Limits) -> Result<String, Failure> {
    let unwritable = |e: serde_json::Error| StoreError::Refused { code: e.to_string() };
    Ok(serde_json::to_string(limits).map_err(unwritable)?)
}

pub(crate) async fn workspaces(db: &Db) -> Result<Vec<WorkspaceRecord>, StoreError> {
    let rows = db.rows(LIST_WORKSPACES, args![]).await?;
    rows.iter().map(|row| read("workspaces", row, workspace)).collect()
}

pub(crate) async fn workspace_named(db: &Db, named: &str) -> Result<Option<WorkspaceRecord>, StoreError> {
    let row = db.row(WORKSPACE_NAMED, args![named]).await?;
    row.map(|row| read("workspaces", &row, workspace)).transpose()
}

pub(crate) async fn first_workspace(db: &Db) -> Result<Option<WorkspaceRecord>, StoreError> {
    let row = db.row(FIRST_WORKSPACE, args![]).await?;
    row.map(|row| read("workspaces", &row, workspace)).transpose()
}

fn workspace(row: &Row) -> Result<WorkspaceRecord, Unreadable> {
    Ok(WorkspaceRecord {
        id: row.parsed("id", |t| WorkspaceId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        environment: row.parsed("environment", Environment::parse)?,
        limits: limits(row, "limits")?,
        created_at: row.time("created_us")?,
        archived_at: row.opt_time("archived_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_workspace(tx: &mut Tx, w: &WorkspaceRecord) -> Result<(), Failure> {
    let args = args![
        w.id.as_str(),
        w.name.as_str(),
        w.environment.as_str(),
        w.created_at,
        w.archived_at,
        w.version,
        written(&w.limits)?,
    ];
    tx.execute(INSERT_WORKSPACE, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(WORKSPACE_NAME)))
}

pub(crate) async fn update_workspace(tx: &mut Tx, w: &WorkspaceRecord) -> Result<(), Failure> {
    let args = args![
        w.id.as_str(),
        w.version,
        w.name.as_str(),
        w.environment.as_str(),
        w.archived_at,
        written(&w.limits)?
    ];
    let touched =
        tx.execute(UPDATE_WORKSPACE, args).await.map_err(|e| Failure::Store(e.conflict(WORKSPACE_NAME)))?;
    expect_one(touched, "workspace")
}

pub(crate) async fn owners(db: &Db) -> Result<Vec<OwnerRecord>, StoreError> {
    let rows = db.rows(LIST_OWNERS, args![]).await?;
    rows.iter().map(|row| read("owners", row, owner)).collect()
}

pub(crate) async fn owner_named(db: &Db, named: &str) -> Result<Option<OwnerRecord>, StoreError> {
    let row = db.row(OWNER_NAMED, args![named]).await?;
    row.map(|row| read("owners", &row, owner)).transpose()
}

pub(crate) async fn first_owner(db: &Db) -> Result<Option<OwnerRecord>, StoreError> {
    let row = db.row(FIRST_OWNER, args![]).await?;
    row.map(|row| read("owners", &row, owner)).transpose()
}

fn owner(row: &Row) -> Result<OwnerRecord, Unreadable> {
    Ok(OwnerRecord {
        id: row.parsed("id", |t| OwnerId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        email: row.opt_text("email")?.map(str::to_owned),
        limits: limits(row, "limits")?,
        created_at: row.time("created_us")?,
        archived_at: row.opt_time("archived_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_owner(tx: &mut Tx, o: &OwnerRecord) -> Result<(), Failure> {
    let args = args![
        o.id.as_str(),
        o.name.as_str(),
        o.email.as_deref(),
        o.created_at,
        o.archived_at,
        o.version,
        written(&o.limits)?,
    ];
    tx.execute(INSERT_OWNER, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(OWNER_NAME)))
}

pub(crate) async fn update_owner(tx: &mut Tx, o: &OwnerRecord) -> Result<(), Failure> {
    let args = args![
        o.id.as_str(),
        o.version,
        o.name.as_str(),
        o.email.as_deref(),
        o.archived_at,
        written(&o.limits)?
    ];
    let touched = tx.execute(UPDATE_OWNER, args).await.map_err(|e| Failure::Store(e.conflict(OWNER_NAME)))?;
    expect_one(touched, "owner")
}
