//! Whoever remembers, how it loses what it remembers, and how far clocks are apart there.

use std::sync::Arc;

use claviger_domain::{clock::Timestamp, ports::signing::NonceStore};
use claviger_storage::{Database, Durability, MemoryNonces, Options, RedisNonces};
use claviger_testkit::{PostgresDatabase, RedisServer, data_folder, postgres, redis_with_clock, sql};
use tempfile::TempDir;

use crate::dice::Dice;

pub enum Place {
    Memory,
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
    Redis(RedisServer),
}

/// What goes with a loss, by the rule of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// The node starts again.
    Restart,
    /// The nodes go on and notice; for a moment nobody may be there to ask.
    Nothing { outage: bool },
}

impl Place {
    pub fn sqlite() -> Self {
        Self::Sqlite(data_folder())
    }

    pub async fn postgres() -> Option<Self> {
        postgres().await.map(Self::Postgres)
    }

    pub fn redis() -> Option<Self> {
        redis_with_clock().map(Self::Redis)
    }

    /// Several, where they share what they know.
    pub const fn nodes(&self) -> usize {
        match self {
            Self::Memory | Self::Sqlite(_) => 1,
            Self::Postgres(_) | Self::Redis(_) => 3,
        }
    }

    /// How far a node's clock may be off, in seconds. Redis tells a loss by its own clock, which is up to 2 s off in the
    /// other direction; the others by the asking node's, so that two of those may be 5 s apart.
    pub const fn drift_secs(&self) -> i64 {
        match self {
            Self::Memory | Self::Sqlite(_) | Self::Postgres(_) => 2,
            Self::Redis(_) => 3,
        }
    }

    /// How much later than noticed a loss may be dated, in seconds: the server's clock runs while it is asked.
    pub const fn slack_secs(&self) -> i64 {
        match self {
            Self::Memory | Self::Sqlite(_) | Self::Postgres(_) => 0,
            Self::Redis(_) => 2,
        }
    }

    /// What a node that starts now asks.
    pub async fn store(&self, now: Timestamp) -> Arc<dyn NonceStore> {
        match self {
            Self::Memory => Arc::new(MemoryNonces::new(now, 10_000_000)),
            Self::Sqlite(folder) => Arc::new(open(&folder.path().join("c.db").to_string_lossy()).await),
            Self::Postgres(database) => Arc::new(open(database.url()).await),
            Self::Redis(server) => Arc::new(RedisNonces::new(&server.url()).unwrap()),
        }
    }

    /// The server's own clock, where it has one that can be set.
    pub fn set_clock(&self, now: Timestamp) {
        if let Self::Redis(server) = self {
            server.set_clock(now);
        }
    }

    /// Loses what is remembered, or the newest of it.
    pub async fn lose(&mut self, dice: &mut Dice) -> With {
        // A standby that got all but the last, or nothing at all.
        let newest = dice.one_in(2);
        let lost = if newest {
            "DELETE FROM nonces WHERE minute >= (SELECT max(minute) - 4 FROM nonces)"
        } else {
            "DELETE FROM nonces"
        };
        match self {
            Self::Memory => With::Restart,
            Self::Sqlite(folder) => {
                // A backup is put back; it was made some time ago, or long ago.
                let file = folder.path().join("c.db");
                let backup = folder.path().join("backup.db");
                let database = open(&file.to_string_lossy()).await;
                database.backup_to(&backup).await.unwrap();
                database.close().await;
                let url = format!("sqlite:{}", backup.display());
                assert!(sql::execute(&url, lost) < u64::MAX);
                for log in ["c.db-wal", "c.db-shm"] {
                    let _ = std::fs::remove_file(folder.path().join(log));
                }
                std::fs::rename(backup, file).unwrap();
                With::Restart
            }
            Self::Postgres(database) => {
                // After a failover the memory carries the old server's timeline.
                let failover = format!("{lost}; UPDATE nonce_memory SET mark = '00000000'");
                assert!(sql::execute(database.url(), &failover) < u64::MAX);
                With::Nothing { outage: false }
            }
            Self::Redis(server) if newest => {
                server.kill();
                server.start();
                With::Nothing { outage: true }
            }
            Self::Redis(server) => {
                assert_eq!(server.command(&["FLUSHALL"]), "+OK");
                With::Nothing { outage: false }
            }
        }
    }
}

async fn open(address: &str) -> Database {
    let options = Options { durability: Durability::Process, ..Options::default() };
    Database::open(address, options).await.unwrap()
}
