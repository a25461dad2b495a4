//! The first start: what a newcomer sees and copies, and what is never done unasked.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use claviger_testkit::eventually;
use serde_json::Value;

use crate::{
    house::{Claviger, Process, STOP, Sim, run},
    wire::{self, say, say_streamed},
};

const SECRET: &str = "sk-ant-api03-SECRETSECRETSECRET0123456789abcdefghijklmnopqrstuvwxyz-AA";

fn line<'a>(lines: &'a [String], beginning: &str) -> &'a str {
    let found = lines.iter().find_map(|l| l.strip_prefix(beginning));
    found.unwrap_or_else(|| panic!("no line `{beginning}…` in {lines:#?}"))
}

fn curl_line(lines: &[String]) -> &str {
    lines.iter().find(|l| l.starts_with("curl ")).unwrap_or_else(|| panic!("no curl line in {lines:#?}"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

/// Runs a printed line as a shell does; without curl on PATH there is nothing to run it with.
fn shell(node: &Claviger, line: &str) -> Option<String> {
    let mut probe = std::process::Command::new("sh");
    probe.args(["-c", "command -v curl"]);
    if run(probe, "", STOP).code != 0 {
        claviger_testkit::skip("no curl on PATH");
        return None;
    }
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{line} --silent --show-error --include --max-time 30")]);
    command.current_dir(node.folder());
    let done = run(command, "", STOP);
    assert_eq!(done.code, 0, "{line}\n{}", done.stderr);
    Some(done.stdout)
}

#[test]
fn the_printed_line_works_as_printed_and_streamed() {
    let node = Claviger::started();
    let lines = node.process().lines();
    let key = line(&lines, "key: ");
    assert!(key.starts_with("cvg_test_") && key.len() == 52, "{key}");
    let curl = curl_line(&lines);
    assert!(curl.starts_with(&format!("curl http://{}/v1/messages ", node.gateway())), "{curl}");
    assert!(curl.contains(key), "{curl}");
    for next in ["claviger credential add", "claviger key create", "claviger upstream add", "claviger backup"]
    {
        assert!(lines.iter().any(|l| l.contains(next)), "`{next}` is not said in {lines:#?}");
    }

    let Some(answer) = shell(&node, curl) else { return };
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("x-claviger-simulated: true\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["type"], &body["role"]), (&"message".into(), &"assistant".into()));
    assert!(body["content"][0]["text"].as_str().unwrap().to_lowercase().contains("simulat"), "{body}");

    let streamed = curl.replace("\"max_tokens\":", "\"stream\":true,\"max_tokens\":");
    assert_ne!(streamed, curl);
    let answer = shell(&node, &streamed).unwrap();
    assert!(
        answer.contains("event: message_start\n") && answer.contains("event: message_stop\n"),
        "{answer}"
    );
}

#[test]
fn test_keys_are_simulated_always_and_live_keys_never() {
    let node = Claviger::started();
    let key = line(&node.process().lines(), "key: ").to_owned();
    for body in [say("hello"), say_streamed("hello")] {
        let answer = wire::message(node.gateway(), &key, &body);
        assert_eq!((answer.status, answer.clean), (200, true));
        assert_eq!(answer.header("x-claviger-simulated"), Some("true"));
    }

    let live = node.key(&[]);
    assert!(live.key.starts_with("cvg_live_"), "{}", live.key);
    let answer = wire::message(node.gateway(), &live.key, &say("hello"));
    assert_eq!((answer.status, answer.header("x-should-retry")), (503, Some("false")));
    assert_eq!(answer.header("x-claviger-simulated"), None);
    assert!(answer.error().1.contains("claviger credential add"), "{}", answer.text());

    // With an upstream, a test key is still simulated and a live one is not.
    let sim = Sim::start();
    node.connect(&sim);
    let answer = wire::message(node.gateway(), &key, &say("to nobody"));
    assert_eq!(answer.header("x-claviger-simulated"), Some("true"));
    let answer = wire::message(node.gateway(), &live.key, &say("to somebody"));
    assert_eq!((answer.status, answer.header("x-claviger-simulated")), (200, None));
    let asked = sim.log();
    assert_eq!(asked.len(), 1, "{asked:#?}");
    assert!(!asked[0].to_string().contains(&live.key), "the upstream saw the client's key");
}

#[test]
fn simulated_calls_are_free() {
    let node = Claviger::started();
    let key = line(&node.process().lines(), "key: ").to_owned();
    assert_eq!(wire::message(node.gateway(), &key, &say("hello")).status, 200);
    let rows = node.json(&["usage"]);
    assert_eq!(rows[0]["requests"], 1, "{rows}");
    assert_eq!(rows[0]["cost_pusd"], "0", "{rows}");
    assert!(rows[0]["output_tokens"].as_u64().unwrap() > 0, "{rows}");
}

#[test]
fn an_imported_key_is_sealed_and_the_live_key_goes_to_a_private_file() {
    let sim = Sim::start();
    let mut node = Claviger::new()
        .with_arguments(&["--import-env"])
        .with_environment("ANTHROPIC_API_KEY", SECRET)
        .with_environment("ANTHROPIC_BASE_URL", &sim.url());
    node.start();
    let lines = node.process().lines();
    let path = node.data().join("first-key");
    assert!(line(&lines, "key: ").contains(&path.display().to_string()), "{lines:#?}");
    assert_eq!(mode(&path), 0o600);
    let key = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert!(key.starts_with("cvg_live_"), "{key}");

    if let Some(answer) = shell(&node, curl_line(&lines)) {
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("x-claviger-simulated"), "{answer}");
    }
    let answer = wire::message(node.gateway(), &key, &say("hello"));
    assert_eq!(answer.status, 200, "{}", answer.text());

    let said = [lines.clone(), node.process().errors()].concat().join("\n");
    assert!(said.contains("cost money") && said.contains("sk-ant-api03…"), "{said}");
    assert!(!said.contains(&key) && !said.contains(&SECRET[..20]), "{said}");
    let listed = node.cli(&["credential", "list"]).stdout;
    assert!(!listed.contains(&SECRET[..24]), "{listed}");
    assert!(no_file_holds(node.data(), SECRET.as_bytes()), "the provider key lies open in the data folder");
    assert!(no_file_but(node.data(), &path, key.as_bytes()), "the live key lies open in the data folder");
}

fn no_file_holds(folder: &Path, secret: &[u8]) -> bool {
    no_file_but(folder, Path::new(""), secret)
}

fn no_file_but(folder: &Path, exception: &Path, secret: &[u8]) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|f| f.file_type().unwrap().is_file() && f.path() != exception && f.file_name() != "ballast")
        .all(|f| {
            let content = fs::read(f.path()).unwrap();
            !content.windows(secret.len()).any(|w| w == secret)
        })
}

#[test]
fn nothing_is_imported_unasked_or_from_ourselves() {
    let started = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut node = Claviger::new().with_arguments(arguments);
        for (name, value) in environment {
            node = node.with_environment(name, value);
        }
        node.start();
        let first = line(&node.process().lines(), "key: ").to_owned();
        (first.starts_with("cvg_test_"), node.json(&["credential", "list"]) == serde_json::json!([]))
    };
    let ours = "cvg_live_0123456789012345678901234567890123456789012";
    let here = format!("127.0.0.1:{}", claviger_testkit::steady_port());
    let base = format!("http://{here}");
    // Standard input is no terminal: nobody can have said yes.
    assert_eq!(started(&[], &[("ANTHROPIC_API_KEY", SECRET)]), (true, true));
    assert_eq!(started(&["--import-env"], &[("ANTHROPIC_API_KEY", ours)]), (true, true));
    assert_eq!(started(&["--import-env"], &[]), (true, true));
    let circular = [("ANTHROPIC_API_KEY", SECRET), ("ANTHROPIC_BASE_URL", base.as_str())];
    assert_eq!(started(&["--import-env", "--listen", &here], &circular), (true, true));
}

