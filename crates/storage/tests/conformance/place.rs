//! A database of each engine, and the macro that runs a promise on both.

use claviger_storage::{Database, Durability, OpenError, Options};
use claviger_testkit::{PostgresDatabase, data_folder, postgres};
use tempfile::TempDir;

/// Where a database is; it goes away with the test.
pub struct Place {
    address: String,
    _sqlite: Option<TempDir>,
    _postgres: Option<PostgresDatabase>,
}

impl Place {
    pub fn sqlite() -> Self {
        let folder = data_folder();
        let address = folder.path().join("claviger.db").to_string_lossy().into_owned();
        Self { address, _sqlite: Some(folder), _postgres: None }
    }

    pub async fn postgres() -> Option<Self> {
        let database = postgres().await?;
        Some(Self { address: database.url().to_owned(), _sqlite: None, _postgres: Some(database) })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn open(&self) -> Database {
        // What is lost with the power is tested elsewhere.
        let options = Options { durability: Durability::Process, ..Options::default() };
        self.try_open(options).await.unwrap()
    }

    pub async fn try_open(&self, options: Options) -> Result<Database, OpenError> {
        Database::open(&self.address, options).await
    }
}

/// Runs each of the named functions on a fresh database of either engine.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::place::Place::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(place) = $crate::place::Place::postgres().await {
                    super::$name(place).await;
                }
            })+
        }
    };
}
pub(crate) use on_both;
