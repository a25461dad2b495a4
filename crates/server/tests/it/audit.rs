//! The record and its proof: whatever is done to a stopped node's database is found, and named.

use std::{fs, path::PathBuf};

use claviger_testkit::{PostgresDatabase, sql};
use serde_json::Value;

use crate::{
    house::{Claviger, Done, Key, Sim},
    wire::{self, say, say_streamed},
};

/// A stopped node with a history, and a checkpoint of it that was kept elsewhere.
struct Past {
    sim: Sim,
    node: Claviger,
    key: Key,
    kept: PathBuf,
    /// Its database, unless that is SQLite in its data folder.
    database: Option<PostgresDatabase>,
}

impl Past {
    fn made() -> Self {
        Self::made_on(None)
    }

    /// `None`, said in a line, where there is no PostgreSQL.
    fn made_on_postgres() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self::made_on(Some(runtime.block_on(claviger_testkit::postgres())?)))
    }

    fn made_on(database: Option<PostgresDatabase>) -> Self {
        let sim = Sim::start();
        let mut node = Claviger::new();
        if let Some(database) = &database {
            node = node.with_environment("CLAVIGER_DATABASE", database.url());
        }
        node.start();
        node.connect(&sim);
        let key = node.key(&[]);
        for n in 0..12 {
            let prompt = format!("call {n}");
            let body = if n % 3 == 0 { say_streamed(&prompt) } else { say(&prompt) };
            assert_eq!(wire::message(node.gateway(), &key.key, &body).status, 200);
        }
        node.json(&["key", "update", &key.id, "--name", "renamed"]);
        node.json(&["workspace", "create", "second"]);
        assert!(node.stop().success());
        let lines = fs::read_to_string(node.data().join("checkpoints.jsonl")).expect("checkpoints");
        let kept = node.write("kept.json", lines.lines().last().expect("a checkpoint"));
        let past = Self { sim, node, key, kept, database };
        let good = past.verify(&["--against", past.kept()]);
        assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
        past
    }

    fn kept(&self) -> &str {
        self.kept.to_str().unwrap()
    }

    fn url(&self) -> String {
        let own = || format!("sqlite:{}", self.node.data().join("claviger.db").display());
        self.database.as_ref().map_or_else(own, |database| database.url().to_owned())
    }

    fn verify(&self, arguments: &[&str]) -> Done {
        self.node.cli(&[&["audit", "verify", "--json"], arguments].concat())
    }

    /// Does this to the database; then the verification must name a record of a chain whose name holds `chain`.
    fn is_found(statement: &str, chain: &str) {
        Self::made().finds(statement, chain);
    }

    fn finds(&self, statement: &str, chain: &str) {
        let past = self;
        let changed = sql::execute(&past.url(), statement);
        assert!(changed > 0, "it changed nothing: {statement}");
        let bad = past.verify(&[]);
        assert_eq!(bad.code, 5, "{statement}: {}{}", bad.stdout, bad.stderr);
        let verdict: Value = serde_json::from_str(&bad.stdout).unwrap();
        assert_eq!(verdict["ok"], false, "{verdict}");
        let named = verdict["bad"]["chain"].as_str().unwrap();
        assert!(named.contains(chain), "{statement}: {verdict}");
        assert!(verdict["bad"]["number"].as_i64().unwrap() > 0, "{verdict}");
        assert!(bad.stderr.contains(named) && bad.stderr.contains("record"), "{}", bad.stderr);
    }
}

