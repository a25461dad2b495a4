//! What a file declares is planned, brought about once, and refused with its place when it cannot be.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::house::Claviger;

const TEAM: &str = r#"
[[workspace]]
name = "team-a"
environment = "production"

[workspace.policy]
require_ip = true
rotation_days = 30

[[owner]]
name = "ann"
email = "ann@example.com"

[[key]]
name = "checkout"
workspace = "team-a"
owner = "ann"
models = ["claude-*"]
endpoints = ["messages", "count_tokens"]
scopes = ["read", "write"]
allow_ip = ["127.0.0.1", "10.0.0.0/8"]
limits = { rpm = 0, concurrency = 4 }
hours = "Mon-Sun 00-24 Europe/Berlin"
expires_in = "30d"

[[channel]]
name = "ops"
min_severity = "warning"
workspace = "team-a"
webhook = { url = "https://hooks.example.com/claviger" }
"#;

fn apply(node: &Claviger, file: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let file = file.to_str().unwrap();
    let done = node.cli(&[&["apply", "-f", file, "--json"][..], arguments].concat());
    let said = serde_json::from_str(&done.stdout).unwrap_or(Value::Null);
    (done.code, said, done.stderr)
}

fn steps(said: &Value) -> Vec<String> {
    let changes = said["changes"].as_array().unwrap();
    let word = |change: &Value, field: &str| change[field].as_str().unwrap().to_owned();
    changes.iter().map(|c| format!("{} {} {}", word(c, "action"), word(c, "kind"), word(c, "name"))).collect()
}

