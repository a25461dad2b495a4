//! A fresh PostgreSQL database for each test.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::wait::skip;

/// The variable that names a server whose user may create databases.
pub const POSTGRES_URL: &str = "CLAVIGER_TEST_POSTGRES_URL";

/// An empty database. Dropped, connections and all, when this is dropped.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
    url: String,
}

/// Makes a fresh database, or says `skipped: no PostgreSQL` and gives nothing when no server is named.
///
/// # Panics
/// When none is named and `CI` is `true`, or the named one cannot be used.
pub async fn postgres() -> Option<PostgresDatabase> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var(POSTGRES_URL) else {
        skip(&format!("no PostgreSQL (set {POSTGRES_URL})"));
        return None;
    };
    let name = format!("claviger_test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    run(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    run(&server, &format!("CREATE DATABASE {name}")).await;
    let url = with_database(&server, &name);
    Some(PostgresDatabase { server, name, url })
}

impl PostgresDatabase {
    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run(&server, &sql));
        });
        if dropped.join().is_err() {
            eprintln!("left behind: PostgreSQL database {}", self.name);
        }
    }
}

async fn run(server: &str, sql: &str) {
    let options: PgConnectOptions = server.parse().expect("a PostgreSQL URL");
    let options = options.disable_statement_logging();
    let mut connection = PgConnection::connect_with(&options).await.expect("a connection to PostgreSQL");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a database that can be made");
    connection.close().await.expect("a connection that ends well");
}

/// The URL with another database in its path, its query kept.
fn with_database(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, None), |(base, query)| (base, Some(query)));
    let scheme = base.find("://").map_or(0, |at| at + 3);
    let end = base[scheme..].find('/').map_or(base.len(), |at| scheme + at);
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{}/{name}{query}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_the_url_is_replaced() {
        for (server, expected) in [
            ("postgres://u:p@h:5/postgres?host=/run/x", "postgres://u:p@h:5/db?host=/run/x"),
            ("postgres://u@h", "postgres://u@h/db"),
            ("postgresql:///postgres?host=/tmp", "postgresql:///db?host=/tmp"),
        ] {
            assert_eq!(with_database(server, "db"), expected);
        }
    }

    #[tokio::test]
    async fn two_databases_are_two_and_go_away() {
        let (Some(one), Some(two)) = (postgres().await, postgres().await) else { return };
        assert_ne!(one.url(), two.url());
        run(one.url(), "CREATE TABLE here (n BIGINT)").await;
        run(two.url(), "CREATE TABLE here (n BIGINT)").await;
        let gone: PgConnectOptions = one.url().parse().unwrap();
        drop(one);
        assert!(PgConnection::connect_with(&gone).await.is_err());
    }
}
