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
    /// How fast and how well calls were answered, with advice that follows from the figures
    Performance {
        /// In which form; with --json always JSON
        #[arg(long, value_enum, default_value = "md")]
        format: Format,
        /// One row each
        #[arg(long, value_enum, default_value = "model")]
        by: By,
        /// Only of this key
        #[arg(long, value_name = "ID")]
        key: Option<String>,
        /// Only of this workspace
        #[arg(long)]
        workspace: Option<String>,
        /// From this moment on (RFC 3339, or a UTC day); thirty days before the end unless told
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this moment
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
}

/// What rows of the performance report stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Models
    Model,
    /// Keys
    Key,
    /// Sealed credentials
    Credential,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown
    #[value(alias = "markdown")]
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
    let (format, path) = match command {
        ReportCommand::Weekly { format, id } => (format, format!("weekly{}", query(&[("id", id)]))),
        ReportCommand::Performance { format, by, key, workspace, since, until } => {
            let by = by.to_possible_value().map(|v| v.get_name().to_owned());
            let asked = query(&[
                ("by", by),
                ("key", key),
                ("workspace", workspace),
                ("since", since),
                ("until", until),
            ]);
            (format, format!("performance{asked}"))
        }
    };
    let report = context.client()?.get(&format!("/admin/v1/reports/{path}"))?;
    let form = if context.out.json { Format::Json } else { format };
    match form {
        Format::Md => context.out.raw(report["markdown"].as_str().unwrap_or_default()),
        Format::Html => context.out.raw(report["html"].as_str().unwrap_or_default()),
        Format::Json => context.out.value(&report["json"]),
    }
    Ok(())
}
