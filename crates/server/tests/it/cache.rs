//! The response cache, from end to end.

use std::thread;

use serde_json::{Value, json};

use crate::{
    house::{Claviger, Key, Sim, run},
    wire::{self, Answer, say, say_streamed},
};

fn ask(node: &Claviger, key: &Key, body: &Value) -> (Answer, Option<String>) {
    let answer = wire::message(node.gateway(), &key.key, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let word = answer.header("x-claviger-cache").map(str::to_owned);
    (answer, word)
}

fn cost(node: &Claviger) -> Value {
    node.json(&["usage"])[0]["cost_pusd"].clone()
}

#[test]
fn a_hit_costs_nothing_and_the_record_of_it_holds() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&["--cache", "5m"]);
    for body in [say("hello"), say_streamed("hello")] {
        let (first, word) = ask(&node, &key, &body);
        assert_eq!(word.as_deref(), Some("miss"));
        let paid = cost(&node);
        let (again, word) = ask(&node, &key, &body);
        assert_eq!(word.as_deref(), Some("hit"));
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_ne!(again.request_id(), first.request_id());
        assert_eq!(cost(&node), paid, "a hit is free");
    }
    assert_eq!(sim.log().len(), 2);
    let used = node.json(&["usage", "--by", "key"]);
    assert_eq!((&used[0]["requests"], &used[0]["response_cache_hits"]), (&4.into(), &2.into()), "{used}");
    let shown = node.json(&["cache", "show"]);
    let total = &shown["total"];
    assert_eq!(
        (&total["hits"], &total["misses"], &total["answers"]),
        (&2.into(), &2.into(), &2.into()),
        "{shown}"
    );
    assert_eq!(shown["workspaces"][0]["answers"], 2, "{shown}");
    let metrics = wire::fetch(node.control(), "/metrics").text();
    assert!(metrics.contains("claviger_cache_hits_total 2\n"), "{metrics}");
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);

    let done = node.cli(&["cache", "flush"]);
    assert!(done.stdout.starts_with("2 answers flushed, "), "{}", done.stdout);
    let (_, word) = ask(&node, &key, &say("hello"));
    assert_eq!(word.as_deref(), Some("miss"));
    let flushed = node.json(&["audit", "list"]).to_string();
    assert!(flushed.contains("cache.flush"), "{flushed}");

    // Nothing of it lasts.
    assert!(node.stop().success());
    node.start();
    let (_, word) = ask(&node, &key, &say("hello"));
    assert_eq!(word.as_deref(), Some("miss"));
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn many_who_ask_at_once_pay_for_one_call() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--cache", "on", "--rpm", "0"]);
    let body = say("[[sim: latency=700]] hello");
    let words: Vec<Option<String>> = thread::scope(|scope| {
        let tasks: Vec<_> = (0..40).map(|_| scope.spawn(|| ask(&node, &key, &body).1)).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(words.iter().filter(|word| word.as_deref() == Some("miss")).count(), 1, "{words:?}");
    assert_eq!(sim.log().len(), 1);
    assert_eq!(node.json(&["usage"])[0]["requests"], 40);
}

#[test]
fn a_key_is_given_a_time_changed_and_put_off_and_a_policy_forbids_it() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--cache", "1h"]);
    assert_eq!(node.json(&["key", "show", &key.id])["cache"], "3600s");
    assert_eq!(node.json(&["key", "update", &key.id, "--cache", "90s"])["cache"], "90s");
    assert_eq!(node.json(&["key", "update", &key.id, "--cache", "300"])["cache"], "300s");
    for bad in ["0s", "8d", "soon", "0"] {
        let done = node.cli(&["key", "update", &key.id, "--cache", bad]);
        assert!(done.code != 0 && done.stderr.contains("such as 300s, 5m or 1h"), "{bad}: {}", done.stderr);
    }
    assert_eq!(ask(&node, &key, &say("x")).1.as_deref(), Some("miss"));
    let set = node.json(&["policy", "set", "--forbid-cache"]);
    assert_eq!(set["breaches"]["first"][0]["rule"], "forbid_cache", "{set}");
    let mut refused = node.command();
    refused.args(["key", "create", "--name", "other", "--cache", "5m"]);
    let refused = run(refused, "", std::time::Duration::from_secs(60));
    assert!(refused.code == 4 && refused.stderr.contains("--cache off"), "{}", refused.stderr);
    claviger_testkit::eventually("the policy to hold", std::time::Duration::from_secs(10), || {
        ask(&node, &key, &say("x")).1.is_none().then_some(())
    });
    node.json(&["policy", "drop"]);
    claviger_testkit::eventually("the policy to go", std::time::Duration::from_secs(10), || {
        ask(&node, &key, &say("x")).1.is_some().then_some(())
    });
    assert_eq!(node.json(&["key", "update", &key.id, "--cache", "off"])["cache"], Value::Null);
    assert_eq!(ask(&node, &key, &say("x")).1, None);
}

#[test]
fn a_node_without_memory_for_it_has_none() {
    let sim = Sim::start();
    let node = Claviger::configured(&sim, "[cache]\nmemory = \"0\"\n");
    let key = node.key(&["--cache", "5m"]);
    assert_eq!((ask(&node, &key, &say("x")).1, ask(&node, &key, &say("x")).1), (None, None));
    let shown = node.cli(&["cache", "show"]);
    assert!(shown.stdout.contains("cache.memory is 0"), "{}", shown.stdout);
    assert_eq!(node.json(&["cache", "flush"]), json!({"answers": 0, "bytes": 0, "workspaces": []}));
}
