//! The only door to encryption at rest: envelope encryption with AES-256-GCM.
//!
//! A master key, kept in a file outside the database, wraps data keys; data keys seal values, each bound to the row
//! that it lives in. What comes out of a database without the master key's file is noise, and a value that was changed
//! or moved to another row does not open.

mod aead;
mod envelope;
mod master;

pub use envelope::{DATA_KEY, Envelope, OpenError, SEALS_PER_DATA_KEY};
pub use master::{MasterKey, MasterKeyError, MasterKeyId};
