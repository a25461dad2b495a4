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
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../migrations/0001_first.sql")),
    ("life", include_str!("../migrations/0002_life.sql")),
    ("notices", include_str!("../migrations/0003_notices.sql")),
    ("operators", include_str!("../migrations/0004_operators.sql")),
    ("admin_api", include_str!("../migrations/0005_admin_api.sql")),
    ("lifecycle", include_str!("../migrations/0006_lifecycle.sql")),
    ("deliveries", include_str!("../migrations/0007_deliveries.sql")),
    ("certify", include_str!("../migrations/0008_certify.sql")),
    ("reviews", include_str!("../migrations/0009_reviews.sql")),
    ("direct_use", include_str!("../migrations/0010_direct_use.sql")),
    ("lockouts", include_str!("../migrations/0011_lockouts.sql")),
    ("signing", include_str!("../migrations/0012_signing.sql")),
    ("answers", include_str!("../migrations/0013_answers.sql")),
    ("unexpired", include_str!("../migrations/0014_unexpired.sql")),
    ("workload", include_str!("../migrations/0015_workload.sql")),
    ("tokens", include_str!("../migrations/0016_tokens.sql")),
    ("holds", include_str!("../migrations/0017_holds.sql")),
    ("working_keys", include_str!("../migrations/0018_working_keys.sql")),
    ("budgets", include_str!("../migrations/0019_budgets.sql")),
    ("limits", include_str!("../migrations/0020_limits.sql")),
    ("learned", include_str!("../migrations/0022_learned.sql")),
    ("blocks", include_str!("../migrations/0023_blocks.sql")),
    ("saved", include_str!("../migrations/0021_saved.sql")),
    ("credit", include_str!("../migrations/0025_credit.sql")),
];

statements! {
    /// The newest migration that was done. The table is made by the first one.
    NEWEST = "SELECT MAX(version) AS version FROM _sqlx_migrations";
}

const HAS_TABLE_SQLITE: &str =
    "SELECT COUNT(*) AS found FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
const HAS_TABLE_POSTGRES: &str = "SELECT COUNT(*) AS found FROM pg_catalog.pg_class \
     WHERE relname = '_sqlx_migrations' AND pg_catalog.pg_table_is_visible(oid)";

/// A list of migrations: name and text.
type Migrations<'a> = &'a [(&'static str, &'a str)];

/// Migrates, or says why not. An SQLite file that already holds something is copied beside itself first.
pub(crate) async fn run(
    db: &Db,
    migrations: Migrations<'_>,
    access: Access,
    file: Option<&Path>,
) -> Result<(), OpenError> {
    let found = schema(db).await?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { found, known }.into());
    }
    match access {
        Access::ReadOnly if found < known => return Err(OpenError::OlderSchema { found, known }),
        Access::ReadOnly => return Ok(()),
        Access::ReadWrite => {}
    }
    if let (Db::Sqlite { wr, .. }, Some(file)) = (db, file)
        && (1..known).contains(&found)
    {
        copy_before(wr, file, found).await?;
    }
    let done = match db {
        Db::Sqlite { wr, .. } => migrator(migrations, &sqlite::TOKENS).run(wr).await,
        Db::Pg(pool) => migrator(migrations, &postgres::TOKENS).run(pool).await,
    };
    done.map_err(|error| open_error(error, known))
}

/// A copy that an earlier, interrupted migration already made is the older and better one: it stays.
async fn copy_before(source: &sqlx::SqlitePool, file: &Path, found: i64) -> Result<(), OpenError> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".schema-{found}.backup"));
    let target = Path::new(&name);
    if target.exists() { Ok(()) } else { sqlite::copy(source, target, None).await }
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

fn migrator(migrations: Migrations<'_>, tokens: &[(&str, &str)]) -> Migrator {
    let migration = |(version, (name, text)): (i64, &(&'static str, &str))| {
        let text = tokens.iter().fold((*text).to_owned(), |text, (token, meant)| text.replace(token, meant));
        let sql = AssertSqlSafe(text).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations((1..).zip(migrations).map(migration).collect())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the migrator's list of errors may grow")]
fn open_error(error: MigrateError, known: i64) -> OpenError {
    match error {
        MigrateError::ExecuteMigration(why, version) => {
            OpenError::Migration { version, why: Failure::from(why).into() }
        }
        MigrateError::Execute(why) => Failure::from(why).into(),
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known }.into(),
        MigrateError::VersionMismatch(version) => OpenError::ForeignSchema { version },
        _ => StoreError::Unavailable("the migrations could not be run".to_owned()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Row, open::Options};

    const BROKEN: (&str, &str) = ("broken", "CREATE TABLE half (n {int}) {strict}; CREATE NONSENSE;");
    const MENDED: (&str, &str) = ("mended", "CREATE TABLE half (n {int}) {strict};");

    async fn open(path: &Path, migrations: Migrations<'_>) -> Result<Db, OpenError> {
        let db = sqlite::open(path, &Options::default()).await?;
        run(&db, migrations, Access::ReadWrite, Some(path)).await.map(|()| db)
    }

    async fn close(db: Db) {
        if let Db::Sqlite { rd, wr } = db {
            rd.close().await;
            wr.close().await;
        }
    }

    #[tokio::test]
    async fn a_migration_that_breaks_off_leaves_the_schema_before_it_and_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claviger.db");
        let first = MIGRATIONS[0];
        close(open(&path, &[first]).await.unwrap()).await;
        let failed = open(&path, &[first, BROKEN]).await.unwrap_err();
        assert!(matches!(failed, OpenError::Migration { version: 2, .. }), "{failed:?}");
        assert!(folder.path().join("claviger.db.schema-1.backup").is_file());
        let db = open(&path, &[first]).await.unwrap();
        assert_eq!(schema(&db).await.unwrap(), 1);
        close(db).await;
        let db = open(&path, &[first, MENDED]).await.unwrap();
        assert_eq!(schema(&db).await.unwrap(), 2);
        let row = db.row("SELECT COUNT(*) AS n FROM half", args![]).await.unwrap();
        assert_eq!(row.as_ref().map(|row: &Row| row.int("n")), Some(Ok(0)));
        close(db).await;
        let newer = open(&path, &[first]).await.unwrap_err();
        assert_eq!(newer, OpenError::Store(StoreError::NewerSchema { found: 2, known: 1 }));
    }

    #[tokio::test]
    async fn a_history_that_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claviger.db");
        close(open(&path, &[MENDED]).await.unwrap()).await;
        let refused = open(&path, &[MIGRATIONS[0]]).await.unwrap_err();
        assert_eq!(refused, OpenError::ForeignSchema { version: 1 });
    }
}
