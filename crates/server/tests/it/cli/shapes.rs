//! The JSON of each command, with what differs from run to run taken out.

use serde_json::{Value, json};

use crate::{
    house::{Claviger, Sim},
    wire::{self, say},
};

/// Ids, times, keys and hashes replaced by what they are.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), shape(v))).collect(),
        Value::String(text) => json!(named(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn named(text: &str) -> String {
    let is_time = text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_time {
        return "TIME".to_owned();
    }
    if is_hash {
        return "HASH".to_owned();
    }
    if text.ends_with('…') {
        return "HINT".to_owned();
    }
    for prefix in
        ["cvg_live_", "cvg_test_", "key_", "ws_", "own_", "up_", "cred_", "node_", "bdg_", "acct_", "ent_"]
    {
        let rest = text.strip_prefix(prefix);
        if rest.is_some_and(|r| r.len() >= 2 && r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')) {
            return format!("{prefix}…");
        }
    }
    text.to_owned()
}

pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(&shape(value)).unwrap()
}

#[test]
fn keys_are_made_shown_and_revoked_in_one_shape() {
    let node = Claviger::started();
    let made = node.json(&[
        "key",
        "create",
        "--name",
        "build",
        "--models",
        "claude-*",
        "--endpoints",
        "messages,models",
        "--scopes",
        "read,write",
        "--expires-in",
        "90d",
        "--allow-ip",
        "10.0.0.0/8",
        "--rps",
        "1",
        "--rpm",
        "2",
        "--rph",
        "3",
        "--rpd",
        "4",
        "--concurrency",
        "5",
        "--max-uses",
        "6",
        "--hours",
        "Mon-Fri 08-18 Europe/Berlin",
        "--on-disconnect",
        "drain",
    ]);
    insta::assert_snapshot!(pretty(&made), @r#"
    {
      "allow_ip": [
        "10.0.0.0/8"
      ],
      "bind_mtls": [],
      "cache": null,
      "class": "live",
      "created_at": "TIME",
      "endpoints": [
        "messages",
        "models"
      ],
      "expires_at": "TIME",
      "hint": "HINT",
      "hours": "Mon-Fri 08-18 Europe/Berlin",
      "id": "key_…",
      "key": "cvg_live_…",
      "last_used_at": null,
      "last_used_ip": null,
      "limits": {
        "concurrency": 5,
        "itpd": null,
        "itph": null,
        "itpm": null,
        "itps": null,
        "otpd": null,
        "otph": null,
        "otpm": null,
        "otps": null,
        "rpd": 4,
        "rph": 3,
        "rpm": 2,
        "rps": 1,
        "tpd": null,
        "tph": null,
        "tpm": null,
        "tps": null
      },
      "max_uses": 6,
      "models": [
        "claude-*"
      ],
      "name": "build",
      "not_before": null,
      "on_disconnect": "drain",
      "owner": "own_…",
      "parent": null,
      "require": [],
      "revocation_reason": null,
      "revoked_at": null,
      "rotated_from": null,
      "scopes": [
        "read",
        "write"
      ],
      "status": "active",
      "usage_count": 0,
      "version": 1,
      "workspace": "ws_…"
    }
    "#);
    let id = made["id"].as_str().unwrap();
    let key = made["key"].as_str().unwrap();
    assert_eq!((id.strip_prefix("key_").unwrap(), key.len()), (&key[9..19], 52));

    let shown = node.json(&["key", "show", id]);
    assert_eq!(shown.get("key"), None, "the key is shown once");
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(shown, expected);
    let plain = node.cli(&["key", "create", "--name", "plain"]);
    assert_eq!(
        (plain.code, plain.stdout.trim().len()),
        (0, 52),
        "only the key on standard output: {}",
        plain.stdout
    );

    let revoked = node.json(&["key", "revoke", id, "--reason", "ROTATION"]);
    assert_eq!((&revoked["status"], &revoked["revocation_reason"]), (&json!("revoked"), &json!("ROTATION")));

    for _ in 0..2 {
        let purged = node.json(&["key", "purge", id]);
        assert_eq!((&purged["status"], &purged["revocation_reason"]), (&json!("purged"), &json!("ROTATION")));
    }
    let living = node.key(&[]);
    assert_eq!(node.cli(&["key", "purge", &living.id]).code, 4, "only what is over can be purged");
    assert_eq!(node.json(&["key", "show", &living.id])["status"], "active");
    assert_eq!(node.cli(&["key", "resume", id]).code, 4, "revoked is for ever");
    assert_eq!(node.json(&["key", "list"]).as_array().unwrap().len(), 4, "a record outlives its key");
}

#[test]
fn defaults_of_a_key_are_as_documented() {
    let node = Claviger::started();
    let made = node.json(&["key", "create", "--name", "plain"]);
    insta::assert_snapshot!(pretty(&made), @r#"
    {
      "allow_ip": [],
      "bind_mtls": [],
      "cache": null,
      "class": "live",
      "created_at": "TIME",
      "endpoints": [],
      "expires_at": "TIME",
      "hint": "HINT",
      "hours": null,
      "id": "key_…",
      "key": "cvg_live_…",
      "last_used_at": null,
      "last_used_ip": null,
      "limits": {
        "concurrency": null,
        "itpd": null,
        "itph": null,
        "itpm": null,
        "itps": null,
        "otpd": null,
        "otph": null,
        "otpm": null,
        "otps": null,
        "rpd": 10000,
        "rph": null,
        "rpm": 60,
        "rps": null,
        "tpd": null,
        "tph": null,
        "tpm": null,
        "tps": null
      },
      "max_uses": null,
      "models": [],
      "name": "plain",
      "not_before": null,
      "on_disconnect": "cancel",
      "owner": "own_…",
      "parent": null,
      "require": [],
      "revocation_reason": null,
      "revoked_at": null,
      "rotated_from": null,
      "scopes": [
        "read",
        "write"
      ],
      "status": "active",
      "usage_count": 0,
      "version": 1,
      "workspace": "ws_…"
    }
    "#);
}

#[test]
fn tenants_and_upstreams_have_one_shape() {
    let node = Claviger::started();
    insta::assert_snapshot!(pretty(&node.json(&["workspace", "create", "team", "--environment", "production"])), @r#"
    {
      "archived_at": null,
      "created_at": "TIME",
      "environment": "production",
      "id": "ws_…",
      "limits": {
        "concurrency": null,
        "itpd": null,
        "itph": null,
        "itpm": null,
        "itps": null,
        "otpd": null,
        "otph": null,
        "otpm": null,
        "otps": null,
        "rpd": null,
        "rph": null,
        "rpm": null,
        "rps": null,
        "tpd": null,
        "tph": null,
        "tpm": null,
        "tps": null
      },
      "name": "team",
      "version": 1
    }
    "#);
    insta::assert_snapshot!(pretty(&node.json(&["owner", "create", "ada", "--email", "ada@example.com"])), @r#"
    {
      "archived_at": null,
      "created_at": "TIME",
      "email": "ada@example.com",
      "id": "own_…",
      "limits": {
        "concurrency": null,
        "itpd": null,
        "itph": null,
        "itpm": null,
        "itps": null,
        "otpd": null,
        "otph": null,
        "otpm": null,
        "otps": null,
        "rpd": null,
        "rph": null,
        "rpm": null,
        "rps": null,
        "tpd": null,
        "tph": null,
        "tpm": null,
        "tps": null
      },
      "name": "ada",
      "version": 1
    }
    "#);
    insta::assert_snapshot!(pretty(&node.json(&["upstream", "add", "a", "--base-url", "https://api.anthropic.com"])), @r#"
    {
      "base_url": "https://api.anthropic.com",
      "created_at": "TIME",
      "id": "up_…",
      "kind": "anthropic",
      "name": "a",
      "state": "active",
      "version": 1
    }
    "#);
    let add = ["credential", "add", "--upstream", "a", "--workspace", "team", "--from-file", "-", "--json"];
    let added = node.cli_with_input(&add, "sk-ant-api03-0123456789-0123456789-0123456789-AA");
    insta::assert_snapshot!(pretty(&serde_json::from_str(&added.stdout).unwrap()), @r#"
    {
      "created_at": "TIME",
      "hint": "sk-ant-a…9-AA",
      "id": "cred_…",
      "name": "a",
      "purpose": "traffic",
      "state": "active",
      "upstream": "up_…",
      "version": 1,
      "workspace": "ws_…"
    }
    "#);
    let made =
        node.json(&["key", "create", "--name", "k", "--workspace", "team", "--owner", "ada", "--wrapped"]);
    let listed = node.json(&["key", "list", "--workspace", "team"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &made["id"]));
    assert_eq!(node.cli(&["workspace", "create", "team"]).code, 4, "a name is given once");
    let opened = node.json(&["unwrap", made["wrapping_token"].as_str().unwrap()]);
    let ask = || wire::message(node.gateway(), opened["key"].as_str().unwrap(), &say("hello")).status;
    assert_eq!(ask(), 502, "the key works; its upstream is not there");
    node.json(&["workspace", "archive", "team"]);
    assert_eq!(ask(), 401, "the keys of an archived workspace stop working");
}

#[test]
fn usage_is_reported_by_group_as_json_and_csv() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let prompt =
        "[[sim: usage={\"input_tokens\":1000,\"output_tokens\":100,\"cache_read_input_tokens\":500}]]";
    for _ in 0..2 {
        assert_eq!(wire::message(node.gateway(), &key.key, &say(prompt)).status, 200);
    }
    let total = node.json(&["usage"]);
    insta::assert_snapshot!(pretty(&total), @r#"
    [
      {
        "cache_read_tokens": 1000,
        "cache_write_1h_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cost_pusd": "12200000000",
        "cost_usd": "0.0122",
        "errors": 0,
        "estimated": 0,
        "group": "total",
        "input_tokens": 2000,
        "output_tokens": 200,
        "requests": 2,
        "response_cache_hits": 0,
        "web_search_requests": 0
      }
    ]
    "#);
    for (by, group) in [("key", key.id.as_str()), ("model", "claude-opus-5-5")] {
        let rows = node.json(&["usage", "--by", by]);
        assert_eq!(
            (&rows[0]["group"], &rows[0]["cost_pusd"]),
            (&json!(group), &total[0]["cost_pusd"]),
            "{rows}"
        );
    }
    for by in ["day", "workspace", "owner", "week", "month"] {
        assert_eq!(node.json(&["usage", "--by", by])[0]["requests"], 2, "{by}");
    }
    assert_eq!(node.json(&["usage", "--until", "2020-01-01"])[0]["requests"], 0);
    let of_owner = node.json(&["usage", "--owner", "default", "--by", "month", "--tz", "Asia/Kathmandu"]);
    assert_eq!(of_owner[0]["requests"], 2);
    assert_eq!(of_owner[0]["month"].as_str().unwrap().len(), "2026-11".len());
    let nowhere = node.cli(&["usage", "--by", "day", "--tz", "Mars/Olympus"]);
    assert_eq!(nowhere.code, 4);
    assert!(nowhere.stderr.contains("`Mars/Olympus` is not a time zone"), "{}", nowhere.stderr);
    let csv = node.cli(&["usage", "--by", "model", "--csv"]);
    insta::assert_snapshot!(csv.stdout, @r#"
    group,requests,errors,input_tokens,cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,output_tokens,web_search_requests,estimated,response_cache_hits,cost_pusd,cost_usd
    claude-opus-5-5,2,0,2000,0,0,1000,200,0,0,0,12200000000,0.0122
    "#);
    let plain = node.cli(&["usage", "--by", "model"]);
    assert!(plain.stdout.starts_with("claude-opus-5-5\t2\t"), "tab-separated in a pipe: {}", plain.stdout);
}

#[test]
fn settings_in_force_are_shown_without_secrets_and_follow_a_reload() {
    let mut node = Claviger::new();
    let file = node.write(
        "claviger.toml",
        "[log]\nlevel = \"info\"\n[upstream]\nproxy = \"http://me:hunter2@127.0.0.1:9\"\n",
    );
    node = node.with_arguments(&["--config", file.to_str().unwrap(), "--drain-timeout", "5s"]);
    node.start();
    let shown = node.json(&["settings", "show"]);
    let settings = &shown["settings"];
    assert_eq!(shown["file"], file.to_str().unwrap());
    assert_eq!((&settings["drain_timeout"], &settings["brand"]), (&json!("5s"), &json!("cvg")));
    assert_eq!(settings["upstream"]["proxy"], "http://me:***@127.0.0.1:9");
    assert!(!shown.to_string().contains("hunter2"));
    node.write("claviger.toml", "[log]\nlevel = \"debug\"\n");
    let level = || node.json(&["settings", "show"])["settings"]["log"]["level"] == "debug";
    claviger_testkit::eventually("the new level", std::time::Duration::from_secs(10), || {
        level().then_some(())
    });
    let plain = node.cli(&["settings", "show"]);
    assert!(plain.stdout.contains("\nlog.level\tdebug\n"), "{}", plain.stdout);
}

#[test]
fn status_says_what_runs_and_how_it_does() {
    let node = Claviger::started();
    let mut status = node.json(&["status"]);
    for field in ["gateway", "control", "data", "uptime_secs", "feed_age_ms", "version"] {
        assert!(!status[field].is_null(), "{field}: {status}");
        status[field] = json!("…");
    }
    insta::assert_snapshot!(pretty(&status), @r#"
    {
      "control": "HINT",
      "data": "HINT",
      "database": "sqlite",
      "feed_age_ms": "HINT",
      "gateway": "HINT",
      "node": "node_…",
      "parts": [
        {
          "detail": "",
          "name": "store",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "disk",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "clock",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "audit",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "feed",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "recorder",
          "state": "ok"
        },
        {
          "detail": "",
          "name": "credentials",
          "state": "ok"
        }
      ],
      "ready": true,
      "started_at": "TIME",
      "uptime_secs": "HINT",
      "version": "HINT"
    }
    "#);
}
