//! `claviger audit …`

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use claviger_control::api::audit::VerifyAudit;
use claviger_domain::audit::checkpoint::Checkpoint;
use serde_json::{Value, json};

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};
use crate::dotenv;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what happened
    List {
        /// Only after this number
        #[arg(long, value_name = "N")]
        after: Option<i64>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Prove that no record was edited, reordered or removed
    Verify(VerifyArgs),
    /// Write everything that a verification needs to a file
    Export {
        /// The file, or `-` for standard output
        #[arg(long, value_name = "FILE|-", default_value = "-")]
        to: PathBuf,
    },
    /// Print the newest signed checkpoint, to be kept elsewhere
    Checkpoint,
}

/// `audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A checkpoint that was kept elsewhere (its file): also proves that nothing before it was cut off
    #[arg(long, value_name = "CHECKPOINT")]
    against: Option<PathBuf>,
    /// Verify an export instead of the database
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

const COLUMNS: Columns = &[
    ("NO", "number"),
    ("TIME", "timestamp"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("OUTCOME", "outcome"),
    ("ACTOR", "actor"),
];

/// Runs `claviger audit …`.
///
/// # Errors
/// [`CliError`]; a verification that does not hold ends with exit code 5.
pub fn run(context: &Context, command: AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::List { after, limit } => {
            let path = format!(
                "/admin/v1/audit{}",
                query(&[("after", after.map(|n| n.to_string())), ("limit", Some(limit.to_string()))])
            );
            context.out.rows(COLUMNS, &context.client()?.get(&path)?["data"]);
            Ok(())
        }
        AuditCommand::Verify(args) => verify(context, &args),
        AuditCommand::Export { to } => export(context, &to),
        AuditCommand::Checkpoint => {
            context.out.value(&context.client()?.get("/admin/v1/audit/checkpoint")?);
            Ok(())
        }
    }
}

fn verify(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let against = args.against.as_deref().map(read_checkpoint).transpose()?;
    let verdict = match &args.export {
        Some(file) => crate::wiring::offline::verify_export(file, against.as_ref())?,
        None => verify_store(context, against)?,
    };
    context.out.object(&verdict);
    if verdict["ok"] == Value::Bool(true) {
        return Ok(());
    }
    let bad = &verdict["bad"];
    Err(CliError::unproven(format!(
        "the record does not hold: chain {}, record {}: {}",
        bad["chain"].as_str().unwrap_or("?"),
        bad["number"],
        bad["why"].as_str().unwrap_or("?"),
    )))
}

/// The running process verifies its own store; when none runs, the stopped node's store is opened for reading.
fn verify_store(context: &Context, against: Option<Checkpoint>) -> Result<Value, CliError> {
    match context.client()?.post("/admin/v1/audit/verify", &VerifyAudit { against: against.clone() }) {
        Err(error) if error.code == 3 => {
            crate::wiring::offline::verify_stopped(&context.data_folder()?, against.as_ref())
        }
        answer => answer,
    }
}

/// A checkpoint from a file: the whole file, or the last line of a file of many.
fn read_checkpoint(path: &Path) -> Result<Checkpoint, CliError> {
    let text = fs::read_to_string(path).map_err(|e| CliError::usage(format!("{}: {e}", path.display())))?;
    let whole = serde_json::from_str(&text).ok();
    let last =
        || text.lines().rev().find(|l| !l.trim().is_empty()).and_then(|l| serde_json::from_str(l).ok());
    whole.or_else(last).ok_or_else(|| {
        CliError::usage(format!(
            "{}: no checkpoint in it; `claviger audit checkpoint` prints one",
            path.display()
        ))
    })
}

fn export(context: &Context, to: &Path) -> Result<(), CliError> {
    let text = context.client()?.text("/admin/v1/audit/export")?;
    if to.as_os_str() == "-" {
        context.out.raw(&text);
        return Ok(());
    }
    // A pipe or a device is written into; a file is put in place whole.
    let is_special = fs::metadata(to).is_ok_and(|known| !known.is_file());
    let written = match is_special {
        true => fs::write(to, &text),
        false => dotenv::write_private(to, text.as_bytes()),
    };
    written.map_err(|e| CliError::failed(format!("{}: {e}", to.display())))?;
    context.out.object(&json!({ "file": to, "lines": text.lines().count(), "bytes": text.len() }));
    Ok(())
}
