//! Certificates of revocation.

use claviger_domain::{
    id::{CertificateId, KeyId, WorkspaceId},
    ports::{
        Change, StoreError,
        lifecycle::{CertificateFilter, CertificateRecord},
    },
};

use crate::{
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! listed {
    ($more:literal) => {
        concat!(
            "SELECT c.id, c.key_id, c.created_us, c.body FROM certificates c WHERE (CAST($1 AS TEXT) IS NULL \
             OR EXISTS (SELECT 1 FROM api_keys k WHERE k.id = c.key_id AND k.workspace_id = $1)) ",
            $more,
            "ORDER BY c.created_us DESC, c.id DESC LIMIT $2"
        )
    };
}

statements! {
    GET = "SELECT id, key_id, created_us, body FROM certificates WHERE id = $1";
    OF_KEY = "SELECT id, key_id, created_us, body FROM certificates WHERE key_id = $1";
    LIST = listed!("");
    LIST_BEFORE =
        listed!("AND (c.created_us, c.id) < (SELECT b.created_us, b.id FROM certificates b WHERE b.id = $3) ");
    /// A key that was revoked before and is changed once more has its certificate already.
    AWAIT = "INSERT INTO uncertified (key_id, seq, audit_number) SELECT $1, $2, $3 \
             WHERE NOT EXISTS (SELECT 1 FROM certificates WHERE key_id = $1) ON CONFLICT (key_id) DO NOTHING";
    CERTIFIED = "DELETE FROM uncertified WHERE key_id = $1";
    INSERT = "INSERT INTO certificates (id, key_id, created_us, body) VALUES ($1, $2, $3, $4)";
}

pub(crate) async fn get(db: &Db, id: &CertificateId) -> Result<Option<CertificateRecord>, StoreError> {
    let row = db.row(GET, args![id.as_str()]).await?;
    row.map(|row| read("certificates", &row, certificate)).transpose()
}

pub(crate) async fn of_key(db: &Db, key: &KeyId) -> Result<Option<CertificateRecord>, StoreError> {
    let row = db.row(OF_KEY, args![key.as_str()]).await?;
    row.map(|row| read("certificates", &row, certificate)).transpose()
}

pub(crate) async fn list(db: &Db, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, StoreError> {
    let mut values: Vec<Arg> = args![filter.workspace.as_ref().map(WorkspaceId::as_str), filter.limit];
    let rows = match &filter.before {
        None => db.rows(LIST, values).await?,
        Some(before) => {
            values.push(before.as_str().into());
            db.rows(LIST_BEFORE, values).await?
        }
    };
    rows.iter().map(|row| read("certificates", row, certificate)).collect()
}

fn certificate(row: &Row) -> Result<CertificateRecord, Unreadable> {
    Ok(CertificateRecord {
        id: row.parsed("id", |t| CertificateId::parse(t).ok())?,
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        created_at: row.time("created_us")?,
        body: row.text("body")?.to_owned(),
    })
}

pub(crate) async fn insert(tx: &mut Tx, certificate: &CertificateRecord) -> Result<(), Failure> {
    let args = args![
        certificate.id.as_str(),
        certificate.key.as_str(),
        certificate.created_at,
        certificate.body.as_str(),
    ];
    let inserted = tx.execute(INSERT, args).await;
    inserted.map_err(|e| Failure::Store(e.conflict("certificate of the key")))?;
    tx.execute(CERTIFIED, args![certificate.key.as_str()]).await.map(drop)
}

/// Notes where each revocation stands that this transaction holds, so that its certificate is made, whatever dies. Child
/// keys come and go by the thousand: they get one only where somebody asked for it.
pub(crate) async fn expect(
    tx: &mut Tx,
    changes: &[Change],
    seq: i64,
    audit_number: i64,
) -> Result<(), Failure> {
    for change in changes {
        if let Change::UpdateKey(key) = change
            && key.revocation.is_some()
            && key.parent.is_none()
        {
            tx.execute(AWAIT, args![key.id.as_str(), seq, audit_number]).await?;
        }
        if let Change::Certify(child) = change {
            tx.execute(AWAIT, args![child.as_str(), seq, audit_number]).await?;
        }
    }
    Ok(())
}
