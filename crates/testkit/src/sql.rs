//! Statements on a database beside the product: what a tamperer does, and what an auditor reads.

use std::{sync::mpsc, thread};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, SqliteConnection,
    postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

/// Runs statements, separated by `;`, on `sqlite:PATH` or `postgres://…`; how many rows they changed.
///
/// # Panics
/// When the database cannot be opened or the statements cannot be run.
#[must_use]
pub fn execute(url: &str, statements: &str) -> u64 {
    let sql = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    let url = url.to_owned();
    alone(async move {
        match Opened::open(&url).await {
            Opened::Sqlite(mut c) => {
                sql.execute(&mut c).await.expect("statements that can be run").rows_affected()
            }
            Opened::Postgres(mut c) => {
                sql.execute(&mut c).await.expect("statements that can be run").rows_affected()
            }
        }
    })
}

/// The first column of all rows of a query, as bytes.
///
/// # Panics
/// When the database cannot be opened or read.
#[must_use]
pub fn blobs(url: &str, query: &str) -> Vec<Vec<u8>> {
    let (url, query) = (url.to_owned(), query.to_owned());
    alone(async move {
        match Opened::open(&url).await {
            Opened::Sqlite(mut c) => {
                let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut c).await;
                rows.expect("rows").iter().map(|row| row.get(0)).collect()
            }
            Opened::Postgres(mut c) => {
                let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut c).await;
                rows.expect("rows").iter().map(|row| row.get(0)).collect()
            }
        }
    })
}

/// A SQLite file that nobody else can write to, until this is dropped.
#[derive(Debug)]
pub struct Lock {
    release: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Lock {
    /// Takes the lock, waiting up to 5 s for whoever has it.
    ///
    /// # Panics
    /// When the file cannot be opened or locked.
    #[must_use]
    pub fn hold(url: &str) -> Self {
        let (url, (release, released), (tell, held)) = (url.to_owned(), mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let Opened::Sqlite(mut connection) = Opened::open(&url).await else { return };
                let locked = sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut connection).await;
                locked.expect("a lock that is free");
                tell.send(()).expect("somebody who waits for the lock");
                // Ends as well when the other end is dropped.
                let _ = released.recv();
            });
        });
        held.recv().expect("a lock on a SQLite file");
        Self { release: Some(release), thread: Some(thread) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.release.take());
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

enum Opened {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Opened {
    async fn open(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            let options: SqliteConnectOptions = url.parse().expect("a SQLite URL");
            let options = options.disable_statement_logging();
            return Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("a database file"));
        }
        let options: PgConnectOptions = url.parse().expect("a PostgreSQL URL");
        let options = options.disable_statement_logging();
        Self::Postgres(PgConnection::connect_with(&options).await.expect("a connection to PostgreSQL"))
    }
}

/// Runs a future to its end on a thread of its own, so that it may be called from anywhere.
fn alone<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    });
    thread.join().expect("statements that can be run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_statements_are_run_and_rows_are_read() {
        let folder = crate::data_folder();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("db").display());
        let changed = execute(
            &url,
            "CREATE TABLE t (b BLOB); INSERT INTO t VALUES (x'01'), (x'02'); DELETE FROM t WHERE b = x'01'",
        );
        assert_eq!((changed > 0, blobs(&url, "SELECT b FROM t")), (true, vec![vec![2]]));
    }
}
