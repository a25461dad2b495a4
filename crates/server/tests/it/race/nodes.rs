//! The same race through three nodes on one database: what all of them settle and hold back never passes a ceiling, also when
//! one dies, and a dead node's part is free again once its lease has lapsed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use claviger_claude_sim::{LogConfig, SimConfig};
use claviger_testkit::{PostgresDatabase, eventually, sql, steady_port};

use super::{
    book::{self, Watch},
    clients::{self, Ends, Load},
    rounds::{CALL_PUSD, FOLD, Plan, matched, rows},
};
use crate::house::{Claviger, Key, START, Sim, another};

const NODES: usize = 3;
/// What stands in the store: limit, what is settled, what nodes may spend without asking, what is held back for batches.
const STANDINGS: &str = "SELECT convert_to(concat_ws(' ', b.limit_pusd, \
    COALESCE((SELECT SUM(CAST(t.cost_usd AS NUMERIC) * 1000000000000 + t.cost_rest_pusd) FROM budget_totals t \
    WHERE t.budget_id = b.id), 0), \
    COALESCE((SELECT SUM(GREATEST(k.amount_pusd, 0)) FROM budget_blocks k WHERE k.budget_id = b.id), 0)), 'UTF8') \
    FROM budgets b WHERE b.dropped_us IS NULL";

/// What of a budget is settled in the totals, and in blocks.
#[derive(Debug, Clone, Copy)]
struct Stored {
    limit: i128,
    settled: i128,
    blocks: i128,
}

fn stored(url: &str) -> Vec<Stored> {
    let line = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let numbers: Vec<i128> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        Stored { limit: numbers[0], settled: numbers[1], blocks: numbers[2] }
    };
    sql::blobs(url, STANDINGS).into_iter().map(line).collect()
}

/// Looks into the database all the time; how often.
fn watch_store(url: &str, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            for stored in stored(&url) {
                assert!(stored.settled + stored.blocks <= stored.limit, "{stored:?}");
            }
            looks += 1;
            thread::sleep(Duration::from_millis(5));
        }
        looks
    })
}

/// Three nodes, each with a data folder of its own and the master key of the first.
struct Nodes {
    plan: Plan,
    url: String,
    sim: Sim,
    nodes: Vec<Claviger>,
    key: Key,
    limit: i128,
    begun: Instant,
}

fn node(url: &str, address: &str) -> Claviger {
    Claviger::new().with_arguments(&["--listen", address, "--drain-timeout", "5s", "--database", url])
}

fn address() -> String {
    format!("127.0.0.1:{}", steady_port())
}

impl Nodes {
    fn begin(plan: Plan, database: &PostgresDatabase, on_disconnect: &str) -> Self {
        let begun = Instant::now();
        let url = database.url().to_owned();
        let mut first = node(&url, &address());
        first.start();
        let sim = Sim::start_with(|config| SimConfig {
            latency: Duration::from_millis(5),
            event_gap: Duration::from_millis(1),
            deltas: 8,
            log: LogConfig { memory_lines: 1_000_000, file: None },
            ..config
        });
        first.connect(&sim);
        let key = first.key(&["--on-disconnect", on_disconnect, "--budget", "0/life"]);
        let others: Vec<_> = (1..NODES).map(|_| another(&first, &url, &address())).collect();
        let nodes = std::iter::once(first).chain(others).collect();
        Self { plan, url, sim, nodes, key, limit: 0, begun }
    }

    /// The clients of one node.
    fn load(&self, node: usize, round: u64, harmful: bool) -> Load {
        let Plan { seed, clients, requests, .. } = self.plan;
        let clients = (clients + NODES - 1 - node) / NODES;
        let seed = (seed * 1_000 + round) * 10 + node as u64;
        Load { gateway: self.nodes[node].gateway(), clients, requests, seed, harmful }
    }

    /// Raises every ceiling by what the next round may cost, and lets all nodes hear of it.
    fn raise(&mut self) {
        let calls = i128::try_from(self.plan.clients * self.plan.requests).unwrap();
        self.limit += calls * CALL_PUSD / FOLD;
        let usd = format!("{}.{:012}", self.limit / 1_000_000_000_000, self.limit % 1_000_000_000_000);
        let shown = self.nodes[0].json(&["key", "show", &self.key.id]);
        let owner = shown["owner"]["id"].as_str().or(shown["owner"].as_str()).expect("an owner").to_owned();
        let workspace = shown["workspace"]["id"]
            .as_str()
            .or(shown["workspace"].as_str())
            .expect("a workspace")
            .to_owned();
        for subject in
            [&["--key", &*self.key.id][..], &["--owner", &owner], &["--workspace", &workspace], &["--all"]]
        {
            self.nodes[0].json(&[&["budget", "set"], subject, &["--usd", &usd, "--per", "life"]].concat());
        }
        for node in &self.nodes {
            eventually("all nodes to know the budgets", START, || {
                let standings = book::standings(node.data())?;
                (standings.len() == 4 && standings.iter().all(|s| s.limit == self.limit)).then_some(())
            });
        }
    }

