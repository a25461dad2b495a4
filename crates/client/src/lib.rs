//! Lets a Rust program call a Claviger gateway with the HTTP client that it already uses.
//!
//! Reading order: [`config`] says what can be set, [`service`] what happens to a request, the rest is one part each.
//!
#![doc = include_str!("../README.md")]

pub mod batch;
pub mod body;
pub mod cache;
pub mod clock;
pub mod config;
mod content;
pub mod dotenv;
pub mod dpop;
pub mod error;
pub mod health;
pub mod key;
pub mod limiter;
pub mod prices;
pub mod redact;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod retry;
pub mod secret;
pub mod service;
pub mod signing;
pub mod stats;
mod succession;
#[cfg(feature = "rustls")]
pub mod tls;
mod token;
pub mod usage;
mod watch;

pub use batch::run_batch;
pub use body::{Body, ContentDigest};
pub use config::{Auth, Config};
pub use dpop::ProofKey;
pub use error::ClientError;
pub use secret::Secret;
pub use service::{Claviger, ClavigerLayer};
pub use signing::Signing;
#[cfg(feature = "rustls")]
pub use tls::ClientCertificate;

#[cfg(test)]
mod conformance;
