//! In the database: shared by all nodes, and as durable as everything else there.
//!
//! One statement inserts the nonce if nobody did, unless the memory may have gaps: it must carry the mark that is the
//! database's own at this moment, and have begun when it is known to have. On PostgreSQL the mark is the timeline, which
//! changes when a standby that may not have got the last commits takes over, and the cluster; SQLite's file is its only
//! copy, and each backup of it is marked as one.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    ports::{
        StoreError,
        signing::{NonceError, NonceStore},
    },
    signature::nonce::{Loss, NonceUse, NonceVerdict},
};

use crate::{
    Database,
    engine::{args, read, statements},
    failure::Failure,
};

/// How far the clocks of nodes may be apart, in seconds: beyond 5 they are not ready.
const MARGIN_SECS: i64 = 5;
const MINUTE: i64 = 60;

statements! {
    MEMORY = "SELECT mark AS id, lost_secs, forgotten_minute FROM nonce_memory WHERE id = 1";
    BEGIN = "INSERT INTO nonce_memory (id, mark, lost_secs, forgotten_minute) VALUES (1, $1, $2, 0) \
             ON CONFLICT (id) DO UPDATE SET mark = excluded.mark, lost_secs = excluded.lost_secs \
             WHERE nonce_memory.mark <> excluded.mark";
    TAKE = "INSERT INTO nonces (key_id, nonce, minute) SELECT $1, $2, $3 \
            WHERE EXISTS (SELECT 1 FROM nonce_memory WHERE id = 1 AND mark = $4 AND lost_secs = $5 \
            AND forgotten_minute < $3) ON CONFLICT (key_id, nonce) DO NOTHING";
    NOTE_FORGOTTEN = "UPDATE nonce_memory SET forgotten_minute = $1 WHERE id = 1 AND forgotten_minute < $1";
    FORGET = "DELETE FROM nonces WHERE minute <= $1";
}

/// The same on PostgreSQL, where the timeline must be the server's own at this moment, too.
pub(crate) const TAKE_POSTGRES: &str = "INSERT INTO nonces (key_id, nonce, minute) SELECT $1, $2, $3 \
     WHERE EXISTS (SELECT 1 FROM nonce_memory WHERE id = 1 AND mark = $4 AND lost_secs = $5 \
     AND forgotten_minute < $3 AND substr(mark, 1, 8) = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)) \
     ON CONFLICT (key_id, nonce) DO NOTHING";
/// PostgreSQL's timeline, and which cluster it is of: a dump that is put into another one begins anew. A standby has no
/// timeline to tell, and takes no nonces.
pub(crate) const MARK_POSTGRES: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ':' || \
     CAST(system_identifier AS TEXT) AS id FROM pg_control_system()";
pub(crate) const MARK_SQLITE: &str = "SELECT 'file' AS id";

/// A copy that is put back does not know what was accepted since it was made: its memory begins anew.
pub(crate) const OF_A_COPY: &str = "UPDATE nonce_memory SET mark = 'copy'";

/// What is known of the memory as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    mark: String,
    lost_secs: i64,
    loss: Loss,
    forgotten_minute: i64,
}

impl Database {
    async fn mark(&self) -> Result<String, Failure> {
        let row = self.db.row(self.db.pick(MARK_SQLITE, MARK_POSTGRES), args![]).await?;
        let row = row.ok_or_else(|| Failure::from(StoreError::Unavailable("no timeline".to_owned())))?;
        Ok(read("nonce_memory", &row, |row| row.text("id").map(str::to_owned))?)
    }

    async fn memory(&self) -> Result<Option<Memory>, Failure> {
        let row = self.db.row(MEMORY, args![]).await?;
        let memory = |row: &_| {
            read("nonce_memory", row, |row| {
                let lost_secs = row.int("lost_secs")?;
                let loss = Loss { at: Timestamp::from_secs(lost_secs.saturating_add(MARGIN_SECS)) };
                let forgotten_minute = row.int("forgotten_minute")?;
                Ok(Memory { mark: row.text("id")?.to_owned(), lost_secs, loss, forgotten_minute })
            })
        };
        Ok(row.as_ref().map(memory).transpose()?)
    }

