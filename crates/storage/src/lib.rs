//! What lasts: repositories with one set of statements and migrations for SQLite and PostgreSQL, the change feed, the
//! audit chains and the ledger. It keeps, it does not judge.

mod apply;
mod approvals;
mod audit;
mod blocks;
mod budgets;
mod bulk;
mod certificates;
mod chains;
mod checkpoints;
mod children;
mod clients;
mod commit;
mod credential_days;
mod credit;
mod engine;
mod failure;
mod feed;
mod fold;
mod idempotency;
mod intents;
mod jobs;
mod keys;
mod ledger;
mod lockouts;
mod migrate;
mod nodes;
mod nonces;
mod notices;
mod open;
mod operators;
mod packing;
mod policies;
mod ports;
mod proof;
mod resources;
mod retention;
mod reviews;
mod rotations;
mod saved_days;
mod scan;
mod secrets;
mod signing;
mod statements;
mod tenants;
mod tokens;
mod upstreams;
mod usage;
mod workload;
mod wrappings;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use claviger_domain::{
    audit::{AuditEvent, AuditRecord, DataRecord, Digest, checkpoint::Checkpoint},
    clock::Timestamp,
    direct_use::CredentialDay,
    id::{KeyId, NodeId, WorkspaceId},
    key::{KeyRecord, KeyUse},
    ledger::{Group, Intent, LedgerRow},
    limit::UsedBefore,
    ports::{
        Applied, ChainHead, Change, Clients, DataChain, DayCheck, FeedPage, GrantRow, KeyFilter, LedgerStore,
        RowCursor, RowPage, RowScan, SavedBefore, SavedQuery, SealedSecret, Store, StoreError, UsageQuery,
        UsageTotal, UsedBy,
    },
    price::Prices,
    tenancy::{OwnerRecord, Resource, ResourceKind, WorkspaceRecord},
    token::PublicId,
    upstream::{CredentialRecord, UpstreamRecord},
};
use tokio::sync::Mutex;

pub use nonces::{MemoryNonces, RedisNonces};
pub use open::{Access, Durability, OpenError, Options};

use commit::Writer;
use engine::Db;

/// An open database: both ports over either engine.
#[derive(Debug)]
pub struct Database {
    db: Db,
    /// SQLite's file.
    file: Option<PathBuf>,
    /// Group commits come one after the other.
    writer: Mutex<Writer>,
    /// What is known of the nonces that are remembered.
    nonces: Mutex<Option<nonces::Memory>>,
    /// Something was written since [`Database::upkeep`] last looked.
    written: AtomicBool,
}

impl Database {
    /// Opens `postgres://…`, `sqlite:FILE` or a file, brings it to this release's schema, and refuses a newer one.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong; the address never stands in it, as it may hold a password.
    pub async fn open(address: &str, options: Options) -> Result<Self, OpenError> {
        let (db, file) = if address.starts_with("postgres://") || address.starts_with("postgresql://") {
            (engine::postgres::open(address, &options).await?, None)
        } else {
            let path = address.strip_prefix("sqlite:").unwrap_or(address);
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            if path.as_os_str().is_empty() || address.contains("://") && !address.starts_with("sqlite:") {
                return Err(OpenError::Address);
            }
            (engine::sqlite::open(&path, &options).await?, Some(path))
        };
        migrate::run(&db, migrate::MIGRATIONS, options.access, file.as_deref()).await?;
        if options.access == Access::ReadWrite {
            let mut tx = db.begin().await?;
            audit::start(&mut tx).await?;
            tx.commit().await?;
        }
        let (writer, nonces) = (Mutex::new(Writer::default()), Mutex::default());
        Ok(Self { db, file, writer, nonces, written: AtomicBool::new(true) })
    }

    /// Copies the database in use to a new file (mode 0600), whole and consistent.
    ///
    /// # Errors
    /// [`OpenError::UsePgDump`] on PostgreSQL; [`OpenError::Create`] when the file exists or cannot be made.
    pub async fn backup_to(&self, path: &Path) -> Result<(), OpenError> {
        match &self.db {
            Db::Sqlite { rd, .. } => engine::sqlite::copy(rd, path, Some(nonces::OF_A_COPY)).await,
            Db::Pg(_) => Err(OpenError::UsePgDump),
        }
    }

    /// Keeps commits quick: moves SQLite's log into its file beside the writer, so that no commit has to do it. To be
    /// called every 100 ms or so; costs nothing when nothing was written. Left out, one commit in some hundreds takes
    /// some milliseconds longer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; nothing is lost, the next call or a commit does the work.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        match &self.db {
            Db::Sqlite { rd, .. } if self.written.swap(false, Ordering::Relaxed) => {
                Ok(engine::sqlite::move_log(rd).await?)
            }
            Db::Sqlite { .. } | Db::Pg(_) => Ok(()),
        }
    }

    /// Lets the engine prepare every statement; the names of those that it refuses: none, unless the schema is not
    /// this release's.
    pub async fn refused_statements(&self) -> Vec<String> {
        statements::refused(&self.db).await
    }

    /// SQLite's file; `None` on PostgreSQL.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Lets go of all connections once what runs has ended; SQLite's log is moved into its file.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { rd, wr } => {
                rd.close().await;
                wr.close().await;
            }
            Db::Pg(pool) => pool.close().await,
        }
    }
}