#[test]
fn a_running_node_proves_its_record() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    for _ in 0..5 {
        assert_eq!(wire::message(node.gateway(), &key.key, &say("hello")).status, 200);
    }
    let verdict = node.json(&["audit", "verify"]);
    assert_eq!(verdict["ok"], true);
    assert!(verdict["records"].as_u64().unwrap() >= 6, "{verdict}");
    assert_eq!(verdict["head"].as_str().unwrap().len(), 64);
    assert!(verdict["unproven"].is_u64(), "{verdict}");
    assert!(verdict.get("bad").is_none(), "{verdict}");

    let list = node.json(&["audit", "list", "--limit", "1000"]);
    let actions: Vec<&str> = list.as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    for action in ["key.create", "upstream.add", "credential.add", "audit.chain.open"] {
        assert!(actions.contains(&action), "no {action} in {actions:?}");
    }
    let record = list.as_array().unwrap().iter().find(|r| r["action"] == "key.create").unwrap();
    let fields =
        ["timestamp", "actor", "target", "outcome", "key", "api_endpoint", "request_id", "client_ip"];
    for field in fields.into_iter().chain(["token_scope", "user_agent", "details"]) {
        assert!(!record[field].is_null(), "no {field} in {record}");
    }
    let text = list.to_string();
    assert!(
        !text.contains(&key.key[9..]) && !text.contains(crate::house::PROVIDER_KEY),
        "a secret in the audit log"
    );
}

#[test]
fn an_edited_audit_record_is_found() {
    Past::is_found(
        "UPDATE audit SET event = replace(event, 'key.update', 'key.delete') WHERE event LIKE '%key.update%'",
        "control",
    );
}

#[test]
fn what_was_slipped_into_an_audit_record_is_found() {
    Past::is_found(
        "UPDATE audit SET event = '{\"added\":1,' || substr(event, 2) WHERE number = 4",
        "control",
    );
}

#[test]
fn an_edited_time_of_an_audit_record_is_found() {
    Past::is_found("UPDATE audit SET at_us = at_us + 1 WHERE number = 4", "control");
}

#[test]
fn an_edited_head_is_found() {
    Past::is_found(
        "UPDATE audit SET head = leaf WHERE number = (SELECT MAX(number) - 1 FROM audit)",
        "control",
    );
}

#[test]
fn a_deleted_audit_record_is_found() {
    Past::is_found("DELETE FROM audit WHERE number = 4", "control");
}

#[test]
fn reordered_audit_records_are_found() {
    Past::is_found(
        "UPDATE audit SET number = CASE number WHEN 3 THEN -4 ELSE -3 END WHERE number IN (3, 4); UPDATE audit SET number = -number WHERE number < 0",
        "control",
    );
}

#[test]
fn an_edited_ledger_row_is_found() {
    Past::is_found(
        "UPDATE ledger SET cost_pusd = cost_pusd - 1 WHERE id = (SELECT MIN(id) + 3 FROM ledger)",
        "node",
    );
}

#[test]
fn a_ledger_row_of_another_key_is_found() {
    Past::is_found("UPDATE ledger SET output_tokens = 0 WHERE id = (SELECT MAX(id) FROM ledger)", "node");
}

#[test]
fn a_deleted_ledger_row_is_found() {
    Past::is_found("DELETE FROM ledger WHERE id = (SELECT MAX(id) FROM ledger)", "node");
}

#[test]
fn a_deleted_group_is_found() {
    Past::is_found("DELETE FROM data_records WHERE id = (SELECT MIN(id) FROM data_records)", "node");
}

#[test]
fn a_data_chain_that_is_gone_is_found() {
    Past::is_found("DELETE FROM data_records; DELETE FROM ledger", "");
}

#[test]
fn on_postgres_a_stopped_node_is_proven_and_every_kind_of_change_is_found() {
    for (statement, chain) in [
        (
            "UPDATE audit SET event = replace(event, 'key.update', 'key.delete') WHERE event LIKE '%key.update%'",
            "control",
        ),
        ("UPDATE audit SET at_us = at_us + 1 WHERE number = 4", "control"),
        ("DELETE FROM audit WHERE number = 4", "control"),
        ("UPDATE ledger SET cost_pusd = cost_pusd - 1 WHERE id = (SELECT MIN(id) + 3 FROM ledger)", "node"),
        ("DELETE FROM data_records WHERE id = (SELECT MIN(id) FROM data_records)", "node"),
    ] {
        let Some(past) = Past::made_on_postgres() else { return };
        past.finds(statement, chain);
    }
    let Some(past) = Past::made_on_postgres() else { return };
    assert!(sql::execute(&past.url(), CUT) > 0);
    let bad = past.verify(&["--against", past.kept()]);
    assert_eq!(bad.code, 5, "{}{}", bad.stdout, bad.stderr);
    assert!(!past.node.data().join("claviger.db").exists(), "it was SQLite that was verified");
}

