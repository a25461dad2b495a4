//! `claviger upstream …`

use clap::Subcommand;
use claviger_control::api::upstreams::AddUpstream;
use serde_json::json;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be done with upstreams.
#[derive(Debug, Subcommand)]
pub enum UpstreamCommand {
    /// Add an upstream
    Add {
        /// Its name
        name: String,
        /// Its protocol
        #[arg(long, default_value = "anthropic")]
        kind: String,
        /// Where it is, such as https://api.anthropic.com
        #[arg(long, value_name = "URL")]
        base_url: String,
    },
    /// List upstreams
    List,
    /// Ask an upstream whether it answers and takes its credential
    Probe {
        /// Its id or name
        upstream: String,
    },
    /// Take an upstream out
    Remove {
        /// Its id or name
        upstream: String,
    },
}

const COLUMNS: Columns =
    &[("ID", "id"), ("NAME", "name"), ("KIND", "kind"), ("BASE URL", "base_url"), ("STATE", "state")];

/// Runs `claviger upstream …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: UpstreamCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        UpstreamCommand::Add { name, kind, base_url } => {
            context.out.object(&client.post("/admin/v1/upstreams", &AddUpstream { name, kind, base_url })?);
        }
        UpstreamCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/upstreams")?),
        UpstreamCommand::Probe { upstream } => {
            let path = format!("/admin/v1/upstreams/{}/probe", segment(&upstream));
            let report = client.post(&path, &json!({}))?;
            context.out.object(&report);
            if report["ok"] != json!(true) {
                return Err(CliError::failed("the upstream did not pass the probe"));
            }
        }
        UpstreamCommand::Remove { upstream } => {
            context.out.object(&client.delete(&format!("/admin/v1/upstreams/{}", segment(&upstream)))?);
        }
    }
    Ok(())
}
