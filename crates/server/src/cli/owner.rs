//! `claviger owner …`

use clap::Subcommand;
use claviger_control::api::owners::{CreateOwner, UpdateOwner};
use serde_json::json;

use super::{
    Context,
    client::segment,
    limit_args::LimitArgs,
    output::{CliError, Columns},
};

/// What can be done with owners.
#[derive(Debug, Subcommand)]
pub enum OwnerCommand {
    /// Make an owner
    Create {
        /// Its name
        name: String,
        /// Where notices go
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Change where an owner's notices go, and the limits of all its keys together
    Update {
        /// Its id or name
        owner: String,
        /// The address; empty: none
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List owners
    List,
    /// Archive an owner: it gets no new keys
    Archive {
        /// Its id or name
        owner: String,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("EMAIL", "email"),
    ("CREATED", "created_at"),
    ("ARCHIVED", "archived_at"),
];

/// Runs `claviger owner …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: OwnerCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        OwnerCommand::Create { name, email, limits } => {
            let body = CreateOwner { name, email, limits: limits.patch() };
            context.out.object(&client.post("/admin/v1/owners", &body)?);
        }
        OwnerCommand::Update { owner, email, limits } => {
            let path = format!("/admin/v1/owners/{}", segment(&owner));
            let body = UpdateOwner { email, limits: limits.patch() };
            context.out.object(&client.patch(&path, &body)?);
        }
        OwnerCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/owners")?),
        OwnerCommand::Archive { owner } => {
            let path = format!("/admin/v1/owners/{}/archive", segment(&owner));
            context.out.object(&client.post(&path, &json!({}))?);
        }
    }
    Ok(())
}
