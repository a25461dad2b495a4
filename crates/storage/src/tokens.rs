//! Signing keys of access tokens, families of refresh tokens, denials.

use claviger_domain::{
    access_token::{
        Confirmation,
        denial::{Denial, DenialSubject},
        key_life::{TokenKeyRecord, TokenKeyState},
    },
    clock::Timestamp,
    id::{KeyId, TokenFamilyId, WorkspaceId},
    jose::Algorithm,
    mac::{KeyMac, PepperVersion},
    permission::Scopes,
    ports::StoreError,
    refresh::{EndReason, Family, RefreshToken, Replay},
    token::PublicId,
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! key_columns {
    () => {
        "kid, algorithm, public_jwk, sealed, state, published_us, active_us, retiring_us, version"
    };
}

macro_rules! family_columns {
    () => {
        "id, key_id, workspace_id, scopes, confirmation, generation, created_us, expires_us, idle_us, used_us, \
         replay_place, replay_sealed, replay_us, ended_us, end_reason, version"
    };
}

statements! {
    KEYS = concat!(
        "SELECT kid AS id, ", key_columns!(), " FROM token_keys WHERE state <> 'gone' ORDER BY published_us, kid"
    );
    INSERT_KEY = concat!(
        "INSERT INTO token_keys (", key_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    );
    UPDATE_KEY = "UPDATE token_keys SET sealed = $3, state = $4, active_us = $5, retiring_us = $6, \
                  version = version + 1 WHERE kid = $1 AND version = $2";
    TOKEN = "SELECT id, family_id, generation, mac, pepper_version FROM refresh_tokens WHERE id = $1";
    INSERT_TOKEN = "INSERT INTO refresh_tokens (id, family_id, generation, mac, pepper_version) \
                    VALUES ($1, $2, $3, $4, $5)";
    FAMILY = concat!("SELECT ", family_columns!(), " FROM token_families WHERE id = $1");
    /// Served by `token_families_by_key`.
    LIVE_OF_KEY = concat!(
        "SELECT ", family_columns!(), " FROM token_families \
         WHERE key_id = $1 AND ended_us IS NULL AND idle_us > $2 AND expires_us > $2 \
         ORDER BY used_us DESC, id DESC LIMIT $3"
    );
    INSERT_FAMILY = concat!(
        "INSERT INTO token_families (", family_columns!(), ") \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    );
    UPDATE_FAMILY = "UPDATE token_families SET generation = $3, idle_us = $4, used_us = $5, replay_place = $6, \
                     replay_sealed = $7, replay_us = $8, ended_us = $9, end_reason = $10, version = version + 1 \
                     WHERE id = $1 AND version = $2";
    DENIAL = "SELECT subject AS id, min_iat_us, until_us FROM token_denials WHERE subject = $1";
    LIVE_DENIALS = "SELECT subject AS id, min_iat_us, until_us FROM token_denials \
                    WHERE until_us > $1 AND subject > $2 ORDER BY subject LIMIT $3";
    /// A denial only ever grows.
    DENY = "INSERT INTO token_denials (subject, min_iat_us, until_us) VALUES ($1, $2, $3) \
            ON CONFLICT (subject) DO UPDATE SET \
            min_iat_us = CASE WHEN excluded.min_iat_us > token_denials.min_iat_us \
                         THEN excluded.min_iat_us ELSE token_denials.min_iat_us END, \
            until_us = CASE WHEN excluded.until_us > token_denials.until_us \
                       THEN excluded.until_us ELSE token_denials.until_us END";
    FORGET_TOKENS = "DELETE FROM refresh_tokens WHERE family_id IN \
                     (SELECT id FROM token_families WHERE expires_us <= $1 ORDER BY expires_us, id LIMIT $2)";
    FORGET_FAMILIES = "DELETE FROM token_families WHERE id IN \
                       (SELECT id FROM token_families WHERE expires_us <= $1 ORDER BY expires_us, id LIMIT $2)";
    FORGET_DENIALS = "DELETE FROM token_denials WHERE until_us <= $1";
    /// Answers that nobody can have again.
    FORGET_REPLAYS = "UPDATE token_families SET replay_place = $2, replay_sealed = $2, replay_us = NULL \
                      WHERE replay_us <= $1";
}

pub(crate) async fn keys(db: &Db) -> Result<Vec<TokenKeyRecord>, StoreError> {
    let rows = db.rows(KEYS, args![]).await?;
    rows.iter().map(|row| read("token_keys", row, key)).collect()
}

fn key(row: &Row) -> Result<TokenKeyRecord, Unreadable> {
    Ok(TokenKeyRecord {
        kid: row.text("kid")?.to_owned(),
        algorithm: row.parsed("algorithm", Algorithm::parse)?,
        public_jwk: row.text("public_jwk")?.to_owned(),
        sealed: row.blob("sealed")?.to_vec(),
        state: row.parsed("state", TokenKeyState::parse)?,
        published_at: row.time("published_us")?,
        active_at: row.opt_time("active_us")?,
        retiring_at: row.opt_time("retiring_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_key(tx: &mut Tx, key: &TokenKeyRecord) -> Result<(), Failure> {
    let args = args![
        key.kid.as_str(),
        key.algorithm.as_str(),
        key.public_jwk.as_str(),
        key.sealed.as_slice(),
        key.state.as_str(),
        key.published_at,
        key.active_at,
        key.retiring_at,
        key.version,
    ];
    tx.execute(INSERT_KEY, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("token key")))
}

pub(crate) async fn update_key(tx: &mut Tx, key: &TokenKeyRecord) -> Result<(), Failure> {
    let args = args![
        key.kid.as_str(),
        key.version,
        key.sealed.as_slice(),
        key.state.as_str(),
        key.active_at,
        key.retiring_at,
    ];
    let touched = tx.execute(UPDATE_KEY, args).await.map_err(|e| Failure::Store(e.conflict("token key")))?;
    expect_one(touched, "token key")
}

pub(crate) async fn token(db: &Db, id: PublicId) -> Result<Option<(RefreshToken, Family)>, StoreError> {
    let Some(row) = db.row(TOKEN, args![id.as_str()]).await? else { return Ok(None) };
    let found = read("refresh_tokens", &row, refresh_token)?;
    let family = family(db, &found.family).await?;
    Ok(family.map(|family| (found, family)))
}

fn refresh_token(row: &Row) -> Result<RefreshToken, Unreadable> {
    Ok(RefreshToken {
        public_id: row.parsed("id", PublicId::parse)?,
        family: row.parsed("family_id", |t| TokenFamilyId::parse(t).ok())?,
        generation: number(row, "generation")?,
        mac: KeyMac::from_bytes(row.blob("mac")?.try_into().map_err(|_| Unreadable("mac"))?),
        pepper_version: PepperVersion(number(row, "pepper_version")?),
    })
}

fn number(row: &Row, column: &'static str) -> Result<u32, Unreadable> {
    u32::try_from(row.int(column)?).map_err(|_| Unreadable(column))
}

pub(crate) async fn insert_token(tx: &mut Tx, token: &RefreshToken) -> Result<(), Failure> {
    let args = args![
        token.public_id.as_str(),
        token.family.as_str(),
        token.generation,
        token.mac.as_bytes().as_slice(),
        token.pepper_version.0,
    ];
    tx.execute(INSERT_TOKEN, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("refresh token")))
}

pub(crate) async fn family(db: &Db, id: &TokenFamilyId) -> Result<Option<Family>, StoreError> {
    let row = db.row(FAMILY, args![id.as_str()]).await?;
    row.map(|row| read("token_families", &row, read_family)).transpose()
}

pub(crate) async fn live_of_key(
    db: &Db,
    key: &KeyId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Family>, StoreError> {
    let rows = db.rows(LIVE_OF_KEY, args![key.as_str(), now, limit]).await?;
    rows.iter().map(|row| read("token_families", row, read_family)).collect()
}

fn read_family(row: &Row) -> Result<Family, Unreadable> {
    let replay = match row.opt_time("replay_us")? {
        None => None,
        Some(until) => Some(Replay {
            place: row.digest("replay_place")?,
            sealed: row.blob("replay_sealed")?.to_vec(),
            until,
        }),
    };
    let ended = match (row.opt_time("ended_us")?, row.opt_text("end_reason")?) {
        (Some(at), Some(reason)) => Some((at, EndReason::parse(reason).ok_or(Unreadable("end_reason"))?)),
        (None, _) => None,
        (Some(_), None) => return Err(Unreadable("end_reason")),
    };
    let confirmation: Result<Confirmation, _> = serde_json::from_str(row.text("confirmation")?);
    Ok(Family {
        id: row.parsed("id", |t| TokenFamilyId::parse(t).ok())?,
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        scopes: Scopes::from_bits(row.int("scopes")?),
        confirmation: confirmation.map_err(|_| Unreadable("confirmation"))?,
        generation: number(row, "generation")?,
        created_at: row.time("created_us")?,
        expires_at: row.time("expires_us")?,
        idle_until: row.time("idle_us")?,
        used_at: row.time("used_us")?,
        replay,
        ended,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_family(tx: &mut Tx, family: &Family) -> Result<(), Failure> {
    let confirmation = serde_json::to_string(&family.confirmation).unwrap_or_else(|_| "{}".to_owned());
    let (place, sealed, until) = replay(family);
    let args = args![
        family.id.as_str(),
        family.key.as_str(),
        family.workspace.as_str(),
        family.scopes.bits(),
        confirmation,
        family.generation,
        family.created_at,
        family.expires_at,
        family.idle_until,
        family.used_at,
        place,
        sealed,
        until,
        family.ended.map(|(at, _)| at),
        family.ended.map(|(_, reason)| reason.as_str()),
        family.version,
    ];
    tx.execute(INSERT_FAMILY, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("token family")))
}

pub(crate) async fn update_family(tx: &mut Tx, family: &Family) -> Result<(), Failure> {
    let (place, sealed, until) = replay(family);
    let args = args![
        family.id.as_str(),
        family.version,
        family.generation,
        family.idle_until,
        family.used_at,
        place,
        sealed,
        until,
        family.ended.map(|(at, _)| at),
        family.ended.map(|(_, reason)| reason.as_str()),
    ];
    expect_one(tx.execute(UPDATE_FAMILY, args).await?, "token family")
}

fn replay(family: &Family) -> (&[u8], &[u8], Option<Timestamp>) {
    family.replay.as_ref().map_or((&[], &[], None), |r| (&r.place.0, &r.sealed, Some(r.until)))
}

pub(crate) async fn denials(db: &Db, subjects: &[DenialSubject]) -> Result<Vec<Denial>, StoreError> {
    let mut found = Vec::new();
    for subject in subjects {
        if let Some(row) = db.row(DENIAL, args![subject.as_str()]).await? {
            found.push(read("token_denials", &row, denial)?);
        }
    }
    Ok(found)
}

pub(crate) async fn live_denials(
    db: &Db,
    now: Timestamp,
    after: Option<&DenialSubject>,
    limit: u32,
) -> Result<Vec<Denial>, StoreError> {
    let after = after.map_or("", DenialSubject::as_str);
    let rows = db.rows(LIVE_DENIALS, args![now, after, limit]).await?;
    rows.iter().map(|row| read("token_denials", row, denial)).collect()
}

fn denial(row: &Row) -> Result<Denial, Unreadable> {
    Ok(Denial {
        subject: row.parsed("id", DenialSubject::parse)?,
        min_iat: row.time("min_iat_us")?,
        until: row.time("until_us")?,
    })
}

pub(crate) async fn deny(tx: &mut Tx, denial: &Denial) -> Result<(), Failure> {
    let args = args![denial.subject.as_str(), denial.min_iat, denial.until];
    tx.execute(DENY, args).await.map(drop)
}

pub(crate) async fn forget(db: &Db, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let mut gone = tx.execute(FORGET_TOKENS, args![now, limit]).await?;
    gone += tx.execute(FORGET_FAMILIES, args![now, limit]).await?;
    gone += tx.execute(FORGET_DENIALS, args![now]).await?;
    tx.execute(FORGET_REPLAYS, args![now, &[] as &[u8]]).await?;
    tx.commit().await?;
    Ok(gone)
}
