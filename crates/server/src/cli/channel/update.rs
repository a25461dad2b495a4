//! `claviger channel update`: what is not said stays, as the channel has it when it is read.

use std::path::PathBuf;

use clap::Args;
use claviger_control::api::channels::{AddSmtp, AddWebhook, UpdateChannel};
use http::{HeaderValue, header};
use serde_json::Value;

use super::{find, secret};
use crate::cli::{
    Context,
    client::{Client, segment},
    output::CliError,
};

/// `channel update`
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its id or name
    channel: String,
    /// What it is called from now on
    #[arg(long)]
    name: Option<String>,
    /// Only notices at least as grave as this
    #[arg(long, value_name = "SEVERITY", value_parser = ["info", "warning", "critical"])]
    min_severity: Option<String>,
    /// Only of this workspace, by id or name; empty: of all
    #[arg(long)]
    workspace: Option<String>,
    #[command(flatten)]
    smtp: SmtpChanges,
    #[command(flatten)]
    webhook: WebhookChanges,
}

/// What may change of a mail server.
#[derive(Debug, Args)]
struct SmtpChanges {
    /// The mail server's name or address
    #[arg(long)]
    host: Option<String>,
    /// Its port
    #[arg(long)]
    port: Option<u16>,
    /// How the connection is protected
    #[arg(long, value_parser = ["starttls", "implicit", "plain"])]
    security: Option<String>,
    /// Log in as this name; empty: do not
    #[arg(long)]
    username: Option<String>,
    /// The file that holds the password, or `-` for standard input; another server wants it again
    #[arg(long, value_name = "FILE|-")]
    password_file: Option<PathBuf>,
    /// The sender
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Who gets every notice: all of them
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy
    #[arg(long, value_name = "BOOL")]
    to_owner: Option<bool>,
}

/// What may change of a webhook.
#[derive(Debug, Args)]
struct WebhookChanges {
    /// Where to
    #[arg(long, value_name = "URL")]
    receiver: Option<String>,
    /// Whether an address inside is meant
    #[arg(long, value_name = "BOOL")]
    allow_private: Option<bool>,
    /// The file that holds a new signing secret (whsec_…), or `-`
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<PathBuf>,
}

/// Runs `claviger channel update`.
///
/// # Errors
/// [`CliError`].
pub(super) fn run(context: &Context, client: &Client, args: UpdateArgs) -> Result<(), CliError> {
    let unknown = || CliError::refused(format!("there is no channel `{}`", args.channel));
    let there = find(client, &args.channel)?.ok_or_else(unknown)?;
    let id = there["id"].as_str().unwrap_or(&args.channel);
    let body = UpdateChannel {
        smtp: smtp(&args.smtp, &there["smtp"])?,
        webhook: webhook(&args.webhook, &there["webhook"])?,
        name: args.name,
        min_severity: args.min_severity,
        workspace: args.workspace,
    };
    // What was not said is what was read: nobody may have changed it since.
    let version = HeaderValue::try_from(format!("\"{}\"", there["version"]));
    let version = version.map_err(|e| CliError::failed(e.to_string()))?;
    let client = client.clone().with_header(header::IF_MATCH, version);
    context.out.object(&client.patch(&format!("/admin/v1/channels/{}", segment(id)), &body)?);
    Ok(())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn smtp(args: &SmtpChanges, there: &Value) -> Result<Option<AddSmtp>, CliError> {
    let SmtpChanges { host, port, security, username, password_file, from, to, to_owner } = args;
    let is_said = host.is_some()
        || port.is_some()
        || security.is_some()
        || username.is_some()
        || password_file.is_some()
        || from.is_some()
        || !to.is_empty()
        || to_owner.is_some();
    if !is_said {
        return Ok(None);
    }
    let recipients = || there["to"].as_array().into_iter().flatten().filter_map(text).collect();
    let username = username.clone().or_else(|| text(&there["username"]));
    Ok(Some(AddSmtp {
        host: host.clone().or_else(|| text(&there["host"])).unwrap_or_default(),
        port: port.or_else(|| there["port"].as_u64().and_then(|port| u16::try_from(port).ok())),
        security: security.clone().or_else(|| text(&there["security"])),
        username: username.filter(|name| !name.is_empty()),
        password: secret(password_file.as_deref())?,
        from: from.clone().or_else(|| text(&there["from"])).unwrap_or_default(),
        to: if to.is_empty() { recipients() } else { to.clone() },
        to_owner: to_owner.unwrap_or(there["to_owner"] == true),
    }))
}

fn webhook(args: &WebhookChanges, there: &Value) -> Result<Option<AddWebhook>, CliError> {
    let WebhookChanges { receiver, allow_private, secret_file } = args;
    if receiver.is_none() && allow_private.is_none() && secret_file.is_none() {
        return Ok(None);
    }
    Ok(Some(AddWebhook {
        url: receiver.clone().or_else(|| text(&there["url"])).unwrap_or_default(),
        allow_private: allow_private.unwrap_or(there["allow_private"] == true),
        secret: secret(secret_file.as_deref())?,
    }))
}
