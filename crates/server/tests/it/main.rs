//! The binary from end to end: real processes, real sockets, real databases. The Claude API is the simulator, run
//! inside the test so that its log can be read.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that fails shall stop where it stands and say so; real processes live in real time"
)]

mod apply;
mod audit;
mod bad_input;
mod batch;
mod budgets;
mod cache;
mod cli;
mod control;
mod credit;
mod direct_use;
mod first_start;
mod handover;
mod house;
mod kill;
mod limits;
mod mail;
mod notices;
mod outage;
mod policies;
mod race;
mod reconcile;
mod refused;
mod reviews;
mod revocation;
mod rotation;
mod rust_client;
mod streams;
mod tls;
mod two_nodes;
mod wire;
