//! What workspaces demand of their keys, as operators meet it.

use std::thread;

use serde_json::Value;

use crate::house::{Claviger, run};

fn refusal(done: &crate::house::Done) -> String {
    assert_eq!(done.code, 4, "{}{}", done.stdout, done.stderr);
    done.stderr.clone()
}

#[test]
fn an_owner_never_has_more_keys_than_the_policy_allows() {
    let node = Claviger::started();
    node.json(&["owner", "create", "ann"]);
    node.json(&["policy", "set", "--max-keys", "5"]);
    let made = thread::scope(|scope| {
        let create = |n: usize| {
            let node = &node;
            scope.spawn(move || {
                let name = format!("k{n}");
                let mut command = node.command();
                command.args(["key", "create", "--name", &name, "--owner", "ann", "--json"]);
                run(command, "", std::time::Duration::from_secs(60))
            })
        };
        let tasks: Vec<_> = (0..16).map(create).collect();
        let done: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
        for refused in done.iter().filter(|done| done.code != 0) {
            assert!(refusal(refused).contains("its policy allows 5"), "{}", refused.stderr);
        }
        done.iter().filter(|done| done.code == 0).count()
    });
    let listed = node.json(&["key", "list", "--owner", "ann"]);
    assert_eq!((made, listed.as_array().unwrap().len()), (5, 5));
    // A revoked one makes room.
    let first = listed[0]["id"].as_str().unwrap();
    node.json(&["key", "revoke", first]);
    node.json(&["key", "create", "--name", "next", "--owner", "ann"]);
}

#[test]
fn a_policy_says_which_keys_break_it_and_stands_against_new_ones() {
    let node = Claviger::started();
    node.json(&["workspace", "create", "team"]);
    node.json(&["key", "create", "--name", "open", "--workspace", "team"]);
    let set = node.json(&["policy", "set", "--workspace", "team", "--require-ip", "--notice-days", "7,1"]);
    assert_eq!(
        (&set["require_ip"], &set["max_keys"], &set["source"]),
        (&true.into(), &5.into(), &"workspace".into())
    );
    assert_eq!(set["notice_days"], serde_json::json!([7, 1]));
    let breach = &set["breaches"]["first"][0];
    assert_eq!(set["breaches"]["total"], 1, "{set}");
    assert_eq!(
        (&breach["name"], &breach["rule"], &breach["at"]),
        (&"open".into(), &"require_ip".into(), &Value::Null)
    );

    let done = node.cli(&["key", "create", "--name", "new", "--workspace", "team"]);
    assert!(refusal(&done).contains("--allow-ip"), "{}", done.stderr);
    node.json(&["key", "create", "--name", "new", "--workspace", "team", "--allow-ip", "10.0.0.0/8"]);
    // Elsewhere the default holds.
    node.json(&["key", "create", "--name", "elsewhere"]);

    node.json(&["policy", "set", "--workspace", "team", "--require-ip=false", "--require-mfa"]);
    let done = node.cli(&["key", "create", "--name", "newer", "--workspace", "team"]);
    assert!(refusal(&done).contains("second factor"), "{}", done.stderr);
    assert_eq!(node.json(&["policy", "list"]).as_array().unwrap().len(), 1);
    let dropped = node.json(&["policy", "drop", "--workspace", "team"]);
    assert_eq!((&dropped["source"], &dropped["version"]), (&"built_in".into(), &0.into()));
    node.json(&["key", "create", "--name", "newer", "--workspace", "team"]);
}

#[test]
fn a_policy_that_cannot_be_is_refused_by_name() {
    let node = Claviger::started();
    for (flag, value) in [
        ("--max-keys", "0"),
        ("--rotation-days", "0"),
        ("--notice-days", "1,7"),
        ("--revoke-unused-days", "9999"),
    ] {
        let said = refusal(&node.cli(&["policy", "set", flag, value]));
        assert!(said.contains(&flag[2..].replace('-', "_")), "{flag}: {said}");
    }
    assert_eq!(node.json(&["policy", "show"])["source"], "built_in", "nothing was set");
}
