//! Many clients against one ceiling: whatever they and the provider do, and whoever dies, it is never passed, nothing is
//! left held back, and the book is the provider's bill.

mod book;
mod clients;
mod nodes;
mod rounds;

use claviger_testkit::PostgresDatabase;
use rounds::{Plan, Rounds};

/// How many rounds to do: one in a test, with few clients; many in a soak, with 200.
const ROUNDS: &str = "CLAVIGER_TEST_ROUNDS";
/// From which seed what clients do is drawn.
const SEED: &str = "CLAVIGER_TEST_SEED";

fn plan() -> Plan {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let seed = number(SEED).unwrap_or(1);
    match number(ROUNDS) {
        Some(rounds) => Plan { rounds, seed, clients: 200, requests: 20 },
        None => Plan { rounds: 1, seed, clients: 32, requests: 40 },
    }
}

fn race(database: Option<&PostgresDatabase>) {
    Rounds::begin(plan(), database, "drain").without_kills();
}

fn race_with_kills(database: Option<&PostgresDatabase>) {
    Rounds::begin(plan(), database, "cancel").with_kills();
}

fn on_postgres(run: impl FnOnce(Option<&PostgresDatabase>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(claviger_testkit::postgres()) else { return };
    run(Some(&database));
}

#[test]
fn sqlite() {
    race(None);
}

#[test]
fn postgres() {
    on_postgres(race);
}

/// Replicas do not count each for themselves.
#[test]
fn replicas_do_not_pass_a_ceiling_together() {
    on_postgres(|database| nodes::replicas_together(plan(), database.unwrap()));
}

#[test]
fn a_dead_nodes_block_is_charged_and_freed() {
    on_postgres(|database| nodes::one_dies(plan(), database.unwrap()));
}

#[test]
fn killed_sqlite() {
    race_with_kills(None);
}

#[test]
fn killed_postgres() {
    on_postgres(race_with_kills);
}
