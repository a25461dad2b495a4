//! The provider's bill against the ledger: calls past the gateway are found to the pico-dollar, and nothing else is.

use std::time::Duration;

use claviger_claude_sim::SimConfig;
use claviger_testkit::eventually;
use serde_json::{Value, json};

use crate::{
    house::{Claviger, PROVIDER_KEY, Sim},
    wire,
};

const ADMIN_KEY: &str = "sk-ant-admin01-of-the-tests-0123456789abcdefghijklmnopqrstuvwxyz-AA";
const LAPTOP_KEY: &str = "sk-ant-api03-laptop-of-somebody-0123456789abcdefghijklmnopqrstuvw-AA";

fn call(address: std::net::SocketAddr, key: &str, model: &str, usage: &Value) {
    let body = json!({
        "model": model,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "x"}],
        "metadata": {"user_id": format!("sim: usage={usage}")},
    });
    let body = body.to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: t\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = wire::ask(address, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn usage(input: u64, hour: u64, read: u64, output: u64) -> Value {
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": hour,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": hour},
        "cache_read_input_tokens": read,
        "output_tokens": output,
    })
}

fn booked(node: &Claviger, requests: u64) {
    eventually("the ledger", Duration::from_secs(20), || {
        (node.json(&["usage"])[0]["requests"] == requests).then_some(())
    });
}

#[test]
fn a_leak_is_found_to_the_pico_dollar() {
    let sim = Sim::start_with(|config| SimConfig { admin_keys: vec![ADMIN_KEY.to_owned()], ..config });
    let node = Claviger::before(&sim, &[]);
    let add = ["credential", "add", "--upstream", "sim", "--admin", "--from-file", "-", "--json"];
    assert_eq!(node.cli_with_input(&add, &format!("{ADMIN_KEY}\n")).code, 0);
    let key = node.key(&[]);
    call(node.gateway(), &key.key, "claude-opus-5-5", &usage(1_000, 2_000, 3_000, 40));
    call(node.gateway(), &key.key, "claude-sonnet-5-5", &usage(7, 0, 0, 1));
    booked(&node, 2);

    let clean = node.cli(&["reconcile"]);
    assert_eq!((clean.code, clean.stdout.as_str()), (0, "The provider's bill and the ledger agree.\n"));
    let all = node.json(&["reconcile", "--days", "1"]);
    let account = &all["accounts"][0];
    let findings = account["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["verdict"] == "equal" && f["credential"] == "sim"), "{all}");
    assert_eq!((findings.len(), &account["days"][0]["rest_pusd"]), (2, &json!("0")), "{all}");

    // With our own key, of a model that goes through us, too; and with one that nobody sealed.
    call(sim.address(), PROVIDER_KEY, "claude-opus-5-5", &usage(10, 0, 100, 3));
    call(sim.address(), LAPTOP_KEY, "claude-haiku-4-5", &usage(0, 1_000, 0, 500));
    let opus: i64 = 10 * 4_000_000 + 100 * 200_000 + 3 * 20_000_000;
    let haiku: i64 = 1_000 * 2_000_000 + 500 * 5_000_000;
    let found = node.cli(&["reconcile", "--json", "--tolerance", "0.000001"]);
    assert_eq!(found.code, 5, "{}", found.stderr);
    assert!(found.stderr.contains("did not come through Claviger: 0.00462 USD"), "{}", found.stderr);
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(report["leaked_pusd"], (opus + haiku).to_string());
    assert_eq!(report["unexplained_pusd"], "0");
    let day = &report["accounts"][0]["days"][0];
    assert_eq!((&day["leaked_pusd"], &day["rest_pusd"]), (&report["leaked_pusd"], &json!("0")), "{day}");
    let findings = report["accounts"][0]["findings"].as_array().unwrap();
    let leaks: Vec<_> = findings
        .iter()
        .filter(|f| f["verdict"] == "leak")
        .map(|f| {
            (
                f["model"].as_str().unwrap(),
                f["credential"].as_str().unwrap(),
                f["excess_pusd"].as_str().unwrap(),
            )
        })
        .collect();
    let (opus, haiku) = (opus.to_string(), haiku.to_string());
    assert_eq!(leaks.len(), 2, "{report}");
    assert!(leaks.contains(&("claude-opus-5-5", "sim", &opus)), "{leaks:?}");
    assert!(leaks.contains(&("claude-haiku-4-5", "unknown", &haiku)), "{leaks:?}");

    let lines = node.cli(&["reconcile", "--tolerance", "1"]);
    assert_eq!(lines.code, 0, "{}", lines.stderr);
    assert_eq!(lines.stdout.lines().filter(|line| line.starts_with("leak\t")).count(), 2, "{}", lines.stdout);
    assert!(!lines.stdout.contains("equal\t"), "{}", lines.stdout);

    let audit = node.json(&["audit", "list", "--limit", "1000"]);
    let asked: Vec<_> =
        audit.as_array().unwrap().iter().filter(|r| r["action"] == "cost.reconcile").collect();
    assert_eq!(asked.len(), 4, "{audit}");
    assert!(!audit.to_string().contains("sk-ant-admin"));
}

#[test]
fn a_leak_is_told_by_the_morning_job_and_once() {
    let sim = Sim::start_with(|config| SimConfig { admin_keys: vec![ADMIN_KEY.to_owned()], ..config });
    let node = Claviger::before(&sim, &[]);
    let notices = || {
        let all = node.json(&["notice", "list"]);
        let cost = |n: &&Value| n["kind"].as_str().unwrap().starts_with("cost.");
        all.as_array().unwrap().iter().filter(cost).cloned().collect::<Vec<_>>()
    };
    let summary = || node.json(&["job", "run", "reconciliation"]);
    let job = summary();
    assert!(job.to_string().contains("no Admin key is sealed"), "{job}");
    let jobs = node.json(&["job", "list"]);
    let job = jobs.as_array().unwrap().iter().find(|j| j["name"] == "reconciliation").unwrap();
    assert_eq!(job["schedule"], "30 6 * * * UTC");
    let add = ["credential", "add", "--upstream", "sim", "--admin", "--from-file", "-", "--json"];
    assert_eq!(node.cli_with_input(&add, &format!("{ADMIN_KEY}\n")).code, 0);
    let key = node.key(&[]);
    call(node.gateway(), &key.key, "claude-opus-5-5", &usage(1_000, 2_000, 3_000, 40));
    booked(&node, 1);
    // What the cost report rounds to a cent is no leak.
    call(sim.address(), PROVIDER_KEY, "claude-opus-5-5", &usage(10, 0, 100, 3));
    summary();
    assert_eq!(notices(), Vec::<Value>::new());

    call(sim.address(), LAPTOP_KEY, "claude-opus-5-5", &usage(0, 0, 0, 10_000));
    let job = summary();
    assert!(job.to_string().contains("$0.20012 leaked"), "{job}");
    let told = notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["kind"], &told[0]["severity"]), (&json!("cost.leaked"), &json!("critical")));
    assert!(told[0].to_string().contains("0.20012") && !told[0].to_string().contains(LAPTOP_KEY), "{told:?}");
    // Neither the next morning nor whoever asks meanwhile says it again; a larger amount is said.
    summary();
    assert_eq!(node.cli(&["reconcile"]).code, 5);
    assert_eq!(notices().len(), 1);
    call(sim.address(), LAPTOP_KEY, "claude-opus-5-5", &usage(0, 0, 0, 10_000));
    assert_eq!(node.cli(&["reconcile"]).code, 5);
    assert_eq!(notices().len(), 2);
}

