//! Whoever remembers nonces. One suite holds all of them to the same promise.

mod database;
mod memory;

pub use memory::MemoryNonces;

pub(crate) use database::{Memory, STATEMENTS};
