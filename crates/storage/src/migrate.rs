//! Bringing a database to this release's schema. Each migration is one transaction together with its entry in the
//! list of those done, so that a death in the middle leaves the state before it.

use std::path::Path;

use claviger_domain::ports::StoreError;
use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{
    engine::{Db, args, postgres, sqlite, statements},
    failure::Failure,
    open::{Access, OpenError},
};

/// In order; a release only ever appends.
const MIGRATIONS: [(&str, &str); 1] = [("first", include_str!("../migrations/0001_first.sql"))];

/// The schema that this release works with.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub(crate) const KNOWN: i64 = MIGRATIONS.len() as i64;

statements! {
    /// The newest migration that was done. The table is made by the first one.
    NEWEST = "SELECT MAX(version) AS version FROM _sqlx_migrations";
}

const HAS_TABLE_SQLITE: &str =
    "SELECT COUNT(*) AS found FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
const HAS_TABLE_POSTGRES: &str = "SELECT COUNT(*) AS found FROM pg_catalog.pg_class \
     WHERE relname = '_sqlx_migrations' AND pg_catalog.pg_table_is_visible(oid)";

/// Migrates, or says why not. An SQLite file that already holds something is copied beside itself first.
pub(crate) async fn run(db: &Db, access: Access, file: Option<&Path>) -> Result<(), OpenError> {
    let found = schema(db).await?;
    if found > KNOWN {
        return Err(StoreError::NewerSchema { found, known: KNOWN }.into());
    }
    match access {
        Access::ReadOnly if found < KNOWN => return Err(OpenError::OlderSchema { found, known: KNOWN }),
        Access::ReadOnly => return Ok(()),
        Access::ReadWrite => {}
    }
    if let (Db::Sqlite { wr, .. }, Some(file)) = (db, file)
        && (1..KNOWN).contains(&found)
    {
        copy_before(wr, file, found).await?;
    }
    let done = match db {
        Db::Sqlite { wr, .. } => migrator(&sqlite::TOKENS).run(wr).await,
        Db::Pg(pool) => migrator(&postgres::TOKENS).run(pool).await,
    };
    done.map_err(open_error)
}

/// A copy that an earlier, interrupted migration already made is the older and better one: it stays.
async fn copy_before(source: &sqlx::SqlitePool, file: &Path, found: i64) -> Result<(), OpenError> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".schema-{found}.backup"));
    let target = Path::new(&name);
    if target.exists() { Ok(()) } else { sqlite::copy(source, target).await }
}

/// The newest migration that was done; 0 for an empty database.
async fn schema(db: &Db) -> Result<i64, Failure> {
    let has_table = db.row(db.pick(HAS_TABLE_SQLITE, HAS_TABLE_POSTGRES), args![]).await?;
    if has_table.is_none_or(|row| row.int("found").unwrap_or(0) == 0) {
        return Ok(0);
    }
    let newest = db.row(NEWEST, args![]).await?;
    Ok(newest.and_then(|row| row.opt_int("version").ok().flatten()).unwrap_or(0))
}

fn migrator(tokens: &[(&str, &str)]) -> Migrator {
    let migration = |(version, (name, text)): (i64, (&'static str, &str))| {
        let text = tokens.iter().fold(text.to_owned(), |text, (token, meant)| text.replace(token, meant));
        let sql = AssertSqlSafe(text).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations((1..).zip(MIGRATIONS).map(migration).collect())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the migrator's list of errors may grow")]
fn open_error(error: MigrateError) -> OpenError {
    match error {
        MigrateError::ExecuteMigration(why, version) => {
            OpenError::Migration { version, why: Failure::from(why).into() }
        }
        MigrateError::Execute(why) => Failure::from(why).into(),
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known: KNOWN }.into(),
        MigrateError::VersionMismatch(version) => OpenError::ForeignSchema { version },
        _ => StoreError::Unavailable("the migrations could not be run".to_owned()).into(),
    }
}
