//! The command line as scripts see it: names, JSON shapes, exit codes.

mod backup;
mod money;
mod shapes;

use std::time::Duration;

use crate::house::{Claviger, run};

/// A command that needs no running process and no data.
fn alone(arguments: &[&str], input: &str) -> crate::house::Done {
    let node = Claviger::new();
    let mut command = node.command();
    // Its value would stand in the help.
    command.env_remove("CLAVIGER_DATA").args(arguments);
    run(command, input, Duration::from_secs(30))
}

const LIVE: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

#[test]
fn the_help_names_every_command() {
    let done = alone(&["--help"], "");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(done.stdout, @r#"
    Issues, guards, rotates and revokes API keys for the Claude API, and is the gateway that those keys
    open

    Usage: claviger [OPTIONS] <COMMAND>

    Commands:
      serve        Run the gateway and the control plane
      operator     Who administers: people and machines
      login        Log in as an operator
      logout       Log out
      session      Your session
      approval     Requests that wait for a second person
      upstream     Where calls go
      credential   Provider keys, sealed
      workspace    Teams and their environments
      owner        People and services that keys belong to
      key          Keys that open the gateway
      rotation     Keys that are being replaced by successors
      unwrap       Open a wrapped key, once
      review       What keys may do and do not use
      certificate  What proves that a key was revoked
      policy       What workspaces demand of their keys
      issuer       Issuers of other platforms' identities
      trust        Which of their identities buy short-lived keys
      budget       Ceilings on money: set, show, list, drop
      credit       Prepaid credit: accounts, payments, refunds, statements
      cache        The response cache: show, flush
      calibrate    Have the provider count tokens, and say how far estimates are off
      limits       Limits and what is left of them
      usage        Requests, tokens and cost
      savings      What prompt caching, batches and the response cache saved
      reconcile    Hold the provider's bill against the ledger
      audit        The record of what happened, and its proof
      apply        Compare what a file declares with what is there, and bring it about
      channel      Where notices go
      notice       What people were told, and whether it reached them
      job          What is done again and again
      token-key    Keys that sign access tokens
      report       The weekly rotation report, and how fast and how well calls were answered
      exec         Run a command with a short-lived key of its own
      token        Print a short-lived key, for programs that ask a helper for one
      batch        Many requests from a file
      whoami       Say what a key may do and what is left of its limits and budgets
      env          Write a key into a program's .env file, or check what the program misses
      sign         Print the headers that sign a request, without asking anyone
      seal-key     Seal a key so that only a key management service opens it
      store-key    Put a key into Vault or OpenBao, and print a wrapped token that reads it
      scan         Find keys that stand in files
      cert         A small certificate authority for trying mutual TLS; not for production
      backup       Copy the database and the master key to a folder
      status       How the running claviger does
      settings     The settings that it runs with
      completions  Print a completion script
      openapi      Print the document that describes the admin API (OpenAPI 3.1)
      help         Print this message or the help of the given subcommand(s)

    Options:
          --data <DIR>      Data folder [default: $XDG_DATA_HOME/claviger or ~/.local/share/claviger]
                            [env: CLAVIGER_DATA=]
          --url <URL>       The control plane, such as https://claviger.example.com:8788 [default: where
                            you are logged in, else the socket] [env: CLAVIGER_URL=]
          --ca-file <FILE>  Believe this certificate authority, too (PEM), when the control plane is
                            asked [env: CLAVIGER_CA_FILE=]
          --totp <CODE>     A fresh code of your second factor, for what needs one [env: CLAVIGER_TOTP]
          --json            Print JSON
      -h, --help            Print help
      -V, --version         Print version

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 claviger is not running, 4 refused or invalid, 5
    verification failed or keys found, 6 not done yet: it waits for a second person, or `apply --plan`
    found something to do, 7 a batch ended at a ceiling.
    "#);
}

