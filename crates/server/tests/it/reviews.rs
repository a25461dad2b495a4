//! What keys may do and do not use; many keys from one table.

use serde_json::Value;

use crate::{
    house::{Claviger, Key, Sim},
    wire::{self, say},
};

#[test]
fn a_key_is_narrowed_to_what_it_used() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let refused = node.cli(&["review", "decide", &key.id, "--shrink"]);
    assert_eq!(refused.code, 4, "{}", refused.stdout);
    assert!(refused.stderr.contains("not used at all"), "{}", refused.stderr);

    let asked = wire::message(node.gateway(), &key.key, &say("hello"));
    assert_eq!(asked.status, 200, "{}", asked.text());
    let shown = node.json(&["review", "show", &key.id]);
    assert_eq!(shown["state"], "none");
    assert_eq!(shown["findings"]["unused_models"], serde_json::json!(["*"]));
    assert!(shown["findings"]["unused_scopes"].to_string().contains("\"read\""), "{shown}");
    assert!(!shown["findings"]["unused_endpoints"].to_string().contains("\"messages\""), "{shown}");

    let decided = node.json(&["review", "decide", &key.id, "--shrink"]);
    assert_eq!(decided["state"], "shrunk", "{decided}");
    let narrowed = node.json(&["key", "show", &key.id]);
    assert_eq!(narrowed["endpoints"], serde_json::json!(["messages"]));
    assert_eq!(narrowed["models"], shown["findings"]["used_models"]);
    assert_eq!(wire::message(node.gateway(), &key.key, &say("again")).status, 200);
    let listed = node.json(&["review", "list"]);
    assert_eq!((&listed[0]["key"], listed.as_array().unwrap().len()), (&key.id.into(), 1));
    assert!(node.json(&["review", "list", "--open"]).as_array().unwrap().is_empty());
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn a_table_of_keys_is_made_row_by_row_and_what_is_refused_leaves_nothing() {
    let node = Claviger::started();
    for owner in ["ann", "bob"] {
        node.json(&["owner", "create", owner]);
    }
    let text = "name,owner,models,allow_ip,expires_in\n\
                app,ann,claude-haiku-*,10.0.0.0/8,30d\n\
                broken,ann,,10.0.0.0/99,\n\
                job,bob,,,\n\
                lost,carl,,,\n";
    let file = node.write("keys.csv", text).display().to_string();
    let done = node.cli(&["key", "import", &file, "--wrapped", "--json"]);
    assert_eq!(done.code, 4, "{}{}", done.stdout, done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["made"], &report["refused"]), (&2.into(), &2.into()));
    let rows = report["rows"].as_array().unwrap();
    let problem = |n: usize| rows[n]["problem"]["field"].as_str().or(rows[n]["problem"]["type"].as_str());
    assert_eq!((problem(1), problem(3)), (Some("allow_ip"), Some("not_found")));
    assert!(rows.iter().all(|row| row["key"].is_null()), "only what opens them is shown");
    assert_eq!(node.json(&["key", "list", "--owner", "ann"]).as_array().unwrap().len(), 1);

    let token = rows[0]["wrapping_token"].as_str().unwrap();
    let opened = node.json(&["unwrap", token]);
    assert_eq!(opened["id"], rows[0]["id"]);
    let key = Key {
        id: opened["id"].as_str().unwrap().to_owned(),
        key: opened["key"].as_str().unwrap().to_owned(),
    };
    assert!(key.key.starts_with("cvg_live_"));
    assert_eq!(node.json(&["key", "show", &key.id])["models"], serde_json::json!(["claude-haiku-*"]));
}
