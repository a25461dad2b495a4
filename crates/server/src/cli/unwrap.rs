//! `claviger unwrap`

use std::path::Path;

use clap::Args;
use claviger_control::api::wrappings::Unwrap;
use serde_json::Value;

use super::{
    Context, ask,
    gateway::Gateway,
    holder::{base_url, named_gateway},
    output::CliError,
};

/// `unwrap`
#[derive(Debug, Args)]
pub struct UnwrapArgs {
    /// The wrapping token (`cvg_wrap_…`), or `-` to read it from standard input
    token: String,
    /// The gateway to ask [default: CLAVIGER_BASE_URL, else ANTHROPIC_BASE_URL, else the control plane]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

/// Opens a wrapped key and prints it. Whoever holds the token may: nobody needs to be logged in.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: UnwrapArgs) -> Result<(), CliError> {
    let token = if args.token == "-" {
        ask::secret("wrapping token", Some(Path::new("-")))?.to_string()
    } else {
        args.token
    };
    let gateway = match &args.base_url {
        Some(url) => Some(base_url(url, "--base-url")?),
        // Whoever names the control plane, or its data folder, means it.
        None if context.url.is_some() || context.data.is_some() => None,
        None => named_gateway()?,
    };
    let body = Unwrap { token };
    let out: Value = match gateway {
        Some(url) => Gateway::without_key(url, context.ca_file.clone())?.unwrap(&body)?,
        None => context.client()?.post("/admin/v1/unwrap", &body)?,
    };
    if context.out.json {
        context.out.value(&out);
        return Ok(());
    }
    context.out.line(out["key"].as_str().unwrap_or_default());
    context.out.note(&format!(
        "{}. This is the only time the key is shown.",
        out["id"].as_str().unwrap_or_default()
    ));
    Ok(())
}
