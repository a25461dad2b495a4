//! Settings that cannot be used: file, line, column, what was expected; nothing is started.

use std::time::Duration;

use claviger_testkit::eventually;
use rustix::process::Signal;

use crate::{
    house::{Claviger, Done, Sim},
    wire::{self, say},
};

fn serve_with(config: &str) -> (Claviger, Done, String) {
    let node = Claviger::new();
    let path = node.write("claviger.toml", config).display().to_string();
    let done = node.cli(&["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--config", &path]);
    (node, done, path)
}

#[test]
fn a_bad_file_is_told_with_its_place_and_nothing_is_started() {
    for (config, place, words) in [
        ("workers = 2\nlisten = 5\n", "2:10", "socket address"),
        ("workers = 2\n\nlisen = \"127.0.0.1:0\"\n", "3:1", "unknown field `lisen`"),
        ("[stream]\nping_after = \"15\"\n", "2:14", "a span of time"),
        ("[limits]\nbody_budget = \"1XB\"\n", "2:15", "a size"),
        ("brand = \"CVG\"\n", "1:9", "three"),
        ("trusted_proxies = [\"10.0.0.0/99\"]\n", "1:", "10.0.0.0/99"),
        ("workers = \n", "1:", ""),
        ("[ledger]\ndurability = \"maybe\"\n", "2:14", "fsync"),
    ] {
        let (node, done, path) = serve_with(config);
        assert_eq!(done.code, 4, "{config}{}", done.stderr);
        assert!(done.stderr.contains(&format!("{path}:{place}")), "{config}{}", done.stderr);
        assert!(done.stderr.contains(words), "{config}{}", done.stderr);
        assert_eq!(done.stdout, "", "{config}");
        assert!(!node.data().exists(), "{config}: nothing was started, so nothing was made");
    }
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (config, words) in [
        ("workers = 0\n", "claviger.toml:1:11: workers"),
        ("max_staleness = \"1s\"\n", "claviger.toml:1:17: max_staleness"),
        ("public_url = \"claude.example.com\"\n", "claviger.toml:1:14: public_url"),
        ("public_url = \"https://\"\n", "claviger.toml:1:14: public_url"),
        ("\ndatabase = \"mysql://h/d\"\n", "claviger.toml:2:12: database"),
        ("prices = \"/no/such/file\"\n", "claviger.toml:1:10: prices: /no/such/file"),
        ("[tls]\ncert = \"/no/such/cert\"\n", "claviger.toml:1:2: tls: expected both `cert` and `key`"),
        (
            "[tls]\ncert = \"/no/such/cert\"\nkey = \"/no/such/key\"\n",
            "claviger.toml:1:2: tls: /no/such/cert",
        ),
        ("[upstream]\nproxy = \"ftp://h\"\n", "claviger.toml:1:2: upstream: upstream proxy"),
        ("[upstream]\nca_file = \"/no/such/ca\"\n", "/no/such/ca"),
        ("[upstream]\nconnect_timeout = \"0s\"\n", "claviger.toml:2:19: upstream.connect_timeout"),
        ("[limits]\nconnections = 0\n", "claviger.toml:2:15: limits.connections"),
        ("[smtp]\nhost = \"h\"\nsecurity = \"none\"\n", "claviger.toml:3:12: smtp.security"),
        ("[jobs]\ntime_zone = \"Mars/Base\"\n", "claviger.toml:1:2: jobs"),
        ("[log]\nlevel = \"loud=quiet=\"\n", "level"),
    ] {
        let (node, done, _) = serve_with(config);
        assert_ne!(done.code, 0, "{config}");
        assert!(done.stderr.contains(words), "{config}{}", done.stderr);
        assert_eq!(done.stdout, "", "{config}");
        assert!(!node.data().exists(), "{config}");
    }
    let missing = Claviger::new().cli(&["serve", "--config", "/no/such/file.toml"]);
    assert_eq!(missing.code, 4);
    assert!(missing.stderr.contains("/no/such/file.toml"), "{}", missing.stderr);
}

#[test]
fn a_price_file_is_read_with_its_places_too() {
    let node = Claviger::new();
    let prices = node.write("prices.toml", "version = 1\n\nnonsense = [\n").display().to_string();
    let path = node.write("claviger.toml", &format!("prices = \"{prices}\"\n")).display().to_string();
    let done = node.cli(&["serve", "--check-config", "--config", &path]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains(&prices), "{}", done.stderr);
}

#[test]
fn a_configuration_can_be_checked_without_starting() {
    let node = Claviger::new();
    let good = node.write("good.toml", "workers = 2\n[stream]\nping_after = \"5s\"\n").display().to_string();
    let done = node.cli(&["serve", "--check-config", "--config", &good]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "the configuration is good\n"), "{}", done.stderr);
    assert!(!node.data().exists());
}

#[test]
fn a_change_that_is_wrong_changes_nothing_and_a_right_one_holds() {
    let sim = Sim::start();
    let node = Claviger::configured(&sim, "trusted_proxies = []\n");
    let key = node.key(&["--allow-ip", "203.0.113.0/24"]);
    let ask = || {
        let headers = [("x-api-key", key.key.as_str()), ("x-forwarded-for", "203.0.113.1")];
        let request = wire::post_with("/v1/messages", &headers, &say("hello").to_string());
        wire::ask(node.gateway(), &request).status
    };
    assert_eq!(ask(), 403);
    node.write("claviger.toml", "trusted_proxies = [\"nonsense\"]\n");
    node.process().signal(Signal::HUP);
    eventually("the refusal in the log", Duration::from_secs(10), || {
        node.process().errors().iter().any(|l| l.contains("not taken over")).then_some(())
    });
    assert_eq!(ask(), 403);
    node.write("claviger.toml", "trusted_proxies = [\"127.0.0.1/32\"]\n");
    node.process().signal(Signal::HUP);
    eventually("the new setting", Duration::from_secs(10), || (ask() == 200).then_some(()));
}

#[test]
fn what_takes_a_restart_is_said_and_not_half_taken_over() {
    let node = Claviger::configured_alone("brand = \"abc\"\n");
    let made = node.json(&["key", "create", "--name", "simulated", "--test"]);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("abc_test_"), "{key}");
    node.write("claviger.toml", "brand = \"xyz\"\ninsecure_plaintext = true\n");
    node.process().signal(Signal::HUP);
    eventually("the settings being read", Duration::from_secs(10), || {
        node.process().errors().iter().any(|l| l.contains("settings were read again")).then_some(())
    });
    let said = node.process().errors().join("\n");
    for name in ["brand", "insecure_plaintext"] {
        assert!(said.contains(&format!("\"setting\":\"{name}\"")), "{name}: {said}");
    }
    assert_eq!(
        wire::message(node.gateway(), key, &say("hello")).status,
        200,
        "keys of the old brand still open"
    );
}
