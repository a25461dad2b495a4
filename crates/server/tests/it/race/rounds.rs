//! The rounds: a ceiling, clients that would pass it 20-fold, quiet, and the comparison with the provider's bill.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use claviger_claude_sim::{LogConfig, SimConfig};
use claviger_domain::clock::Entropy;
use claviger_testkit::{PostgresDatabase, SeededEntropy, eventually, steady_port};
use serde_json::Value;

use super::{
    book::{self, Watch},
    clients::{self, Ends, Load},
};
use crate::house::{Bill, Claviger, Key, START, Sim};

/// Roughly what one call costs: 6,000 tokens of input and a few of output.
pub(super) const CALL_PUSD: i128 = 25_000_000_000;
/// How often clients would pass the ceiling, if they could.
pub(super) const FOLD: i128 = 20;
/// Kills in each round.
const KILLS: u32 = 2;
/// The mark of a row whose usage was estimated.
const ESTIMATED: u64 = 1 << 1;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rounds: u64,
    pub seed: u64,
    pub clients: usize,
    /// Requests of each client in a round.
    pub requests: usize,
}

/// A run of rounds on one database.
pub struct Rounds {
    plan: Plan,
    dice: SeededEntropy,
    sim: Sim,
    node: Claviger,
    key: Key,
    limit: i128,
    begun: Instant,
}

/// A row of the ledger that counts against budgets.
pub(super) struct Row {
    upstream_id: Option<String>,
    pub(super) cost: i128,
    /// Its outcome is unknown, or its usage estimated.
    pub(super) is_marked: bool,
}

impl Rounds {
    pub fn begin(plan: Plan, database: Option<&PostgresDatabase>, on_disconnect: &str) -> Self {
        let begun = Instant::now();
        let address = format!("127.0.0.1:{}", steady_port());
        let mut node = Claviger::new().with_arguments(&["--listen", &address, "--drain-timeout", "5s"]);
        if let Some(database) = database {
            node = node.with_arguments(&["--database", database.url()]);
        }
        node.start();
        let sim = Sim::start_with(|config| SimConfig {
            latency: Duration::from_millis(5),
            event_gap: Duration::from_millis(1),
            deltas: 8,
            log: LogConfig { memory_lines: 1_000_000, file: None },
            ..config
        });
        node.connect(&sim);
        let key = node.key(&["--on-disconnect", on_disconnect, "--budget", "0/life"]);
        let dice = SeededEntropy::new(plan.seed);
        Self { plan, dice, sim, node, key, limit: 0, begun }
    }

    /// Nobody dies and everything is drained: the book is the bill, to the pico-dollar.
    pub fn without_kills(mut self) {
        for round in 0..self.plan.rounds {
            let watch = self.raise();
            let ends = clients::join(clients::start(self.load(round, false), &self.key.key));
            let settled = self.quiet();
            let seen = watch.end();
            let (rows, bills) = (rows(&self.node), self.sim.bills());
            let when = format!("round {round} of seed {}: {ends:?}", self.plan.seed);
            let billed: i128 = bills.iter().map(|bill| bill.cost).sum();
            assert_eq!(rows.iter().map(|row| row.cost).sum::<i128>(), settled, "{when}");
            assert_eq!(settled, billed, "{when}");
            assert_eq!(matched(&rows, &bills, &when), bills.len(), "{when}");
            self.enough(&ends, settled, &when);
            assert!(seen.looks > 20 && seen.held > 0, "{when}: {seen:?}");
        }
        assert!(self.node.stop().success());
        eprintln!("{} rounds without kills in {:?}", self.plan.rounds, self.begun.elapsed());
    }

