//! The simulator over real sockets: every endpoint, every fault, and what the log says about them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

mod admin;
mod faults;
mod harness;
mod keeping;
mod messages;
mod refusals;
mod streams;
mod test_keys;
