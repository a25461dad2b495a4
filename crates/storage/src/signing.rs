//! What signatures of requests are verified with. Secrets come here sealed.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, SigningId},
    ports::{StoreError, signing::SigningStore},
    signature::secret::{SigningKind, SigningRecord},
    token::PublicId,
};

use crate::{
    Database,
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! columns {
    () => {
        "id, key_id, kind, material, hint, created_us, valid_from_us, until_us, version"
    };
}

statements! {
    OF_KEY = concat!("SELECT ", columns!(), " FROM signing_secrets WHERE key_id = $1 ORDER BY valid_from_us, id");
    LIVING = concat!("SELECT ", columns!(), " FROM signing_secrets WHERE key_id = $1 AND LENGTH(material) > 0 \
                     ORDER BY valid_from_us, id");
    DUE = concat!("SELECT ", columns!(), " FROM signing_secrets WHERE kind = 'hmac-sha256' AND until_us IS NULL \
                  AND valid_from_us < $1 ORDER BY valid_from_us, id LIMIT $2");
    OVER = concat!("SELECT ", columns!(), " FROM signing_secrets WHERE until_us IS NOT NULL AND until_us <= $1 \
                   AND LENGTH(material) > 0 ORDER BY until_us, id LIMIT $2");
    INSERT = concat!("INSERT INTO signing_secrets (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    UPDATE = "UPDATE signing_secrets SET material = $3, until_us = $4, version = version + 1 \
              WHERE id = $1 AND version = $2";
}

/// What a key's signatures may be verified with now or later.
pub(crate) async fn living(db: &Db, key: PublicId) -> Result<Vec<SigningRecord>, StoreError> {
    let rows = db.rows(LIVING, args![format!("key_{}", key.as_str())]).await?;
    rows.iter().map(|row| read("signing_secrets", row, record)).collect()
}

#[async_trait]
impl SigningStore for Database {
    async fn signing_of(&self, key: &KeyId) -> Result<Vec<SigningRecord>, StoreError> {
        let rows = self.db.rows(OF_KEY, args![key.as_str()]).await?;
        rows.iter().map(|row| read("signing_secrets", row, record)).collect()
    }

    async fn signing_due(&self, begun: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        let rows = self.db.rows(DUE, args![begun, limit]).await?;
        rows.iter().map(|row| read("signing_secrets", row, record)).collect()
    }

    async fn signing_over(&self, now: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        let rows = self.db.rows(OVER, args![now, limit]).await?;
        rows.iter().map(|row| read("signing_secrets", row, record)).collect()
    }
}

fn record(row: &Row) -> Result<SigningRecord, Unreadable> {
    Ok(SigningRecord {
        id: row.parsed("id", |t| SigningId::parse(t).ok())?,
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        kind: row.parsed("kind", SigningKind::parse)?,
        material: row.blob("material")?.to_vec(),
        hint: row.text("hint")?.to_owned(),
        created_at: row.time("created_us")?,
        valid_from: row.time("valid_from_us")?,
        until: row.opt_time("until_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, record: &SigningRecord) -> Result<(), Failure> {
    let args = args![
        record.id.as_str(),
        record.key.as_str(),
        record.kind.as_str(),
        record.material.as_slice(),
        record.hint.as_str(),
        record.created_at,
        record.valid_from,
        record.until,
        record.version,
    ];
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("signing secret")))
}

pub(crate) async fn update(tx: &mut Tx, record: &SigningRecord) -> Result<(), Failure> {
    let args = args![record.id.as_str(), record.version, record.material.as_slice(), record.until];
    expect_one(tx.execute(UPDATE, args).await?, "signing secret")
}