    /// Nodes are killed, calls are cancelled and lost: the book is never less than the bill, and both agree on every
    /// call that is not marked.
    pub fn with_kills(mut self) {
        for round in 0..self.plan.rounds {
            let watch = self.raise();
            let clients = clients::start(self.load(round, true), &self.key.key);
            for _ in 0..KILLS {
                thread::sleep(self.up_to(Duration::from_millis(1_500)));
                self.node.kill();
                self.node.start();
            }
            let ends = clients::join(clients);
            let settled = self.quiet();
            let seen = watch.end();
            let (rows, bills) = (rows(&self.node), self.sim.bills());
            let when = format!("round {round} of seed {}: {ends:?}", self.plan.seed);
            assert_eq!(rows.iter().map(|row| row.cost).sum::<i128>(), settled, "{when}");
            let billed: i128 = bills.iter().map(|bill| bill.cost).sum();
            assert!(settled >= billed, "{when}: {settled} booked, {billed} billed");
            let equal = matched(&rows, &bills, &when);
            let marked = rows.iter().filter(|row| row.is_marked).count();
            // What has no row of its own is what was marked.
            assert!(
                bills.len() - equal <= marked,
                "{when}: {} bills, {equal} equal, {marked} marked",
                bills.len()
            );
            assert!(equal > 0 && seen.looks > 20, "{when}: {seen:?}");
            assert!(ends.contains_key("spent"), "{when}");
        }
        assert!(self.node.stop().success());
        eprintln!("{} rounds with kills in {:?}", self.plan.rounds, self.begun.elapsed());
    }

    fn load(&self, round: u64, harmful: bool) -> Load {
        let Plan { seed, clients, requests, .. } = self.plan;
        Load { gateway: self.node.gateway(), clients, requests, seed: seed * 1_000 + round, harmful }
    }

    /// Raises every ceiling by what the next round may cost, and begins to watch.
    fn raise(&mut self) -> Watch {
        let calls = i128::try_from(self.plan.clients * self.plan.requests).unwrap();
        self.limit += calls * CALL_PUSD / FOLD;
        let usd = format!("{}.{:012}", self.limit / 1_000_000_000_000, self.limit % 1_000_000_000_000);
        self.node.json(&["budget", "set", "--key", &self.key.id, "--usd", &usd, "--per", "life"]);
        for period in ["month", "life"] {
            self.node.json(&["budget", "set", "--all", "--usd", &usd, "--per", period]);
        }
        Watch::begin(self.node.data().to_owned())
    }

    /// Waits until nothing is held back; what is settled, in every budget alike.
    fn quiet(&self) -> i128 {
        let standings = eventually("nothing held back", START, || {
            let standings = book::standings(self.node.data())?;
            standings.iter().all(|standing| standing.reserved == 0).then_some(standings)
        });
        assert_eq!(standings.len(), 3);
        assert!(standings.iter().all(|s| s.settled == standings[0].settled), "{standings:?}");
        standings[0].settled
    }

    /// The clients did try to pass the ceiling, and most of it was used.
    fn enough(&self, ends: &Ends, settled: i128, when: &str) {
        let refused = ends.get("spent").copied().unwrap_or_default();
        let asked: usize = ends.values().sum();
        assert!(refused * 2 > asked, "{when}: only {refused} of {asked} were refused");
        assert!(settled * 2 > self.limit, "{when}: {settled} of {} was used", self.limit);
    }

    fn up_to(&self, most: Duration) -> Duration {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes).unwrap();
        most.mul_f64(f64::from(u32::try_from(u64::from_le_bytes(bytes) % 10_000).unwrap()) / 10_000.0)
    }
}

/// The rows that count against budgets, read from an export of the record.
pub(super) fn rows(node: &Claviger) -> Vec<Row> {
    let export = node.cli(&["audit", "export"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    let lines = export.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = lines.filter_map(|line| find_rows(&line).cloned()).flatten();
    let charged = rows.filter(|row| row["charges"].is_array());
    charged
        .map(|row| Row {
            upstream_id: row["upstream_request_id"].as_str().map(str::to_owned),
            cost: row["cost"].as_str().expect("a cost").parse().unwrap(),
            is_marked: row["outcome"] == "unknown" || row["flags"].as_u64().unwrap() & ESTIMATED != 0,
        })
        .collect()
}

/// The rows of a line of the export, if it has any.
fn find_rows(line: &Value) -> Option<&Vec<Value>> {
    line.get("rows").or_else(|| line.get("data")?.get("rows"))?.as_array()
}

/// How many bills have a row of their own that says the same. One that is not marked and says something else is wrong.
pub(super) fn matched(rows: &[Row], bills: &[Bill], when: &str) -> usize {
    let by_id: HashMap<&str, &Row> =
        rows.iter().filter_map(|row| Some((row.upstream_id.as_deref()?, row))).collect();
    let mut equal = 0;
    for bill in bills {
        let Some(row) = by_id.get(bill.request_id.as_str()).filter(|row| !row.is_marked) else { continue };
        assert_eq!(row.cost, bill.cost, "{when}: {}", bill.request_id);
        equal += 1;
    }
    equal
}
