//! Two nodes on one PostgreSQL database: what operators are told, what is expected, and what is paid back holds for both
//! together.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use claviger_testkit::{eventually, steady_port};
use serde_json::{Value, json};

use crate::{
    house::{Claviger, Key, START, Sim, another},
    wire::{self, Wire, say, say_streamed},
};

struct Nodes {
    nodes: [Claviger; 2],
    sim: Sim,
    key: Key,
}

/// Runs a test on two nodes, where there is a PostgreSQL.
fn on_two_nodes(run: impl FnOnce(&Nodes)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(claviger_testkit::postgres()) else { return };
    let address = || format!("127.0.0.1:{}", steady_port());
    let arguments = ["--listen", &address(), "--drain-timeout", "5s", "--database", database.url()];
    let mut first = Claviger::new().with_arguments(&arguments);
    first.start();
    let sim = Sim::start();
    first.connect(&sim);
    let key = first.key(&[]);
    let second = another(&first, database.url(), &address());
    let nodes = Nodes { nodes: [first, second], sim, key };
    eventually("the second node to know the key", START, || {
        (wire::ask(nodes.nodes[1].gateway(), &wire::get("/v1/claviger/me", &nodes.key.key)).status == 200)
            .then_some(())
    });
    run(&nodes);
    let Nodes { nodes, .. } = nodes;
    for mut node in nodes {
        assert!(node.stop().success());
    }
}

impl Nodes {
    fn ask(&self, node: usize, usage: &Value, max_tokens: u64) -> wire::Answer {
        let mut body = say(&format!("[[sim: usage={usage}]]"));
        body["max_tokens"] = max_tokens.into();
        wire::message(self.nodes[node].gateway(), &self.key.key, &body)
    }

    fn budget(&self, node: usize) -> Value {
        self.nodes[node].json(&["budget", "show", "--key", &self.key.id])
    }

    /// Sets the key's budget, and waits until both nodes know it.
    fn set(&self, usd: &str, more: &[&str]) {
        let set = ["budget", "set", "--key", &self.key.id, "--usd", usd, "--per", "life"];
        let id = self.nodes[0].json(&[&set, more].concat())["id"].clone();
        let known = |node: &Claviger| {
            node.json(&["budget", "list"]).as_array().unwrap().iter().any(|b| b["id"] == id)
        };
        for node in &self.nodes {
            eventually("the node to know the budget", START, || known(node).then_some(()));
        }
    }
}

/// What is still to come of an answer.
fn rest(stream: &mut Wire, body: &mut wire::Body) -> String {
    let mut all = Vec::new();
    while let Some(piece) = stream.piece(body).expect("a clean end") {
        all.extend(piece);
    }
    String::from_utf8(all).expect("text")
}

fn pico(value: &Value, field: &str) -> i128 {
    value[field].as_str().expect(field).parse().expect(field)
}

/// Of a call of the simulator with so many input tokens and one of output, on Opus 5.5.
fn call(input: u64) -> (Value, i128) {
    (json!({"input_tokens": input, "output_tokens": 1}), i128::from(input) * 4_000_000 + 20_000_000)
}

#[test]
fn a_share_of_a_budget_that_only_both_nodes_together_have_reached_is_told_once() {
    on_two_nodes(|nodes| {
        // Each call is a tenth of the budget: neither node comes to a half of it by itself.
        let (usage, cost) = call(24_995);
        assert_eq!(cost, 100_000_000_000);
        nodes.set("1", &["--soft"]);
        let told = || -> Vec<String> {
            let listed = nodes.nodes[0].json(&["notice", "list"]);
            let listed = listed
                .as_array()
                .unwrap()
                .iter()
                .filter(|n| n["kind"].as_str().unwrap().starts_with("budget."));
            let mut titles: Vec<String> = listed.map(|n| n["title"].as_str().unwrap().to_owned()).collect();
            titles.sort();
            titles
        };
        let spend = |times: [usize; 2]| {
            for (node, times) in times.into_iter().enumerate() {
                for _ in 0..times {
                    assert_eq!(nodes.ask(node, &usage, 16).status, 200);
                }
            }
        };
        let shares = |all: &[&str]| -> Vec<String> {
            let mut titles: Vec<String> = all
                .iter()
                .map(|share| format!("The budget of key \"test\", $1 for life, is spent{share}"))
                .collect();
            titles.sort();
            titles
        };
        spend([3, 1]);
        thread::sleep(Duration::from_secs(3));
        assert_eq!(told(), Vec::<String>::new());
        spend([1, 2]);
        eventually("the half to be told", START, || (!told().is_empty()).then_some(()));
        // Both pass all that is left at the same time.
        thread::scope(|scope| {
            for node in [[2, 0], [0, 2]] {
                scope.spawn(move || spend(node));
            }
        });
        let all = shares(&[" by 50 %", " by 75 %", " by 90 %", " by 95 %", ""]);
        eventually("all shares to be told", START, || (told().len() >= all.len()).then_some(()));
        thread::sleep(Duration::from_secs(3));
        assert_eq!(told(), all);
        assert_eq!(pico(&nodes.budget(1), "settled_pusd"), 11 * cost);
    });
}

