//! Requests that wait for a second person.

use claviger_domain::{
    clock::Timestamp,
    id::{ApprovalId, OperatorId, OperatorTokenId, WorkspaceId},
    operator::{
        approval::{Answer, ApprovalRecord, ApprovalState, Frozen},
        verb::Verb,
    },
    ports::StoreError,
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

/// Approvals without what was answered, which may be large and secret.
macro_rules! listed {
    ($rest:literal) => {
        concat!(
            "SELECT id, verb, method, path, if_match, body, digest, workspace_id, requester_id, requester_name, \
             token_id, created_us, expires_us, state, decided_by, decided_us, status, answer_kind, version \
             FROM approvals ",
            $rest
        )
    };
}

statements! {
    GET = listed!("WHERE id = $1");
    LIST = listed!("ORDER BY created_us DESC, id DESC LIMIT 1000");
    OPEN = listed!("WHERE state = 'pending' AND expires_us > $1 ORDER BY created_us DESC, id DESC LIMIT 1000");
    UNFINISHED = listed!("WHERE state = 'approved' AND decided_us <= $1 ORDER BY decided_us LIMIT 100");
    UNTAKEN = listed!("WHERE answer_kind = 'secret' AND decided_us <= $1 ORDER BY decided_us LIMIT 100");
    ANSWER = "SELECT id, answer FROM approvals WHERE id = $1 AND answer IS NOT NULL";
    KEEP_ANSWER = "UPDATE approvals SET answer = $2 WHERE id = $1";
    INSERT = "INSERT INTO approvals (id, verb, method, path, if_match, body, digest, workspace_id, requester_id, \
              requester_name, token_id, created_us, expires_us, state, version) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    UPDATE = "UPDATE approvals SET state = $3, decided_by = $4, decided_us = $5, status = $6, answer_kind = $7, \
              version = version + 1 WHERE id = $1 AND version = $2";
}

pub(crate) async fn get(db: &Db, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
    let row = db.row(GET, args![id.as_str()]).await?;
    row.map(|row| read("approvals", &row, approval)).transpose()
}

pub(crate) async fn list(db: &Db, open_at: Option<Timestamp>) -> Result<Vec<ApprovalRecord>, StoreError> {
    let rows = match open_at {
        Some(at) => db.rows(OPEN, args![at]).await?,
        None => db.rows(LIST, args![]).await?,
    };
    rows.iter().map(|row| read("approvals", row, approval)).collect()
}

pub(crate) async fn unfinished(db: &Db, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
    let rows = db.rows(UNFINISHED, args![before]).await?;
    rows.iter().map(|row| read("approvals", row, approval)).collect()
}

pub(crate) async fn untaken(db: &Db, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
    let rows = db.rows(UNTAKEN, args![before]).await?;
    rows.iter().map(|row| read("approvals", row, approval)).collect()
}

pub(crate) async fn answer(db: &Db, id: &ApprovalId) -> Result<Option<Vec<u8>>, StoreError> {
    let row = db.row(ANSWER, args![id.as_str()]).await?;
    let sealed = row.map(|row| read("approvals", &row, |row| row.blob("answer").map(<[u8]>::to_vec)));
    Ok(sealed.transpose()?.filter(|sealed| !sealed.is_empty()))
}

pub(crate) async fn keep_answer(tx: &mut Tx, id: &ApprovalId, sealed: &[u8]) -> Result<(), Failure> {
    expect_one(tx.execute(KEEP_ANSWER, args![id.as_str(), sealed]).await?, "approval")
}

fn approval(row: &Row) -> Result<ApprovalRecord, Unreadable> {
    let frozen = Frozen {
        verb: row.parsed("verb", Verb::parse)?,
        method: row.text("method")?.to_owned(),
        path: row.text("path")?.to_owned(),
        if_match: row.text("if_match")?.to_owned(),
        body: row.blob("body")?.to_vec(),
    };
    // What is done must be what was asked for.
    if frozen.digest() != row.digest("digest")? {
        return Err(Unreadable("digest"));
    }
    let workspace = row.opt_text("workspace_id")?;
    let decided_by = row.opt_text("decided_by")?;
    let status = row.opt_int("status")?;
    Ok(ApprovalRecord {
        id: row.parsed("id", |t| ApprovalId::parse(t).ok())?,
        frozen,
        workspace: workspace
            .map(|w| WorkspaceId::parse(w).map_err(|_| Unreadable("workspace_id")))
            .transpose()?,
        requester: row.parsed("requester_id", |t| OperatorId::parse(t).ok())?,
        requester_name: row.text("requester_name")?.to_owned(),
        token: row.parsed("token_id", |t| OperatorTokenId::parse(t).ok())?,
        created_at: row.time("created_us")?,
        expires_at: row.time("expires_us")?,
        state: row.parsed("state", ApprovalState::parse)?,
        decided_by: decided_by
            .map(|o| OperatorId::parse(o).map_err(|_| Unreadable("decided_by")))
            .transpose()?,
        decided_at: row.opt_time("decided_us")?,
        status: status.map(|s| u16::try_from(s).map_err(|_| Unreadable("status"))).transpose()?,
        answer: row.parsed("answer_kind", Answer::parse)?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, a: &ApprovalRecord) -> Result<(), Failure> {
    let args = args![
        a.id.as_str(),
        a.frozen.verb.as_str(),
        a.frozen.method.as_str(),
        a.frozen.path.as_str(),
        a.frozen.if_match.as_str(),
        a.frozen.body.as_slice(),
        a.frozen.digest(),
        a.workspace.as_ref().map(WorkspaceId::as_str),
        a.requester.as_str(),
        a.requester_name.as_str(),
        a.token.as_str(),
        a.created_at,
        a.expires_at,
        a.state.as_str(),
        a.version
    ];
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("approval")))
}

pub(crate) async fn update(tx: &mut Tx, a: &ApprovalRecord) -> Result<(), Failure> {
    let args = args![
        a.id.as_str(),
        a.version,
        a.state.as_str(),
        a.decided_by.as_ref().map(OperatorId::as_str),
        a.decided_at,
        a.status.map(i64::from),
        a.answer.as_str()
    ];
    expect_one(tx.execute(UPDATE, args).await?, "approval")
}
