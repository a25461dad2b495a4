//! `claviger notice …`

use clap::Subcommand;
use serde_json::json;

use super::{
    Context,
    client::{query, segment},
    output::{CliError, Columns},
};

/// What can be done with notices.
#[derive(Debug, Subcommand)]
pub enum NoticeCommand {
    /// List notices and how their deliveries went, newest first
    List {
        /// Only those that could not be delivered
        #[arg(long)]
        dead: bool,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Try a notice's dead deliveries once more
    Retry {
        /// Its id
        id: String,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("RAISED", "raised_at"),
    ("SEVERITY", "severity"),
    ("KIND", "kind"),
    ("TITLE", "title"),
    ("DELIVERIES", "delivered"),
];

/// Runs `claviger notice …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: NoticeCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        NoticeCommand::List { dead, limit } => {
            let fields = [("state", dead.then(|| "dead".to_owned())), ("limit", Some(limit.to_string()))];
            let page = client.get(&format!("/admin/v1/notices{}", query(&fields)))?;
            let mut rows = page["data"].clone();
            for row in rows.as_array_mut().into_iter().flatten() {
                let states = row["deliveries"].as_array().into_iter().flatten();
                let states: Vec<&str> = states.filter_map(|d| d["state"].as_str()).collect();
                row["delivered"] = states.join(", ").into();
            }
            context.out.rows(COLUMNS, &rows);
        }
        NoticeCommand::Retry { id } => {
            let path = format!("/admin/v1/notices/{}/retry", segment(&id));
            context.out.object(&client.post(&path, &json!({}))?);
        }
    }
    Ok(())
}
