//! Whose is what at the provider.

use claviger_domain::{
    clock::Timestamp,
    id::{CredentialId, KeyId, UpstreamId, WorkspaceId},
    ports::StoreError,
    tenancy::{Resource, ResourceKind},
};

use crate::{
    bulk::Bulk,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! columns {
    () => {
        "id, kind, workspace_id, key_id, upstream_id, credential_id, created_us"
    };
}

statements! {
    GET = concat!("SELECT ", columns!(), " FROM resources WHERE id = $1");
    NEWEST = concat!(
        "SELECT ", columns!(), " FROM resources WHERE workspace_id = $1 AND kind = $2 \
         ORDER BY created_us DESC, id DESC LIMIT $3"
    );
    /// Before an id that is not the workspace's there is nothing.
    NEWEST_BEFORE = concat!(
        "SELECT ", columns!(), " FROM resources WHERE workspace_id = $1 AND kind = $2 \
         AND (created_us, id) < (SELECT b.created_us, b.id FROM resources b \
                                 WHERE b.id = $4 AND b.workspace_id = $1 AND b.kind = $2) \
         ORDER BY created_us DESC, id DESC LIMIT $3"
    );
    UNBILLED = concat!(
        "SELECT ", columns!(), " FROM resources WHERE kind = 'batch' AND billed_us IS NULL \
         ORDER BY created_us, id LIMIT $1"
    );
    SET_BILLED = "UPDATE resources SET billed_us = $2 WHERE id = $1 AND kind = 'batch' AND billed_us IS NULL";
}

/// Whoever made it first keeps it.
static INSERT: Bulk =
    Bulk::new(concat!("INSERT INTO resources (", columns!(), ") VALUES "), 7, " ON CONFLICT (id) DO NOTHING");

/// Those that have many rows.
pub(crate) static BULKS: [(&str, &Bulk); 1] = [("INSERT", &INSERT)];

pub(crate) async fn insert(tx: &mut Tx, resources: &[Resource]) -> Result<(), Failure> {
    let values = |r: &Resource| {
        args![
            r.id.as_str(),
            r.kind.as_str(),
            r.workspace.as_str(),
            r.key.as_str(),
            r.upstream.as_str(),
            r.credential.as_str(),
            r.created_at,
        ]
    };
    INSERT.execute(tx, resources.iter().flat_map(values).collect()).await?;
    Ok(())
}

pub(crate) async fn get(db: &Db, id: &str) -> Result<Option<Resource>, StoreError> {
    let row = db.row(GET, args![id]).await?;
    row.map(|row| read("resources", &row, resource)).transpose()
}

pub(crate) async fn of_workspace(
    db: &Db,
    workspace: &WorkspaceId,
    kind: ResourceKind,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<Resource>, StoreError> {
    let mut args = args![workspace.as_str(), kind.as_str(), limit];
    let rows = match before {
        None => db.rows(NEWEST, args).await?,
        Some(before) => {
            args.push(before.into());
            db.rows(NEWEST_BEFORE, args).await?
        }
    };
    rows.iter().map(|row| read("resources", row, resource)).collect()
}

pub(crate) async fn unbilled_batches(db: &Db, limit: u32) -> Result<Vec<Resource>, StoreError> {
    let rows = db.rows(UNBILLED, args![limit]).await?;
    rows.iter().map(|row| read("resources", row, resource)).collect()
}

pub(crate) async fn batch_billed(db: &Db, id: &str, at: Timestamp) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    tx.execute(SET_BILLED, args![id, at]).await?;
    Ok(tx.commit().await?)
}

fn resource(row: &Row) -> Result<Resource, Unreadable> {
    Ok(Resource {
        id: row.text("id")?.to_owned(),
        kind: row.parsed("kind", ResourceKind::parse)?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        upstream: row.parsed("upstream_id", |t| UpstreamId::parse(t).ok())?,
        credential: row.parsed("credential_id", |t| CredentialId::parse(t).ok())?,
        created_at: row.time("created_us")?,
        held: None,
    })
}
