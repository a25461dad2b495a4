//! `claviger credential …`: the provider key comes from a file or standard input, never as an argument.

use std::{io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::credentials::AddCredential;
use claviger_domain::upstream::CredentialPurpose;
use serde_json::Value;

use super::{
    Context,
    client::{query, segment},
    output::{CliError, Columns},
};

/// What can be done with credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Seal a provider key
    Add(AddArgs),
    /// List credentials
    List,
    /// Who still uses the provider's own keys, past Claviger
    Usage {
        /// UTC days, today among them: 1 to 90
        #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
        days: u32,
        /// Only of the account behind this upstream, by id or name
        #[arg(long)]
        upstream: Option<String>,
    },
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
    /// It is an Admin API key (`sk-ant-admin…`): it asks the account who used which key, and serves no caller
    #[arg(long, conflicts_with = "workspace")]
    admin: bool,
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
    ("PURPOSE", "purpose"),
    ("STATE", "state"),
    ("CREATED", "created_at"),
];
const USAGE_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("HINT", "hint"),
    ("SEALED AS", "credential"),
    ("IN", "input_tokens"),
    ("OUT", "output_tokens"),
    ("THROUGH IN", "through_input_tokens"),
    ("THROUGH OUT", "through_output_tokens"),
    ("PAST IN", "direct_input_tokens"),
    ("PAST OUT", "direct_output_tokens"),
    ("LAST SEEN", "last_seen"),
    ("LAST PAST", "last_direct"),
    ("ID", "api_key_id"),
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
            let purpose = if args.admin { CredentialPurpose::Admin } else { CredentialPurpose::Traffic };
            let AddArgs { upstream, workspace, name, .. } = args;
            let body = AddCredential { upstream, workspace, name, purpose, secret };
            context.out.object(&client.post("/admin/v1/credentials", &body)?);
        }
        CredentialCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/credentials")?),
        CredentialCommand::Usage { days, upstream } => {
            let asked = query(&[("days", Some(days.to_string())), ("upstream", upstream)]);
            show_usage(context, &client.get(&format!("/admin/v1/credentials/usage{asked}"))?);
        }
        CredentialCommand::Remove { id } => {
            context.out.object(&client.delete(&format!("/admin/v1/credentials/{}", segment(&id)))?);
        }
    }
    Ok(())
}

/// The keys; on a terminal also what to do about them.
fn show_usage(context: &Context, report: &Value) {
    if context.out.json {
        return context.out.value(report);
    }
    context.out.rows(USAGE_COLUMNS, &report["keys"]);
    let strangers = report["unmatched_credentials"].as_array().map(Vec::as_slice).unwrap_or_default();
    for name in strangers.iter().filter_map(Value::as_str) {
        context.out.note(&format!(
            "credential `{name}` holds none of its account's keys: the Admin API key may be of another organisation"
        ));
    }
    if context.out.is_terminal() {
        let keys = report["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let past = keys.iter().filter(|key| !key["last_direct"].is_null()).count();
        context.out.line(&match past {
            0 => "Nothing went past Claviger.".to_owned(),
            1 => "One key is still used past Claviger.".to_owned(),
            past => format!("{past} keys are still used past Claviger."),
        });
    }
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
