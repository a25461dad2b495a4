//! `claviger issuer …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::workloads::AddIssuer;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with issuers.
#[derive(Debug, Subcommand)]
pub enum IssuerCommand {
    /// Add an issuer whose tokens can be trusted by rules
    Add(AddArgs),
    /// List issuers
    List,
    /// Take an issuer out that no rule goes by
    Remove {
        /// Its id or name
        issuer: String,
    },
}

/// `issuer add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name
    name: String,
    /// Which platform it is: fills in what is not given, and decides what rules pin
    #[arg(long, value_parser = ["github", "gitlab", "kubernetes", "other"], default_value = "other")]
    platform: String,
    /// What stands in `iss` of its tokens [default: the platform's own]
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Where its keys are [default: where the platform keeps them]
    #[arg(long, value_name = "URL", conflicts_with = "jwks_file")]
    jwks_url: Option<String>,
    /// A file with its keys, in place of their URL
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
    /// Its keys may be fetched inside: from a private address, and by plain http there
    #[arg(long)]
    private_network: bool,
    /// What its tokens may be signed with: RS256, ES256, EdDSA [default: RS256]
    #[arg(long, value_name = "ALG,…", value_delimiter = ',')]
    algorithms: Option<Vec<String>>,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("PLATFORM", "platform"),
    ("ISSUER", "issuer"),
    ("KEYS", "jwks_url"),
    ("ALGORITHMS", "algorithms"),
];

/// Runs `claviger issuer …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: IssuerCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        IssuerCommand::Add(args) => {
            let body = AddIssuer {
                name: args.name,
                platform: Some(args.platform),
                issuer: args.issuer,
                jwks_url: args.jwks_url,
                jwks: args.jwks_file.as_deref().map(keys).transpose()?,
                private_network: args.private_network,
                algorithms: args.algorithms,
            };
            context.out.object(&client.post("/admin/v1/issuers", &body)?);
        }
        IssuerCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/issuers")?),
        IssuerCommand::Remove { issuer } => {
            let id = super::trust::id_of(&client, "/admin/v1/issuers", &issuer)?;
            context.out.object(&client.delete(&format!("/admin/v1/issuers/{}", segment(&id)))?);
        }
    }
    Ok(())
}

fn keys(path: &Path) -> Result<serde_json::Value, CliError> {
    let at = |e: &dyn std::fmt::Display| CliError::usage(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
    serde_json::from_str(&text).map_err(|e| at(&e))
}