#[async_trait]
impl Store for Database {
    async fn apply(&self, changes: Vec<Change>, event: AuditEvent) -> Result<Applied, StoreError> {
        self.written.store(true, Ordering::Relaxed);
        apply::apply(&self.db, &changes, &event).await
    }
    async fn feed_after(&self, seq: i64, limit: u32) -> Result<FeedPage, StoreError> {
        feed::after(&self.db, seq, limit).await
    }
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        keys::get(&self.db, id).await
    }
    async fn key_for_grant(&self, id: PublicId) -> Result<(i64, Option<GrantRow>), StoreError> {
        keys::get_for_grant(&self.db, id).await
    }
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
        keys::list(&self.db, filter).await
    }
    async fn working_keys(&self, now: Timestamp) -> Result<u64, StoreError> {
        keys::working(&self.db, now).await
    }
    async fn key_uses(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, KeyUse)>, StoreError> {
        usage::key_uses(&self.db, ids).await
    }
    async fn used_since(&self, by: UsedBy<'_>, since: Timestamp) -> Result<UsedBefore, StoreError> {
        usage::used_since(&self.db, by, since).await
    }

    async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        tenants::workspaces(&self.db).await
    }
    async fn owners(&self) -> Result<Vec<OwnerRecord>, StoreError> {
        tenants::owners(&self.db).await
    }
    async fn workspace(&self, id_or_name: &str) -> Result<Option<WorkspaceRecord>, StoreError> {
        tenants::workspace_named(&self.db, id_or_name).await
    }
    async fn first_workspace(&self) -> Result<Option<WorkspaceRecord>, StoreError> {
        tenants::first_workspace(&self.db).await
    }
    async fn owner(&self, id_or_name: &str) -> Result<Option<OwnerRecord>, StoreError> {
        tenants::owner_named(&self.db, id_or_name).await
    }
    async fn first_owner(&self) -> Result<Option<OwnerRecord>, StoreError> {
        tenants::first_owner(&self.db).await
    }
    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError> {
        upstreams::upstreams(&self.db).await
    }
    async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError> {
        upstreams::credentials(&self.db).await
    }
    async fn secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        secrets::list(&self.db).await
    }
    async fn audit_after(&self, number: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        audit::after(&self.db, number, limit).await
    }
    async fn audit_head(&self) -> Result<ChainHead, StoreError> {
        audit::head_of(&self.db).await
    }
    async fn store_time(&self) -> Result<Timestamp, StoreError> {
        feed::clock(&self.db).await
    }
}

#[async_trait]
impl LedgerStore for Database {
    async fn open_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError> {
        commit::open_chain(&self.db, &mut *self.writer.lock().await, chain, &event).await
    }
    async fn close_chain(&self, chain: &NodeId, event: AuditEvent) -> Result<(), StoreError> {
        commit::close_chain(&self.db, &mut *self.writer.lock().await, chain, &event).await
    }
    async fn commit_group(&self, group: &Group) -> Result<Digest, StoreError> {
        self.written.store(true, Ordering::Relaxed);
        commit::commit(&self.db, &mut *self.writer.lock().await, group).await
    }
    async fn would_take(&self, group: &Group) -> Result<(), StoreError> {
        commit::would_take(&self.db, &mut *self.writer.lock().await, group).await
    }
    async fn orphans(&self, own: &NodeId) -> Result<Vec<Intent>, StoreError> {
        intents::orphans(&self.db, Some(own)).await
    }
    async fn resource(&self, id: &str) -> Result<Option<Resource>, StoreError> {
        resources::get(&self.db, id).await
    }
    async fn resources(
        &self,
        workspace: &WorkspaceId,
        kind: ResourceKind,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Resource>, StoreError> {
        resources::of_workspace(&self.db, workspace, kind, before, limit).await
    }
    async fn unbilled_batches(&self, limit: u32) -> Result<Vec<Resource>, StoreError> {
        resources::unbilled_batches(&self.db, limit).await
    }
    async fn batch_billed(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        resources::batch_billed(&self.db, id, at).await
    }
    async fn clients_since(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        rows: u32,
    ) -> Result<Clients, StoreError> {
        clients::since(&self.db, keys, since, rows).await
    }
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageTotal>, StoreError> {
        usage::usage(&self.db, query).await
    }
    async fn rows_in(&self, wanted: &RowScan, after: Option<RowCursor>) -> Result<RowPage, StoreError> {
        scan::page(&self.db, wanted, after).await
    }
    async fn credential_days(&self, days: (i64, i64)) -> Result<Vec<CredentialDay>, StoreError> {
        credential_days::list(&self.db, days).await
    }
    async fn chains(&self) -> Result<Vec<DataChain>, StoreError> {
        chains::list(&self.db).await
    }
    async fn data_after(
        &self,
        chain: &NodeId,
        number: i64,
        limit: u32,
    ) -> Result<Vec<DataRecord>, StoreError> {
        chains::records_after(&self.db, chain, number, limit).await
    }
    async fn rows_of(
        &self,
        chain: &NodeId,
        first: i64,
        last: i64,
    ) -> Result<BTreeMap<i64, Vec<LedgerRow>>, StoreError> {
        proof::rows_of(&self.db, chain, first, last).await
    }
    async fn stray_row(&self, chain: &NodeId) -> Result<Option<i64>, StoreError> {
        proof::stray_row(&self.db, chain).await
    }
    async fn check_totals(&self, day: i64) -> Result<Option<DayCheck>, StoreError> {
        proof::check_totals(&self.db, day).await
    }
    async fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        checkpoints::put(&self.db, checkpoint).await
    }
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        checkpoints::last(&self.db).await
    }
    async fn retire_rows(
        &self,
        before: Timestamp,
        prices: &dyn Prices,
        event: AuditEvent,
    ) -> Result<u64, StoreError> {
        retention::retire(&self.db, before, prices, event).await
    }
    async fn saved_before(&self, query: &SavedQuery) -> Result<SavedBefore, StoreError> {
        saved_days::before(&self.db, query).await
    }
}
