//! Parts that fail: a clear error, the part by its name in `/readyz`, nothing lost, and well again by itself.

use std::time::{Duration, Instant};

use claviger_testkit::{Fault, FaultProxy, eventually, postgres, sql};
use serde_json::Value;

use crate::{
    house::{Claviger, Key, Sim, another},
    kill::rounds::{request_ids, until_ready},
    wire::{self, Answer, say, say_streamed},
};

const NOTICE: Duration = Duration::from_secs(30);

fn part<'a>(report: &'a Value, name: &str) -> &'a Value {
    let parts = report["parts"].as_array().expect("parts");
    parts.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn ask(node: &Claviger, key: &Key) -> Answer {
    wire::message(node.gateway(), &key.key, &say("hello"))
}

fn id(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.clean), (200, true), "{}", answer.text());
    answer.header("x-request-id").unwrap().to_owned()
}

#[test]
fn a_locked_store_loses_nothing() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    assert_eq!(ask(&node, &key).status, 200);
    let url = format!("sqlite:{}", node.data().join("claviger.db").display());

    let lock = sql::Lock::hold(&url);
    let mut ids = vec![id(&ask(&node, &key))];
    let report = until_ready(&node, false, NOTICE);
    assert_eq!(part(&report, "recorder")["state"], "failing", "{report}");
    ids.extend((0..5).map(|_| id(&ask(&node, &key))));
    let streamed = wire::message(node.gateway(), &key.key, &say_streamed("hello"));
    ids.push(id(&streamed));
    let refused = node.cli(&["key", "create", "--name", "locked"]);
    assert_eq!(refused.code, 4, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("unavailable"), "{}", refused.stderr);
    drop(lock);

    until_ready(&node, true, NOTICE);
    let kept = request_ids(&url);
    let lost: Vec<_> = ids.iter().filter(|id| !kept.contains(*id)).collect();
    assert!(lost.is_empty(), "{lost:?} of {ids:?}");
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
    node.key(&[]);
}

#[test]
fn what_a_locked_store_did_not_take_survives_a_kill() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    assert_eq!(ask(&node, &key).status, 200);
    let url = format!("sqlite:{}", node.data().join("claviger.db").display());
    let lock = sql::Lock::hold(&url);
    let ids: Vec<_> = (0..5).map(|_| id(&ask(&node, &key))).collect();
    node.kill();
    drop(lock);
    let before = request_ids(&url);
    assert!(ids.iter().any(|id| !before.contains(id)), "the store took them although it was locked");
    node.start();
    let kept = request_ids(&url);
    let lost: Vec<_> = ids.iter().filter(|id| !kept.contains(*id)).collect();
    assert!(lost.is_empty(), "{lost:?} of {ids:?}");
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
}

/// PostgreSQL behind a proxy that can be told to fail.
struct Away {
    database: claviger_testkit::PostgresDatabase,
    proxy: FaultProxy,
    node: Claviger,
    key: Key,
    sim: Sim,
}

impl Away {
    fn start() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(postgres())?;
        let url = database.url();
        let host = url.split(['@', '/']).find(|part| part.contains(':') && !part.ends_with(':')).unwrap();
        let proxy = FaultProxy::start(host.parse().expect("PostgreSQL by address and port"));
        let through = url.replace(host, &proxy.address().to_string());
        let sim = Sim::start();
        let node = Claviger::before(&sim, &["--database", &through]);
        let key = node.key(&[]);
        Some(Self { proxy, node, key, sim, database })
    }

    fn cut(&self) {
        self.proxy.set(Fault::Refuse);
        self.proxy.cut();
    }

    fn lost(&self, ids: &[String]) -> usize {
        let kept = request_ids(self.database.url());
        ids.iter().filter(|id| !kept.contains(*id)).count()
    }
}

