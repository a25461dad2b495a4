//! Wrapped deliveries of keys.

use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, WrappingId},
    mac::{KeyMac, PepperVersion},
    ports::StoreError,
    token::PublicId,
    wrapping::{Opened, WrappingRecord},
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! columns {
    () => {
        "id, mac, pepper_version, key_id, sealed, created_us, expires_us, opened_us, opened_ip, version"
    };
}

/// What a wrapping's id begins with; its token's public id follows.
const PREFIX: &str = WrappingId::PREFIX;

statements! {
    GET = concat!("SELECT ", columns!(), " FROM wrappings WHERE id = $1");
    NEWEST_OF_KEY = concat!(
        "SELECT ", columns!(), " FROM wrappings WHERE key_id = $1 ORDER BY created_us DESC, id DESC LIMIT 1"
    );
    /// Served by `wrappings_sealed`.
    LAPSED = concat!(
        "SELECT ", columns!(), " FROM wrappings \
         WHERE length(sealed) > 0 AND expires_us <= $1 ORDER BY expires_us, id LIMIT $2"
    );
    INSERT = concat!(
        "INSERT INTO wrappings (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    );
    UPDATE = "UPDATE wrappings SET sealed = $3, opened_us = $4, opened_ip = $5, version = version + 1 \
              WHERE id = $1 AND version = $2";
}

pub(crate) async fn get(db: &Db, id: PublicId) -> Result<Option<WrappingRecord>, StoreError> {
    let row = db.row(GET, args![format!("{PREFIX}{}", id.as_str())]).await?;
    row.map(|row| read("wrappings", &row, wrapping)).transpose()
}

pub(crate) async fn newest_of(db: &Db, key: &KeyId) -> Result<Option<WrappingRecord>, StoreError> {
    let row = db.row(NEWEST_OF_KEY, args![key.as_str()]).await?;
    row.map(|row| read("wrappings", &row, wrapping)).transpose()
}

pub(crate) async fn lapsed(db: &Db, now: Timestamp, limit: u32) -> Result<Vec<WrappingRecord>, StoreError> {
    let rows = db.rows(LAPSED, args![now, limit]).await?;
    rows.iter().map(|row| read("wrappings", row, wrapping)).collect()
}

fn wrapping(row: &Row) -> Result<WrappingRecord, Unreadable> {
    let id = row.parsed("id", |t| WrappingId::parse(t).ok())?;
    let opened_ip = row.opt_text("opened_ip")?.unwrap_or_default().to_owned();
    Ok(WrappingRecord {
        public_id: id.as_str().strip_prefix(PREFIX).and_then(PublicId::parse).ok_or(Unreadable("id"))?,
        id,
        mac: KeyMac::from_bytes(row.blob("mac")?.try_into().map_err(|_| Unreadable("mac"))?),
        pepper_version: PepperVersion(
            u32::try_from(row.int("pepper_version")?).map_err(|_| Unreadable("pepper_version"))?,
        ),
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        sealed: row.blob("sealed")?.to_vec(),
        created_at: row.time("created_us")?,
        expires_at: row.time("expires_us")?,
        opened: row.opt_time("opened_us")?.map(|at| Opened { at, client_ip: opened_ip }),
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, wrapping: &WrappingRecord) -> Result<(), Failure> {
    let opened = wrapping.opened.as_ref();
    let args = args![
        wrapping.id.as_str(),
        wrapping.mac.as_bytes().as_slice(),
        wrapping.pepper_version.0,
        wrapping.key.as_str(),
        wrapping.sealed.as_slice(),
        wrapping.created_at,
        wrapping.expires_at,
        opened.map(|o| o.at),
        opened.map(|o| o.client_ip.as_str()),
        wrapping.version,
    ];
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("wrapping")))
}

pub(crate) async fn update(tx: &mut Tx, wrapping: &WrappingRecord) -> Result<(), Failure> {
    let opened = wrapping.opened.as_ref();
    let args = args![
        wrapping.id.as_str(),
        wrapping.version,
        wrapping.sealed.as_slice(),
        opened.map(|o| o.at),
        opened.map(|o| o.client_ip.as_str()),
    ];
    expect_one(tx.execute(UPDATE, args).await?, "wrapping")
}
