//! `claviger completions SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output::CliError};

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// [`CliError`] when standard output is closed.
pub fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "claviger", &mut script);
    let written = std::io::Write::write_all(&mut std::io::stdout(), &script);
    written.map_err(|e| CliError::failed(e.to_string()))
}