#[test]
fn two_nodes_together_pass_an_expected_budget_by_no_more_than_the_bound_that_is_printed() {
    on_two_nodes(|nodes| {
        nodes.set("0.1", &["--mode", "expected"]);
        // Nine calls teach each node what they cost.
        for node in [0, 1] {
            for _ in 0..10 {
                assert_eq!(
                    nodes.ask(node, &json!({"input_tokens": 20, "output_tokens": 8}), 500).status,
                    200
                );
            }
        }
        // Long streams at once on both, which come to far more than is left.
        let mut streams = Vec::new();
        for number in 0..6 {
            let mut body = say_streamed(&format!("[[sim: deltas=600; delta-chars=40; gap=100]] {number}"));
            body["max_tokens"] = 8_000.into();
            let mut connection = Wire::to(nodes.nodes[number % 2].gateway());
            connection.patience(START);
            connection.send(wire::post("/v1/messages", &nodes.key.key, &body.to_string()));
            streams.push(connection);
        }
        let mut bodies: Vec<wire::Body> = streams
            .iter_mut()
            .map(|stream| {
                let head = stream.head();
                assert_eq!(head.status, 200, "what such calls have cost fits for all of them");
                head.body(false)
            })
            .collect();
        // What others hold is known a second later; what is left lasts for eight.
        thread::sleep(Duration::from_millis(2_500));
        let bounds: Vec<i128> =
            (0..2).map(|node| pico(&nodes.budget(node), "overshoot_bound_pusd")).collect();
        assert!(bounds.iter().all(|bound| *bound > 0), "{bounds:?}");
        let ends: Vec<String> =
            streams.iter_mut().zip(&mut bodies).map(|(stream, body)| rest(stream, body)).collect();
        let cut =
            ends.iter().filter(|end| end.contains("event: error") && end.contains("billing_error")).count();
        assert_eq!(cut, ends.len(), "nobody gets more than there is: {ends:?}");
        let settled = eventually("all to be settled", START, || {
            let shown = nodes.budget(1);
            (pico(&shown, "reserved_pusd") == 0).then(|| pico(&shown, "settled_pusd"))
        });
        let limit = 100_000_000_000;
        let over = settled - limit;
        assert!(bounds.iter().all(|bound| over <= *bound), "{over} of {bounds:?}");
        // Each may have been cut a piece before the end.
        assert!(settled * 10 >= limit * 9, "{settled}");
        let long = "word ".repeat(20_000);
        for node in [0, 1] {
            let refused = wire::message(nodes.nodes[node].gateway(), &nodes.key.key, &say(&long));
            assert_eq!(
                (refused.status, refused.error().0.as_str()),
                (429, "billing_error"),
                "{}",
                refused.text()
            );
        }
    });
}

