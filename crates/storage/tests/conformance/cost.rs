//! What a group commit costs, measured by hand:
//! `cargo test --release -p claviger-storage --test conformance cost -- --ignored --nocapture --test-threads 1`.

#![expect(clippy::print_stdout, reason = "measurements are printed")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use claviger_domain::{
    clock::Timestamp,
    ledger::{Group, Intent, LedgerRow, Outcome, Party},
    permission::Endpoint,
};
use claviger_storage::{Database, Durability, Options};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    place::Place,
    samples::{Committer, START, Samples},
};

const UPKEEP_MS: u64 = 100;

/// CPU time of all threads of this process, in microseconds.
fn cpu_us() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let spent = |path: &Path| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|task| spent(&task.path())).sum::<f64>() / 1_000.0
}

fn request(s: &Samples, party: &Party, at: Timestamp) -> (Intent, LedgerRow) {
    let intent = s.intent(party, at);
    let row = LedgerRow {
        intent: Some(intent.id.clone()),
        outcome: Outcome::Completed,
        endpoint: Endpoint::Messages,
        model: "claude-opus-5-5".to_owned(),
        api_endpoint: "POST /v1/messages".to_owned(),
        ..s.row(party, at)
    };
    (intent, row)
}

/// Each group holds `size` new intents and settles those of the group before it: two memberships a request.
async fn measure(db: &Database, size: usize, seed: u64) {
    let s = Samples::new(seed);
    let parties: Vec<_> = (0..8).map(|_| s.party()).collect();
    let mut c = Committer::open(db, s.node()).await;
    let groups = (65_536 / size).clamp(128, 4_096);
    let mut prepared = Vec::new();
    let mut rows = Vec::new();
    for n in 0..groups {
        // Two milliseconds a group.
        let at = START.plus_micros(i64::try_from(n).unwrap() * 2_000);
        let (intents, next): (Vec<_>, Vec<_>) = (0..size).map(|_| request(&s, &s.pick(&parties), at)).unzip();
        prepared.push((at, intents, std::mem::replace(&mut rows, next)));
    }
    let mut waits = Vec::with_capacity(groups);
    let (began, cpu) = (Instant::now(), cpu_us());
    for (at, intents, rows) in prepared {
        let group = Group { intents, rows, ..c.group(at) };
        let one = Instant::now();
        c.commit(db, &group).await;
        waits.push(one.elapsed().as_micros());
    }
    let (cpu, wall) = (cpu_us() - cpu, began.elapsed());
    let requests = groups * size;
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 1_000];
    println!(
        "{size:>4} a group: {:>7.1} µs CPU a request, {:>8.1} µs CPU and {:>8.1} µs a group, p50 {} p99 {} p99.9 {} µs",
        cpu / requests as f64,
        cpu / groups as f64,
        wall.as_secs_f64() * 1e6 / groups as f64,
        at(500),
        at(990),
        at(999),
    );
}

async fn measure_all(place: Place) {
    for durability in [Durability::Process, Durability::Fsync] {
        let db = Arc::new(place.try_open(Options { durability, ..Options::default() }).await.unwrap());
        let mut upkeep = JoinSet::new();
        let kept = db.clone();
        upkeep.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(UPKEEP_MS)).await;
                kept.upkeep().await.unwrap();
            }
        });
        println!("{durability:?}");
        for size in sizes() {
            measure(&db, size, size as u64 * 2 + u64::from(durability == Durability::Fsync)).await;
        }
        upkeep.shutdown().await;
        db.close().await;
    }
}

#[tokio::test]
#[ignore = "measures; says nothing about right or wrong"]
async fn sqlite() {
    measure_all(Place::sqlite()).await;
}

#[tokio::test]
#[ignore = "measures; says nothing about right or wrong"]
async fn postgres() {
    if let Some(place) = Place::postgres().await {
        measure_all(place).await;
    }
}

/// Those of `COST_SIZES=1,64`, or all.
fn sizes() -> Vec<usize> {
    let told = std::env::var("COST_SIZES").ok();
    told.map_or_else(
        || vec![1, 4, 16, 32, 64, 128],
        |text| text.split(',').map(|n| n.parse().unwrap()).collect(),
    )
}
