//! Secrets of our own: peppers, signing keys, wrapped data keys, sealed by others before they come here.

use claviger_domain::ports::{SealedSecret, StoreError};

use crate::{
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    LIST = "SELECT name AS id, version, sealed, created_us FROM secrets ORDER BY name, version";
    /// Replaces the same version only: older versions are needed until nothing is under them any more.
    PUT = "INSERT INTO secrets (name, version, sealed, created_us) VALUES ($1, $2, $3, $4) \
           ON CONFLICT (name, version) DO UPDATE SET sealed = excluded.sealed, created_us = excluded.created_us";
}

pub(crate) async fn list(db: &Db) -> Result<Vec<SealedSecret>, StoreError> {
    let rows = db.rows(LIST, args![]).await?;
    rows.iter().map(|row| read("secrets", row, secret)).collect()
}

fn secret(row: &Row) -> Result<SealedSecret, Unreadable> {
    Ok(SealedSecret {
        name: row.text("id")?.to_owned(),
        version: u32::try_from(row.int("version")?).map_err(|_| Unreadable("version"))?,
        sealed: row.blob("sealed")?.to_vec(),
        created_at: row.time("created_us")?,
    })
}

pub(crate) async fn put(tx: &mut Tx, secret: &SealedSecret) -> Result<(), Failure> {
    let args = args![secret.name.as_str(), secret.version, secret.sealed.as_slice(), secret.created_at];
    tx.execute(PUT, args).await.map(drop)
}
