//! `scan`, `env` and `env check`: no server is needed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::house::{Done, claviger, run};

const LIVE: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";
const TEST: &str = "cvg_test_0123456789abcdefghijklmnopqrstuvwxyzA1DPuTh";

fn within(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Done {
    let mut command = claviger();
    command.args(arguments).current_dir(folder).envs(variables.iter().copied());
    run(command, "", Duration::from_secs(30))
}

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn house(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn scan_says_where_keys_stand_and_never_what_they_are() {
    let provider = format!("sk-ant-api03-{}AA", "aB3".repeat(31));
    let app = format!("import anthropic\nkey = '{LIVE}'\nold = \"{provider}\"\n");
    let dir = house(&[
        ("src/app.py", &app),
        (".hidden/settings", TEST),
        (".gitignore", "ignored\n"),
        ("ignored/x", LIVE),
        ("picture", &format!("\0{LIVE}")),
        ("README", "cvg_live_ keys and sk-ant-api03-… are words"),
    ]);
    let done = within(dir.path(), &["scan", "."], &[]);
    assert_eq!(done.code, 5, "{}", done.stderr);
    insta::assert_snapshot!(done.stdout, @r"
    ./.hidden/settings:1:1: test_key cvg_test_0123…
    ./src/app.py:2:8: live_key cvg_live_0123…
    ./src/app.py:3:8: provider_api_key sk-ant-api03…
    ");
    insta::assert_snapshot!(done.stderr, @"error: 3 keys in 4 files: take them out, and revoke them, for whoever could read the file may have them");

    let done = within(dir.path(), &["scan", "src", "--json"], &[]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &report["total"]), (5, &Value::from(2)));
    let first = &report["found"][0];
    assert_eq!(
        (&first["path"], &first["line"], &first["column"]),
        (&"src/app.py".into(), &2.into(), &8.into())
    );
    assert_eq!((&first["kind"], &first["masked"]), (&"live_key".into(), &"cvg_live_0123…".into()));
    assert!(!done.stdout.contains(LIVE) && !done.stderr.contains(LIVE) && !done.stdout.contains(&provider));

    let clean = within(dir.path(), &["scan", "README"], &[]);
    assert_eq!((clean.code, clean.stdout.trim()), (0, "No keys in 1 file."));
    let all = within(dir.path(), &["scan", "--no-ignore", "--exclude", "src", "--json"], &[]);
    assert_eq!(serde_json::from_str::<Value>(&all.stdout).unwrap()["total"], 2);
}

#[test]
fn a_scan_that_could_not_read_all_does_not_say_clean() {
    let dir = house(&[]);
    let done = within(dir.path(), &["scan", "no-such"], &[]);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("no-such"), "{}", done.stderr);
    assert_eq!(within(dir.path(), &["scan", "--exclude", "{"], &[]).code, 2);
}

#[test]
fn env_writes_a_private_file_that_git_passes_over() {
    let dir = house(&[
        ("key", &format!("{TEST}\n")),
        (".env.local", "# mine\nDB=1\nANTHROPIC_API_KEY=old\nCLAUDE_API_URL=old"),
    ]);
    git(dir.path(), &["init", "-q"]);
    let done = within(
        dir.path(),
        &["env", "--key-file", "key", "--base-url", "http://127.0.0.1:9/v1/", "--json"],
        &[],
    );
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stdout.contains(TEST), "a key was printed");
    let file = dir.path().join(".env.local");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!(
            "# mine\nDB=1\nANTHROPIC_API_KEY={TEST}\nCLAUDE_API_URL=http://127.0.0.1:9/v1\n\
             ANTHROPIC_BASE_URL=http://127.0.0.1:9\n"
        )
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(dir.path().join(".gitignore")).unwrap(), ".env*\n");

    // A second time: nothing moves, and the address that stands there is kept.
    let before = fs::read(&file).unwrap();
    let done = within(dir.path(), &["env", "--key-file", "key"], &[]);
    assert_eq!((done.code, fs::read(&file).unwrap()), (0, before));
    assert_eq!(fs::read_to_string(dir.path().join(".gitignore")).unwrap(), ".env*\n");
    let names = within(dir.path(), &["env", "--key-file", "key", "--all", "sub.env"], &[]);
    assert_eq!(names.code, 0, "{}", names.stderr);
    let text = fs::read_to_string(dir.path().join("sub.env")).unwrap();
    assert!(text.contains("\nCLAUDE_BASE_URL=http://127.0.0.1:8787/v1\n"), "{text}");
    assert_eq!(fs::read_to_string(dir.path().join(".gitignore")).unwrap(), ".env*\n/sub.env\n");

    // A rule that lets such files in is answered where it stands.
    fs::create_dir(dir.path().join("app")).unwrap();
    fs::write(dir.path().join("app/.gitignore"), "!.env.local\n").unwrap();
    assert_eq!(within(dir.path(), &["env", "--key-file", "key", "app"], &[]).code, 0);
    git(dir.path(), &["check-ignore", "-q", "app/.env.local"]);
    git(dir.path(), &["check-ignore", "-q", "sub.env"]);
}

