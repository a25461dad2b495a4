//! `claviger credential …`: the provider key comes from a file or standard input, never as an argument.

use std::{io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::credentials::AddCredential;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Seal a provider key
    Add(AddArgs),
    /// List credentials
    List,
    /// Take a credential out
    Remove {
        /// Its id
        id: String,
    },
}

/// `credential add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The upstream that it opens, by id or name
    #[arg(long)]
    upstream: String,
    /// The file that holds the provider key, or `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    from_file: PathBuf,
    /// The only workspace that it serves, by id or name
    #[arg(long)]
    workspace: Option<String>,
    /// Its name [default: the upstream's]
    #[arg(long)]
    name: Option<String>,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("UPSTREAM", "upstream"),
    ("WORKSPACE", "workspace"),
    ("KEY", "hint"),
    ("STATE", "state"),
    ("CREATED", "created_at"),
];
const LONGEST_KEY: u64 = 16 * 1024;

/// Runs `claviger credential …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: CredentialCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        CredentialCommand::Add(args) => {
            let secret = read_secret(&args.from_file)?;
            let body =
                AddCredential { upstream: args.upstream, workspace: args.workspace, name: args.name, secret };
            context.out.object(&client.post("/admin/v1/credentials", &body)?);
        }
        CredentialCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/credentials")?),
        CredentialCommand::Remove { id } => {
            context.out.object(&client.delete(&format!("/admin/v1/credentials/{}", segment(&id)))?);
        }
    }
    Ok(())
}

/// A secret from a file, or from standard input.
///
/// # Errors
/// [`CliError`] when it cannot be read or holds nothing.
pub fn read_secret(path: &std::path::Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(LONGEST_KEY).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(LONGEST_KEY).read_to_string(&mut text))
    };
    read.map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    let secret = text.trim().to_owned();
    if secret.is_empty() {
        return Err(CliError::usage(format!("{} holds no key", path.display())));
    }
    Ok(secret)
}
