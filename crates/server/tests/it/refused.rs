//! What the control plane is asked for stands in the audit log, done or refused.

use serde_json::Value;

use crate::house::Claviger;

fn records(node: &Claviger) -> Vec<Value> {
    node.json(&["audit", "list", "--limit", "1000"]).as_array().expect("records").clone()
}

/// The newest record of an action with an outcome.
fn newest(node: &Claviger, action: &str, outcome: &str) -> Value {
    let found = records(node).into_iter().rev().find(|r| r["action"] == action && r["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("no {action} that ended as {outcome}"))
}

#[test]
fn a_refused_change_is_recorded_with_what_it_was_about_and_why() {
    let node = Claviger::started();
    let key = node.json(&["key", "create", "--name", "one", "--test"]);
    let id = key["id"].as_str().expect("an id");
    node.json(&["policy", "set", "--max-keys", "2"]);
    let refused = |args: &[&str]| assert_eq!(node.cli(args).code, 4, "{args:?}");
    refused(&["key", "create", "--name", "three", "--test"]);
    refused(&["key", "create", "--name", "three", "--allow-ip", "nonsense"]);
    refused(&["key", "rotate", id, "--overlap", "5000d"]);
    refused(&["key", "revoke", "key_0000000000", "--reason", "EXPIRED"]);
    node.json(&["key", "revoke", id, "--reason", "COMPROMISED"]);
    refused(&["key", "resume", id]);

    let record = newest(&node, "key.create", "policy");
    assert_eq!((&record["details"]["rule"], &record["actor"]["kind"]), (&"max_keys".into(), &"local".into()));
    assert_eq!(record["api_endpoint"], "POST /admin/v1/keys");
    assert_eq!(newest(&node, "key.create", "invalid")["details"]["field"], "allow_ip");
    assert_eq!(newest(&node, "key.rotate", "invalid")["target"], id);
    assert_eq!(newest(&node, "key.revoke", "not_found")["target"], "key_0000000000");
    let record = newest(&node, "key.resume", "conflict");
    assert_eq!((&record["key"], &record["target"]), (&id.into(), &id.into()));
    assert!(record["timestamp"].is_string() && record["request_id"].as_str().is_some_and(|r| !r.is_empty()));
}

#[test]
fn a_change_is_recorded_with_digests_of_before_and_after() {
    let node = Claviger::started();
    let key = node.json(&["key", "create", "--name", "one", "--test"]);
    let id = key["id"].as_str().expect("an id");
    for args in [&["key", "suspend", id][..], &["key", "resume", id], &["key", "update", id, "--rpm", "5"]] {
        node.json(args);
    }
    node.json(&["key", "revoke", id, "--reason", "EXPIRED"]);
    node.json(&["workspace", "create", "shop"]);
    node.json(&["workspace", "archive", "shop"]);
    node.json(&["upstream", "add", "other", "--base-url", "http://127.0.0.1:9"]);
    let digest = |record: &Value, name: &str| record["details"][name].as_str().map(str::to_owned);
    let mut former = None;
    for action in ["key.create", "key.suspend", "key.resume", "key.update", "key.revoke"] {
        let record = newest(&node, action, "ok");
        assert_eq!(record["target"], id);
        assert_eq!(digest(&record, "before"), former, "{action} finds what the one before it left");
        let after = digest(&record, "after").unwrap_or_else(|| panic!("{action} without a digest"));
        assert_eq!(after.len(), 64);
        assert_ne!(Some(&after), digest(&record, "before").as_ref(), "{action} changed something");
        former = Some(after);
    }
    let archived = newest(&node, "workspace.archive", "ok");
    assert_eq!(digest(&archived, "before"), digest(&newest(&node, "workspace.create", "ok"), "after"));
    assert!(digest(&newest(&node, "upstream.add", "ok"), "after").is_some());
}
