//! Upstreams and credentials.

use claviger_domain::{
    id::{CredentialId, UpstreamId, WorkspaceId},
    ports::StoreError,
    upstream::{CredentialPurpose, CredentialRecord, ServiceState, UpstreamKind, UpstreamRecord},
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

const UPSTREAM_NAME: &str = "upstream name";
const CREDENTIAL: &str = "credential";

statements! {
    LIST_UPSTREAMS = "SELECT id, name, kind, base_url, state, created_us, version FROM upstreams \
                      ORDER BY created_us, id";
    INSERT_UPSTREAM = "INSERT INTO upstreams (id, name, kind, base_url, state, created_us, version) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7)";
    UPDATE_UPSTREAM = "UPDATE upstreams SET name = $3, kind = $4, base_url = $5, state = $6, \
                       version = version + 1 WHERE id = $1 AND version = $2";
    LIST_CREDENTIALS = "SELECT id, upstream_id, purpose, workspace_id, name, sealed, hint, state, created_us, \
                        version FROM credentials ORDER BY created_us, id";
    INSERT_CREDENTIAL = "INSERT INTO credentials \
                         (id, upstream_id, purpose, workspace_id, name, sealed, hint, state, created_us, \
                         version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    UPDATE_CREDENTIAL = "UPDATE credentials SET upstream_id = $3, workspace_id = $4, name = $5, sealed = $6, \
                         hint = $7, state = $8, version = version + 1 WHERE id = $1 AND version = $2";
}

pub(crate) async fn upstreams(db: &Db) -> Result<Vec<UpstreamRecord>, StoreError> {
    let rows = db.rows(LIST_UPSTREAMS, args![]).await?;
    rows.iter().map(|row| read("upstreams", row, upstream)).collect()
}

fn upstream(row: &Row) -> Result<UpstreamRecord, Unreadable> {
    Ok(UpstreamRecord {
        id: row.parsed("id", |t| UpstreamId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        kind: row.parsed("kind", UpstreamKind::parse)?,
        base_url: row.text("base_url")?.to_owned(),
        state: row.parsed("state", ServiceState::parse)?,
        created_at: row.time("created_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_upstream(tx: &mut Tx, u: &UpstreamRecord) -> Result<(), Failure> {
    let args = args![
        u.id.as_str(),
        u.name.as_str(),
        u.kind.as_str(),
        u.base_url.as_str(),
        u.state.as_str(),
        u.created_at,
        u.version
    ];
    tx.execute(INSERT_UPSTREAM, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(UPSTREAM_NAME)))
}

pub(crate) async fn update_upstream(tx: &mut Tx, u: &UpstreamRecord) -> Result<(), Failure> {
    let args = args![
        u.id.as_str(),
        u.version,
        u.name.as_str(),
        u.kind.as_str(),
        u.base_url.as_str(),
        u.state.as_str()
    ];
    let touched =
        tx.execute(UPDATE_UPSTREAM, args).await.map_err(|e| Failure::Store(e.conflict(UPSTREAM_NAME)))?;
    expect_one(touched, "upstream")
}

pub(crate) async fn credentials(db: &Db) -> Result<Vec<CredentialRecord>, StoreError> {
    let rows = db.rows(LIST_CREDENTIALS, args![]).await?;
    rows.iter().map(|row| read("credentials", row, credential)).collect()
}

fn credential(row: &Row) -> Result<CredentialRecord, Unreadable> {
    let workspace = row.opt_text("workspace_id")?.map(WorkspaceId::parse).transpose();
    Ok(CredentialRecord {
        id: row.parsed("id", |t| CredentialId::parse(t).ok())?,
        upstream: row.parsed("upstream_id", |t| UpstreamId::parse(t).ok())?,
        purpose: row.parsed("purpose", CredentialPurpose::parse)?,
        workspace: workspace.map_err(|_| Unreadable("workspace_id"))?,
        name: row.text("name")?.to_owned(),
        sealed: row.blob("sealed")?.to_vec(),
        hint: row.text("hint")?.to_owned(),
        state: row.parsed("state", ServiceState::parse)?,
        created_at: row.time("created_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_credential(tx: &mut Tx, c: &CredentialRecord) -> Result<(), Failure> {
    let args = args![
        c.id.as_str(),
        c.upstream.as_str(),
        c.purpose.as_str(),
        c.workspace.as_ref().map(WorkspaceId::as_str),
        c.name.as_str(),
        c.sealed.as_slice(),
        c.hint.as_str(),
        c.state.as_str(),
        c.created_at,
        c.version,
    ];
    tx.execute(INSERT_CREDENTIAL, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(CREDENTIAL)))
}

pub(crate) async fn update_credential(tx: &mut Tx, c: &CredentialRecord) -> Result<(), Failure> {
    let args = args![
        c.id.as_str(),
        c.version,
        c.upstream.as_str(),
        c.workspace.as_ref().map(WorkspaceId::as_str),
        c.name.as_str(),
        c.sealed.as_slice(),
        c.hint.as_str(),
        c.state.as_str(),
    ];
    let touched =
        tx.execute(UPDATE_CREDENTIAL, args).await.map_err(|e| Failure::Store(e.conflict(CREDENTIAL)))?;
    expect_one(touched, CREDENTIAL)
}
