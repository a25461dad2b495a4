//! `claviger channel …`: passwords and secrets come from a file or standard input, never as an argument.

mod update;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::channels::{AddChannel, AddSmtp, AddWebhook};
use serde_json::{Value, json};

use super::{
    Context,
    client::{Client, segment},
    credential::read_secret,
    output::{CliError, Columns},
};

/// What can be done with channels.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// Add a channel
    #[command(subcommand)]
    Add(AddCommand),
    /// Change a channel; what keeps something from somebody needs a second person
    Update(Box<UpdateArgs>),
    /// List channels
    List,
    /// Send a trial notice now
    Test {
        /// Its id or name
        channel: String,
    },
    /// Take a channel out; what waits for it is dropped
    Remove {
        /// Its id or name
        channel: String,
    },
}

/// `channel add`
#[derive(Debug, Subcommand)]
pub enum AddCommand {
    /// E-mail
    Smtp(Box<SmtpArgs>),
    /// A signed webhook (Standard Webhooks)
    Webhook(WebhookArgs),
}

/// What every channel has.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Its name
    name: String,
    /// Only notices at least as grave as this
    #[arg(long, value_name = "SEVERITY", value_parser = ["info", "warning", "critical"], default_value = "info")]
    min_severity: String,
    /// Only of this workspace, by id or name
    #[arg(long)]
    workspace: Option<String>,
}

/// `channel add smtp`
#[derive(Debug, Args)]
pub struct SmtpArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The mail server's name or address
    #[arg(long)]
    host: String,
    /// Its port [default: 587, 465 or 25, by security]
    #[arg(long)]
    port: Option<u16>,
    /// How the connection is protected; plain is for a server on this machine
    #[arg(long, value_parser = ["starttls", "implicit", "plain"], default_value = "starttls")]
    security: String,
    /// Log in as this name
    #[arg(long, requires = "password_file")]
    username: Option<String>,
    /// The file that holds the password, or `-` for standard input
    #[arg(long, value_name = "FILE|-", requires = "username")]
    password_file: Option<PathBuf>,
    /// The sender
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Who gets every notice
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// The owner of the key concerned gets a copy
    #[arg(long)]
    to_owner: bool,
}

/// `channel add webhook`
#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Where to, such as https://hooks.example.com/claviger
    #[arg(value_name = "URL")]
    receiver: String,
    /// An address inside is meant
    #[arg(long)]
    allow_private: bool,
    /// The file that holds the signing secret (whsec_…), or `-` [default: one is made and shown once]
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<PathBuf>,
}

pub use update::UpdateArgs;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("KIND", "kind"),
    ("TARGET", "target"),
    ("SEVERITY", "min_severity"),
    ("WORKSPACE", "workspace"),
];

/// Runs `claviger channel …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: ChannelCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        ChannelCommand::Add(add) => {
            let body = match add {
                AddCommand::Smtp(args) => smtp(*args)?,
                AddCommand::Webhook(args) => webhook(args)?,
            };
            context.out.object(&client.post("/admin/v1/channels", &body)?);
        }
        ChannelCommand::Update(args) => update::run(context, &client, *args)?,
        ChannelCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/channels")?),
        ChannelCommand::Test { channel } => {
            let report =
                client.post(&format!("/admin/v1/channels/{}/test", segment(&channel)), &json!({}))?;
            context.out.object(&report);
            if report["ok"] != json!(true) {
                return Err(CliError::failed("the trial notice was not delivered"));
            }
        }
        ChannelCommand::Remove { channel } => {
            let found = find(&client, &channel)?;
            let id = found.as_ref().and_then(|c| c["id"].as_str()).unwrap_or(&channel);
            context.out.object(&client.delete(&format!("/admin/v1/channels/{}", segment(id)))?);
        }
    }
    Ok(())
}

/// The channel that is called so, by id or name.
fn find(client: &Client, wanted: &str) -> Result<Option<Value>, CliError> {
    let listed = client.list("/admin/v1/channels")?;
    let named = |c: &&Value| c["id"] == wanted || c["name"] == wanted;
    Ok(listed.as_array().and_then(|all| all.iter().find(named)).cloned())
}

fn secret(file: Option<&Path>) -> Result<Option<String>, CliError> {
    file.map(read_secret).transpose()
}

fn smtp(args: SmtpArgs) -> Result<AddChannel, CliError> {
    let smtp = AddSmtp {
        host: args.host,
        port: args.port,
        security: Some(args.security),
        username: args.username,
        password: secret(args.password_file.as_deref())?,
        from: args.from,
        to: args.to,
        to_owner: args.to_owner,
    };
    Ok(AddChannel { smtp: Some(smtp), ..common(args.common) })
}

fn webhook(args: WebhookArgs) -> Result<AddChannel, CliError> {
    let secret = secret(args.secret_file.as_deref())?;
    let webhook = AddWebhook { url: args.receiver, allow_private: args.allow_private, secret };
    Ok(AddChannel { webhook: Some(webhook), ..common(args.common) })
}

fn common(args: CommonArgs) -> AddChannel {
    AddChannel {
        name: args.name,
        smtp: None,
        webhook: None,
        min_severity: Some(args.min_severity),
        workspace: args.workspace,
    }
}
