//! What only SQLite needs: the file, its settings, and copies of it.

use std::{
    fs::OpenOptions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, Sqlite, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use super::Db;
use crate::{
    bulk::Bulk,
    failure::Failure,
    open::{Access, Durability, OpenError, Options},
};

/// Writers take their lock at once, so that none fails half-way.
pub(crate) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// The store's clock, in microseconds.
pub(crate) const CLOCK: &str = "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now_us";
/// What the tokens of a migration stand for.
pub(crate) const TOKENS: [(&str, &str); 4] = [
    ("{int}", "INTEGER"),
    ("{blob}", "BLOB"),
    ("{strict}", "STRICT"),
    ("{credit_entries_stay}", CREDIT_ENTRIES_STAY),
];
/// Whoever changes or deletes what was booked is refused.
const CREDIT_ENTRIES_STAY: &str = "
    CREATE TRIGGER credit_entries_stay BEFORE UPDATE ON credit_entries BEGIN
        SELECT RAISE(ABORT, 'entries are only ever added');
    END;
    CREATE TRIGGER credit_entries_remain BEFORE DELETE ON credit_entries BEGIN
        SELECT RAISE(ABORT, 'entries are only ever added');
    END;";

/// A group commit as one statement: one way to the writer's thread and back in place of five, and nothing left open
/// if the caller goes away. The rows of the view are told apart by their kind: 0 a ledger row, 1 the group's record,
/// 2 its intents.
const GROUP_WRITES: &str = "
    CREATE TEMP VIEW group_writes AS SELECT 0 AS kind, 0 AS id, 0 AS at_us, 0 AS key_id, 0 AS workspace_id,
        0 AS model, 0 AS status, 0 AS outcome, 0 AS flags, 0 AS input_tokens, 0 AS cache_write_5m_tokens,
        0 AS cache_write_1h_tokens, 0 AS cache_read_tokens, 0 AS output_tokens, 0 AS web_search_requests,
        0 AS cost_pusd, 0 AS body;
    CREATE TEMP TRIGGER group_row INSTEAD OF INSERT ON group_writes WHEN NEW.kind = 0 BEGIN
        INSERT INTO ledger (id, at_us, key_id, workspace_id, model, status, outcome, flags, input_tokens,
            cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests,
            cost_pusd, body)
        VALUES (NEW.id, NEW.at_us, NEW.key_id, NEW.workspace_id, NEW.model, NEW.status, NEW.outcome, NEW.flags,
            NEW.input_tokens, NEW.cache_write_5m_tokens, NEW.cache_write_1h_tokens, NEW.cache_read_tokens,
            NEW.output_tokens, NEW.web_search_requests, NEW.cost_pusd, NEW.body);
    END;
    CREATE TEMP TRIGGER group_record INSTEAD OF INSERT ON group_writes WHEN NEW.kind = 1 BEGIN
        INSERT INTO data_records (id, at_us, row_count, first_row, leaf, head)
        VALUES (NEW.id, NEW.at_us, NEW.status, NEW.flags, NEW.key_id, NEW.body);
    END;
    CREATE TEMP TRIGGER group_intents INSTEAD OF INSERT ON group_writes WHEN NEW.kind = 2 BEGIN
        INSERT INTO intent_groups (id, body) VALUES (NEW.id, NEW.body);
    END;";
/// Ledger rows at most in such a statement; there is one prepared text for each number of rows.
pub(crate) const GROUP_ROWS: usize = 64;
static GROUP: Bulk = Bulk::new("INSERT INTO group_writes VALUES ", 17, "");
static GROUP_TEXTS: [OnceLock<String>; GROUP_ROWS + 2] = [const { OnceLock::new() }; GROUP_ROWS + 2];
/// The writer's prepared statements: those, and all others.
const WRITER_STATEMENTS: usize = 160;

/// The statement for a record, intents or none, and so many ledger rows: for `lines` lines in all.
pub(crate) fn group_statement(lines: usize) -> Option<&'static str> {
    let text = GROUP_TEXTS.get(lines.checked_sub(1)?)?;
    Some(text.get_or_init(|| GROUP.sqlite_text(lines)))
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page caches in KiB, negative as SQLite wants them; the whole process shall stay below 42 MB.
const WRITER_CACHE: &str = "-2048";
const READER_CACHE: &str = "-1024";
/// Pages in the log before a writer moves into the file what [`move_log`] has not moved yet and begins the log anew, and
/// the size to which the log is cut then.
const WAL_PAGES: &str = "4000";
const WAL_BYTES: &str = "16777216";
/// Waits for nobody and lets nobody wait.
const MOVE_LOG: &str = "PRAGMA wal_checkpoint(PASSIVE)";
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
    let prepare = match options.access {
        Access::ReadWrite => GROUP_WRITES,
        Access::ReadOnly => "",
    };
    let wr = pool(1)
        .min_connections(1)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(prepare)).await.map(drop) })
        })
        .connect_with(writer.statement_cache_capacity(WRITER_STATEMENTS))
        .await
        .map_err(Failure::from)?;
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

/// Begins a transaction that writes.
pub(crate) async fn begin_write(wr: &SqlitePool) -> Result<sqlx::Transaction<'static, Sqlite>, sqlx::Error> {
    match wr.begin_with(BEGIN_WRITE).await {
        // SQLite ends a transaction by itself when the disk is full or fails. The driver does not notice, and takes
        // that connection to be in a transaction for ever.
        Err(sqlx::Error::InvalidSavePointStatement) => {
            wr.acquire().await?.close().await?;
            wr.begin_with(BEGIN_WRITE).await
        }
        begun => begun,
    }
}

/// Moves into the file what of the log can be moved, beside writers.
pub(crate) async fn move_log(rd: &SqlitePool) -> Result<(), Failure> {
    sqlx::query(MOVE_LOG).execute(rd).await?;
    Ok(())
}

/// Copies a database in use to a new file (mode 0600), whole and consistent, while others go on writing. `then` is run
/// on the copy.
pub(crate) async fn copy(
    source: &SqlitePool,
    target: &Path,
    then: Option<&'static str>,
) -> Result<(), OpenError> {
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
    if let Some(statement) = then {
        run_on(&partial, statement).await.map_err(Failure::from)?;
    }
    std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, target).map_err(failed)?;
    sync_folder(target).map_err(failed)
}

async fn run_on(file: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    let done = sqlx::raw_sql(statement).execute(&mut connection).await;
    connection.close().await?;
    done.map(drop)
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

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_is_not_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("ended.db"), &Options::default()).await.unwrap();
        for n in 0..3 {
            let mut tx = db.begin().await.unwrap();
            tx.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)", args![]).await.unwrap();
            tx.execute("INSERT INTO t (n) VALUES ($1)", args![i64::from(n)]).await.unwrap();
            if n == 1 {
                // As SQLite does on SQLITE_FULL, SQLITE_IOERR and SQLITE_NOMEM.
                tx.execute("ROLLBACK", args![]).await.unwrap();
                assert!(tx.commit().await.is_err());
            } else {
                tx.commit().await.unwrap();
            }
        }
        let row = db.row("SELECT COUNT(*) AS n FROM t", args![]).await.unwrap().unwrap();
        assert_eq!(row.int("n"), Ok(2));
    }

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