/// `script` gives a program a terminal, and types what it is given.
#[test]
fn at_a_terminal_a_key_is_imported_after_a_yes_and_the_live_key_is_shown() {
    for (typed, imported) in [("y\n", true), ("\n", false), ("n\n", false)] {
        let sim = Sim::start();
        let node = Claviger::new();
        let mut command = std::process::Command::new("script");
        let serve =
            format!("{} serve --listen 127.0.0.1:0 --control 127.0.0.1:0", env!("CARGO_BIN_EXE_claviger"));
        command.args(["--quiet", "--return", "--flush", "--command", &serve, "/dev/null"]);
        command.env("CLAVIGER_DATA", node.data()).env("HOME", node.folder());
        command.env("ANTHROPIC_API_KEY", SECRET).env("ANTHROPIC_BASE_URL", sim.url());
        let Some(mut process) = Process::at_terminal(command) else {
            return claviger_testkit::skip("no `script` on PATH");
        };
        process.type_in(typed);
        process.wait_for_line("ready ", STOP);
        let credentials = node.cli(&["credential", "list", "--json"]).stdout;
        // The terminal's own way to stop it; killing `script` would leave it running.
        process.type_in("\u{3}");
        process.wait(STOP);
        let said = process.lines().join("\n");
        assert_eq!(said.contains("key: cvg_live_"), imported, "{said}");
        assert_eq!(said.contains("key: cvg_test_"), !imported, "{said}");
        assert!(said.contains("cost money") && !said.contains(&SECRET[..20]), "{said}");
        assert!(!node.data().join("first-key").exists(), "at a terminal the key is shown and not kept");
        assert_eq!(credentials.contains("\"cred_"), imported, "{credentials}");
    }
}

