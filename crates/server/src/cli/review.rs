//! `claviger review …`

use clap::{Args, Subcommand};
use claviger_control::api::reviews::DecideReview;

use super::{
    Context,
    client::{query, segment},
    output::{CliError, Columns},
};

/// What can be done with reviews of permissions.
#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// List reviews, the newest first
    List {
        /// Only of this workspace
        #[arg(long, value_name = "W")]
        workspace: Option<String>,
        /// Only those that wait for a decision
        #[arg(long)]
        open: bool,
    },
    /// Show what a key may do and did not use in the last 90 days
    Show {
        /// The key's id
        key: String,
    },
    /// Decide whether a key keeps what it did not use
    Decide(DecideArgs),
}

/// `review decide`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("decision").required(true)))]
pub struct DecideArgs {
    /// The key's id
    key: String,
    /// It needs what it has
    #[arg(long, group = "decision")]
    confirm: bool,
    /// Take away what it did not use
    #[arg(long, group = "decision")]
    shrink: bool,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("KEY", "key"),
    ("STATE", "state"),
    ("OPENED", "opened_at"),
    ("DECIDED", "decided_at"),
    ("UNUSED", "findings"),
];

/// Runs `claviger review …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: ReviewCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let of_key = |key: &str| format!("/admin/v1/keys/{}/review", segment(key));
    match command {
        ReviewCommand::List { workspace, open } => {
            let open = open.then(|| "true".to_owned());
            let path = format!("/admin/v1/reviews{}", query(&[("workspace", workspace), ("open", open)]));
            context.out.rows(COLUMNS, &client.list(&path)?);
        }
        ReviewCommand::Show { key } => context.out.object(&client.get(&of_key(&key))?),
        ReviewCommand::Decide(args) => {
            let decision = if args.shrink { "shrink" } else { "confirm" }.to_owned();
            context.out.object(&client.post(&of_key(&args.key), &DecideReview { decision })?);
        }
    }
    Ok(())
}
