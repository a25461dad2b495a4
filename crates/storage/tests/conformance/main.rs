//! What the ports promise, held against both engines. PostgreSQL: the server that `CLAVIGER_TEST_POSTGRES_URL` names.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails shall stop where it stands and say so"
)]

mod blocks;
mod budgets;
mod children;
mod control;
mod cost;
mod credit;
mod faults;
mod feed;
mod file;
mod idempotency;
mod jobs;
mod ledger;
mod notices;
mod operators;
mod orphans;
mod place;
mod policies;
mod proof;
mod refused;
mod reports;
mod retention;
mod rotations;
mod samples;
mod tenancy;
mod tokens;
mod workload;
