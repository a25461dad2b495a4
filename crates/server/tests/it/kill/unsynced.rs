//! The loss of power: on a file system that forgets what was not synced, nothing that a client saw finished is lost.
//! kill -9 alone would let a database pass that never syncs: what was written is still in the kernel's memory.

mod mount;
mod tree;

use std::time::Instant;

use super::{
    clients::Clients,
    plan,
    rounds::{Engine, Rounds, request_ids},
};
use crate::house::Claviger;
use mount::Disk;

/// Rounds of a test; a soak does as many as it is told.
const LOSSES: u64 = 5;
/// Losses of power among which one at least must be seen where nothing is synced.
const FORGETFUL_LOSSES: u64 = 10;

#[test]
fn unsynced() {
    let Some(mut disk) = Disk::mount("kill::unsynced::unsynced") else { return };
    let mut plan = plan();
    plan.rounds = std::env::var(super::ROUNDS).map_or(LOSSES, |_| plan.rounds);
    let node = Claviger::new().with_data(&disk.path().join("data"));
    let (begun, mut lost) = (Instant::now(), 0);
    let mut rounds = Rounds::begin_on(plan, Engine::Sqlite, node_on_port(node), || lost += disk.lose_power());
    let clients = Clients::start(rounds.node.gateway(), rounds.key());
    for round in 1..=plan.rounds {
        rounds.load(round, &clients.seen, || lost += disk.lose_power());
        rounds.node.start();
        rounds.compare(&clients.seen, &format!("loss {round} of seed {}", plan.seed));
    }
    let seen = clients.stop();
    assert!(rounds.node.stop().success());
    assert!(seen.count() > 0 && lost > 0, "{} finished, {lost} bytes lost", seen.count());
    eprintln!(
        "{} losses of power: {} requests finished, {lost} unsynced bytes lost, in {:?}",
        plan.rounds,
        seen.count(),
        begun.elapsed()
    );
}

/// The proof that the test can fail: told not to sync, the gateway loses what clients saw. A single loss may meet the
/// moment at which SQLite has just moved its log into the database, and synced both: then the next one must show it.
#[test]
fn without_syncing_the_loss_is_seen() {
    let Some(mut disk) = Disk::mount("kill::unsynced::without_syncing_the_loss_is_seen") else { return };
    let mut node = node_on_port(Claviger::new().with_data(&disk.path().join("data")));
    node.start();
    assert!(node.stop().success());
    let node = node.with_arguments(&["--durability", "process"]);
    let mut rounds = Rounds::begin_on(plan(), Engine::Sqlite, node, || ());
    let clients = Clients::start(rounds.node.gateway(), rounds.key());
    let is_seen = (1..=FORGETFUL_LOSSES).any(|round| {
        rounds.load(round, &clients.seen, || ());
        let finished = clients.seen.finished();
        disk.lose_power();
        let kept = request_ids(&rounds.url());
        rounds.node.start();
        finished.iter().any(|f| !kept.contains(&f.id))
    });
    let seen = clients.stop();
    assert!(is_seen, "all {} requests are there: does this disk forget?", seen.count());
}

fn node_on_port(node: Claviger) -> Claviger {
    let address = format!("127.0.0.1:{}", claviger_testkit::steady_port());
    node.with_arguments(&["--listen", &address, "--drain-timeout", "5s"])
}
