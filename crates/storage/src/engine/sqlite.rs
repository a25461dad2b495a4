//! What only SQLite needs: the file, its settings, and copies of it.

use std::{
    fs::OpenOptions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use super::Db;
use crate::{
    failure::Failure,
    open::{Access, Durability, OpenError, Options},
};

/// Writers take their lock at once, so that none fails half-way.
pub(crate) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// The store's clock, in microseconds.
pub(crate) const CLOCK: &str = "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now_us";
/// What the tokens of a migration stand for.
pub(crate) const TOKENS: [(&str, &str); 3] =
    [("{int}", "INTEGER"), ("{blob}", "BLOB"), ("{strict}", "STRICT")];

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page caches in KiB, negative as SQLite wants them; the whole process shall stay below 42 MB.
const WRITER_CACHE: &str = "-2048";
const READER_CACHE: &str = "-1024";
/// Pages in the log before it is moved into the file, and the size to which the log is cut afterwards.
const WAL_PAGES: &str = "1000";
const WAL_BYTES: &str = "16777216";
const IDLE: Duration = Duration::from_secs(60);

/// Opens the file, creating it (mode 0600) if it may be written.
pub(crate) async fn open(path: &Path, options: &Options) -> Result<Db, OpenError> {
    match options.access {
        Access::ReadWrite => create(path)?,
        Access::ReadOnly if path.is_file() => {}
        Access::ReadOnly => return Err(OpenError::Missing { path: path.to_owned() }),
    }
    let writer = connect_options(path, options).pragma("cache_size", WRITER_CACHE);
    let reader = connect_options(path, options).pragma("cache_size", READER_CACHE).pragma("query_only", "ON");
    let writer = match options.access {
        Access::ReadWrite => writer.journal_mode(SqliteJournalMode::Wal),
        Access::ReadOnly => writer.pragma("query_only", "ON"),
    };
    // The writer is opened first: it turns the file into WAL mode, which readers cannot.
    let wr = pool(1).min_connections(1).connect_with(writer).await.map_err(Failure::from)?;
    let rd = pool(options.read_connections.max(1)).idle_timeout(IDLE).connect_lazy_with(reader);
    Ok(Db::Sqlite { rd, wr })
}

/// Makes the file, so that it has the right mode from the first moment; SQLite gives its companions the same.
fn create(path: &Path) -> Result<(), OpenError> {
    let made = match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|error| OpenError::Create { path: path.to_owned(), kind: error.kind() })
}

fn connect_options(path: &Path, options: &Options) -> SqliteConnectOptions {
    let synchronous = match options.durability {
        Durability::Fsync => SqliteSynchronous::Full,
        Durability::Process => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("journal_size_limit", WAL_BYTES)
        .disable_statement_logging()
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
}

/// Copies a database in use to a new file (mode 0600), whole and consistent, while others go on writing.
pub(crate) async fn copy(source: &SqlitePool, target: &Path) -> Result<(), OpenError> {
    let partial = partial_path(target);
    let failed = |error: std::io::Error| OpenError::Create { path: target.to_owned(), kind: error.kind() };
    if target.exists() {
        return Err(OpenError::Create { path: target.to_owned(), kind: std::io::ErrorKind::AlreadyExists });
    }
    let fresh = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial);
    let fresh = fresh.map_err(failed)?;
    fresh.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    // A connection of its own, as it reads for long; one that only reads may not write the copy either.
    let options = source.connect_options().as_ref().clone().pragma("query_only", "OFF");
    let mut connection: SqliteConnection = options.connect().await.map_err(Failure::from)?;
    let text = format!("VACUUM INTO '{}'", partial.to_string_lossy().replace('\'', "''"));
    let copied = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await;
    connection.close().await.map_err(Failure::from)?;
    copied.map_err(Failure::from)?;
    std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, target).map_err(failed)?;
    sync_folder(target).map_err(failed)
}

fn partial_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use claviger_domain::ports::StoreError;

    use super::*;
    use crate::engine::args;

    /// A file that may not grow answers as a full disk does.
    #[tokio::test]
    async fn a_full_disk_is_unavailability_and_leaves_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("full.db"), &Options::default()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB) STRICT", args![]).await.unwrap();
        tx.execute("PRAGMA max_page_count = 50", args![]).await.unwrap();
        tx.commit().await.unwrap();
        let insert = async |n: i64| {
            let mut tx = db.begin().await?;
            tx.execute("INSERT INTO t (n, body) VALUES ($1, $2)", args![n, vec![7; 3_000]]).await?;
            tx.commit().await
        };
        let mut written = 0;
        let full = loop {
            match insert(written).await {
                Ok(()) => written += 1,
                Err(failure) => break StoreError::from(failure),
            }
        };
        assert!(matches!(&full, StoreError::Unavailable(why) if why.contains("full")), "{full:?}");
        let row = db.row("SELECT COUNT(*) AS n FROM t", args![]).await.unwrap().unwrap();
        assert_eq!(row.int("n"), Ok(written));
    }
}
