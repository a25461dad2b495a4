//! The database itself: schema, file, copies, and what happens when it cannot be used.

use std::{os::unix::fs::PermissionsExt, path::Path};

use claviger_domain::ports::{Change, LedgerStore, Store, StoreError};
use claviger_storage::{Access, Database, OpenError, Options};
use sqlx::{Connection, Executor};

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event, put},
};

on_both!(a_newer_schema_is_refused, what_was_written_is_there_after_a_restart);

const READ_ONLY: Options = Options {
    durability: claviger_storage::Durability::Process,
    access: Access::ReadOnly,
    read_connections: 1,
    server_connections: 2,
};

/// Runs a statement past the store.
async fn run(place: &Place, sql: &'static str) {
    if place.address().starts_with("postgres") {
        let mut c = sqlx::PgConnection::connect(place.address()).await.unwrap();
        c.execute(sql).await.unwrap();
        c.close().await.unwrap();
    } else {
        let mut c = sqlx::SqliteConnection::connect(place.address()).await.unwrap();
        c.execute(sql).await.unwrap();
        c.close().await.unwrap();
    }
}

async fn a_newer_schema_is_refused(place: Place) {
    place.open().await.close().await;
    run(
        &place,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'from tomorrow', TRUE, 'x', 1)"
            .trim_end(),
    )
    .await;
    let refused = place.try_open(Options::default()).await.unwrap_err();
    let is_newer = matches!(refused, OpenError::Store(StoreError::NewerSchema { found: 99, known: 1.. }));
    assert!(is_newer, "{refused:?}");
}

async fn what_was_written_is_there_after_a_restart(place: Place) {
    let s = Samples::new(70);
    let owner = s.owner("ada");
    let db = place.open().await;
    put(&db, vec![Change::InsertOwner(owner.clone())]).await;
    let mut c = Committer::open(&db, s.node()).await;
    let row = s.row(&s.party(), at(1));
    c.rows(&db, at(1), vec![row.clone()]).await;
    db.close().await;
    assert!(matches!(db.owners().await, Err(StoreError::Unavailable(_))));
    let db = place.open().await;
    assert_eq!(db.owners().await.unwrap(), [owner]);
    assert_eq!(db.group_rows(&c.chain, 1).await.unwrap(), [row]);
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_file_and_its_companions_are_for_their_owner_only() {
    let place = Place::sqlite();
    let db = place.open().await;
    put(&db, vec![Change::InsertOwner(Samples::new(71).owner("ada"))]).await;
    let folder = Path::new(place.address()).parent().unwrap();
    let files: Vec<_> = folder.read_dir().unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_copy_of_a_database_in_use_is_whole() {
    let (place, s) = (Place::sqlite(), Samples::new(72));
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    c.rows(&db, at(1), vec![s.row(&s.party(), at(1))]).await;
    let target = Path::new(place.address()).with_file_name("it's a copy.db");
    db.backup_to(&target).await.unwrap();
    assert_eq!(mode(&target), 0o600);
    assert!(matches!(db.backup_to(&target).await, Err(OpenError::Create { .. })));
    c.rows(&db, at(2), vec![s.row(&s.party(), at(2))]).await;
    let copy = Database::open(target.to_str().unwrap(), READ_ONLY).await.unwrap();
    assert_eq!(copy.chains().await.unwrap()[0].length, 1);
}

#[tokio::test]
async fn a_database_opened_for_reading_is_read_while_another_writes() {
    let (place, s) = (Place::sqlite(), Samples::new(73));
    assert!(matches!(place.try_open(READ_ONLY).await, Err(OpenError::Missing { .. })));
    let db = place.open().await;
    let reader = place.try_open(READ_ONLY).await.unwrap();
    put(&db, vec![Change::InsertOwner(s.owner("ada"))]).await;
    assert_eq!(reader.owners().await.unwrap().len(), 1);
    let refused = reader.apply(vec![Change::InsertOwner(s.owner("bob"))], event("owner.create")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::sqlite();
    let text = "not a database, but long enough to be looked at as if it were one ".repeat(20);
    std::fs::write(place.address(), &text).unwrap();
    let refused = place.try_open(Options::default()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Store(StoreError::Corrupt { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(place.address()).unwrap(), text);
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused_without_being_repeated() {
    for address in ["mysql://root:hunter2@h/db", "", "sqlite:", "postgres://u:hunter2@h:port/db"] {
        let refused = Database::open(address, Options::default()).await.unwrap_err();
        assert_eq!(refused, OpenError::Address, "{address}");
        assert!(!refused.to_string().contains("hunter2"));
    }
}