#[test]
fn the_performance_report_tells_what_was_measured_and_what_to_do() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--rpm", "0"]);
    for _ in 0..20 {
        call(node.gateway(), &key.key, "claude-opus-5-5", &usage(9_000, 0, 1_000, 40));
    }
    booked(&node, 20);
    let report = node.json(&["report", "performance", "--by", "key"]);
    let group = &report["groups"][0];
    assert_eq!(
        (&group["group"], &group["requests"], &group["error_rate"]),
        (&json!(key.id), &json!(20), &json!(0.0))
    );
    assert_eq!(group["prompt_cache_hit_rate"], 0.1);
    let ms = |name: &str| group["latency"][name].as_f64().unwrap();
    assert!(0.0 < ms("p50_ms") && ms("p50_ms") <= ms("p95_ms") && ms("p95_ms") <= ms("p99_ms"), "{group}");
    assert!(group["first_byte"]["mean_ms"].as_f64().unwrap() <= ms("mean_ms"), "{group}");
    let stages: Vec<_> =
        report["stages"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["admit", "authenticate", "authorize", "forward", "relay", "route"]);
    let rules: Vec<_> = report["advice"].as_array().unwrap().iter().map(|a| &a["rule"]).collect();
    assert!(rules.contains(&&json!("low_prompt_cache_hit_rate")), "{report}");

    let text = node.cli(&["report", "performance"]).stdout;
    assert!(text.starts_with("# Performance report\n"), "{text}");
    assert!(text.contains("| claude-opus-5-5 | 20 |") && text.contains("cache_control"), "{text}");
    let page = node.cli(&["report", "performance", "--format", "html", "--until", "2020-01-01"]).stdout;
    assert!(page.starts_with("<!doctype html>") && page.contains("Nothing stands out."), "{page}");
}

#[test]
fn without_an_admin_key_it_says_what_to_do() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let none = node.cli(&["reconcile"]);
    assert_eq!(none.code, 4);
    assert!(none.stderr.contains("credential add --upstream NAME --admin --from-file -"), "{}", none.stderr);
    assert_eq!(node.cli(&["reconcile", "--days", "91"]).code, 2);
}
