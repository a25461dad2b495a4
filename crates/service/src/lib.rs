//! The use cases: load, ask `domain`, apply, record. One write path, entered alike by gateway, control plane,
//! command line and jobs. Read in this order.

mod lock;
mod naming;

pub mod error;
pub mod caller;
pub mod services;
pub mod grants;
pub mod feed;
pub mod admission;
pub mod recorder;
pub mod resources;
pub mod routes;
pub mod upstreams;
pub mod keys;
pub mod tenants;
pub mod usage;
pub mod audit;
pub mod checkpoints;
pub mod refusals;
pub mod bootstrap;
pub mod jobs;
pub mod health;

pub use caller::Caller;
pub use error::ServiceError;
pub use services::{Background, Deps, Services, Settings};