#[test]
fn without_postgresql_known_keys_go_on_within_the_bound_and_nothing_is_lost() {
    let Some(away) = Away::start() else { return };
    let unknown = away.node.key(&[]);
    let mut ids = vec![id(&ask(&away.node, &away.key))];
    away.cut();
    let begun = Instant::now();
    ids.push(id(&ask(&away.node, &away.key)));
    ids.push(id(&wire::message(away.node.gateway(), &away.key.key, &say_streamed("hello"))));
    assert!(begun.elapsed() < Duration::from_secs(9), "answers took {:?}", begun.elapsed());
    let refused = away.node.cli(&["key", "create", "--name", "away"]);
    assert_eq!(refused.code, 4, "a change needs the store: {}{}", refused.stdout, refused.stderr);

    // Past the bound nobody knows what was revoked: refused, on purpose.
    let report = until_ready(&away.node, false, NOTICE);
    eventually("refusals past the bound", NOTICE, || {
        let answer = ask(&away.node, &away.key);
        if answer.status == 200 {
            ids.push(id(&answer));
        }
        (answer.status == 503).then_some(())
    });
    assert!(begun.elapsed() > Duration::from_secs(5), "refused after {:?} already", begun.elapsed());
    assert_eq!(ask(&away.node, &unknown).status, 503);
    let failing = ["feed", "recorder"].iter().any(|name| part(&report, name)["state"] == "failing");
    assert!(failing, "{report}");

    away.proxy.set(Fault::None);
    until_ready(&away.node, true, NOTICE);
    ids.push(id(&ask(&away.node, &away.key)));
    assert_eq!(away.lost(&ids), 0, "of {ids:?}");
    assert_eq!(away.node.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn what_postgresql_did_not_take_survives_a_kill() {
    let Some(mut away) = Away::start() else { return };
    let mut ids = vec![id(&ask(&away.node, &away.key))];
    away.cut();
    ids.push(id(&ask(&away.node, &away.key)));
    ids.push(id(&ask(&away.node, &away.key)));
    away.node.kill();
    assert!(away.lost(&ids) > 0, "PostgreSQL was not away");
    away.proxy.set(Fault::None);
    away.node.start();
    assert_eq!(away.lost(&ids), 0, "of {ids:?}");
    assert_eq!(away.node.json(&["audit", "verify"])["ok"], true);
}

/// Another node could spend the same money, as it cannot know of what is only in this one's spool.
#[test]
fn without_postgresql_nothing_is_sent_under_a_hard_budget() {
    let Some(away) = Away::start() else { return };
    let key = away.node.key(&["--budget", "5/day"]);
    assert_eq!((ask(&away.node, &key).status, ask(&away.node, &away.key).status), (200, 200));
    let billed = away.sim.log().len();
    away.cut();
    let refused = ask(&away.node, &key);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(away.sim.log().len(), billed, "it was sent all the same");
    assert_eq!(ask(&away.node, &away.key).status, 200, "no budget binds this one");

    away.proxy.set(Fault::None);
    until_ready(&away.node, true, NOTICE);
    assert_eq!(ask(&away.node, &key).status, 200);
    let shown = away.node.json(&["budget", "show", "--key", &key.id]);
    eventually("nothing held back", NOTICE, || {
        let shown = away.node.json(&["budget", "show", "--key", &key.id]);
        shown.to_string().contains(r#""reserved_pusd":"0""#).then_some(())
    });
    assert!(!shown.to_string().contains(r#""settled_pusd":"0""#), "{shown}");
}

#[test]
fn a_node_that_is_cut_off_is_taken_over_ends_and_loses_nothing() {
    let Some(mut away) = Away::start() else { return };
    let key = away.node.key(&["--budget", "5/day"]);
    let mut ids = vec![id(&ask(&away.node, &key)), id(&ask(&away.node, &away.key))];
    let other = another(&away.node, away.database.url(), "127.0.0.1:0");
    let leases = || sql::blobs(away.database.url(), "SELECT convert_to(node, 'UTF8') FROM node_leases").len();
    assert_eq!(leases(), 2);
    away.cut();
    // Recorded in the spool alone.
    ids.push(id(&ask(&away.node, &away.key)));
    eventually("the other node to take this one over", NOTICE, || (leases() == 1).then_some(()));
    assert_eq!(ask(&other, &key).status, 200);

    away.proxy.set(Fault::None);
    assert!(!away.node.wait().success());
    away.node.start();
    ids.push(id(&ask(&away.node, &key)));
    assert_eq!(away.lost(&ids), 0, "of {ids:?}");
    assert_eq!(away.node.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn a_start_without_its_database_says_so() {
    let port = claviger_testkit::free_port();
    let url = format!("postgres://claviger:hunter2@127.0.0.1:{port}/claviger");
    let node = Claviger::new();
    let done =
        node.cli(&["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--database", &url]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains("database"), "{}", done.stderr);
    assert!(!done.stderr.contains("hunter2"), "a password in an error: {}", done.stderr);
    assert_eq!(done.stdout, "");
}
