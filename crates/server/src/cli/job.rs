//! `claviger job …`

use clap::Subcommand;
use serde_json::json;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List what is done again and again, and when it is due
    List,
    /// Run a job now, beside its schedule
    Run {
        /// Its name
        name: String,
    },
}

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("SCHEDULE", "schedule"),
    ("NEXT", "next_run_at"),
    ("LAST", "last_run_at"),
    ("OUTCOME", "last_outcome"),
];

/// Runs `claviger job …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: JobCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        JobCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/jobs")?),
        JobCommand::Run { name } => {
            let path = format!("/admin/v1/jobs/{}/run", segment(&name));
            context.out.object(&client.post(&path, &json!({}))?);
        }
    }
    Ok(())
}
