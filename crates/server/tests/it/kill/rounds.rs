//! The rounds: start, load, kill -9, start, compare.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use claviger_domain::clock::Entropy;
use claviger_testkit::{PostgresDatabase, SeededEntropy, eventually, sql, steady_port};
use serde_json::Value;

use super::clients::{Clients, Seen};
use crate::house::{Claviger, Key, Sim};

/// Requests that clients must have seen finished before a round's last kill.
const FINISHED_A_ROUND: usize = 50;
/// Load beyond the time of a start that a kill may be away.
const WINDOW: Duration = Duration::from_millis(1_500);
/// Kills during the very first start, while the database is made.
const FIRST_KILLS: u32 = 5;
/// A round that does not come to its end is stuck.
const ROUND: Duration = Duration::from_secs(120);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rounds: u64,
    pub seed: u64,
}

/// Where the data is.
pub enum Engine {
    Sqlite,
    Postgres(PostgresDatabase),
}

/// A run of rounds on one database.
pub struct Rounds {
    plan: Plan,
    engine: Engine,
    dice: SeededEntropy,
    sim: Sim,
    pub node: Claviger,
    key: Key,
    started_in: Duration,
    /// The newest checkpoint that was kept outside.
    kept: Option<PathBuf>,
    kills: u32,
    begun: Instant,
}

impl Rounds {
    /// Makes the database, killing its first starts, and a key.
    pub fn begin(plan: Plan, engine: Engine) -> Self {
        let address = format!("127.0.0.1:{}", steady_port());
        let mut node = Claviger::new().with_arguments(&["--listen", &address, "--drain-timeout", "5s"]);
        if let Engine::Postgres(database) = &engine {
            node = node.with_arguments(&["--database", database.url()]);
        }
        Self::begin_on(plan, engine, node, || ())
    }

    /// The same with a node that was made ready before, and something that happens at each kill.
    pub fn begin_on(plan: Plan, engine: Engine, mut node: Claviger, mut killed: impl FnMut()) -> Self {
        let dice = SeededEntropy::new(plan.seed);
        for _ in 0..FIRST_KILLS {
            node.launch();
            thread::sleep(up_to(&dice, Duration::from_millis(600)));
            node.kill();
            killed();
        }
        let begun = Instant::now();
        node.start();
        let started_in = begun.elapsed();
        let sim = Sim::for_load();
        node.connect(&sim);
        let key = node.key(&[]);
        Self { plan, engine, dice, sim, node, key, started_in, kept: None, kills: FIRST_KILLS, begun }
    }

    /// Does all rounds.
    ///
    /// # Panics
    /// With the round and the seed, when something a client saw finished is lost or a chain breaks.
    pub fn run(mut self) {
        assert!(self.sim.log().is_empty(), "the load keeps no log");
        let clients = Clients::start(self.node.gateway(), &self.key.key);
        for round in 1..=self.plan.rounds {
            self.round(round, &clients.seen);
        }
        let seen = clients.stop();
        self.compare(&seen, "the end");
        self.totals(&seen);
        assert!(self.node.stop().success());
        self.prove_stopped();
        self.summary(&seen);
    }

    /// Kills until clients have seen enough finished, then starts and compares.
    fn round(&mut self, round: u64, seen: &Arc<Seen>) {
        self.load(round, seen, || ());
        let start = Instant::now();
        self.node.start();
        self.started_in = (self.started_in + start.elapsed()) / 2;
        self.compare(seen, &format!("round {round} of seed {}", self.plan.seed));
    }

    /// Starts and kills until clients have seen enough finished.
    pub fn load(&mut self, round: u64, seen: &Arc<Seen>, mut killed: impl FnMut()) {
        let (before, begun) = (seen.count(), Instant::now());
        self.kill();
        killed();
        loop {
            self.node.launch();
            thread::sleep(up_to(&self.dice, self.started_in + WINDOW));
            self.keep_checkpoint();
            self.kill();
            killed();
            if seen.count() >= before + FINISHED_A_ROUND {
                break;
            }
            assert!(
                begun.elapsed() < ROUND,
                "round {round}: only {} finished: {:?}",
                seen.count() - before,
                seen.refused()
            );
        }
    }

    pub fn key(&self) -> &str {
        &self.key.key
    }

    fn kill(&mut self) {
        self.node.kill();
        self.kills += 1;
    }

