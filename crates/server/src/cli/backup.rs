//! `claviger backup`

use std::path::PathBuf;

use clap::Args;
use claviger_control::api::backup::MakeBackup;

use super::{Context, output::CliError};

/// `backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A folder that is not there yet, or is empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Copies the database and what opens it. The running process does it, so that the copy is of one moment.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &BackupArgs) -> Result<(), CliError> {
    let to = std::path::absolute(&args.to).map_err(|e| CliError::usage(e.to_string()))?;
    let report = context.client()?.post("/admin/v1/backup", &MakeBackup { to })?;
    context.out.object(&report);
    context.out.note("The folder opens every provider key and pepper: keep it as you keep a safe's key.");
    Ok(())
}
