//! The database and the key that opens its sealed values, brought together before anything else.

use std::sync::Arc;

use anyhow::Context as _;
use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{Clock, Entropy},
    ports::{Change, Sealer, Store},
};
use claviger_seal::{DATA_KEY, Envelope, MasterKey};
use claviger_storage::{Database, Durability, Options};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    data_dir::DataDir,
};

/// The file of the master key in the data folder.
pub const MASTER_KEY: &str = "master.key";
/// The file of the embedded database in the data folder.
pub const DATABASE: &str = "claviger.db";

/// An open database and the door to its sealed values.
pub struct Vault {
    /// The database.
    pub database: Arc<Database>,
    /// Encryption at rest.
    pub sealer: Arc<dyn Sealer>,
}

/// Where the database is: the configured address, else SQLite in the data folder.
#[must_use]
pub fn address(config: &Config) -> String {
    let own = || format!("sqlite:{}", config.data.join(DATABASE).display());
    config.database.clone().unwrap_or_else(own)
}

/// Opens the master key, then the database, then the data keys in it; makes what a first start needs.
///
/// # Errors
/// With the part that failed. A master key of another store is told before anything is changed.
pub async fn open(
    config: &Config,
    data: &DataDir,
    clock: &dyn Clock,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<Vault> {
    let durability = match config.durability {
        config::Durability::Fsync => Durability::Fsync,
        config::Durability::Process => Durability::Process,
    };
    let options = Options { durability, ..Options::default() };
    let database = Database::open(&address(config), options).await.context("opening the database")?;
    let database = Arc::new(database);
    let path = data.file(MASTER_KEY);
    let mut secrets = database.secrets().await.context("reading the sealed secrets")?;
    let known = secrets.iter().any(|s| s.name == DATA_KEY);
    if known && !path.exists() {
        anyhow::bail!(
            "{} is missing, and without it nothing in the database can be opened: put it back from a backup",
            path.display()
        );
    }
    let master = MasterKey::create_or_open(&path, entropy.as_ref()).context("opening the master key")?;
    if !known {
        let made = Envelope::new_data_key(&master, 1, clock.now(), entropy.as_ref())?;
        let event = AuditEvent::new(clock.now(), Actor::System, "seal.data_key.create", "data_key")
            .with("version", 1);
        database.apply(vec![Change::PutSecret(made.clone())], event).await.context("keeping the data key")?;
        secrets.push(made);
    }
    let sealer = Envelope::open(&master, secrets, entropy).context("opening the data keys")?;
    Ok(Vault { database, sealer: Arc::new(sealer) })
}

/// How often the database is tended.
const UPKEEP: std::time::Duration = std::time::Duration::from_millis(100);

/// Keeps commits quick until told to stop.
pub async fn tend(database: Arc<Database>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        if let Err(error) = database.upkeep().await {
            tracing::debug!(%error, "the database could not be tended");
        }
    }
}
