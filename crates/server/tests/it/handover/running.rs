//! `exec`, `token` and `whoami`, and the gateway's own routes below them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use claviger_testkit::eventually;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    house::{Claviger, Done, Key, Process, Sim, claviger, run},
    wire,
};

/// A gateway and a holder of a key of it. Test keys do: nothing goes upstream.
struct Holder {
    node: Claviger,
    key: Key,
    file: PathBuf,
}

impl Holder {
    fn new() -> Self {
        Self::with(Claviger::started(), &[])
    }

    fn with(node: Claviger, arguments: &[&str]) -> Self {
        let key = node.key(&[&["--test"], arguments].concat());
        let file = node.write("key", &format!("{}\n", key.key));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Self { node, key, file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.command();
        command.env("CLAVIGER_BASE_URL", format!("http://{}", self.node.gateway()));
        command.env("XDG_RUNTIME_DIR", self.node.folder());
        command.args([arguments[0], "--key-file", self.file.to_str().unwrap()]).args(&arguments[1..]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        run(self.command(arguments), "", Duration::from_secs(60))
    }

    fn shell(&self, script: &str) -> Done {
        self.run(&["exec", "--", "sh", "-c", script])
    }

    fn status_of(&self, key: &str) -> u16 {
        self.ask("GET", "/v1/claviger/me", key, "").status
    }

    fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> wire::Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        wire::ask(self.node.gateway(), request.as_bytes())
    }

    fn actions(&self) -> Vec<String> {
        let listed = self.node.json(&["audit", "list", "--limit", "1000"]);
        let rows = listed.as_array().cloned().unwrap_or_else(|| listed["data"].as_array().unwrap().clone());
        rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn exec_lends_a_key_that_ends_with_the_command() {
    let holder = Holder::new();
    let mut command = holder.command(&["exec", "--", "sh", "-c"]);
    command.arg(
        "echo $ANTHROPIC_API_KEY; echo $ANTHROPIC_BASE_URL; echo [$ANTHROPIC_AUTH_TOKEN$CLAVIGER_KEY]; cat",
    );
    command.env("ANTHROPIC_AUTH_TOKEN", "other").env("CLAVIGER_KEY", "other");
    let done = run(command, "from standard input\n", Duration::from_secs(60));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let lent = lines[0];
    assert!(lent.starts_with("cvg_test_") && lent.len() == 52 && lent != holder.key.key, "{lent}");
    assert_eq!(lines[1], format!("http://{}", holder.node.gateway()));
    assert_eq!(lines[2..], ["[]", "from standard input"]);
    assert_eq!(holder.status_of(lent), 401, "the key is over when the command is");
    assert_eq!(holder.status_of(&holder.key.key), 200);
    let actions = holder.actions();
    for action in ["child.create", "child.revoke"] {
        assert!(actions.iter().any(|a| a == action), "{actions:?}");
    }
    let verified = holder.node.json(&["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn a_key_of_a_strict_environment_is_not_shown_and_not_put_into_a_file() {
    let node = Claviger::started();
    node.json(&["workspace", "create", "shop", "--environment", "production"]);
    let create = ["key", "create", "--name", "app", "--workspace", "shop"];
    let refused = node.cli(&create);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("never shown") && refused.stderr.contains("--wrapped"),
        "{}",
        refused.stderr
    );
    let wrapped = node.json(&[&create[..], &["--wrapped"]].concat());
    let opened = node.json(&["unwrap", wrapped["wrapping_token"].as_str().unwrap()]);
    let env = |key: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = claviger();
        command.args(["env", "--base-url", &format!("http://{}", node.gateway())]);
        command.current_dir(folder.path()).env("CLAVIGER_KEY", key);
        let done = run(command, "", Duration::from_secs(60));
        (done, folder.path().join(".env.local").exists())
    };
    let (done, written) = env(opened["key"].as_str().unwrap());
    assert_eq!((done.code, written), (4, false), "{}", done.stderr);
    assert!(done.stderr.contains("production"), "{}", done.stderr);
    let plain = node.json(&["key", "create", "--name", "mine"]);
    let (done, written) = env(plain["key"].as_str().unwrap());
    assert_eq!((done.code, written), (0, true), "{}", done.stderr);
}

#[test]
fn the_commands_own_end_is_passed_on() {
    let holder = Holder::new();
    assert_eq!(holder.shell("exit 7").code, 7);
    assert_eq!(holder.shell("kill -KILL $$").code, 128 + 9);
    let missing = holder.run(&["exec", "--", "no-such-command"]);
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert!(missing.stderr.contains("no-such-command"));
    assert_eq!(holder.run(&["exec", "--", "/"]).code, 126);
    assert_eq!(holder.run(&["exec", "sh"]).code, 2, "the command stands behind `--`");
    let created = holder.actions().iter().filter(|a| *a == "child.create").count();
    let ended = holder.actions().iter().filter(|a| *a == "child.revoke").count();
    assert_eq!((created, ended), (4, 4), "whatever happens, the key ends");
}

#[test]
fn signals_reach_the_command_and_the_key_ends_all_the_same() {
    let holder = Holder::new();
    for (signal, word, code) in [
        (Signal::TERM, "TERM", 3),
        (Signal::INT, "INT", 3),
        (Signal::USR1, "USR1", 3),
        (Signal::HUP, "HUP", 129),
    ] {
        let trap = if code == 3 { format!("trap 'echo got {word}; exit 3' {word};") } else { String::new() };
        let script =
            format!("{trap} echo key $ANTHROPIC_API_KEY; echo waiting; while :; do sleep 0.05; done");
        let mut running = Process::start(holder.command(&["exec", "--", "sh", "-c", &script]));
        let lent = running.wait_for_line("key ", Duration::from_secs(30));
        let lent = lent.strip_prefix("key ").unwrap().to_owned();
        running.wait_for_line("waiting", Duration::from_secs(30));
        assert_eq!(holder.status_of(&lent), 200);
        running.signal(signal);
        let ended = running.wait(Duration::from_secs(30));
        assert_eq!(ended.code(), Some(code), "{word}: {:?}", running.errors());
        if code == 3 {
            running.wait_for_line(&format!("got {word}"), Duration::from_secs(5));
        }
        assert_eq!(holder.status_of(&lent), 401, "{word}");
    }
}

#[test]
fn a_key_is_dead_a_second_after_its_command() {
    let holder = Holder::new();
    let script = "echo key $ANTHROPIC_API_KEY; sleep 0.5";
    let mut running = Process::start(holder.command(&["exec", "--", "sh", "-c", script]));
    let lent = running.wait_for_line("key ", Duration::from_secs(30));
    let lent = lent.strip_prefix("key ").unwrap().to_owned();
    running.wait(Duration::from_secs(30));
    let ended = Instant::now();
    while holder.status_of(&lent) != 401 {
        assert!(ended.elapsed() < Duration::from_secs(1));
    }
}

/// The gateway's wall clock is moved by faketime; its monotonic one, and every other process, keep real time.
#[test]
fn a_key_whose_exec_was_killed_is_dead_within_ninety_seconds() {
    let Some(library) = faketime() else {
        return claviger_testkit::skip("libfaketime is not installed");
    };
    let offset = tempfile::NamedTempFile::new().unwrap();
    // Replaced at once: half a file is no time.
    let set = |text: &str| {
        let next = offset.path().with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, offset.path()).unwrap();
    };
    set("+0");
    let mut node = Claviger::new()
        .with_environment("FAKETIME_TIMESTAMP_FILE", offset.path().to_str().unwrap())
        .with_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_environment("FAKETIME_NO_CACHE", "1");
    node.start_preloaded(&library);
    let holder = Holder::with(node, &[]);
    let script = "echo key $ANTHROPIC_API_KEY; sleep 600";
    let mut running = Process::start(holder.command(&["exec", "--", "sh", "-c", script]));
    let lent = running.wait_for_line("key ", Duration::from_secs(30));
    let lent = lent.strip_prefix("key ").unwrap().to_owned();
    running.kill();
    assert_eq!(holder.status_of(&lent), 200, "nobody told the gateway");
    set("+80");
    assert_eq!(holder.status_of(&lent), 200, "the lease is not over yet");
    set("+91");
    eventually("the key's end", Duration::from_secs(5), || (holder.status_of(&lent) == 401).then_some(()));
    assert_eq!(holder.status_of(&holder.key.key), 200);
}

fn faketime() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    folders.iter().map(|folder| PathBuf::from(folder).join("libfaketime.so.1")).find(|path| path.exists())
}

#[test]
fn exec_ends_before_its_time_only_where_it_is_told_to() {
    let holder = Holder::new();
    let done = holder.run(&["exec", "--ttl", "1d", "--", "sh", "-c", "echo $ANTHROPIC_API_KEY"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let refused = holder.run(&["exec", "--ttl", "1s", "--", "true"]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("ttl_secs"), "{}", refused.stderr);
    let wide = holder.run(&["exec", "--allow-ip", "nonsense", "--", "true"]);
    assert_eq!(wide.code, 4);
    assert!(wide.stderr.contains("allow_ip"), "{}", wide.stderr);
}

#[test]
fn who_holds_no_key_or_finds_no_gateway_is_told_and_runs_nothing() {
    let holder = Holder::new();
    let marker = holder.node.folder().join("ran");
    let touch = marker.to_str().unwrap();
    let mut without = holder.node.command();
    without.args(["exec", "--", "touch", touch]);
    assert_eq!(run(without, "", Duration::from_secs(30)).code, 2);
    let mut nowhere = holder.command(&["exec", "--base-url", "http://127.0.0.1:9", "--", "touch", touch]);
    nowhere.env_remove("CLAVIGER_BASE_URL");
    let done = run(nowhere, "", Duration::from_secs(30));
    assert_eq!(done.code, 3, "{}", done.stderr);
    holder.node.json(&["key", "suspend", &holder.key.id]);
    let done = holder.run(&["exec", "--", "touch", touch]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(!done.stderr.contains(&holder.key.key));
    assert!(!marker.exists());
}

#[test]
fn a_parents_end_is_its_childs_end_at_once() {
    let holder = Holder::new();
    let minted = holder.ask("POST", "/v1/claviger/children", &holder.key.key, "{\"ttl_secs\":600}");
    assert_eq!(minted.status, 201, "{}", minted.text());
    let child = minted.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(holder.status_of(&child), 200);
    holder.node.json(&["key", "suspend", &holder.key.id]);
    assert_eq!(holder.status_of(&child), 401);
    holder.node.json(&["key", "resume", &holder.key.id]);
    assert_eq!(holder.status_of(&child), 200);
    holder.node.json(&["key", "revoke", &holder.key.id, "--reason", "COMPROMISED", "--now"]);
    assert_eq!(holder.status_of(&child), 401);
}

#[test]
fn token_prints_a_key_and_nothing_else_and_the_same_one_again() {
    let holder = Holder::new();
    let first = holder.run(&["token"]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let key = first.stdout.strip_suffix('\n').unwrap();
    assert!(key.len() == 52 && key.starts_with("cvg_test_") && key != holder.key.key);
    assert_eq!(holder.status_of(key), 200);
    assert_eq!(holder.run(&["token"]).stdout, first.stdout);
    assert_ne!(holder.run(&["token", "--ttl", "20m"]).stdout, first.stdout, "another wish, another key");
    assert_ne!(holder.run(&["token", "--fresh"]).stdout, first.stdout);
    let kept: Vec<_> =
        fs::read_dir(holder.node.folder().join("claviger")).unwrap().map(Result::unwrap).collect();
    assert!(kept.iter().any(|f| f.file_name().to_string_lossy().ends_with(".json")));
    assert!(kept.iter().all(|f| f.metadata().unwrap().permissions().mode() & 0o077 == 0));
    let me = holder.ask("GET", "/v1/claviger/me", key, "").json();
    assert!((800..=900).contains(&me["expires_in_secs"].as_i64().unwrap()), "{me}");
}

#[test]
fn token_mints_anew_when_the_old_one_is_not_taken_any_more_or_nearly_over() {
    let holder = Holder::new();
    let first = holder.run(&["token", "--json"]);
    let first: Value = serde_json::from_str(&first.stdout).unwrap();
    let id = first["id"].as_str().unwrap();
    let ended = holder.ask("DELETE", &format!("/v1/claviger/children/{id}"), &holder.key.key, "");
    assert_eq!(ended.status, 200, "{}", ended.text());
    let second = holder.run(&["token"]);
    assert_eq!(holder.status_of(second.stdout.trim()), 200);
    // Ten seconds, of which eight may pass.
    let short = holder.run(&["token", "--ttl", "10s"]).stdout;
    assert_eq!(holder.run(&["token", "--ttl", "10s"]).stdout, short);
    std::thread::sleep(Duration::from_millis(8_200));
    assert_ne!(holder.run(&["token", "--ttl", "10s"]).stdout, short);
    assert_eq!(holder.status_of(short.trim()), 200, "it is replaced before it is over");
}

#[test]
fn many_who_ask_for_a_token_at_once_get_one() {
    let holder = Holder::new();
    let asked: Vec<Process> = (0..6).map(|_| Process::start(holder.command(&["token"]))).collect();
    let mut printed: Vec<String> = asked
        .into_iter()
        .map(|mut process| {
            process.wait(Duration::from_secs(60));
            process.wait_for_line("cvg_test_", Duration::from_secs(5))
        })
        .collect();
    printed.dedup();
    assert_eq!(printed.len(), 1);
}

#[test]
fn calibrate_has_prompts_counted_and_says_how_far_estimates_are_off() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--rpm", "1000"]);
    let file = node.write("live", &key.key);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = node.command();
    command.env("CLAVIGER_BASE_URL", format!("http://{}", node.gateway()));
    command.args([
        "calibrate",
        "--json",
        "--model",
        "claude-haiku-4-5",
        "--key-file",
        file.to_str().unwrap(),
    ]);
    let done = run(command, "", Duration::from_secs(120));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let table: Value = serde_json::from_str(&done.stdout).unwrap();
    let rows = table.as_array().unwrap();
    assert_eq!(rows.len(), 13, "eleven kinds of text, tools, and all");
    let all = &rows[12];
    assert_eq!(
        (&all["model"], &all["content"], &all["prompts"]),
        (&json!("claude-haiku-4-5"), &json!("all"), &json!(72))
    );
    let off = |name: &str| all[name].as_f64().unwrap();
    let worst = |when: &str| off(&format!("{when}_over_p95")).max(off(&format!("{when}_under_p95")));
    assert!(worst("after") <= worst("before"), "{all}");
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(node.data().join("calibration.json")).unwrap()).unwrap();
    assert_eq!(kept, table);

    let holder = Holder::new();
    let refused = holder.run(&["calibrate"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("a live key"), "{}", refused.stderr);
}

#[test]
fn whoami_shows_how_a_key_stands() {
    let holder = Holder::with(Claviger::started(), &["--rpm", "50", "--models", "claude-haiku-*"]);
    let done = holder.run(&["whoami", "--json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let me: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(me["id"], holder.key.id.as_str());
    assert_eq!(
        (&me["status"], &me["class"], &me["name"]),
        (&json!("active"), &json!("test"), &json!("test"))
    );
    assert_eq!((&me["models"], &me["seen_from"]), (&json!(["claude-haiku-*"]), &json!("127.0.0.1")));
    let minute =
        me["limits"].as_array().unwrap().iter().find(|l| l["kind"] == "requests_per_minute").unwrap();
    assert_eq!((&minute["limit"], &minute["of_parent"]), (&json!(50), &json!(false)));
    assert!(me["workspace"]["name"].is_string() && me["rotation"].is_null());
    assert!(!done.stdout.contains(&holder.key.key));
    let text = holder.run(&["whoami"]);
    assert_eq!(text.code, 0);
    assert!(text.stdout.contains("requests_per_minute"), "{}", text.stdout);
}

#[test]
fn the_gateways_own_routes_answer_in_the_apis_envelope() {
    let holder = Holder::new();
    let key = holder.key.key.as_str();
    let refused = |method: &str, path: &str, body: &str| {
        let answer = holder.ask(method, path, key, body);
        (answer.status, answer.error().0)
    };
    let invalid = (400, "invalid_request_error".to_owned());
    let absent = (404, "not_found_error".to_owned());
    assert_eq!(refused("GET", "/v1/claviger/nothing", ""), absent);
    assert_eq!(refused("GET", "/v1//claviger/me", ""), absent);
    assert_eq!(refused("POST", "/v1/claviger/me", "{}").0, 405);
    assert_eq!(refused("DELETE", "/v1/claviger/children/key_0123456789", ""), absent);
    assert_eq!(refused("POST", "/v1/claviger/children/nonsense/heartbeat", ""), absent);
    assert_eq!(refused("POST", "/v1/claviger/children", "{\"ttl_secs\":1}"), invalid);
    assert_eq!(refused("POST", "/v1/claviger/children", "{\"unknown\":1}"), invalid);
    assert_eq!(refused("POST", "/v1/claviger/children", "{"), invalid);
    assert_eq!(refused("POST", "/v1/claviger/children", "{\"max_uses\":0}"), invalid);
    let big = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(refused("POST", "/v1/claviger/children", &big).0, 413);
    let stranger = holder.ask("GET", "/v1/claviger/me", "cvg_test_wrong", "");
    assert_eq!((stranger.status, stranger.error().0), (401, "authentication_error".to_owned()));
    let minted = holder.ask("POST", "/v1/claviger/children", key, "").json();
    assert_eq!((&minted["heartbeat_secs"], &minted["status"]), (&json!(30), &json!("active")));
    assert_eq!(minted["parent"], holder.key.id.as_str());
    let child = minted["key"].as_str().unwrap();
    let grandchild = holder.ask("POST", "/v1/claviger/children", child, "");
    assert_eq!((grandchild.status, grandchild.error().0), (403, "permission_error".to_owned()));
    let id = minted["id"].as_str().unwrap();
    let beat = holder.ask("POST", &format!("/v1/claviger/children/{id}/heartbeat"), key, "");
    assert_eq!((beat.status, beat.json()["key"].is_null()), (200, true));
    assert!(!holder.node.process().errors().join("\n").contains(child), "no key is logged");
}

#[test]
fn a_key_bound_to_addresses_mints_from_there_only() {
    let holder = Holder::with(Claviger::started(), &["--allow-ip", "10.0.0.0/8"]);
    let refused = holder.ask("POST", "/v1/claviger/children", &holder.key.key, "");
    assert_eq!((refused.status, refused.error().0), (403, "permission_error".to_owned()));
    assert!(refused.error().1.contains("127.0.0.1"));
}
