//! Ceilings on money, as an operator sets them and a caller meets them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    house::{Claviger, Done, Sim, run},
    wire::{self, say},
};

/// gateways.md, 3.9: a key's budget was neither kept nor enforced, came into force early, and could not be taken away.
#[test]
fn a_budget_made_with_a_key_is_kept_holds_to_its_amount_and_can_be_taken_away() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&["--budget", "0.19/life"]);
    let ask = |node: &Claviger, tokens: u64| {
        wire::message(
            node.gateway(),
            &key.key,
            &say(&format!("[[sim: usage={{\"input_tokens\":{tokens}}}]]")),
        )
    };
    let first = ask(&node, 5_000);
    assert_eq!(first.status, 200, "it can cost less than there is: {}", first.text());
    let refused = ask(&node, 5_000);
    assert_eq!((refused.status, refused.error().0.as_str()), (429, "billing_error"), "{}", refused.text());
    let standing = |node: &Claviger| node.json(&["budget", "show", "--key", &key.id]);
    let before = standing(&node);
    node.stop();
    node.start();
    assert_eq!(standing(&node), before);
    assert_eq!(ask(&node, 1).status, 429);
    assert_eq!(sim.bills().len(), 1);
    node.json(&["budget", "drop", "--key", &key.id, "--per", "life"]);
    assert_eq!(ask(&node, 1).status, 200);
}

#[test]
fn a_holder_sees_what_is_left_of_every_budget_that_binds_its_key() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--budget", "5/day"]);
    node.json(&["budget", "set", "--all", "--usd", "100", "--per", "month", "--soft"]);
    node.json(&["budget", "set", "--workspace", "default", "--usd", "20", "--per", "life"]);
    let elsewhere = node.json(&["workspace", "create", "elsewhere"])["id"].as_str().unwrap().to_owned();
    node.json(&["budget", "set", "--workspace", &elsewhere, "--usd", "1", "--per", "day"]);
    let usage = r#"[[sim: usage={"input_tokens":1000,"output_tokens":1}]]"#;
    assert_eq!(wire::message(node.gateway(), &key.key, &say(usage)).status, 200);
    let holder = |key: &str, arguments: &[&str]| -> Done {
        let mut command = node.command();
        let gateway = format!("http://{}", node.gateway());
        command.env("XDG_RUNTIME_DIR", node.folder()).env("CLAVIGER_BASE_URL", gateway);
        command.args(arguments).args(["--key-file", "-"]);
        run(command, &format!("{key}\n"), Duration::from_secs(60))
    };
    let child = holder(&key.key, &["token"]);
    assert_eq!(child.code, 0, "{}", child.stderr);
    for asks in [key.key.as_str(), child.stdout.trim()] {
        let me = wire::ask(node.gateway(), &wire::get("/v1/claviger/me", asks)).json();
        let budgets = me["budgets"].as_array().unwrap();
        let shown = |b: &Value| ["subject", "period", "hard", "left_pusd"].map(|name| b[name].clone());
        assert_eq!(
            json!(budgets.iter().map(shown).collect::<Vec<_>>()),
            json!([
                ["key", "day", true, "4995980000000"],
                ["workspace", "life", true, "19995980000000"],
                ["all", "month", false, "99995980000000"],
            ]),
            "{me}"
        );
        assert_eq!((&budgets[0]["limit_usd"], &budgets[1]["resets_at"]), (&json!("5"), &Value::Null));
        assert!(!me.to_string().contains("bdg_"), "{me}");
    }
    let text = holder(&key.key, &["whoami"]).stdout;
    assert!(text.contains("key\tday\ttrue\t5\t4.99598\t"), "{text}");
}
