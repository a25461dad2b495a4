//! `claviger key rotate`, `claviger rotation …`

use clap::{Args, Subcommand};
use claviger_control::api::{keys::rotate::RotateKey, rotations::Redeliver};
use serde_json::{Value, json};

use super::{
    Context,
    client::{query, segment},
    output::{CliError, Columns},
};
use crate::config::value::Span;

/// What can be done with rotations.
#[derive(Debug, Subcommand)]
pub enum RotationCommand {
    /// List rotations by their start
    List(ListArgs),
    /// Show a rotation, how far the new key is adopted, and who still uses the old one
    Status {
        /// Its id (`rot_…`), or that of a key: its newest rotation
        id: String,
    },
    /// Give a rotation up before the new key is used: the new key dies, the old one goes on
    Cancel {
        /// Its id
        id: String,
    },
    /// Wrap a new key that nobody uses yet anew: what was handed over before opens nothing
    #[command(visible_alias = "deliver")]
    Redeliver {
        /// Its id
        id: String,
        /// How long the new key waits to be unwrapped: 1s to 7d [default: 24h]
        #[arg(long, value_name = "SPAN")]
        wrap_ttl: Option<Span>,
    },
    /// Go back to the old key while it lives: the new key dies
    Rollback {
        /// Its id
        id: String,
    },
}

/// `key rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The key's id
    id: String,
    /// How long both keys work, at most until the old one expires [default: 7d]
    #[arg(long, value_name = "SPAN")]
    overlap: Option<Span>,
    /// Why, for the record and for those who are told
    #[arg(long)]
    reason: Option<String>,
    /// How long the new key waits to be unwrapped: 1s to 7d [default: 24h]
    #[arg(long, value_name = "SPAN")]
    wrap_ttl: Option<Span>,
}

/// `rotation list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Only those of this key, whichever of the two it is
    #[arg(long)]
    key: Option<String>,
    /// Only those that have not ended
    #[arg(long)]
    open: bool,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("HOLD", "hold"),
    ("OLD", "old"),
    ("SUCCESSOR", "successor"),
    ("STARTED", "started_at"),
    ("DEADLINE", "deadline"),
    ("ENDED", "ended_at"),
];

const REMAINING: Columns = &[
    ("ADDRESS", "client_ip"),
    ("PROGRAM", "user_agent"),
    ("REQUESTS", "requests"),
    ("LAST USED", "last_used_at"),
];

/// Runs `claviger rotation …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: RotationCommand) -> Result<(), CliError> {
    match command {
        RotationCommand::List(args) => list(context, args),
        RotationCommand::Status { id } => status(context, &id),
        RotationCommand::Cancel { id } => end(context, &id, "cancel"),
        RotationCommand::Redeliver { id, wrap_ttl } => redeliver(context, &id, wrap_ttl),
        RotationCommand::Rollback { id } => end(context, &id, "rollback"),
    }
}

/// Runs `claviger key rotate`.
///
/// # Errors
/// [`CliError`].
pub fn rotate(context: &Context, args: RotateArgs) -> Result<(), CliError> {
    let body = RotateKey {
        overlap_secs: args.overlap.map(Span::secs),
        reason: args.reason,
        wrap_ttl_secs: args.wrap_ttl.map(Span::secs),
    };
    let begun = context.client()?.post(&format!("/admin/v1/keys/{}/rotate", segment(&args.id)), &body)?;
    if context.out.json {
        context.out.value(&begun);
        return Ok(());
    }
    let text = |field: &str| begun[field].as_str().unwrap_or_default();
    context.out.line(text("wrapping_token"));
    context.out.note(&format!(
        "{}: {} waits, wrapped, until {}. Whoever it is for runs `claviger unwrap TOKEN`, once. {} works until {} and \
         is then walked out; `claviger rotation status {}` says who still uses it.",
        text("rotation"),
        text("successor"),
        text("expires_at"),
        args.id,
        text("deadline"),
        text("rotation"),
    ));
    Ok(())
}

fn redeliver(context: &Context, id: &str, wrap_ttl: Option<Span>) -> Result<(), CliError> {
    let body = Redeliver { wrap_ttl_secs: wrap_ttl.map(Span::secs) };
    let path = format!("/admin/v1/rotations/{}/redeliver", segment(id));
    let begun = context.client()?.post(&path, &body)?;
    if context.out.json {
        context.out.value(&begun);
        return Ok(());
    }
    let text = |field: &str| begun[field].as_str().unwrap_or_default();
    context.out.line(text("wrapping_token"));
    context.out.note(&format!(
        "{id}: {} waits in a new wrapping until {}. Whoever it is for runs `claviger unwrap TOKEN`, once. What was handed \
         over before opens nothing.",
        text("successor"),
        text("expires_at"),
    ));
    Ok(())
}

fn list(context: &Context, args: ListArgs) -> Result<(), CliError> {
    let open = args.open.then(|| "true".to_owned());
    let fields = [("workspace", args.workspace), ("key", args.key), ("open", open)];
    let rows = context.client()?.list(&format!("/admin/v1/rotations{}", query(&fields)))?;
    context.out.rows(COLUMNS, &rows);
    Ok(())
}

/// The newest rotation of a key, whichever of the two keys it is.
fn newest_of(context: &Context, key: &str) -> Result<String, CliError> {
    let fields = [("key", Some(key.to_owned()))];
    let rows = context.client()?.list(&format!("/admin/v1/rotations{}", query(&fields)))?;
    let last = rows.as_array().and_then(|rows| rows.last()?["id"].as_str().map(str::to_owned));
    last.ok_or_else(|| CliError::refused(format!("no rotation of `{key}`")))
}

fn status(context: &Context, id: &str) -> Result<(), CliError> {
    let id = if id.starts_with("key_") { newest_of(context, id)? } else { id.to_owned() };
    let mut view = context.client()?.get(&format!("/admin/v1/rotations/{}", segment(&id)))?;
    if context.out.json {
        context.out.value(&view);
        return Ok(());
    }
    let remaining = view.as_object_mut().and_then(|v| v.remove("remaining")).unwrap_or(Value::Null);
    context.out.object(&view);
    context.out.rows(REMAINING, &remaining);
    Ok(())
}

fn end(context: &Context, id: &str, verb: &str) -> Result<(), CliError> {
    let path = format!("/admin/v1/rotations/{}/{verb}", segment(id));
    context.out.object(&context.client()?.post(&path, &json!({}))?);
    Ok(())
}
