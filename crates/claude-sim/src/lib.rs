//! A simulated Claude API: it answers `cvg_test_` keys inside the gateway, and it is the upstream of tests and
//! measurements. What it says depends on the request alone; faults and odd usage come on demand (see [`directive`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use claviger_claude_sim::{SimConfig, Simulator, WallClock};
//!
//! let simulator = Simulator::new(SimConfig::stand_alone(WallClock::fixed(1_795_000_000_000)))?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! simulator.serve(listener, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod arrival;
mod auth;
mod batch;
mod body;
mod cache;
mod call;
mod config;
mod diagnostics;
pub mod directive;
mod error;
mod events;
mod file;
mod headers;
mod log;
mod messages;
mod models;
mod page;
mod request;
mod route;
mod seed;
mod series;
mod serve;
mod simulator;
mod text;
mod usage;
mod workspace;

pub use self::body::{Aborted, SimBody};
pub use self::call::Hangup;
pub use self::config::{KeyRing, Limits, LogConfig, SimConfig, Voice, WallClock};
pub use self::directive::DirectiveError;
pub use self::serve::bind_shared;
pub use self::simulator::{SetupError, Simulator};
