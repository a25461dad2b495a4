//! The use cases: load, ask `domain`, apply, record. One write path, entered alike by gateway, control plane,
//! command line and jobs. Read in this order.

mod dependants;
mod digests;
mod ending;
#[cfg(test)]
mod fake;
mod holder_rates;
mod lock;
mod naming;

pub mod admission;
pub mod approvals;
pub mod audit;
pub mod bootstrap;
pub mod budgets;
pub mod caller;
pub mod certificates;
pub mod channels;
pub mod checkpoints;
pub mod children;
pub mod credit;
pub mod deliveries;
pub mod direct_use;
pub mod error;
pub mod feed;
pub mod grants;
pub mod health;
pub mod idempotency;
pub mod jobs;
pub mod keys;
mod nodes;
pub mod nonces;
pub mod notices;
pub mod operators;
pub mod policies;
pub mod recall;
pub mod reconcile;
pub mod recorder;
pub mod refusals;
pub mod reports;
pub mod resources;
pub mod reviews;
pub mod revocation;
pub mod rotation;
pub mod routes;
pub mod scheduler;
pub mod services;
pub mod signing;
pub mod tenants;
pub mod tokens;
pub mod upstreams;
pub mod usage;
pub mod workload;
pub mod wrapping;

pub use caller::Caller;
pub use error::ServiceError;
pub use services::{Background, Deps, Services, Settings};