    /// The memory as it is, begun anew when it is not this database's any more.
    async fn whole_memory(&self, now: Timestamp) -> Result<Memory, Failure> {
        let mark = self.mark().await?;
        if let Some(memory) = self.memory().await?
            && memory.mark == mark
        {
            return Ok(memory);
        }
        let lost = self.store_secs(now).await?;
        self.db.execute(BEGIN, args![mark.as_str(), lost]).await?;
        self.memory().await?.ok_or_else(|| StoreError::Unavailable("no nonce memory".to_owned()).into())
    }

    /// The later of the asker's and the store's clock.
    async fn store_secs(&self, now: Timestamp) -> Result<i64, StoreError> {
        let store = crate::feed::clock(&self.db).await?;
        Ok(store.max(now).as_secs())
    }

    /// The memory as this process knows it; with `anew`, as it is now.
    async fn known_memory(&self, now: Timestamp, anew: bool) -> Result<Memory, Failure> {
        let known = if anew { None } else { self.nonces.lock().await.clone() };
        if let Some(known) = known {
            return Ok(known);
        }
        let memory = self.whole_memory(now).await?;
        *self.nonces.lock().await = Some(memory.clone());
        Ok(memory)
    }

    /// One round trip, as long as the memory is the one that is known.
    async fn take_nonce(&self, used: &NonceUse, now: Timestamp) -> Result<NonceVerdict, Failure> {
        for anew in [false, true] {
            let memory = self.known_memory(now, anew).await?;
            if memory.loss.covers(used) {
                return Ok(NonceVerdict::Lost(memory.loss));
            }
            let minute = used.kept_until_secs().div_euclid(MINUTE) + 1;
            if minute <= memory.forgotten_minute {
                let at = Timestamp::from_secs(memory.forgotten_minute.saturating_mul(MINUTE));
                return Ok(NonceVerdict::Lost(Loss { at }));
            }
            let Memory { mark, lost_secs, .. } = &memory;
            let nonce = used.nonce.as_bytes().as_slice();
            let values = args![used.key.as_str(), nonce, minute, mark.as_str(), *lost_secs];
            if self.db.touch(self.db.pick(TAKE, TAKE_POSTGRES), values).await? == 1 {
                return Ok(NonceVerdict::Fresh);
            }
            // It is there already, or the memory is another one: which, is looked at once.
        }
        Ok(NonceVerdict::Replayed)
    }
}

#[async_trait]
impl NonceStore for Database {
    async fn take(&self, used: &NonceUse, now: Timestamp) -> Result<NonceVerdict, NonceError> {
        self.take_nonce(used, now).await.map_err(unavailable)
    }

    async fn begin(&self, now: Timestamp, is_first: bool) -> Result<(), NonceError> {
        let begin = async {
            if is_first && self.memory().await?.is_none() {
                let mark = self.mark().await?;
                self.db.execute(BEGIN, args![mark.as_str(), 0_i64]).await?;
            }
            self.whole_memory(now).await.map(drop)
        };
        begin.await.map_err(unavailable)
    }

    async fn forget(&self, now: Timestamp) -> Result<u64, NonceError> {
        // Not what another node, whose clock is behind ours, can still judge.
        let minute = (now.as_secs() - 2 * MARGIN_SECS).div_euclid(MINUTE);
        let forget = async {
            let mut tx = self.db.begin().await?;
            // First what is forgotten from now on, then the forgetting.
            tx.execute(NOTE_FORGOTTEN, args![minute]).await?;
            let count = tx.execute(FORGET, args![minute]).await?;
            tx.commit().await?;
            Ok::<u64, Failure>(count)
        };
        forget.await.map_err(unavailable)
    }

    fn name(&self) -> &'static str {
        "database"
    }
}

fn unavailable(failure: Failure) -> NonceError {
    NonceError::Unavailable(StoreError::from(failure).to_string())
}
