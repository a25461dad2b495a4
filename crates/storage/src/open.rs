//! Opening a database: where it is, how it may be used, and what can be wrong with it.

use std::path::PathBuf;

use claviger_domain::ports::StoreError;

use crate::failure::Failure;

/// What a commit survives (`ledger.durability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The loss of power.
    #[default]
    Fsync,
    /// The death of the process, but not the loss of power.
    Process,
}

/// What may be done with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everything; it is created and migrated when needed.
    #[default]
    ReadWrite,
    /// Reading only; its schema must be this release's.
    ReadOnly,
}

/// How to open a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What a commit survives.
    pub durability: Durability,
    /// What may be done with it.
    pub access: Access,
    /// SQLite: connections that read at most, each with a thread and 1 MiB of cache; made when needed.
    pub read_connections: u32,
    /// PostgreSQL: connections at most.
    pub server_connections: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            access: Access::ReadWrite,
            read_connections: 4,
            server_connections: 8,
        }
    }
}

/// A database could not be opened, migrated or copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an address of a database.
    #[error("not a database address: use a file, `sqlite:FILE` or `postgres://USER@HOST/DATABASE`")]
    Address,
    /// There is no such file.
    #[error("there is no database at {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be made.
    #[error("{} cannot be created: {kind}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// Opened for reading only, but it would have to be migrated first.
    #[error(
        "the database has schema {found}, this release needs {known}: start the server once to migrate it"
    )]
    OlderSchema {
        /// The schema in the database.
        found: i64,
        /// What this release needs.
        known: i64,
    },
    /// A migration failed; it was rolled back.
    #[error("the migration to schema {version} failed and was rolled back: {why}")]
    Migration {
        /// Its number.
        version: i64,
        /// What the engine said.
        why: StoreError,
    },
    /// What is in the database was written by a different history of migrations.
    #[error("schema {version} of the database is not the one that this release made")]
    ForeignSchema {
        /// The migration that differs.
        version: i64,
    },
    /// Not here.
    #[error(
        "PostgreSQL is backed up with its own tools: `pg_dump --format=custom`, or a base backup with WAL"
    )]
    UsePgDump,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}
