use super::*;
use crate::{
    migrate,
    open::{Access, Options},
};

/// What SQLite means to do for a statement.
async fn plan(db: &Db, statement: &str, values: Vec<Arg>) -> String {
    let explained: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {statement}").into_boxed_str());
    let rows = db.rows(explained, values).await.unwrap();
    rows.iter().map(|row| row.text("detail").unwrap().to_owned()).collect::<Vec<_>>().join("; ")
}

/// What a page costs must not grow with the number of keys.
#[tokio::test]
async fn a_page_of_keys_is_read_along_an_index_from_its_first_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claviger.db");
    let db = crate::engine::sqlite::open(&path, &Options::default()).await.unwrap();
    migrate::run(&db, migrate::MIGRATIONS, Access::ReadWrite, None).await.unwrap();
    let (of, after) = ("x", [Arg::from(100_i64), Arg::from(7_i64), Arg::from("key_7")]);
    let first = |filters: usize| [vec![Arg::from(100_i64)], vec![Arg::from(of); filters]].concat();
    let next = |filters: usize| [after.to_vec(), vec![Arg::from(of); filters]].concat();
    for (statement, values, index) in [
        (LIST, first(0), "api_keys_by_creation"),
        (LIST_OF_WORKSPACE, first(1), "api_keys_by_workspace (workspace_id=?)"),
        (LIST_OF_OWNER, first(1), "api_keys_by_owner (owner_id=?)"),
        (LIST_AFTER, next(0), "api_keys_by_creation ((created_us,id)>(?,?))"),
        (
            LIST_OF_WORKSPACE_AFTER,
            next(1),
            "api_keys_by_workspace (workspace_id=? AND (created_us,id)>(?,?))",
        ),
        (UNEXPIRED, after.to_vec(), "api_keys_unexpired ((expires_us,id)>(?,?))"),
        (ENDLESS, first(1), "api_keys_unexpired (expires_us=? AND id>?)"),
        (LIST_OF_OWNER_AFTER, next(1), "api_keys_by_owner (owner_id=? AND (created_us,id)>(?,?))"),
    ] {
        let plan = plan(&db, statement, values).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
    }
    if let Db::Sqlite { rd, wr } = db {
        rd.close().await;
        wr.close().await;
    }
}