#[test]
fn an_import_never_replaces_a_sealed_key() {
    let sim = Sim::start();
    let mut node = Claviger::new()
        .with_arguments(&["--import-env"])
        .with_environment("ANTHROPIC_API_KEY", SECRET)
        .with_environment("ANTHROPIC_BASE_URL", &sim.url());
    node.start();
    let before = node.json(&["credential", "list"]);
    assert!(node.stop().success());
    let mut node = node.with_environment("ANTHROPIC_API_KEY", "sk-ant-api03-another-key-0123456789");
    node.start();
    assert_eq!(node.json(&["credential", "list"]), before);
}

/// The one whose state is this, of the keys that `key list` gives.
fn ids_in(node: &Claviger, status: &str) -> Vec<String> {
    let list = node.json(&["key", "list"]);
    let all = list.as_array().unwrap().iter();
    all.filter(|k| k["status"] == status).map(|k| k["id"].as_str().unwrap().to_owned()).collect()
}

/// Starts it with nobody reading what it prints, and kills it once the first key is made.
fn killed_before_the_key_was_shown(node: &Claviger, arguments: &[&str]) -> String {
    let mut command = node.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]).args(arguments);
    let mut process = Process::unread(command);
    let made = eventually("the first key", STOP, || {
        let list = node.cli(&["key", "list", "--json"]);
        let list: Value = serde_json::from_str(&list.stdout).unwrap_or_default();
        Some(list.get(0)?["id"].as_str()?.to_owned())
    });
    process.kill();
    made
}

#[test]
fn a_first_key_that_was_never_shown_is_replaced() {
    let mut node = Claviger::new();
    let lost = killed_before_the_key_was_shown(&node, &[]);
    node.start();
    let key = line(&node.process().lines(), "key: ").to_owned();
    assert!(!key.contains(&lost["key_".len()..]), "{key}");
    assert_eq!(wire::message(node.gateway(), &key, &say("hello")).status, 200);
    assert_eq!(ids_in(&node, "revoked"), [lost.as_str()]);
    let audit = node.json(&["audit", "list"]);
    let of_it = audit.as_array().unwrap().iter().find(|r| r["action"] == "key.revoke");
    assert!(of_it.is_some_and(|r| r["target"] == lost.as_str()), "{audit}");

    let before = (ids_in(&node, "active"), ids_in(&node, "revoked"));
    assert_eq!(before.0.len(), 1);
    assert!(node.stop().success());
    node.start();
    assert_eq!(node.process().lines().len(), 1, "only the ready line: {:?}", node.process().lines());
    assert_eq!((ids_in(&node, "active"), ids_in(&node, "revoked")), before);
}

