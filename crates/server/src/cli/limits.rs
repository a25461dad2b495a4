//! `claviger limits …`

use clap::Subcommand;

use super::{Context, client::segment, output::CliError};

/// What can be asked about limits.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// Show a key's limits and what is left of each right now
    Show {
        /// The key's id
        key: String,
    },
}

/// Runs `claviger limits …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: LimitsCommand) -> Result<(), CliError> {
    let LimitsCommand::Show { key } = command;
    let view = context.client()?.get(&format!("/admin/v1/keys/{}/limits", segment(&key)))?;
    context.out.object(&view);
    Ok(())
}