    /// Waits until nothing is held back anywhere; what is settled, as every node says.
    fn quiet(&self) -> i128 {
        eventually("no block to be left", START, || {
            stored(&self.url).iter().all(|stored| stored.blocks == 0).then_some(())
        });
        let settled: Vec<i128> = self
            .nodes
            .iter()
            .flat_map(|node| {
                eventually("nothing held back", START, || {
                    let standings = book::standings(node.data())?;
                    standings.iter().all(|s| s.reserved == 0).then_some(standings)
                })
            })
            .map(|standing| standing.settled)
            .collect();
        assert!(settled.iter().all(|one| *one == settled[0]), "{settled:?}");
        settled[0]
    }

    /// How many nodes hold a lease.
    fn leases(&self) -> usize {
        sql::blobs(&self.url, "SELECT convert_to(node, 'UTF8') FROM node_leases").len()
    }

    fn enough(&self, ends: &Ends, settled: i128, when: &str) {
        let refused = ends.get("spent").copied().unwrap_or_default();
        let asked: usize = ends.values().sum();
        assert!(refused * 2 > asked, "{when}: only {refused} of {asked} were refused");
        assert!(settled * 2 > self.limit, "{when}: {settled} of {} was used", self.limit);
    }

    fn run(mut self, kills: bool) {
        for round in 0..self.plan.rounds {
            self.raise();
            let stop = Arc::new(AtomicBool::new(false));
            let store = watch_store(&self.url, &stop);
            let watches: Vec<Watch> =
                self.nodes.iter().map(|node| Watch::begin(node.data().to_owned())).collect();
            let clients: Vec<_> = (0..NODES)
                .flat_map(|node| clients::start(self.load(node, round, kills), &self.key.key))
                .collect();
            if kills {
                thread::sleep(Duration::from_millis(700));
                self.replace(1);
            }
            let ends = clients::join(clients);
            let settled = self.quiet();
            let seen: usize = watches.into_iter().map(|watch| watch.end().looks).sum();
            stop.store(true, Ordering::Relaxed);
            let looks = store.join().expect("a store whose ceilings are never passed");
            let when = format!("round {round} of seed {}: {ends:?}", self.plan.seed);
            let (rows, bills) = (rows(&self.nodes[0]), self.sim.bills());
            let billed: i128 = bills.iter().map(|bill| bill.cost).sum();
            assert_eq!(rows.iter().map(|row| row.cost).sum::<i128>(), settled, "{when}");
            let equal = matched(&rows, &bills, &when);
            if kills {
                let marked = rows.iter().filter(|row| row.is_marked).count();
                assert!(settled >= billed, "{when}: {settled} booked, {billed} billed");
                assert!(bills.len() - equal <= marked, "{when}: {equal} equal, {marked} marked");
            } else {
                assert_eq!(settled, billed, "{when}");
                assert_eq!(equal, bills.len(), "{when}");
            }
            assert!(settled <= self.limit, "{when}: {settled} of {}", self.limit);
            self.enough(&ends, settled, &when);
            assert!(seen > 20 && looks > 20, "{when}: {seen} and {looks}");
            // Whoever died without a block is taken over, too, once its lease has lapsed: by nobody when all have stopped.
            eventually("the dead to be taken over", START, || (self.leases() == NODES).then_some(()));
        }
        for node in &mut self.nodes {
            assert!(node.stop().success());
        }
        assert_eq!(self.leases(), 0);
        eprintln!("{} rounds on {NODES} nodes in {:?}", self.plan.rounds, self.begun.elapsed());
    }

    /// One dies; another takes its place, which knows nothing of it: its part is free only once its lease has lapsed.
    fn replace(&mut self, number: usize) {
        let address = self.nodes[number].gateway().to_string();
        self.nodes[number].kill();
        let new = another(&self.nodes[0], &self.url, &address);
        self.nodes[number] = new;
    }
}

pub fn replicas_together(plan: Plan, database: &PostgresDatabase) {
    Nodes::begin(plan, database, "drain").run(false);
}

pub fn one_dies(plan: Plan, database: &PostgresDatabase) {
    Nodes::begin(plan, database, "cancel").run(true);
}
