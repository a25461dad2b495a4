//! Getting off the drawer: calls through the gateway and calls straight to the provider with the same key; the report
//! finds exactly those that passed us by.

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

fn sim() -> Sim {
    Sim::start_with(|config| SimConfig { admin_keys: vec![ADMIN_KEY.to_owned()], ..config })
}

/// Tokens of one call: in and out, as the answer says.
fn call(address: std::net::SocketAddr, key: &str, words: &str) -> (u64, u64) {
    let body = json!({"model": "claude-opus-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": words}]});
    let body = body.to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: t\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = wire::ask(address, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message: Value = serde_json::from_str(&answer.text()).unwrap();
    let tokens = |name: &str| message["usage"][name].as_u64().unwrap();
    (tokens("input_tokens"), tokens("output_tokens"))
}

fn sum(calls: &[(u64, u64)]) -> (u64, u64) {
    calls.iter().fold((0, 0), |sum, call| (sum.0 + call.0, sum.1 + call.1))
}

/// Tokens in a row of the report.
fn tokens(row: &Value, kind: &str) -> (u64, u64) {
    let number = |side: &str| row[format!("{kind}{side}_tokens")].as_u64().unwrap();
    (number("input"), number("output"))
}

fn row<'a>(report: &'a Value, hint: &str) -> &'a Value {
    let rows = report["keys"].as_array().unwrap();
    rows.iter().find(|row| row["hint"].as_str().unwrap().starts_with(hint)).expect("a row")
}

fn seal_admin(node: &Claviger, key: &str) -> crate::house::Done {
    let add = ["credential", "add", "--upstream", "sim", "--admin", "--from-file", "-", "--json"];
    node.cli_with_input(&add, &format!("{key}\n"))
}

#[test]
fn the_report_finds_exactly_what_passed_us_by() {
    let sim = sim();
    let node = Claviger::before(&sim, &[]);
    assert_eq!(seal_admin(&node, ADMIN_KEY).code, 0);
    let key = node.key(&[]);
    let through: Vec<_> =
        ["a", "some more words"].iter().map(|w| call(node.gateway(), &key.key, w)).collect();
    let direct = [call(sim.address(), PROVIDER_KEY, "straight to the provider")];
    let laptop = [call(sim.address(), LAPTOP_KEY, "x"), call(sim.address(), LAPTOP_KEY, "from a laptop")];

    let report = eventually("the ledger", Duration::from_secs(20), || {
        let report = node.json(&["credential", "usage"]);
        (tokens(row(&report, "sk-ant-api03-pro"), "through_") == sum(&through)).then_some(report)
    });
    let ours = row(&report, "sk-ant-api03-pro");
    assert_eq!(ours["credential"], "sim");
    assert_eq!(tokens(ours, ""), sum(&[through.clone(), direct.to_vec()].concat()));
    assert_eq!(tokens(ours, "direct_"), sum(&direct));
    assert_eq!(tokens(&ours["days"][0], "direct_"), sum(&direct));
    assert_eq!(
        (&ours["last_seen"], &ours["last_direct"]),
        (&ours["days"][0]["day"], &ours["days"][0]["day"])
    );
    let other = row(&report, "sk-ant-api03-lap");
    assert_eq!(other["credential"], "unknown");
    assert_eq!((tokens(other, "through_"), tokens(other, "direct_")), ((0, 0), sum(&laptop)));
    assert_eq!((report["keys"].as_array().unwrap().len(), &report["unmatched_credentials"]), (2, &json!([])));

    let lines = node.cli(&["credential", "usage", "--days", "1"]).stdout;
    let cells: Vec<Vec<&str>> = lines.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        cells.iter().map(|row| (row.len(), row[2])).collect::<Vec<_>>(),
        [(12, "unknown"), (12, "sim")]
    );

    node.json(&["job", "run", "weekly_report"]);
    let weekly = eventually("the weekly report", Duration::from_secs(20), || {
        let done = node.cli(&["report", "weekly"]);
        (done.code == 0).then_some(done.stdout)
    });
    assert!(weekly.contains("## Provider keys still used past Claviger (2)"), "{weekly}");
    assert!(weekly.contains("| sim |") && weekly.contains("| unknown |"), "{weekly}");

    let audit = node.json(&["audit", "list", "--limit", "1000"]);
    let asked = audit.as_array().unwrap().iter().filter(|r| r["action"] == "credential.usage");
    assert!(asked.count() >= 2, "{audit}");
}

#[test]
fn the_admin_key_serves_nobody() {
    let sim = sim();
    let node = Claviger::started();
    node.json(&["upstream", "add", "sim", "--kind", "anthropic", "--base-url", &sim.url()]);
    let made = seal_admin(&node, ADMIN_KEY);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!((&made["purpose"], &made["name"]), (&json!("admin"), &json!("sim-admin")));
    let key = node.key(&[]);
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: t\r\nx-api-key: {}\r\nanthropic-version: 2023-06-01\r\n\r\n",
        key.key
    );
    assert_eq!(wire::ask(node.gateway(), request.as_bytes()).status, 503);
    assert!(sim.log().is_empty(), "nothing was sent");
}

#[test]
fn a_report_that_cannot_be_made_says_what_to_do() {
    let sim = sim();
    let node = Claviger::before(&sim, &[]);
    let none = node.cli(&["credential", "usage"]);
    assert_eq!(none.code, 4);
    assert!(none.stderr.contains("credential add --upstream NAME --admin --from-file -"), "{}", none.stderr);

    let wrong = seal_admin(&node, PROVIDER_KEY);
    assert_eq!(wrong.code, 4);
    assert!(wrong.stderr.contains("sk-ant-admin"), "{}", wrong.stderr);
    let add = ["credential", "add", "--upstream", "sim", "--name", "x", "--from-file", "-"];
    let wrong = node.cli_with_input(&add, ADMIN_KEY);
    assert_eq!(wrong.code, 4);
    assert!(wrong.stderr.contains("--admin"), "{}", wrong.stderr);

    assert_eq!(seal_admin(&node, "sk-ant-admin01-of-somebody-else-0123456789abcdefghij-AA").code, 0);
    let refused = node.cli(&["credential", "usage"]);
    assert_eq!(refused.code, 4);
    assert!(
        refused.stderr.contains("401") && refused.stderr.contains("invalid x-api-key"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("sk-ant-admin01"), "{}", refused.stderr);
    let days = node.cli(&["credential", "usage", "--days", "91"]);
    assert_eq!(days.code, 2);
}
