//! What tests stand on: a clock that is moved by hand, seeded randomness, folders, databases, a proxy that breaks
//! connections, and a server that keeps every byte it was sent. A dev-dependency only.
//!
//! Servers here run on their own threads with blocking sockets: they work under any runtime, with its time paused or not.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "a test that cannot be set up shall stop where it stands and say so"
)]

mod clock;
mod entropy;
mod fault_proxy;
mod folder;
mod http;
mod ports;
mod postgres;
mod raw_server;
mod redis;
pub mod sql;
mod wait;

pub use clock::ManualClock;
pub use entropy::{NoEntropy, SeededEntropy};
pub use fault_proxy::{Fault, FaultProxy};
pub use folder::data_folder;
pub use http::{Framing, RawRequest};
pub use ports::{FreePrices, NoCourier, NoKeys, PlainSealer};
pub use postgres::{POSTGRES_URL, PostgresDatabase, postgres};
pub use raw_server::{Answer, RawServer};
pub use redis::{RedisServer, redis, redis_with_clock};
pub use wait::{eventually, free_port, impossible, skip, steady_port};
