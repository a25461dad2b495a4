//! `claviger cache …`

use clap::{Args, Subcommand};
use claviger_control::api::cache::FlushCache;
use serde_json::Value;

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};

/// What can be done with the response cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is in it, and how often it had an answer since the start
    Show(WhoseArgs),
    /// Throw away what is kept; what is being made now is not kept either
    Flush(WhoseArgs),
}

/// Whose answers.
#[derive(Debug, Args)]
pub struct WhoseArgs {
    /// Only of this workspace, by id or name
    #[arg(long, value_name = "W")]
    workspace: Option<String>,
}

const COLUMNS: Columns = &[("WORKSPACE", "workspace"), ("ANSWERS", "answers"), ("BYTES", "bytes")];

/// Runs `claviger cache …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: CacheCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        CacheCommand::Show(whose) => {
            let path = format!("/admin/v1/cache{}", query(&[("workspace", whose.workspace)]));
            show(context, &client.get(&path)?);
        }
        CacheCommand::Flush(whose) => {
            let body = FlushCache { workspace: whose.workspace };
            let view = client.post("/admin/v1/cache/flush", &body)?;
            if context.out.json {
                context.out.value(&view);
            } else {
                context.out.line(&format!("{} answers flushed, {} bytes", view["answers"], view["bytes"]));
            }
        }
    }
    Ok(())
}

fn show(context: &Context, view: &Value) {
    if context.out.json {
        return context.out.value(view);
    }
    let total = &view["total"];
    if let Some(most) = total["most_bytes"].as_u64() {
        if most == 0 {
            return context.out.line("there is no response cache: cache.memory is 0");
        }
        context.out.line(&format!(
            "{} answers, {} of {most} bytes; since the start {} hits, {} misses, {} evictions",
            total["answers"], total["bytes"], total["hits"], total["misses"], total["evictions"]
        ));
    }
    context.out.rows(COLUMNS, &view["workspaces"]);
}
