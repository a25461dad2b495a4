//! `claviger store-key`

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use claviger_domain::kms::{Vault, is_store_path};
use serde_json::{Value, json};

use super::{
    Context, ask,
    holder::variable,
    output::CliError,
    seal_key::{about, ask_service},
};
use crate::config::value::Span;

/// `store-key`
#[derive(Debug, Args)]
pub struct StoreKeyArgs {
    /// Where in Vault or OpenBao: the path of a secret, such as claviger/ci. The server is that of VAULT_ADDR,
    /// VAULT_TOKEN and VAULT_NAMESPACE (or BAO_…)
    #[arg(long, value_name = "PATH")]
    vault: String,
    /// The KV engine (version 2)
    #[arg(long, value_name = "PATH", default_value = "secret")]
    mount: String,
    /// The field of the secret
    #[arg(long, value_name = "NAME", default_value = "key")]
    field: String,
    /// The policy of the token that is handed over, which must be there already [default: one is made that reads this
    /// secret and nothing else]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// How long the token reads the secret
    #[arg(long, value_name = "SPAN", default_value = "32d")]
    token_ttl: Span,
    /// How long the token waits, wrapped, for whoever it is for
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    wrap_ttl: Span,
    /// The file that holds the key or the signing secret, or `-` for standard input [default: standard input]
    #[arg(long, value_name = "FILE|-")]
    key_file: Option<PathBuf>,
}

/// Puts a key into the store and prints a wrapped token that reads it. Nothing asks the gateway.
///
/// # Errors
/// [`CliError`] says which step was refused; those before it were done.
pub fn run(context: &Context, args: &StoreKeyArgs) -> Result<(), CliError> {
    let names = [("--vault", &args.vault), ("--mount", &args.mount)];
    if let Some((flag, _)) = names.iter().find(|(_, path)| !is_store_path(path)) {
        return Err(CliError::usage(format!("{flag}: expected a path of names, such as claviger/ci")));
    }
    let vault = Vault::from_environment(&variable).map_err(|error| CliError::usage(error.to_string()))?;
    let piped = !std::io::stdin().is_terminal();
    let text = ask::secret("key", args.key_file.as_deref().or(piped.then_some(Path::new("-"))))?;
    let text = text.trim();
    about(text)?;
    let place = format!("{}/data/{}", args.mount, args.vault);
    let secret = json!({"data": {args.field.as_str(): text}});
    let stored = parsed(&ask_service(context, vault.post(&place, &secret))?)?;
    let policy = match &args.policy {
        Some(named) => named.clone(),
        None => make_policy(context, &vault, args, &place)?,
    };
    let ttl = format!("{}s", args.token_ttl.secs());
    let wanted = json!({
        "policies": [policy], "no_default_policy": true, "renewable": false, "ttl": ttl, "explicit_max_ttl": ttl,
        "display_name": "claviger",
    });
    let call = vault.post("auth/token/create", &wanted).wrapped(args.wrap_ttl.secs());
    let wrapped = parsed(&ask_service(context, call)?)?;
    let token = wrapped["wrap_info"]["token"].as_str();
    let token = token.ok_or_else(|| CliError::failed("the store's answer is not what was expected"))?;
    if context.out.json {
        context.out.value(&json!({
            "wrapping_token": token, "creation_path": wrapped["wrap_info"]["creation_path"],
            "wrap_ttl_secs": args.wrap_ttl.secs(), "path": place, "field": args.field, "policy": policy,
            "version": stored["data"]["version"],
        }));
        return Ok(());
    }
    context.out.line(token);
    context.out.note(&format!(
        "{place} holds the key. The token opens once, within {} s, and gives one that reads it (policy {policy}).",
        args.wrap_ttl.secs()
    ));
    Ok(())
}

/// A policy that reads this secret and nothing else.
fn make_policy(
    context: &Context,
    vault: &Vault,
    args: &StoreKeyArgs,
    place: &str,
) -> Result<String, CliError> {
    // Two paths that read alike must not share a policy; the store does not tell cases apart.
    let hash = digest(&SHA256, place.as_bytes());
    let hash: String = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let slug = args.vault.replace('/', "-").to_lowercase();
    let name = format!("claviger-{slug}-{hash}");
    let rules = format!("path \"{place}\" {{ capabilities = [\"read\"] }}\n");
    ask_service(context, vault.post(&format!("sys/policies/acl/{name}"), &json!({"policy": rules})))?;
    Ok(name)
}

fn parsed(answer: &[u8]) -> Result<Value, CliError> {
    serde_json::from_slice(answer)
        .map_err(|_| CliError::failed("the store's answer is not what was expected"))
}