#[test]
fn a_first_live_key_that_was_never_shown_is_replaced_and_nothing_is_imported_twice() {
    let sim = Sim::start();
    let mut node = Claviger::new()
        .with_arguments(&["--import-env"])
        .with_environment("ANTHROPIC_API_KEY", SECRET)
        .with_environment("ANTHROPIC_BASE_URL", &sim.url());
    let lost = killed_before_the_key_was_shown(&node, &["--import-env"]);
    node.start();
    let path = node.data().join("first-key");
    let key = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert!(key.starts_with("cvg_live_") && !key.contains(&lost["key_".len()..]), "{key}");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(wire::message(node.gateway(), &key, &say("hello")).status, 200);
    assert_eq!(ids_in(&node, "revoked"), [lost]);
    for kind in ["credential", "upstream"] {
        assert_eq!(node.json(&[kind, "list"]).as_array().unwrap().len(), 1, "{kind}");
    }

    // Cut off between the import and the key: the start after it goes on from there.
    assert!(node.stop().success());
    let url = format!("sqlite:{}", node.data().join("claviger.db").display());
    assert!(
        claviger_testkit::sql::execute(
            &url,
            "DELETE FROM uncertified; DELETE FROM certificates; DELETE FROM api_keys"
        ) > 0
    );
    fs::remove_file(&path).unwrap();
    node.start();
    let key = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert_eq!(wire::message(node.gateway(), &key, &say("hello")).status, 200);
    assert_eq!(node.json(&["credential", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let node = Claviger::started();
    let mut command = node.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    let second = run(command, "", STOP);
    assert_ne!(second.code, 0);
    assert!(second.stderr.contains("in use by another claviger"), "{}", second.stderr);
    assert!(second.stdout.is_empty(), "{}", second.stdout);
    assert_eq!(wire::fetch(node.gateway(), "/readyz").status, 200, "the first one goes on");
}

#[test]
fn a_restart_keeps_keys_and_secrets_and_makes_nothing_new() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    assert_eq!(wire::message(node.gateway(), &key.key, &say("one")).status, 200);
    let (keys, pepper) = (node.json(&["key", "list"]), fs::read(node.data().join("master.key")).unwrap());
    assert!(node.stop().success());
    node.start();
    assert_eq!(node.process().lines().len(), 1, "only the ready line: {:?}", node.process().lines());
    assert_eq!(wire::message(node.gateway(), &key.key, &say("two")).status, 200);
    assert_eq!(fs::read(node.data().join("master.key")).unwrap(), pepper);
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|k| k["id"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&node.json(&["key", "list"])), ids(&keys));
    let rows = node.json(&["usage", "--key", &key.id]);
    assert_eq!(rows[0]["requests"], 2, "{rows}");
}

#[test]
fn a_missing_master_key_is_told_and_nothing_is_changed() {
    let mut node = Claviger::started();
    assert!(node.stop().success());
    let path = node.data().join("master.key");
    let away = node.folder().join("away");
    fs::rename(&path, &away).unwrap();
    let mut process = Process::start({
        let mut command = node.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command
    });
    assert!(!process.wait(STOP).success());
    assert!(process.errors().join("\n").contains("master.key"), "{:?}", process.errors());
    assert!(!path.exists(), "a new master key would have hidden the loss");
    fs::rename(&away, &path).unwrap();
    node.start();
}

#[test]
fn what_lies_in_the_data_folder_is_for_its_owner_alone() {
    let node = Claviger::started();
    assert_eq!(mode(node.data()), 0o700);
    for entry in fs::read_dir(node.data()).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{}", entry.path().display());
    }
    assert_eq!(mode(&node.data().join("control.sock")), 0o600);
}

#[test]
fn nothing_listens_beyond_loopback_in_plain_text_unless_told() {
    for flag in ["--listen", "--control"] {
        let node = Claviger::new();
        let mut command = node.command();
        command.args(["serve", flag, "0.0.0.0:0"]);
        let refused = run(command, "", STOP);
        assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{}", refused.stderr);
        assert!(refused.stderr.contains("--insecure-plaintext") && refused.stderr.contains("--tls-cert"));
        assert!(!node.data().exists(), "nothing was started, so nothing was made");
    }
    let mut node = Claviger::new().with_arguments(&["--listen", "0.0.0.0:0", "--insecure-plaintext"]);
    node.start();
    let port = node.gateway().port();
    assert_eq!(wire::fetch(([127, 0, 0, 1], port).into(), "/readyz").status, 200);
}

#[test]
fn administration_is_open_to_strangers_on_the_socket_only() {
    let node = Claviger::started();
    let answer = wire::fetch(node.control(), "/admin/v1/keys");
    assert_eq!((answer.status, answer.json()["type"].as_str()), (401, Some("login_required")));
    assert_eq!(wire::fetch(node.gateway(), "/admin/v1/keys").status / 100, 4);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(wire::fetch(node.control(), path).status, 200, "{path}");
    }
}