/// As one would who knows the format: the head is set back as well, and the checkpoints behind it are gone.
const CUT: &str = "UPDATE audit_head SET length = length - 1, head = (SELECT head FROM audit a WHERE a.number = length - 1); \
                   DELETE FROM audit WHERE number = (SELECT MAX(number) FROM audit); DELETE FROM checkpoints";

#[test]
fn a_tail_that_was_cut_is_found_against_a_checkpoint() {
    let past = Past::made();
    assert!(sql::execute(&past.url(), CUT) > 0);
    let bad = past.verify(&["--against", past.kept()]);
    assert_eq!(bad.code, 5, "{}{}", bad.stdout, bad.stderr);
}

#[test]
fn a_database_that_was_rolled_back_is_found_against_a_checkpoint() {
    let mut past = Past::made();
    let data = past.node.data().to_owned();
    let before = past.node.folder().join("before");
    fs::create_dir(&before).unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        for name in ["claviger.db", "claviger.db-wal", "claviger.db-shm"] {
            if from.join(name).exists() {
                fs::copy(from.join(name), to.join(name)).unwrap();
            } else if to.join(name).exists() {
                fs::remove_file(to.join(name)).unwrap();
            }
        }
    };
    copy(&data, &before);
    past.node.start();
    assert_eq!(wire::message(past.node.gateway(), &past.key.key, &say("later")).status, 200);
    assert!(past.node.stop().success());
    let lines = fs::read_to_string(data.join("checkpoints.jsonl")).unwrap();
    let kept = past.node.write("kept.json", lines.lines().last().unwrap());
    assert_eq!(past.verify(&["--against", kept.to_str().unwrap()]).code, 0);

    copy(&before, &data);
    assert_eq!(past.verify(&[]).code, 0, "by itself an old state is a good state");
    let bad = past.verify(&["--against", kept.to_str().unwrap()]);
    assert_eq!(bad.code, 5, "{}{}", bad.stdout, bad.stderr);
    assert_eq!(past.sim.log().len(), 13);
}

#[test]
fn an_export_is_proof_without_the_database() {
    let mut past = Past::made();
    past.node.start();
    let export = past.node.folder().join("export.jsonl");
    let path = export.to_str().unwrap().to_owned();
    let done = past.node.cli(&["audit", "export", "--to", &path, "--json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let length = fs::metadata(&export).unwrap().len();
    assert_eq!((said["file"].as_str(), said["bytes"].as_u64()), (Some(&*path), Some(length)));
    past.node.kill();
    fs::remove_dir_all(past.node.data()).unwrap();

    let good = past.verify(&["--export", &path, "--against", past.kept()]);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    let text = fs::read_to_string(&export).unwrap();
    let first_row = text.find("\"input_tokens\":").expect("a ledger row in the export");
    let digit = first_row + "\"input_tokens\":".len();
    let other = if text.as_bytes()[digit] == b'9' { "8" } else { "9" };
    let mut edited = text.clone();
    edited.replace_range(digit..=digit, other);
    fs::write(&export, edited).unwrap();
    assert_eq!(past.verify(&["--export", &path]).code, 5);

    let lines: Vec<&str> = text.lines().collect();
    fs::write(&export, lines[..lines.len() - 2].join("\n")).unwrap();
    assert_eq!(past.verify(&["--export", &path, "--against", past.kept()]).code, 5, "a cut export");
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_wrong_usage() {
    let past = Past::made();
    let nonsense = past.node.write("nonsense.json", "{}");
    let done = past.verify(&["--against", nonsense.to_str().unwrap()]);
    assert_eq!(done.code, 2, "{}{}", done.stdout, done.stderr);
    let done = past.verify(&["--export", "/no/such/export"]);
    assert!([1, 2].contains(&done.code), "{}{}", done.code, done.stderr);
}
