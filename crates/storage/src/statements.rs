//! Every statement of this crate, so that each can be prepared on both engines.

use crate::{
    approvals, audit, blocks, budgets,
    bulk::Bulk,
    certificates, chains, checkpoints, children, clients, commit, credential_days, credit,
    engine::{Db, postgres, sqlite},
    feed, fold, idempotency, intents, jobs, keys, ledger, lockouts, migrate, nodes, nonces, notices,
    operators, policies, proof, resources, retention, reviews, rotations, saved_days, scan, secrets, signing,
    tenants, tokens, upstreams, usage, workload, wrappings,
};

/// By aggregate.
const ALL_STATEMENTS: &[(&str, &[(&str, &str)])] = &[
    ("approvals", approvals::STATEMENTS),
    ("audit", audit::STATEMENTS),
    ("blocks", blocks::STATEMENTS),
    ("budgets", budgets::STATEMENTS),
    ("certificates", certificates::STATEMENTS),
    ("chains", chains::STATEMENTS),
    ("checkpoints", checkpoints::STATEMENTS),
    ("children", children::STATEMENTS),
    ("clients", clients::STATEMENTS),
    ("credential_days", credential_days::STATEMENTS),
    ("credit", credit::STATEMENTS),
    ("feed", feed::STATEMENTS),
    ("idempotency", idempotency::STATEMENTS),
    ("intents", intents::STATEMENTS),
    ("jobs", jobs::STATEMENTS),
    ("keys", keys::STATEMENTS),
    ("ledger", ledger::STATEMENTS),
    ("lockouts", lockouts::STATEMENTS),
    ("migrate", migrate::STATEMENTS),
    ("nodes", nodes::STATEMENTS),
    ("nonces", nonces::STATEMENTS),
    ("policies", policies::STATEMENTS),
    ("proof", proof::STATEMENTS),
    ("notices", notices::STATEMENTS),
    ("operators", operators::STATEMENTS),
    ("resources", resources::STATEMENTS),
    ("retention", retention::STATEMENTS),
    ("reviews", reviews::STATEMENTS),
    ("rotations", rotations::STATEMENTS),
    ("saved_days", saved_days::STATEMENTS),
    ("scan", scan::STATEMENTS),
    ("secrets", secrets::STATEMENTS),
    ("signing", signing::STATEMENTS),
    ("tenants", tenants::STATEMENTS),
    ("tokens", tokens::STATEMENTS),
    ("upstreams", upstreams::STATEMENTS),
    ("usage", usage::STATEMENTS),
    ("workload", workload::STATEMENTS),
    ("wrappings", wrappings::STATEMENTS),
];

/// Those that have many rows, by aggregate.
static ALL_BULKS: [(&str, &[(&str, &Bulk)]); 4] = [
    ("commit", &commit::BULKS),
    ("fold", &fold::BULKS),
    ("resources", &resources::BULKS),
    ("saved_days", &saved_days::BULKS),
];

/// Lets the engine prepare every statement: it refuses those that do not fit its schema. The names of the refused.
pub(crate) async fn refused(db: &Db) -> Vec<String> {
    let mut refused = Vec::new();
    for (aggregate, statements) in ALL_STATEMENTS {
        for (name, text) in *statements {
            if db.prepare(text).await.is_err() {
                refused.push(format!("{aggregate}::{name}"));
            }
        }
    }
    for (aggregate, bulks) in &ALL_BULKS {
        for (name, bulk) in *bulks {
            for text in db.pick(bulk.sqlite(), bulk.postgres()) {
                if db.prepare(text).await.is_err() {
                    refused.push(format!("{aggregate}::{name}"));
                }
            }
        }
    }
    if let Db::Sqlite { .. } = db
        && let Some(text) = sqlite::group_statement(sqlite::GROUP_ROWS)
        && db.prepare(text).await.is_err()
    {
        refused.push("sqlite::GROUP".to_owned());
    }
    if let Db::Pg(_) = db
        && db.prepare(postgres::APPEND).await.is_err()
    {
        refused.push("postgres::APPEND".to_owned());
    }
    refused
}