#[test]
fn env_refuses_a_file_that_git_tracks_with_and_without_git() {
    let dir = house(&[("key", TEST), (".env.local", "A=1\n"), ("app/.env.local", "B=1\n")]);
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", ".env.local", "app/.env.local"]);
    for path in ["/usr/bin:/bin", ""] {
        for file in [".env.local", "app"] {
            let done = within(dir.path(), &["env", "--key-file", "key", file], &[("PATH", path)]);
            assert_eq!(done.code, 4, "{}", done.stderr);
            assert!(done.stderr.contains("is tracked by git"), "{}", done.stderr);
        }
    }
    assert_eq!(fs::read_to_string(dir.path().join(".env.local")).unwrap(), "A=1\n");
    assert!(!dir.path().join(".gitignore").exists(), "a refusal changes nothing");
}

#[test]
fn env_writes_only_keys_of_ours_and_only_into_plain_files() {
    let dir = house(&[("provider", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"), ("half", &TEST[..40])]);
    for file in ["provider", "half"] {
        let done = within(dir.path(), &["env", "--key-file", file], &[]);
        assert_eq!(done.code, 4, "{}", done.stderr);
        assert!(!done.stderr.contains("abcdefghij"), "{}", done.stderr);
    }
    assert_eq!(within(dir.path(), &["env"], &[]).code, 2, "without a key");
    symlink("provider", dir.path().join(".env.local")).unwrap();
    let done = within(dir.path(), &["env"], &[("CLAVIGER_KEY", TEST)]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(fs::read_to_string(dir.path().join("provider")).unwrap().starts_with("sk-ant-"));
    let done = within(dir.path(), &["env", "mine.env"], &[("ANTHROPIC_API_KEY", TEST)]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let done =
        within(dir.path(), &["env", "--base-url", "https://api.anthropic.com"], &[("CLAVIGER_KEY", TEST)]);
    assert_eq!(done.code, 2, "{}", done.stderr);
}

#[test]
fn env_check_names_what_a_program_misses() {
    let dir = house(&[(".env.example", "ANTHROPIC_API_KEY=\nCLAUDE_MODEL=\nAPI_KEY_ROTATION_DAYS=90\n")]);
    let done = within(dir.path(), &["env", "check"], &[]);
    assert_eq!(done.code, 5);
    insta::assert_snapshot!(done.stdout, @r"
    ANTHROPIC_API_KEY	missing		not set
    ANTHROPIC_BASE_URL	missing		not set
    CLAUDE_MODEL	missing		not set
    API_KEY_ROTATION_DAYS	missing		not set
    ");
    fs::write(
        dir.path().join(".env"),
        format!("ANTHROPIC_API_KEY={TEST}\nANTHROPIC_BASE_URL=http://h/v1\nCLAUDE_MODEL=m"),
    )
    .unwrap();
    fs::write(dir.path().join(".env.local"), "ANTHROPIC_BASE_URL=http://127.0.0.1:8787\n").unwrap();
    let done = within(dir.path(), &["env", "check", "--json"], &[("API_KEY_ROTATION_DAYS", "often")]);
    assert_eq!(done.code, 5);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let states: Vec<_> =
        report["variables"].as_array().unwrap().iter().map(|v| (&v["state"], &v["from"])).collect();
    let row = |state: &str, from: &str| (Value::from(state), Value::from(from));
    let wanted =
        [row("set", ".env"), row("set", ".env.local"), row("set", ".env"), row("wrong", "environment")];
    assert_eq!(states, wanted.iter().map(|(s, f)| (s, f)).collect::<Vec<_>>());
    assert!(!done.stdout.contains(TEST));
    let done = within(dir.path(), &["env", "check", "ANTHROPIC_API_KEY", "CLAUDE_MODEL"], &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(within(dir.path(), &["env", "check", "no name"], &[]).code, 2);
}