#[test]
fn every_command_explains_itself() {
    for command in [
        "serve",
        "upstream",
        "credential",
        "workspace",
        "owner",
        "key",
        "budget",
        "credit",
        "cache",
        "limits",
        "usage",
        "savings",
        "reconcile",
        "audit",
        "batch",
        "env",
        "scan",
        "backup",
        "status",
        "settings",
        "completions",
    ] {
        let done = alone(&[command, "--help"], "");
        assert_eq!(done.code, 0, "{command}: {}", done.stderr);
        assert!(done.stdout.contains("Usage: claviger "), "{command}: {}", done.stdout);
    }
    let version = alone(&["--version"], "");
    assert_eq!(version.stdout.trim(), concat!("claviger ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_key_is_inspected_without_asking_anyone() {
    let done = alone(&["key", "inspect", LIVE, "--json"], "");
    assert_eq!(done.code, 0, "{}", done.stderr);
    insta::assert_snapshot!(done.stdout, @r#"{"checks":{"charset":true,"checksum":true,"length":true,"prefix":true},"kind":"live_key","valid":true}"#);
    let by_pipe = alone(&["key", "inspect", "-", "--json"], &format!("{LIVE}\n"));
    assert_eq!(by_pipe.stdout, done.stdout);

    let mistyped = LIVE.replace("abc", "abd");
    let done = alone(&["key", "inspect", &mistyped, "--json"], "");
    insta::assert_snapshot!(done.stdout, @r#"{"checks":{"charset":true,"checksum":false,"length":true,"prefix":true},"kind":"live_key","valid":false}"#);
    let done = alone(&["key", "inspect", "sk-ant-api03-x", "--json"], "");
    insta::assert_snapshot!(done.stdout, @r#"{"checks":{"charset":false,"checksum":false,"length":false,"prefix":false},"kind":"provider_api_key","valid":false}"#);
    let done = alone(&["key", "inspect", "hunter2"], "");
    insta::assert_snapshot!(done.stdout, @r#"
    checks: charset=false checksum=false length=false prefix=false
    kind: unknown
    valid: false
    "#);
}

#[test]
fn a_key_of_another_brand_is_inspected_by_its_own() {
    let node = Claviger::configured_alone("brand = \"abc\"\n");
    let made = node.json(&["key", "create", "--name", "branded"]);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("abc_live_"), "{key}");
    let inspected = |key: &str, more: &[&str]| {
        let done = alone(&[&["key", "inspect", key, "--json"], more].concat(), "");
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout
    };
    let good = r#"{"checks":{"charset":true,"checksum":true,"length":true,"prefix":true},"kind":"live_key","valid":true}"#;
    assert_eq!(inspected(key, &[]).trim(), good);
    assert_eq!(inspected(key, &["--brand", "abc"]).trim(), good);
    insta::assert_snapshot!(inspected(key, &["--brand", "xyz"]), @r#"{"checks":{"charset":false,"checksum":false,"length":true,"prefix":false},"kind":"unknown","valid":false}"#);
    // Mistyped, nothing in it says whose it was; with the brand named, the one wrong check is.
    let mistyped = key.replacen("_live_", "_test_", 1);
    insta::assert_snapshot!(inspected(&mistyped, &[]), @r#"{"checks":{"charset":false,"checksum":false,"length":true,"prefix":false},"kind":"unknown","valid":false}"#);
    insta::assert_snapshot!(inspected(&mistyped, &["--brand", "abc"]), @r#"{"checks":{"charset":true,"checksum":false,"length":true,"prefix":true},"kind":"test_key","valid":false}"#);
    assert_eq!(alone(&["key", "inspect", key, "--brand", "ABC"], "").code, 2);
}

#[test]
fn exit_codes_are_as_the_help_says() {
    let code = |arguments: &[&str]| alone(arguments, "").code;
    assert_eq!(code(&["key", "inspect", LIVE]), 0);
    for wrong in
        [&["nonsense"][..], &["key", "create"], &["key", "list", "--nonsense"], &["serve", "--listen", "x"]]
    {
        assert_eq!(code(wrong), 2, "{wrong:?}");
    }
    for away in [&["key", "list"][..], &["usage"], &["status"], &["backup", "--to", "/tmp/x"]] {
        assert_eq!(code(away), 3, "{away:?}");
    }
    let away = alone(&["status"], "");
    assert!(away.stderr.contains("claviger serve") && away.stderr.contains("--data"), "{}", away.stderr);

    let node = Claviger::started();
    assert_eq!(node.cli(&["status"]).code, 0);
    for refused in [
        &["key", "show", "key_doesnotexist"][..],
        &["key", "show", "nonsense"],
        &["key", "create", "--name", "x", "--workspace", "nowhere"],
        &["key", "create", "--name", "x", "--expires-in", "soon"],
        &["key", "create", "--name", "x", "--endpoints", "nonsense"],
        &["key", "create", "--name", "x", "--allow-ip", "10.0.0.0/99"],
        &["credential", "remove", "cred_none"],
        &["upstream", "add", "x", "--base-url", "ftp://h"],
        &["upstream", "add", "x", "--base-url", "http://claude.example.com"],
        &["usage", "--since", "yesterday"],
    ] {
        let done = node.cli(refused);
        assert_eq!(done.code, 4, "{refused:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.starts_with("error: ") && done.stdout.is_empty(), "{refused:?}: {}", done.stderr);
    }
    let json = node.cli(&["key", "show", "key_0123456789", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["exit_code"], 4, "{error}");
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let done = alone(&["completions", shell], "");
        assert_eq!(done.code, 0, "{shell}: {}", done.stderr);
        assert!(done.stdout.contains("claviger") && done.stdout.contains("credential"), "{shell}");
    }
    assert_eq!(alone(&["completions", "tcl"], "").code, 2);
}

#[test]
fn a_provider_key_is_never_an_argument() {
    let node = Claviger::started();
    node.json(&["upstream", "add", "sim", "--base-url", "http://127.0.0.1:9"]);
    assert_eq!(node.cli(&["credential", "add", "--upstream", "sim", "--key", "sk-ant-x"]).code, 2);
    let empty = node.cli(&["credential", "add", "--upstream", "sim", "--from-file", "-"]);
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    let file = node.write("key", "sk-ant-api03-from-a-file-0123456789\n");
    let added = node.json(&["credential", "add", "--upstream", "sim", "--from-file", file.to_str().unwrap()]);
    assert!(!added.to_string().contains("from-a-file"), "{added}");
    assert_eq!(node.json(&["credential", "list"]).as_array().unwrap().len(), 1);
    node.json(&["credential", "remove", added["id"].as_str().unwrap()]);
    assert_eq!(node.json(&["credential", "list"]), serde_json::json!([]));
}
