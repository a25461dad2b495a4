//! `claviger key …`

pub mod tokens;

use std::{io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::keys::{CreateKey, RevokeKey, UpdateKey, signing::RotateSigning};
use claviger_domain::token::{Brand, inspect, inspect_any_brand};
use serde_json::json;

use super::{
    Context,
    client::{query, segment},
    limit_args::LimitArgs,
    output::{CliError, Columns},
};
use crate::config::value::Span;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown once
    Create(Box<CreateArgs>),
    /// Make a key for each row of a table (CSV)
    Import(super::import::ImportArgs),
    /// List keys
    List(ListArgs),
    /// Show one key
    Show {
        /// Its id (`key_…`)
        id: String,
    },
    /// Change what a key may do
    Update(Box<UpdateArgs>),
    /// Refuse a key until it is resumed
    Suspend {
        /// Its id
        id: String,
    },
    /// Let a suspended key work again
    Resume {
        /// Its id
        id: String,
    },
    /// Signing secrets of a key
    #[command(subcommand)]
    Signing(SigningCommand),
    /// Make a key's successor and begin to replace the key by it
    Rotate(super::rotation::RotateArgs),
    /// Refuse a key for ever
    Revoke(RevokeArgs),
    /// Forget what could still prove a revoked or expired key; its record stays
    Purge {
        /// Its id
        id: String,
    },
    /// The access and refresh tokens that a key has bought
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Say what a string is, check by check, without asking anyone
    Inspect {
        /// The string, or `-` to read it from standard input
        token: String,
        /// Judge it by this brand only [default: the one it was made with, or cvg]
        #[arg(long, value_name = "LETTERS")]
        brand: Option<String>,
    },
}

/// What can be done with a key's signing secrets.
#[derive(Debug, Subcommand)]
pub enum SigningCommand {
    /// Show what its signatures are verified with; secrets are not shown
    Show {
        /// The key's id
        id: String,
    },
    /// Make a new signing secret; it is shown once. The old one works for another day
    Rotate {
        /// The key's id
        id: String,
        /// Refuse the old one at once
        #[arg(long)]
        at_once: bool,
    },
}

/// What a key may do, as flags of `create` and `update`.
#[derive(Debug, Default, Args)]
pub struct PolicyArgs {
    /// Models it may use, with `*`; all when not given
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Endpoints it may use: messages, count_tokens, batches, models, files, other; all when not given
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    endpoints: Option<Vec<String>>,
    /// Scopes: read, write, or one endpoint's such as files:read; all when not given
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// Address blocks it may be used from; anywhere when not given
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    allow_ip: Option<Vec<String>>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Uses in its whole life; 0 lifts the limit
    #[arg(long, value_name = "N")]
    max_uses: Option<u64>,
    /// Hours of the week, such as "Mon-Fri 08-18 Europe/Berlin"; empty: always
    #[arg(long, value_name = "WINDOW")]
    hours: Option<String>,
    /// What a client that goes away causes upstream: cancel or drain [default: cancel]
    #[arg(long, value_name = "WHAT")]
    on_disconnect: Option<String>,
    /// Answer requests that equal an earlier one out of the response cache, if that is not older than: 300s, 5m, 1h;
    /// on: 5m; off: never [default: off]
    #[arg(long, value_name = "TTL")]
    cache: Option<String>,
    /// What must be shown beside it: token, signature, mtls, dpop; `--require=`: nothing
    #[arg(long, value_name = "PROOF,…", value_delimiter = ',')]
    require: Option<Vec<String>>,
    /// Make a signing secret; it is shown once. One that the key had works for another day
    #[arg(long)]
    sign: bool,
    /// Client certificates that it may be used with, x5t#S256:THUMBPRINT or spiffe://ID; empty: bound to none
    #[arg(long, value_name = "CERTIFICATE,…", value_delimiter = ',')]
    bind_mtls: Option<Vec<String>>,
    /// A ceiling on money that is never passed, in dollars: 12.50/day, also /week, /month, /life
    #[arg(long, value_name = "AMOUNT/PERIOD")]
    budget: Option<String>,
}

