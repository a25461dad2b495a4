//! `claviger key tokens …`

use clap::Subcommand;
use claviger_control::api::keys::tokens::RevokeTokens;

use crate::cli::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with the tokens that a key has bought.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// List families of tokens that live, the one that was renewed last first
    List {
        /// The key's id
        key: String,
    },
    /// Refuse the tokens that a key has bought so far; the key itself goes on
    Revoke {
        /// The key's id
        key: String,
        /// Only this family (`fam_…`)
        #[arg(long, value_name = "ID")]
        family: Option<String>,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("SCOPE", "scope"),
    ("BOUND", "bound"),
    ("RENEWALS", "renewals"),
    ("CREATED", "created_at"),
    ("RENEWED", "used_at"),
    ("EXPIRES", "expires_at"),
];

/// Runs `claviger key tokens …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: TokensCommand) -> Result<(), CliError> {
    match command {
        TokensCommand::List { key } => {
            let path = format!("/admin/v1/keys/{}/tokens", segment(&key));
            context.out.rows(COLUMNS, &context.client()?.list(&path)?);
        }
        TokensCommand::Revoke { key, family } => {
            let path = format!("/admin/v1/keys/{}/tokens/revoke", segment(&key));
            context.out.object(&context.client()?.post(&path, &RevokeTokens { family })?);
        }
    }
    Ok(())
}
