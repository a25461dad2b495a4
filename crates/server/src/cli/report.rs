//! `claviger report …`

use clap::{Subcommand, ValueEnum};

use super::{Context, client::query, output::CliError};

/// What can be reported.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// The newest weekly rotation report; `claviger job run weekly_report` makes one now
    Weekly {
        /// In which form; with --json always JSON
        #[arg(long, value_enum, default_value = "md")]
        format: Format,
        /// Another one than the newest
        #[arg(long)]
        id: Option<String>,
    },
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown
    Md,
    /// A whole page
    Html,
    /// JSON
    Json,
}

/// Runs `claviger report …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: ReportCommand) -> Result<(), CliError> {
    let ReportCommand::Weekly { format, id } = command;
    let report = context.client()?.get(&format!("/admin/v1/reports/weekly{}", query(&[("id", id)])))?;
    let form = if context.out.json { Format::Json } else { format };
    match form {
        Format::Md => context.out.raw(report["markdown"].as_str().unwrap_or_default()),
        Format::Html => context.out.raw(report["html"].as_str().unwrap_or_default()),
        Format::Json => context.out.value(&report["json"]),
    }
    Ok(())
}