/// `key create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    #[arg(long)]
    name: String,
    /// Make a test key: the built-in simulator answers it, and nothing costs money
    #[arg(long)]
    test: bool,
    /// Its workspace, by id or name [default: the first one]
    #[arg(long)]
    workspace: Option<String>,
    /// Its owner, by id or name [default: the first one]
    #[arg(long)]
    owner: Option<String>,
    /// It does not work before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// How long it works: 12h, 90d, never [default: 90d]
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    /// Hand it over wrapped: print a token that opens it, once, with `claviger unwrap`
    #[arg(long)]
    wrapped: bool,
    /// How long the wrapped key waits: 1s to 7d [default: 24h]
    #[arg(long, value_name = "SPAN", requires = "wrapped")]
    wrap_ttl: Option<Span>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// `key update`
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its id
    id: String,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// How long it works from now: 12h, 90d, never
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    /// The public half of its holder's Ed25519 key pair, for signatures of RFC 9421: a file with 64 hex digits or PEM
    #[arg(long, value_name = "FILE")]
    signing_public_key: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// `key list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Only of this owner
    #[arg(long)]
    owner: Option<String>,
}

/// `key revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its id
    id: String,
    /// EXPIRED, COMPROMISED, ROTATION, USER_REQUEST or SECURITY_POLICY
    #[arg(long, default_value = "USER_REQUEST")]
    reason: String,
    /// Cut calls in flight at once instead of letting them finish
    #[arg(long)]
    now: bool,
    /// Return only when the key is refused everywhere and its calls have ended or were cut
    #[arg(long)]
    wait: bool,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("CLASS", "class"),
    ("STATUS", "status"),
    ("WORKSPACE", "workspace"),
    ("OWNER", "owner"),
    ("EXPIRES", "expires_at"),
    ("USES", "usage_count"),
    ("LAST USED", "last_used_at"),
];

/// Runs `claviger key …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: KeyCommand) -> Result<(), CliError> {
    match command {
        KeyCommand::Create(args) => create(context, *args),
        KeyCommand::Import(args) => super::import::run(context, &args),
        KeyCommand::List(args) => list(context, args),
        KeyCommand::Show { id } => {
            let view = context.client()?.get(&format!("/admin/v1/keys/{}", segment(&id)))?;
            context.out.object(&view);
            Ok(())
        }
        KeyCommand::Update(args) => update(context, *args),
        KeyCommand::Suspend { id } => verb(context, &id, "suspend"),
        KeyCommand::Resume { id } => verb(context, &id, "resume"),
        KeyCommand::Signing(command) => signing(context, command),
        KeyCommand::Rotate(args) => super::rotation::rotate(context, args),
        KeyCommand::Revoke(args) => revoke(context, &args),
        KeyCommand::Purge { id } => verb(context, &id, "purge"),
        KeyCommand::Tokens(command) => tokens::run(context, command),
        KeyCommand::Inspect { token, brand } => inspect_token(context, token, brand.as_deref()),
    }
}

/// An empty text is no certificate: it clears the list.
fn bindings(given: Option<Vec<String>>) -> Option<Vec<String>> {
    given.map(|all| all.into_iter().filter(|text| !text.trim().is_empty()).collect())
}

fn create(context: &Context, args: CreateArgs) -> Result<(), CliError> {
    let limits = args.policy.limits.patch();
    let body = CreateKey {
        name: args.name,
        test: args.test,
        workspace: args.workspace,
        owner: args.owner,
        not_before: args.not_before,
        expires_in: args.expires_in,
        models: args.policy.models,
        endpoints: args.policy.endpoints,
        scopes: args.policy.scopes,
        allow_ip: args.policy.allow_ip,
        limits,
        max_uses: args.policy.max_uses,
        hours: args.policy.hours,
        on_disconnect: args.policy.on_disconnect,
        cache: args.policy.cache,
        require: proofs(args.policy.require),
        sign: args.policy.sign,
        bind_mtls: bindings(args.policy.bind_mtls),
        wrapped: args.wrapped,
        wrap_ttl_secs: args.wrap_ttl.map(Span::secs),
        budget: args.policy.budget,
    };
    let view = context.client()?.post("/admin/v1/keys", &body)?;
    if context.out.json {
        context.out.value(&view);
        return Ok(());
    }
    if let Some(token) = view["wrapping_token"].as_str() {
        context.out.line(token);
        context.out.note(&format!(
            "{} waits, wrapped, until {}. Whoever it is for runs `claviger unwrap TOKEN`, once.",
            view["id"].as_str().unwrap_or_default(),
            view["wrapping_expires_at"].as_str().unwrap_or_default(),
        ));
        show_secret(context, view.get("signing_secret"));
        return Ok(());
    }
    context.out.line(view["key"].as_str().unwrap_or_default());
    context.out.note(&format!(
        "{} in workspace {}, expires {}. This is the only time the key is shown.",
        view["id"].as_str().unwrap_or_default(),
        view["workspace"].as_str().unwrap_or_default(),
        view["expires_at"].as_str().unwrap_or("never"),
    ));
    show_secret(context, view.get("signing_secret"));
    Ok(())
}