    /// What clients saw finished is in the ledger, and the chains hold.
    pub fn compare(&self, seen: &Seen, when: &str) {
        let finished = seen.finished();
        let kept = request_ids(&self.url());
        let lost: Vec<_> = finished.iter().filter(|f| !kept.contains(&f.id)).collect();
        assert!(lost.is_empty(), "{when}: {} of {} lost: {:?}", lost.len(), finished.len(), lost[0]);
        self.prove(when);
    }

    fn prove(&self, when: &str) {
        let mut arguments = vec!["audit", "verify", "--json"];
        let kept = self.kept.as_ref().map(|path| path.display().to_string());
        if let Some(kept) = &kept {
            arguments.extend(["--against", kept]);
        }
        let done = self.node.cli(&arguments);
        assert_eq!(done.code, 0, "{when}: {}{}", done.stdout, done.stderr);
        let verdict: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(verdict["ok"], true, "{when}: {verdict}");
    }

    /// A stopped node proves its record as well; on PostgreSQL as long as the server runs.
    fn prove_stopped(&self) {
        if matches!(self.engine, Engine::Sqlite) {
            self.prove("stopped");
        }
    }

    /// The newest checkpoint that was written whole, as somebody outside would have kept it.
    fn keep_checkpoint(&mut self) {
        let Ok(text) = fs::read_to_string(self.node.data().join("checkpoints.jsonl")) else { return };
        let whole = text.lines().rev().find(|line| serde_json::from_str::<Value>(line).is_ok());
        if let Some(line) = whole {
            self.kept = Some(self.node.write("kept.json", line));
        }
    }

    /// At least what clients saw is billed.
    fn totals(&self, seen: &Seen) {
        let finished = seen.finished();
        let rows = self.node.json(&["usage", "--key", &self.key.id]);
        let total = |field: &str| rows[0][field].as_u64().unwrap();
        let tokens: u64 = finished.iter().map(|f| f.output_tokens).sum();
        assert!(total("requests") >= finished.len() as u64, "{rows}");
        assert!(total("output_tokens") >= tokens, "clients saw {tokens}: {rows}");
        assert_ne!(rows[0]["cost_pusd"], "0", "{rows}");
    }

    pub fn url(&self) -> String {
        match &self.engine {
            Engine::Sqlite => format!("sqlite:{}", self.node.data().join("claviger.db").display()),
            Engine::Postgres(database) => database.url().to_owned(),
        }
    }

    fn summary(&self, seen: &Seen) {
        let (finished, refused) = (seen.finished(), seen.refused());
        let streams = finished.iter().filter(|f| f.stream).count();
        eprintln!(
            "{} rounds of seed {}: {} kills, {} requests finished ({} % streams), {} broken, {} refused, in {:?}",
            self.plan.rounds,
            self.plan.seed,
            self.kills,
            finished.len(),
            streams * 100 / finished.len().max(1),
            seen.broken.load(std::sync::atomic::Ordering::Relaxed),
            refused.len(),
            self.begun.elapsed()
        );
        assert!(streams * 100 >= finished.len() * 30, "only {streams} of {} were streams", finished.len());
        let unexpected: Vec<_> = refused.iter().filter(|(status, _)| *status != 503).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }
}

/// A time from nothing to `most`, each as likely as any other.
pub fn up_to(dice: &SeededEntropy, most: Duration) -> Duration {
    let mut bytes = [0; 8];
    dice.fill(&mut bytes).unwrap();
    let part = u64::from_le_bytes(bytes) % 10_000;
    most.mul_f64(f64::from(u32::try_from(part).unwrap()) / 10_000.0)
}

/// The ids of all requests in the ledger, read beside the product.
pub fn request_ids(url: &str) -> HashSet<String> {
    let mut ids = HashSet::new();
    for body in sql::blobs(url, "SELECT body FROM ledger") {
        let text = String::from_utf8_lossy(&body);
        for (at, _) in text.match_indices("req_") {
            let id: String =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            ids.insert(id);
        }
    }
    ids
}

/// Waits until `/readyz` says this.
pub fn until_ready(node: &Claviger, ready: bool, within: Duration) -> Value {
    let status = if ready { 200 } else { 503 };
    eventually(&format!("/readyz to say {status}"), within, || {
        let answer = crate::wire::fetch(node.control(), "/readyz");
        (answer.status == status).then(|| answer.json())
    })
}
