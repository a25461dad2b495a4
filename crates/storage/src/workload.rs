//! Workload identity: issuers, rules of trust, and tokens that were used.

use async_trait::async_trait;
use claviger_domain::{
    id::{IssuerId, KeyId, TrustId, WorkspaceId},
    ports::{
        StoreError,
        workload::{AssertionUse, WorkloadStore},
    },
    workload::{
        issuer::{IssuerRecord, IssuerTerms},
        rule::TrustRecord,
    },
};

use crate::{
    Database,
    apply::expect_one,
    engine::{Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    ISSUERS = "SELECT id, name, issuer, body, created_us, version FROM issuers ORDER BY created_us, id";
    INSERT_ISSUER = "INSERT INTO issuers (id, name, issuer, body, created_us, version) VALUES ($1, $2, $3, $4, $5, $6)";
    DROP_ISSUER = "DELETE FROM issuers WHERE id = $1 AND version = $2";
    RULES = "SELECT id, name, key_id, workspace_id, terms, created_us, version FROM trust_rules \
             ORDER BY created_us, id";
    INSERT_RULE = "INSERT INTO trust_rules (id, name, key_id, workspace_id, terms, created_us, version) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
    UPDATE_RULE = "UPDATE trust_rules SET terms = $3, version = version + 1 WHERE id = $1 AND version = $2";
    DROP_RULE = "DELETE FROM trust_rules WHERE id = $1 AND version = $2";
    /// What nobody has to remember any more.
    FORGET = "DELETE FROM used_assertions WHERE until_us < $1";
    USE = "INSERT INTO used_assertions (mark, until_us) VALUES ($1, $2)";
}

#[async_trait]
impl WorkloadStore for Database {
    async fn issuers(&self) -> Result<Vec<IssuerRecord>, StoreError> {
        let rows = self.db.rows(ISSUERS, args![]).await?;
        rows.iter().map(|row| read("issuers", row, issuer)).collect()
    }

    async fn trust_rules(&self) -> Result<Vec<TrustRecord>, StoreError> {
        let rows = self.db.rows(RULES, args![]).await?;
        rows.iter().map(|row| read("trust_rules", row, rule)).collect()
    }
}

fn issuer(row: &Row) -> Result<IssuerRecord, Unreadable> {
    let body: IssuerTerms = serde_json::from_str(row.text("body")?).map_err(|_| Unreadable("body"))?;
    Ok(IssuerRecord {
        id: row.parsed("id", |t| IssuerId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        issuer: row.text("issuer")?.to_owned(),
        platform: body.platform,
        algorithms: body.algorithms,
        keys: body.keys,
        created_at: row.time("created_us")?,
        version: row.int("version")?,
    })
}

fn rule(row: &Row) -> Result<TrustRecord, Unreadable> {
    Ok(TrustRecord {
        id: row.parsed("id", |t| TrustId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        terms: serde_json::from_str(row.text("terms")?).map_err(|_| Unreadable("terms"))?,
        created_at: row.time("created_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn insert_issuer(tx: &mut Tx, issuer: &IssuerRecord) -> Result<(), Failure> {
    let body = IssuerTerms {
        platform: issuer.platform,
        algorithms: issuer.algorithms.clone(),
        keys: issuer.keys.clone(),
    };
    let body = serde_json::to_string(&body).map_err(|_| unwritable("issuers", issuer.id.as_str()))?;
    let args = args![
        issuer.id.as_str(),
        issuer.name.as_str(),
        issuer.issuer.as_str(),
        body,
        issuer.created_at,
        issuer.version,
    ];
    tx.execute(INSERT_ISSUER, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("issuer")))
}

pub(crate) async fn drop_issuer(tx: &mut Tx, id: &IssuerId, version: i64) -> Result<(), Failure> {
    expect_one(tx.execute(DROP_ISSUER, args![id.as_str(), version]).await?, "issuer")
}

pub(crate) async fn insert_rule(tx: &mut Tx, rule: &TrustRecord) -> Result<(), Failure> {
    let args = args![
        rule.id.as_str(),
        rule.name.as_str(),
        rule.key.as_str(),
        rule.workspace.as_str(),
        terms(rule)?,
        rule.created_at,
        rule.version,
    ];
    tx.execute(INSERT_RULE, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("rule of trust")))
}

pub(crate) async fn update_rule(tx: &mut Tx, rule: &TrustRecord) -> Result<(), Failure> {
    let args = args![rule.id.as_str(), rule.version, terms(rule)?];
    expect_one(tx.execute(UPDATE_RULE, args).await?, "rule of trust")
}

pub(crate) async fn drop_rule(tx: &mut Tx, id: &TrustId, version: i64) -> Result<(), Failure> {
    expect_one(tx.execute(DROP_RULE, args![id.as_str(), version]).await?, "rule of trust")
}

/// Fails when the token was used before.
pub(crate) async fn use_assertion(tx: &mut Tx, used: &AssertionUse) -> Result<(), Failure> {
    tx.execute(FORGET, args![used.now]).await?;
    let args = args![used.mark.as_slice(), used.until];
    tx.execute(USE, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("token")))
}

fn terms(rule: &TrustRecord) -> Result<String, StoreError> {
    serde_json::to_string(&rule.terms).map_err(|_| unwritable("trust_rules", rule.id.as_str()))
}

fn unwritable(table: &'static str, id: &str) -> StoreError {
    StoreError::Corrupt { table, id: id.to_owned(), why: "it cannot be written as JSON".to_owned() }
}