const SIGNERS: Columns = &[
    ("ID", "id"),
    ("KIND", "kind"),
    ("STATE", "state"),
    ("HINT", "hint"),
    ("FROM", "valid_from"),
    ("UNTIL", "until"),
];

fn signing(context: &Context, command: SigningCommand) -> Result<(), CliError> {
    let place = |id: &str| format!("/admin/v1/keys/{}/signing", segment(id));
    match command {
        SigningCommand::Show { id } => {
            let view = context.client()?.get(&place(&id))?;
            if context.out.json {
                context.out.value(&view);
            } else {
                context.out.rows(SIGNERS, &view["signers"]);
            }
        }
        SigningCommand::Rotate { id, at_once } => {
            let view =
                context.client()?.post(&format!("{}/rotate", place(&id)), &RotateSigning { at_once })?;
            if context.out.json {
                context.out.value(&view);
            } else {
                show_secret(context, view.get("signing_secret"));
            }
        }
    }
    Ok(())
}

/// A signing secret, on a line of its own.
fn show_secret(context: &Context, secret: Option<&serde_json::Value>) {
    if let Some(secret) = secret.and_then(serde_json::Value::as_str) {
        context.out.line(secret);
        context.out.note("This is the signing secret, and the only time it is shown.");
    }
}

/// `--require=` demands nothing.
fn proofs(words: Option<Vec<String>>) -> Option<Vec<String>> {
    words.map(|words| words.into_iter().filter(|word| !word.trim().is_empty()).collect())
}

fn list(context: &Context, args: ListArgs) -> Result<(), CliError> {
    let path = format!("/admin/v1/keys{}", query(&[("workspace", args.workspace), ("owner", args.owner)]));
    let rows = context.client()?.list(&path)?;
    context.out.rows(COLUMNS, &rows);
    Ok(())
}

fn update(context: &Context, args: UpdateArgs) -> Result<(), CliError> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))
    };
    let signing_public_key = args.signing_public_key.as_ref().map(read).transpose()?;
    let body = UpdateKey {
        name: args.name,
        expires_in: args.expires_in,
        limits: args.policy.limits.patch(),
        models: args.policy.models,
        endpoints: args.policy.endpoints,
        scopes: args.policy.scopes,
        allow_ip: args.policy.allow_ip,
        max_uses: args.policy.max_uses,
        hours: args.policy.hours,
        on_disconnect: args.policy.on_disconnect,
        cache: args.policy.cache,
        require: proofs(args.policy.require),
        sign: args.policy.sign,
        signing_public_key,
        bind_mtls: bindings(args.policy.bind_mtls),
        budget: args.policy.budget,
    };
    let mut view = context.client()?.patch(&format!("/admin/v1/keys/{}", segment(&args.id)), &body)?;
    if context.out.json {
        context.out.value(&view);
        return Ok(());
    }
    let secret = view.as_object_mut().and_then(|fields| fields.remove("signing_secret"));
    context.out.object(&view);
    show_secret(context, secret.as_ref());
    Ok(())
}

fn verb(context: &Context, id: &str, verb: &str) -> Result<(), CliError> {
    let view = context.client()?.post(&format!("/admin/v1/keys/{}/{verb}", segment(id)), &json!({}))?;
    context.out.object(&view);
    Ok(())
}

fn revoke(context: &Context, args: &RevokeArgs) -> Result<(), CliError> {
    let body = RevokeKey { reason: args.reason.clone(), now: args.now, wait: args.wait };
    let view = context.client()?.post(&format!("/admin/v1/keys/{}/revoke", segment(&args.id)), &body)?;
    context.out.object(&view);
    Ok(())
}

fn inspect_token(context: &Context, token: String, brand: Option<&str>) -> Result<(), CliError> {
    let brand = brand.map(Brand::parse).transpose().map_err(|e| CliError::usage(format!("--brand: {e}")))?;
    let text = if token == "-" {
        let mut text = String::new();
        let read = std::io::stdin().take(4_096).read_to_string(&mut text);
        read.map_err(|e| CliError::failed(format!("standard input: {e}")))?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        token
    };
    let answer = match brand {
        Some(brand) => inspect(brand, &text),
        None => inspect_any_brand(Brand::DEFAULT, &text),
    };
    let value = serde_json::to_value(answer).map_err(|e| CliError::failed(e.to_string()))?;
    context.out.object(&value);
    Ok(())
}
