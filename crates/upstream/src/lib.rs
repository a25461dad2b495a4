//! Everything that is said to a provider: where it is, how the connection is made and kept, which key is
//! shown, what is tried again, and what is thought of a credential's health afterwards.
//!
//! The crate knows nothing of callers: whoever asks has been let in already. Read `config`, `target`, `client`,
//! then `pool` and `transport` below it; `retry` and `health` are pure and stand by themselves.

pub mod account;
pub mod body;
pub mod client;
pub mod config;
pub mod credential;
pub mod dns;
pub mod documents;
pub mod error;
pub mod health;
mod pool;
pub mod probe;
mod proxy;
pub mod retry;
mod stream;
pub mod target;
pub mod timed;
mod tls;
pub mod transport;

pub use account::AdminApi;
pub use body::{RequestBody, UpstreamBody};
pub use client::{SendFailure, UpstreamClient};
pub use config::{PoolLimits, ProxyConfig, UpstreamConfig};
pub use credential::{CredentialForm, ProviderKey};
pub use documents::Documents;
pub use error::{ConfigError, ConnectPhase, UpstreamError};
pub use health::{Availability, Cause, Circuit, HealthBoard, HealthCell, HealthPolicy, Signal};
pub use probe::{Probe, ProbeReport, Verdict, probe};
pub use retry::{Decision, GiveUp, Outcome, Progress, RetryPolicy, retry_after};
pub use target::{Target, TargetError};
pub use timed::{BodyTimeouts, TimedBody, TimedError};
pub use transport::Transport;
