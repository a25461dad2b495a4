#![doc = include_str!("../README.md")]

mod admin;
mod answer;
mod arrival;
mod auth;
mod batch;
mod body;
mod cache;
mod call;
mod config;
mod diagnostics;
mod directive;
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