#[test]
fn a_declaration_is_brought_about_once() {
    let node = Claviger::started();
    let file = node.write("team.toml", TEAM);

    let (code, planned, _) = apply(&node, &file, &["--plan"]);
    assert_eq!(code, 6, "{planned}");
    let all = [
        "create workspace team-a",
        "create owner ann",
        "change policy team-a",
        "create key team-a/checkout",
        "create channel ops",
    ];
    assert_eq!(steps(&planned), all);
    assert!(node.json(&["workspace", "list"]).as_array().unwrap().iter().all(|w| w["name"] != "team-a"));

    let (code, _, said) = apply(&node, &file, &[]);
    assert_eq!(code, 2, "without a yes nothing is changed: {said}");
    let (code, done, said) = apply(&node, &file, &["--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(steps(&done), all);
    assert!(done["changes"].as_array().unwrap().iter().all(|c| c["state"] == "done"), "{done}");
    let key = &done["changes"][3];
    let opened = node.json(&["unwrap", key["wrapping_token"].as_str().unwrap()]);
    assert_eq!(opened["id"], key["id"]);
    assert!(done["changes"][4]["secret"].as_str().unwrap().starts_with("whsec_"), "{done}");

    let shown = node.json(&["key", "show", key["id"].as_str().unwrap()]);
    assert_eq!(shown["allow_ip"], serde_json::json!(["127.0.0.1/32", "10.0.0.0/8"]));
    assert_eq!((&shown["limits"]["rpm"], &shown["limits"]["concurrency"]), (&Value::Null, &Value::from(4)));
    assert_eq!(node.json(&["policy", "show", "--workspace", "team-a"])["rotation_days"], 30);

    for arguments in [["--plan"], ["--yes"]] {
        let (code, again, said) = apply(&node, &file, &arguments);
        assert_eq!((code, steps(&again).len()), (0, 0), "{again}{said}");
    }
}

#[test]
fn only_what_differs_is_changed() {
    let node = Claviger::started();
    let file = node.write("team.toml", TEAM);
    assert_eq!(apply(&node, &file, &["--yes"]).0, 0);
    let file = node.write(
        "team.toml",
        &TEAM
            .replace("concurrency = 4", "concurrency = 8")
            .replace("\"30d\"", "\"60d\"")
            .replace("\"warning\"", "\"critical\""),
    );
    let plain = node.cli(&["apply", "-f", file.to_str().unwrap(), "--plan"]);
    assert_eq!(plain.code, 6, "{}", plain.stderr);
    let lines: Vec<&str> = plain.stdout.lines().collect();
    assert!(lines[0].starts_with("~ key team-a/checkout: concurrency 4 -> 8, expires_at 20"), "{lines:?}");
    assert_eq!(lines[1], "~ channel ops: min_severity warning -> critical");
    assert!(!plain.stdout.contains('\x1b'), "no colours in a pipe");

    let (code, done, said) = apply(&node, &file, &["--yes"]);
    assert_eq!(code, 0, "{said}");
    let fields: Vec<&str> = done["changes"][0]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["concurrency", "expires_at"]);
    let (code, again, _) = apply(&node, &file, &["--yes"]);
    assert_eq!((code, steps(&again).len()), (0, 0), "{again}");
}

#[test]
fn environments_addresses_and_channels_are_changed_in_place() {
    let node = Claviger::started();
    let file = node.write("team.toml", TEAM);
    assert_eq!(apply(&node, &file, &["--yes"]).0, 0);
    let ids = || {
        let of = |list: Value, name: &str| {
            let row = list.as_array().unwrap().iter().find(|r| r["name"] == name).cloned().unwrap();
            row["id"].as_str().unwrap().to_owned()
        };
        ["team-a", "ann", "ops"]
            .iter()
            .zip(["workspace", "owner", "channel"])
            .map(|(name, kind)| of(node.json(&[kind, "list"]), name))
            .collect::<Vec<_>>()
    };
    let before = ids();
    let changed = TEAM
        .replace("\"production\"", "\"staging\"")
        .replace("ann@example.com", "ann@example.org")
        .replace("hooks.example.com/claviger", "hooks.example.org/claviger");
    let file = node.write("team.toml", &changed);
    let plain = node.cli(&["apply", "-f", file.to_str().unwrap(), "--plan"]);
    let lines: Vec<&str> = plain.stdout.lines().filter(|line| line.starts_with('~')).collect();
    assert_eq!(
        lines,
        [
            "~ workspace team-a: environment production -> staging",
            "~ owner ann: email ann@example.com -> ann@example.org",
            "~ channel ops: target https://hooks.example.com/claviger -> https://hooks.example.org/claviger",
        ]
    );
    let (code, done, said) = apply(&node, &file, &["--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(done["changes"].as_array().unwrap().iter().all(|c| c["state"] == "done"), "{done}");
    assert_eq!(ids(), before, "nothing was made anew");
    let (code, again, _) = apply(&node, &file, &["--yes"]);
    assert_eq!((code, steps(&again).len()), (0, 0), "{again}");
}

#[test]
fn tokens_go_to_a_file_of_ones_own() {
    let node = Claviger::started();
    let file = node.write("team.toml", TEAM);
    let done = node.cli(&["apply", "-f", file.to_str().unwrap(), "--yes"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(!done.stdout.contains("cvg_") && !done.stderr.contains("cvg_"), "no token is printed");
    let tokens = node.folder().join("team.toml.tokens");
    assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&tokens).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["key"], "team-a/checkout");
    let opened = node.json(&["unwrap", lines[0]["wrapping_token"].as_str().unwrap()]);
    assert_eq!(opened["id"], lines[0]["id"]);
    assert_eq!(lines[1]["channel"], "ops");
}

#[test]
fn what_is_not_declared_stays_unless_it_is_pruned() {
    let node = Claviger::started();
    let file = node.write("team.toml", TEAM);
    assert_eq!(apply(&node, &file, &["--yes"]).0, 0);
    let other = ["key", "create", "--name", "other", "--workspace", "team-a", "--owner", "ann"];
    let other = node.json(&[&other[..], &["--allow-ip", "10.0.0.0/8", "--wrapped"]].concat());

    let (code, planned, said) = apply(&node, &file, &["--plan"]);
    assert_eq!((code, steps(&planned).len()), (0, 0), "{said}");
    let names: Vec<&str> =
        planned["not_declared"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"team-a/other"), "{names:?}");

    let (code, pruned, said) = apply(&node, &file, &["--prune", "--yes"]);
    assert_eq!(code, 0, "{pruned}{said}");
    assert_eq!(steps(&pruned)[0], "remove key team-a/other");
    let shown = node.json(&["key", "show", other["id"].as_str().unwrap()]);
    assert_eq!(shown["status"], "revoked");
    let (code, again, _) = apply(&node, &file, &["--prune", "--plan"]);
    assert_eq!((code, steps(&again).len()), (0, 0), "{again}");
}

#[test]
fn what_keys_demand_is_declared_with_the_secrets_that_they_sign_with() {
    let node = Claviger::started();
    let head =
        "[[workspace]]\nname = \"w\"\npolicy = { require = [\"signature\"] }\n[[owner]]\nname = \"bob\"\n";
    let key = |rest: &str| format!("{head}[[key]]\nname = \"a\"\nworkspace = \"w\"\nowner = \"bob\"\n{rest}");
    let signs = |rest: &str| node.write("team.toml", &key(rest));
    let both = "require = [\"signature\", \"token\"]\nsign = true\n";
    let (code, done, said) = apply(&node, &signs(both), &["--yes"]);
    assert_eq!(code, 0, "{done}{said}");
    let made = done["changes"].as_array().unwrap().iter().find(|c| c["kind"] == "key").unwrap();
    assert!(made["signing_secret"].as_str().unwrap().starts_with("cvg_sign_"), "{made}");
    assert!(made["wrapping_token"].is_string(), "{made}");
    let id = made["id"].as_str().unwrap();
    let demanded = || node.json(&["key", "show", id])["require"].clone();
    assert_eq!(demanded(), serde_json::json!(["token", "signature"]));
    for arguments in [["--plan"], ["--yes"]] {
        let (code, again, said) = apply(&node, &signs(both), &arguments);
        assert_eq!((code, steps(&again).len()), (0, 0), "{again}{said}");
    }

    // What the file is silent about stays; what it takes out is planned as such.
    assert_eq!(apply(&node, &signs(""), &["--plan"]).0, 0);
    let less = signs("require = [\"signature\"]\n");
    let plain = node.cli(&["apply", "-f", less.to_str().unwrap(), "--plan"]);
    assert!(plain.stdout.contains("~ key w/a: require token,signature -> signature"), "{}", plain.stdout);
    assert_eq!(apply(&node, &less, &["--yes"]).0, 0);
    assert_eq!(demanded(), serde_json::json!(["signature"]));
    let (code, _, said) = apply(&node, &signs("require = []\n"), &["--yes"]);
    assert_eq!((code, said.contains("--require signature")), (4, true), "the policy demands it: {said}");

    // A key that has no secret gets one, once.
    let open = ["key", "create", "--name", "b", "--workspace", "default", "--owner", "bob"];
    let open = node.json(&open);
    let late = "[[key]]\nname = \"b\"\nworkspace = \"default\"\nowner = \"bob\"\nsign = true\nrequire = [\"signature\"]\n";
    let file = node.write("late.toml", late);
    let done = node.cli(&["apply", "-f", file.to_str().unwrap(), "--yes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stdout.contains("cvg_sign_") && !done.stderr.contains("cvg_sign_"));
    let kept = fs::read_to_string(node.folder().join("late.toml.tokens")).unwrap();
    assert!(kept.contains("cvg_sign_") && kept.contains(open["id"].as_str().unwrap()), "{kept}");
    let (code, again, _) = apply(&node, &file, &["--plan"]);
    assert_eq!((code, steps(&again).len()), (0, 0), "{again}");
}

#[test]
fn a_table_of_keys_says_what_they_demand() {
    let node = Claviger::started();
    let table = node.write("keys.csv", "name,require,sign\na,\"token,signature\",true\nb,,\nc,signature,\n");
    let done = node.cli(&["key", "import", table.to_str().unwrap(), "--json"]);
    assert_eq!(done.code, 4, "the third must sign and has nothing to sign with: {}", done.stdout);
    let said: Value = serde_json::from_str(&done.stdout).unwrap();
    let rows = said["rows"].as_array().unwrap();
    assert!(rows[0]["signing_secret"].as_str().unwrap().starts_with("cvg_sign_"), "{said}");
    assert_eq!(rows[1].get("signing_secret"), None);
    assert_eq!((&rows[2]["id"], &rows[2]["problem"]["field"]), (&Value::Null, &"require".into()), "{said}");
    let shown = node.json(&["key", "show", rows[0]["id"].as_str().unwrap()]);
    assert_eq!(shown["require"], serde_json::json!(["token", "signature"]));
}

#[test]
fn a_mistake_is_named_by_its_place_before_anything_is_made() {
    let node = Claviger::started();
    let fresh = "[[owner]]\nname = \"bob\"\n";
    let key =
        |rest: &str| format!("{fresh}[[key]]\nname = \"a\"\nworkspace = \"w\"\nowner = \"bob\"\n{rest}");
    for (text, place, why) in [
        (key(""), ":5:13: workspace: ", "the workspace `w` is neither there nor declared"),
        (key("expires_in = \"1y\"\n"), ":7:14: expires_in: ", "`1y` is not a span of time"),
        (key("alow_ip = []\n"), ":7:1: ", "unknown field `alow_ip`"),
        (key("require = [\"password\"]\n"), ":7:11: require: ", "`password` is no proof"),
        (
            key("require = [\"signature\"]\n[[workspace]]\nname = \"w\"\n"),
            ":7:11: require: ",
            "give `sign = true`",
        ),
        (
            key("[[workspace]]\nname = \"w\"\npolicy = { require_ip = true }\n"),
            ":4:8: name: ",
            "demands a list of addresses",
        ),
        (
            format!(
                "{fresh}[[channel]]\nname = \"c\"\nsecret_file = \"gone\"\nwebhook = {{ url = \"https://a.example/\" }}\n"
            ),
            ":5:15: secret_file: ",
            "gone",
        ),
    ] {
        let file = node.write("bad.toml", &text);
        let (code, _, said) = apply(&node, &file, &["--yes"]);
        assert_eq!(code, 2, "{text}{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let error = said["error"].as_str().unwrap();
        assert!(error.contains(&format!("bad.toml{place}")) && error.contains(why), "{text}\n{error}");
    }
    let owners = node.json(&["owner", "list"]);
    assert!(owners.as_array().unwrap().iter().all(|o| o["name"] != "bob"), "{owners}");
}

#[test]
fn after_a_failure_in_the_middle_the_same_command_goes_on() {
    let node = Claviger::started();
    let key = |name: &str| format!("[[key]]\nname = \"{name}\"\nworkspace = \"w\"\nowner = \"bob\"\n");
    let head = "[[workspace]]\nname = \"w\"\npolicy = { max_keys = 1 }\n[[owner]]\nname = \"bob\"\n";
    let text = format!("{head}{}{}", key("first"), key("second"));
    let file = node.write("team.toml", &text);
    let (code, said, error) = apply(&node, &file, &["--yes"]);
    assert_eq!(code, 4, "{said}");
    assert!(error.contains("key w/second: ") && error.contains("4 of 5 changes are done"), "{error}");
    let states: Vec<&str> =
        said["changes"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "done", "done", "done", "failed"]);
    assert!(said["changes"][3]["wrapping_token"].is_string(), "what was made is not lost: {said}");

    let file = node.write("team.toml", &text.replace("max_keys = 1", "max_keys = 2"));
    let (code, said, error) = apply(&node, &file, &["--yes"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(steps(&said), ["change policy w", "create key w/second"]);
}
