//! kill -9 under load: whatever a client saw finished is in the ledger, and no chain breaks.

mod clients;
mod disk;
mod ground;
pub mod rounds;
mod unsynced;

use rounds::{Engine, Plan, Rounds};

/// How many rounds to do: 20 in a test, many more in a soak.
const ROUNDS: &str = "CLAVIGER_TEST_ROUNDS";
/// From which seed the times of the kills are drawn.
const SEED: &str = "CLAVIGER_TEST_SEED";

fn plan() -> Plan {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    Plan { rounds: number(ROUNDS).unwrap_or(20), seed: number(SEED).unwrap_or(1) }
}

#[test]
fn sqlite() {
    Rounds::begin(plan(), Engine::Sqlite).run();
}

#[test]
fn postgres() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(claviger_testkit::postgres()) else { return };
    Rounds::begin(plan(), Engine::Postgres(database)).run();
}
