//! Reviews of what keys may do.

use async_trait::async_trait;
use claviger_domain::{
    id::{KeyId, ReviewId, WorkspaceId},
    ports::{
        StoreError,
        reviews::{ReviewFilter, ReviewStore},
    },
    review::ReviewRecord,
};

use crate::{
    Database,
    apply::expect_one,
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

macro_rules! columns {
    () => {
        "id, key_id, workspace_id, opened_us, findings, decision, version"
    };
}

macro_rules! listed {
    ($more:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM reviews WHERE (CAST($1 AS TEXT) IS NULL OR key_id = $1) \
             AND (CAST($2 AS TEXT) IS NULL OR workspace_id = $2) AND ($3 = 0 OR decision IS NULL) ",
            $more,
            "ORDER BY opened_us DESC, id DESC LIMIT $4"
        )
    };
}

statements! {
    LIST = listed!("");
    LIST_BEFORE = listed!("AND (opened_us, id) < (SELECT b.opened_us, b.id FROM reviews b WHERE b.id = $5) ");
    INSERT = concat!("INSERT INTO reviews (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7)");
    UPDATE = "UPDATE reviews SET decision = $3, version = version + 1 WHERE id = $1 AND version = $2";
}

#[async_trait]
impl ReviewStore for Database {
    async fn reviews(&self, filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, StoreError> {
        list(&self.db, filter).await
    }
}

async fn list(db: &Db, filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, StoreError> {
    let key = filter.key.as_ref().map(KeyId::as_str);
    let workspace = filter.workspace.as_ref().map(WorkspaceId::as_str);
    let mut values: Vec<Arg> = args![key, workspace, filter.open, filter.limit];
    let rows = match &filter.before {
        None => db.rows(LIST, values).await?,
        Some(before) => {
            values.push(before.as_str().into());
            db.rows(LIST_BEFORE, values).await?
        }
    };
    rows.iter().map(|row| read("reviews", row, review)).collect()
}

fn review(row: &Row) -> Result<ReviewRecord, Unreadable> {
    let decision = row.opt_text("decision")?.map(serde_json::from_str).transpose();
    Ok(ReviewRecord {
        id: row.parsed("id", |t| ReviewId::parse(t).ok())?,
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        opened_at: row.time("opened_us")?,
        findings: serde_json::from_str(row.text("findings")?).map_err(|_| Unreadable("findings"))?,
        decision: decision.map_err(|_| Unreadable("decision"))?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, review: &ReviewRecord) -> Result<(), Failure> {
    let findings = serde_json::to_string(&review.findings).map_err(|_| unwritable(review))?;
    let args = args![
        review.id.as_str(),
        review.key.as_str(),
        review.workspace.as_str(),
        review.opened_at,
        findings,
        decision(review)?.as_deref(),
        review.version,
    ];
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("review of the key")))
}

pub(crate) async fn update(tx: &mut Tx, review: &ReviewRecord) -> Result<(), Failure> {
    let args = args![review.id.as_str(), review.version, decision(review)?.as_deref()];
    expect_one(tx.execute(UPDATE, args).await?, "review")
}

fn decision(review: &ReviewRecord) -> Result<Option<String>, StoreError> {
    let written = review.decision.map(|decision| serde_json::to_string(&decision)).transpose();
    written.map_err(|_| unwritable(review))
}

fn unwritable(review: &ReviewRecord) -> StoreError {
    StoreError::Corrupt {
        table: "reviews",
        id: review.id.to_string(),
        why: "it cannot be written as JSON".to_owned(),
    }
}
