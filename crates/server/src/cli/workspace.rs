//! `claviger workspace …`

use clap::Subcommand;
use claviger_control::api::workspaces::{CreateWorkspace, UpdateWorkspace};
use serde_json::json;

use super::{
    Context,
    client::segment,
    limit_args::LimitArgs,
    output::{CliError, Columns},
};

/// What can be done with workspaces.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// Make a workspace
    Create {
        /// Its name
        name: String,
        /// development, staging or production
        #[arg(long, default_value = "development")]
        environment: String,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Change a workspace's environment class (a laxer one needs a second person) and the limits of all its keys together
    Update {
        /// Its id or name
        workspace: String,
        /// development, staging or production
        #[arg(long)]
        environment: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List workspaces
    List,
    /// Archive a workspace: its keys stop working
    Archive {
        /// Its id or name
        workspace: String,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ENVIRONMENT", "environment"),
    ("CREATED", "created_at"),
    ("ARCHIVED", "archived_at"),
];

/// Runs `claviger workspace …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: WorkspaceCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        WorkspaceCommand::Create { name, environment, limits } => {
            let body = CreateWorkspace { name, environment, limits: limits.patch() };
            context.out.object(&client.post("/admin/v1/workspaces", &body)?);
        }
        WorkspaceCommand::Update { workspace, environment, limits } => {
            let path = format!("/admin/v1/workspaces/{}", segment(&workspace));
            let body = UpdateWorkspace { environment, limits: limits.patch() };
            context.out.object(&client.patch(&path, &body)?);
        }
        WorkspaceCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/workspaces")?),
        WorkspaceCommand::Archive { workspace } => {
            let path = format!("/admin/v1/workspaces/{}/archive", segment(&workspace));
            context.out.object(&client.post(&path, &json!({}))?);
        }
    }
    Ok(())
}
