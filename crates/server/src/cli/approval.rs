//! `claviger approval …`

use clap::Subcommand;
use serde_json::json;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with requests that wait for a second person.
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// List requests that you made or could decide
    List {
        /// Decided and expired ones, too
        #[arg(long)]
        all: bool,
    },
    /// Show a request; to whoever asked, what was answered: a secret in it once
    Show {
        /// Its id
        id: String,
    },
    /// Say yes to somebody else's request: it is done, once
    Approve {
        /// Its id
        id: String,
    },
    /// Say no to somebody else's request, or take your own back
    Deny {
        /// Its id
        id: String,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("VERB", "verb"),
    ("PATH", "path"),
    ("BODY", "body"),
    ("REQUESTER", "requester_name"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
];

/// Runs `claviger approval …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: ApprovalCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let (id, decision) = match command {
        ApprovalCommand::List { all } => {
            let rows =
                client.list(if all { "/admin/v1/approvals?all=true" } else { "/admin/v1/approvals" })?;
            context.out.rows(COLUMNS, &rows);
            return Ok(());
        }
        ApprovalCommand::Show { id } => {
            let path = format!("/admin/v1/approvals/{}", segment(&id));
            let mut shown = client.get(&path)?;
            if shown["secret_waits"] == true {
                shown = client.post(&format!("{path}/answer"), &json!({}))?;
            }
            context.out.object(&shown);
            return Ok(());
        }
        ApprovalCommand::Approve { id } => (id, "approve"),
        ApprovalCommand::Deny { id } => (id, "deny"),
    };
    let path = format!("/admin/v1/approvals/{}/{decision}", segment(&id));
    let decided = client.post(&path, &json!({}))?;
    context.out.object(&decided);
    if decided["state"] == "approved" {
        context.out.line("it is being done: look again with `claviger approval show`");
    }
    if decided["state"] == "failed" {
        return Err(CliError::failed("it was approved, and refused when it was done"));
    }
    Ok(())
}