#[test]
fn what_is_paid_back_on_one_node_is_not_spent_on_the_other() {
    on_two_nodes(|nodes| {
        let [first, second] = &nodes.nodes;
        let account =
            first.json(&["credit", "open", "--key", &nodes.key.id])["id"].as_str().unwrap().to_owned();
        first.json(&["credit", "top-up", &account, "--usd", "4"]);
        // Calls that a node began before it knew of the account do not count against it.
        eventually("the other node to know the account", START, || {
            let listed = second.json(&["budget", "list"]);
            listed.as_array().unwrap().iter().any(|b| b["credit_account"] == account.as_str()).then_some(())
        });
        let (over, answered, refunded) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for client in 0..8 {
                let (over, answered) = (&over, &answered);
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        match nodes.ask(client % 2, &call(5_000).0, 16).status {
                            200 => answered.fetch_add(1, Ordering::SeqCst),
                            429 => 0,
                            other => panic!("{other}"),
                        };
                    }
                });
            }
            // Whoever is asked pays back what is left, as long as anything is.
            for number in 0..12 {
                let done = nodes.nodes[number % 2].cli(&["credit", "refund", &account, "--usd", "0.25"]);
                match done.code {
                    0 => refunded.fetch_add(1, Ordering::SeqCst),
                    4 if done.stderr.contains("is left") => 0,
                    other => panic!("{other}: {}", done.stderr),
                };
            }
            over.store(true, Ordering::SeqCst);
        });
        let (answered, refunded) = (answered.into_inner(), refunded.into_inner());
        assert!(answered > 4 && refunded > 2, "{answered} calls, {refunded} refunds");
        let shown = eventually("nothing to be held back", START, || {
            let shown = second.json(&["credit", "show", &account]);
            (pico(&shown, "reserved_pusd") == 0).then_some(shown)
        });
        let billed: i128 = nodes.sim.bills().iter().map(|bill| bill.cost).sum();
        let paid = 4_000_000_000_000 - i128::try_from(refunded).unwrap() * 250_000_000_000;
        assert_eq!((pico(&shown, "settled_pusd"), pico(&shown, "paid_pusd")), (billed, paid), "{shown}");
        assert!(billed <= paid, "{shown}");
        // All that is left goes back, on one; then neither makes a call.
        let left = shown["left_usd"].as_str().unwrap();
        if left != "0" {
            second.json(&["credit", "refund", &account, "--usd", left]);
        }
        for node in [0, 1] {
            assert_eq!(nodes.ask(node, &call(1).0, 16).status, 429);
        }
        assert_eq!(first.json(&["credit", "verify"])["ok"], true);
        assert_eq!(second.json(&["credit", "verify"])["ok"], true);
    });
}

/// gateways.md, 3.10 and 3.21: what is judged by one process's memory holds for that process. How far it holds for all is
/// told, and no further: each node admits what the limit allows, not a call more, and so do two nodes twice that.
#[test]
fn limits_on_requests_and_tokens_hold_on_each_node_and_for_both_at_twice_their_size() {
    on_two_nodes(|nodes| {
        let first = &nodes.nodes[0];
        let requests = first.key(&["--rpd", "5"]);
        let tokens = first.key(&["--itpd", "1000"]);
        let together = first.key(&["--concurrency", "1"]);
        for key in [&requests, &tokens, &together] {
            let me = wire::get("/v1/claviger/me", &key.key);
            eventually("the second node to know the key", START, || {
                (wire::ask(nodes.nodes[1].gateway(), &me).status == 200).then_some(())
            });
        }
        for node in &nodes.nodes {
            let statuses = |key: &Key, times: usize, body: &Value| -> Vec<u16> {
                (0..times).map(|_| wire::message(node.gateway(), &key.key, body).status).collect()
            };
            assert_eq!(statuses(&requests, 7, &say("x")), [200, 200, 200, 200, 200, 429, 429]);
            let body = say(&format!("[[sim: usage={}]]", call(400).0));
            assert_eq!(statuses(&tokens, 4, &body), [200, 200, 200, 429]);
        }
        // One call in flight on each.
        let slow = |node: &Claviger| {
            let mut wire = Wire::to(node.gateway());
            wire.send(wire::post("/v1/messages", &together.key, &say("[[sim: latency=3000]]").to_string()));
            wire
        };
        let mut flying: Vec<Wire> = nodes.nodes.iter().map(slow).collect();
        for node in &nodes.nodes {
            eventually("the call to be in flight", START, || {
                (node.json(&["limits", "show", &together.id])["in_flight"] == 1).then_some(())
            });
        }
        assert!(flying.iter_mut().all(|wire| wire.answer().status == 200));
    });
}
