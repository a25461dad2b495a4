//! What works without a running process: verifying the record of a stopped node, or an export of one.

use std::{fs::File, future::Future, io::BufReader, path::Path, sync::Arc};

use claviger_domain::{audit::checkpoint::Checkpoint, certificate::CertificatePublicKey, ports::Store};
use claviger_seal::{Envelope, MasterKey};
use claviger_service::{
    audit::{ExportFile, ReadError, StoreReader, Verdict, verify},
    bootstrap::load_certificate_key,
};
use claviger_storage::{Access, Database, Options};
use serde_json::Value;

use super::vault;
use crate::{cli::output::CliError, entropy::SystemEntropy};

/// Verifies an export.
///
/// # Errors
/// [`CliError`] when it cannot be read.
pub fn verify_export(file: &Path, against: Option<&Checkpoint>) -> Result<Value, CliError> {
    let name = file.display();
    let from = File::open(file).map_err(|e| CliError::usage(format!("{name}: {e}")))?;
    let mut reader = ExportFile::new(BufReader::new(from));
    answer(block_on(verify(&mut reader, against))?)
}

/// Verifies the database of a stopped node, opened for reading only. PostgreSQL is named by `CLAVIGER_DATABASE`.
///
/// # Errors
/// [`CliError`] when there is none, or it cannot be opened.
pub fn verify_stopped(data: &Path, against: Option<&Checkpoint>) -> Result<Value, CliError> {
    let verdict = block_on(async {
        let options = Options { access: Access::ReadOnly, ..Options::default() };
        let opened = Database::open(&address(data), options).await;
        let database = Arc::new(opened.map_err(|e| CliError::failed(e.to_string()))?);
        let mut reader = StoreReader::new(Arc::clone(&database) as _, Arc::clone(&database) as _);
        let verdict = verify(&mut reader, against).await;
        database.close().await;
        Ok::<_, CliError>(verdict)
    })??;
    answer(verdict)
}

/// The key that certificates of revocation are verified with, from the data folder of a stopped node.
///
/// # Errors
/// [`CliError`] when there is none, or it cannot be opened.
pub fn certificate_public_key(data: &Path) -> Result<CertificatePublicKey, CliError> {
    let failed = |e: &dyn std::fmt::Display| CliError::failed(e.to_string());
    let master = MasterKey::open(&data.join(vault::MASTER_KEY)).map_err(|e| failed(&e))?;
    block_on(async {
        let options = Options { access: Access::ReadOnly, ..Options::default() };
        let database = Database::open(&address(data), options).await.map_err(|e| failed(&e))?;
        let secrets = database.secrets().await.map_err(|e| failed(&e));
        let sealer = secrets.and_then(|secrets| {
            Envelope::open(&master, secrets, Arc::new(SystemEntropy::default())).map_err(|e| failed(&e))
        })?;
        let key = load_certificate_key(&database, &sealer).await.map_err(|e| failed(&e))?;
        database.close().await;
        Ok(key.public())
    })?
}

/// PostgreSQL is named by `CLAVIGER_DATABASE`.
fn address(data: &Path) -> String {
    let own = || format!("sqlite:{}", data.join(vault::DATABASE).display());
    std::env::var("CLAVIGER_DATABASE").unwrap_or_else(|_| own())
}

fn block_on<T>(task: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|e| CliError::failed(e.to_string()))?.block_on(task))
}

fn answer(verdict: Result<Verdict, ReadError>) -> Result<Value, CliError> {
    let verdict = verdict.map_err(|e| CliError::failed(e.to_string()))?;
    serde_json::to_value(verdict).map_err(|e| CliError::failed(e.to_string()))
}
