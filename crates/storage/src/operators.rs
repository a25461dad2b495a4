//! Operators, their tokens, and proofs of their second factor.

use claviger_domain::{
    audit::Digest,
    clock::Timestamp,
    id::{OperatorId, OperatorTokenId, WorkspaceId},
    mac::{KeyMac, PepperVersion},
    operator::{
        Role,
        name::OperatorName,
        record::{OperatorRecord, PasswordHash},
        token::{OperatorTokenRecord, Review, TokenKind},
        verb::Verb,
    },
    ports::{StoreError, operators::StepUp},
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

const NAME: &str = "operator name";

statements! {
    LIST = "SELECT id, name, role, workspace_id, password, totp_sealed, totp_step, created_us, removed_us, version \
            FROM operators ORDER BY created_us, id";
    GET = "SELECT id, name, role, workspace_id, password, totp_sealed, totp_step, created_us, removed_us, version \
           FROM operators WHERE id = $1";
    BY_NAME = "SELECT id, name, role, workspace_id, password, totp_sealed, totp_step, created_us, removed_us, version \
               FROM operators WHERE name = $1";
    ANY = "SELECT id FROM operators LIMIT 1";
    INSERT = "INSERT INTO operators (id, name, role, workspace_id, password, totp_sealed, totp_step, created_us, \
              removed_us, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    UPDATE = "UPDATE operators SET role = $3, workspace_id = $4, password = $5, totp_sealed = $6, removed_us = $7, \
              version = version + 1 WHERE id = $1 AND version = $2";
    USE_STEP = "UPDATE operators SET totp_step = $2 WHERE id = $1 AND totp_step < $2";
    TOKEN = "SELECT id, kind, operator_id, name, role, workspace_id, verbs, mac, pepper_version, hint, created_us, \
             expires_us, last_used_us, ended_us, reviewed_by, reviewed_us, review_note, version \
             FROM operator_tokens WHERE id = $1";
    TOKENS = "SELECT id, kind, operator_id, name, role, workspace_id, verbs, mac, pepper_version, hint, created_us, \
              expires_us, last_used_us, ended_us, reviewed_by, reviewed_us, review_note, version \
              FROM operator_tokens WHERE ended_us IS NULL OR kind = 'break_glass' \
              ORDER BY created_us DESC, id DESC LIMIT 1000";
    INSERT_TOKEN = "INSERT INTO operator_tokens (id, kind, operator_id, name, role, workspace_id, verbs, mac, \
                    pepper_version, hint, created_us, expires_us, last_used_us, ended_us, reviewed_by, reviewed_us, \
                    review_note, version) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
    UPDATE_TOKEN = "UPDATE operator_tokens SET expires_us = $3, ended_us = $4, reviewed_by = $5, reviewed_us = $6, \
                    review_note = $7, version = version + 1 WHERE id = $1 AND version = $2";
    TOUCH_TOKEN = "UPDATE operator_tokens SET last_used_us = $2 WHERE id = $1 AND last_used_us < $2";
    END_TOKENS = "UPDATE operator_tokens SET ended_us = $2, version = version + 1 \
                  WHERE operator_id = $1 AND ended_us IS NULL AND kind IN ('session', 'machine')";
    FORGET_TOKENS = "DELETE FROM operator_tokens WHERE kind = 'session' AND expires_us < $1";
    STEP_UP = "SELECT token_id AS id, action, at_us, until_us FROM step_ups WHERE token_id = $1 AND action = $2";
    INSERT_STEP_UP = "INSERT INTO step_ups (token_id, action, at_us, until_us) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (token_id, action) DO UPDATE SET at_us = excluded.at_us, until_us = excluded.until_us";
    FORGET_STEP_UPS = "DELETE FROM step_ups WHERE until_us <= $1";
    KEY_WORKSPACE = "SELECT workspace_id AS workspace FROM api_keys WHERE id = $1";
    ROTATION_WORKSPACE = "SELECT workspace_id AS workspace FROM rotations WHERE id = $1";
    WRAPPING_WORKSPACE = "SELECT k.workspace_id AS workspace FROM wrappings w JOIN api_keys k ON k.id = w.key_id \
                          WHERE w.id = $1";
    CERTIFICATE_WORKSPACE = "SELECT k.workspace_id AS workspace FROM certificates c \
                             JOIN api_keys k ON k.id = c.key_id WHERE c.id = $1";
    OWN_WORKSPACE = "SELECT id AS workspace FROM workspaces WHERE id = $1";
    APPROVAL_WORKSPACE = "SELECT workspace_id AS workspace FROM approvals WHERE id = $1 AND workspace_id IS NOT NULL";
}

/// How long sessions that are over are kept, for whoever asks why they ended.
const KEPT_SESSIONS_US: i64 = 30 * claviger_domain::clock::MICROS_PER_DAY;

pub(crate) async fn list(db: &Db) -> Result<Vec<OperatorRecord>, StoreError> {
    let rows = db.rows(LIST, args![]).await?;
    rows.iter().map(|row| read("operators", row, operator)).collect()
}

pub(crate) async fn get(db: &Db, id: &OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
    let row = db.row(GET, args![id.as_str()]).await?;
    row.map(|row| read("operators", &row, operator)).transpose()
}

pub(crate) async fn by_name(db: &Db, name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError> {
    let row = db.row(BY_NAME, args![name.as_str()]).await?;
    row.map(|row| read("operators", &row, operator)).transpose()
}

pub(crate) async fn any(db: &Db) -> Result<bool, StoreError> {
    Ok(db.row(ANY, args![]).await?.is_some())
}

fn workspace(row: &Row) -> Result<Option<WorkspaceId>, Unreadable> {
    let id = row.opt_text("workspace_id")?;
    id.map(|id| WorkspaceId::parse(id).map_err(|_| Unreadable("workspace_id"))).transpose()
}

fn operator(row: &Row) -> Result<OperatorRecord, Unreadable> {
    Ok(OperatorRecord {
        id: row.parsed("id", |t| OperatorId::parse(t).ok())?,
        name: row.parsed("name", |t| OperatorName::canonical(t).ok())?,
        role: row.parsed("role", Role::parse)?,
        workspace: workspace(row)?,
        password: PasswordHash::new(row.text("password")?.to_owned()),
        totp_sealed: row.blob("totp_sealed")?.to_vec(),
        totp_step: row.int("totp_step")?,
        created_at: row.time("created_us")?,
        removed_at: row.opt_time("removed_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, o: &OperatorRecord) -> Result<(), Failure> {
    let args = args![
        o.id.as_str(),
        o.name.as_str(),
        o.role.as_str(),
        o.workspace.as_ref().map(WorkspaceId::as_str),
        o.password.expose(),
        o.totp_sealed.as_slice(),
        o.totp_step,
        o.created_at,
        o.removed_at,
        o.version
    ];
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(NAME)))
}

pub(crate) async fn update(tx: &mut Tx, o: &OperatorRecord) -> Result<(), Failure> {
    let args = args![
        o.id.as_str(),
        o.version,
        o.role.as_str(),
        o.workspace.as_ref().map(WorkspaceId::as_str),
        o.password.expose(),
        o.totp_sealed.as_slice(),
        o.removed_at
    ];
    expect_one(tx.execute(UPDATE, args).await?, "operator")
}

pub(crate) async fn use_step(tx: &mut Tx, id: &OperatorId, step: i64) -> Result<(), Failure> {
    expect_one(tx.execute(USE_STEP, args![id.as_str(), step]).await?, "second factor")
}

pub(crate) async fn token(db: &Db, id: &OperatorTokenId) -> Result<Option<OperatorTokenRecord>, StoreError> {
    let row = db.row(TOKEN, args![id.as_str()]).await?;
    row.map(|row| read("operator_tokens", &row, token_record)).transpose()
}

pub(crate) async fn tokens(db: &Db) -> Result<Vec<OperatorTokenRecord>, StoreError> {
    let rows = db.rows(TOKENS, args![]).await?;
    rows.iter().map(|row| read("operator_tokens", row, token_record)).collect()
}

fn operator_id(row: &Row, column: &'static str) -> Result<Option<OperatorId>, Unreadable> {
    row.opt_text(column)?.map(|id| OperatorId::parse(id).map_err(|_| Unreadable(column))).transpose()
}

fn token_record(row: &Row) -> Result<OperatorTokenRecord, Unreadable> {
    let verb = |word: &str| Verb::parse(word).ok_or(Unreadable("verbs"));
    let review = match (operator_id(row, "reviewed_by")?, row.opt_time("reviewed_us")?) {
        (Some(by), Some(at)) => {
            Some(Review { by, at, note: row.opt_text("review_note")?.unwrap_or_default().to_owned() })
        }
        (Some(_) | None, _) => None,
    };
    Ok(OperatorTokenRecord {
        id: row.parsed("id", |t| OperatorTokenId::parse(t).ok())?,
        kind: row.parsed("kind", TokenKind::parse)?,
        operator: operator_id(row, "operator_id")?,
        name: row.text("name")?.to_owned(),
        role: row.parsed("role", Role::parse)?,
        workspace: workspace(row)?,
        verbs: row.text("verbs")?.split_whitespace().map(verb).collect::<Result<_, _>>()?,
        mac: KeyMac::from_bytes(row.digest("mac")?.0),
        pepper_version: PepperVersion(
            u32::try_from(row.int("pepper_version")?).map_err(|_| Unreadable("pepper_version"))?,
        ),
        hint: row.text("hint")?.to_owned(),
        created_at: row.time("created_us")?,
        expires_at: row.time("expires_us")?,
        last_used_at: row.time("last_used_us")?,
        ended_at: row.opt_time("ended_us")?,
        review,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_token(tx: &mut Tx, t: &OperatorTokenRecord) -> Result<(), Failure> {
    let verbs = t.verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(" ");
    let review = t.review.as_ref();
    let args = args![
        t.id.as_str(),
        t.kind.as_str(),
        t.operator.as_ref().map(OperatorId::as_str),
        t.name.as_str(),
        t.role.as_str(),
        t.workspace.as_ref().map(WorkspaceId::as_str),
        verbs,
        t.mac.as_bytes().as_slice(),
        t.pepper_version.0,
        t.hint.as_str(),
        t.created_at,
        t.expires_at,
        t.last_used_at,
        t.ended_at,
        review.map(|r| r.by.as_str()),
        review.map(|r| r.at),
        review.map(|r| r.note.as_str()),
        t.version
    ];
    tx.execute(INSERT_TOKEN, args).await.map_err(|e| Failure::Store(e.conflict("operator token")))?;
    if t.kind == TokenKind::Session {
        tx.execute(FORGET_TOKENS, args![t.created_at.plus_micros(-KEPT_SESSIONS_US)]).await?;
    }
    Ok(())
}

pub(crate) async fn update_token(tx: &mut Tx, t: &OperatorTokenRecord) -> Result<(), Failure> {
    let review = t.review.as_ref();
    let args = args![
        t.id.as_str(),
        t.version,
        t.expires_at,
        t.ended_at,
        review.map(|r| r.by.as_str()),
        review.map(|r| r.at),
        review.map(|r| r.note.as_str())
    ];
    expect_one(tx.execute(UPDATE_TOKEN, args).await?, "operator token")
}

pub(crate) async fn touch_token(db: &Db, id: &OperatorTokenId, at: Timestamp) -> Result<(), StoreError> {
    Ok(db.execute(TOUCH_TOKEN, args![id.as_str(), at]).await?)
}

pub(crate) async fn end_tokens(tx: &mut Tx, id: &OperatorId, at: Timestamp) -> Result<(), Failure> {
    tx.execute(END_TOKENS, args![id.as_str(), at]).await.map(drop)
}

pub(crate) async fn step_up(
    db: &Db,
    token: &OperatorTokenId,
    action: Digest,
) -> Result<Option<StepUp>, StoreError> {
    let row = db.row(STEP_UP, args![token.as_str(), action]).await?;
    let proof = |row: &Row| {
        Ok(StepUp {
            token: row.parsed("id", |t| OperatorTokenId::parse(t).ok())?,
            action: row.digest("action")?,
            at: row.time("at_us")?,
            until: row.time("until_us")?,
        })
    };
    row.map(|row| read("step_ups", &row, proof)).transpose()
}

pub(crate) async fn insert_step_up(tx: &mut Tx, proof: &StepUp) -> Result<(), Failure> {
    tx.execute(FORGET_STEP_UPS, args![proof.at]).await?;
    let args = args![proof.token.as_str(), proof.action, proof.at, proof.until];
    tx.execute(INSERT_STEP_UP, args).await.map(drop)
}

/// By the kind of id. What is not known here belongs to no workspace, so that roles of one workspace do not reach it.
pub(crate) async fn workspace_of(db: &Db, id: &str) -> Result<Option<WorkspaceId>, StoreError> {
    let statement = match id.split_once('_').map(|(kind, _)| kind) {
        Some("key") => KEY_WORKSPACE,
        Some("ws") => OWN_WORKSPACE,
        Some("rot") => ROTATION_WORKSPACE,
        Some("wrp") => WRAPPING_WORKSPACE,
        Some("crt") => CERTIFICATE_WORKSPACE,
        Some("apr") => APPROVAL_WORKSPACE,
        Some(_) | None => return Ok(None),
    };
    let row = db.row(statement, args![id]).await?;
    let found = |row: &Row| row.parsed("workspace", |t| WorkspaceId::parse(t).ok());
    row.map(|row| read("workspaces", &row, found)).transpose()
}
