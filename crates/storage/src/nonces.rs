//! Whoever remembers nonces. One suite holds all of them to the same promise.

mod database;
mod memory;
mod redis;

pub use self::{memory::MemoryNonces, redis::RedisNonces};

pub(crate) use database::{Memory, OF_A_COPY, STATEMENTS};
