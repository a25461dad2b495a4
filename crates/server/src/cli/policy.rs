//! `claviger policy …`

use clap::{Args, Subcommand};
use claviger_control::api::policies::SetPolicy;
use serde_json::Value;

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Demand something of a workspace's keys; what is not given stays as it is
    Set(Box<SetArgs>),
    /// Show what holds in a workspace
    Show(WhoseArgs),
    /// List the policies that were set
    List,
    /// Drop a workspace's policy, so that the default holds; without a workspace, the default itself
    Drop(WhoseArgs),
}

/// Whose policy.
#[derive(Debug, Args)]
pub struct WhoseArgs {
    /// The workspace, by id or name [default: all that have no policy of their own]
    #[arg(long, value_name = "W")]
    workspace: Option<String>,
}

/// `policy set`
#[derive(Debug, Args)]
pub struct SetArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    /// Live keys that one owner may have in the workspace [product default: 5]
    #[arg(long, value_name = "N")]
    max_keys: Option<u32>,
    /// Every key needs a list of addresses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_ip: Option<bool>,
    /// Making a key needs a second factor
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_mfa: Option<bool>,
    /// When a key is due for rotation, in days [product default: 90]
    #[arg(long, value_name = "N")]
    rotation_days: Option<u32>,
    /// When an unused key is revoked, in days; 0: never [product default: 180]
    #[arg(long, value_name = "N")]
    revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told [product default: 14,7,3,1]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    notice_days: Option<Vec<u32>>,
    /// What must be shown beside every key of the workspace, old ones too: token, signature, mtls, dpop; empty:
    /// nothing
    #[arg(long, value_name = "PROOF,…", value_delimiter = ',')]
    require: Option<Vec<String>>,
    /// No key may be given answers out of the response cache; it holds for old keys, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    forbid_cache: Option<bool>,
}

const COLUMNS: Columns = &[
    ("WORKSPACE", "workspace"),
    ("MAX KEYS", "max_keys"),
    ("IP", "require_ip"),
    ("MFA", "require_mfa"),
    ("ROTATION", "rotation_days"),
    ("UNUSED", "revoke_unused_days"),
    ("NOTICE", "notice_days"),
    ("REQUIRE", "require"),
    ("SET", "updated_at"),
];

const BREACHES: Columns =
    &[("KEY", "key"), ("NAME", "name"), ("RULE", "rule"), ("WHAT FOLLOWS", "consequence"), ("WHEN", "at")];

/// Runs `claviger policy …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: PolicyCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let place = |whose: WhoseArgs| format!("/admin/v1/policy{}", query(&[("workspace", whose.workspace)]));
    match command {
        PolicyCommand::Set(args) => {
            changed(context, &client.patch("/admin/v1/policy", &body(*args))?);
        }
        PolicyCommand::Show(whose) => context.out.object(&client.get(&place(whose))?),
        PolicyCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/policies")?),
        PolicyCommand::Drop(whose) => changed(context, &client.delete(&place(whose))?),
    }
    Ok(())
}

fn body(args: SetArgs) -> SetPolicy {
    SetPolicy {
        workspace: args.whose.workspace,
        max_keys: args.max_keys,
        require_ip: args.require_ip,
        require_mfa: args.require_mfa,
        rotation_days: args.rotation_days,
        revoke_unused_days: args.revoke_unused_days,
        notice_days: args.notice_days,
        require: args.require.map(|words| words.into_iter().filter(|word| !word.is_empty()).collect()),
        forbid_cache: args.forbid_cache,
    }
}

/// The policy as it is now, and which living keys break it.
fn changed(context: &Context, view: &Value) {
    if context.out.json {
        return context.out.value(view);
    }
    let mut policy = view.clone();
    let breaches = policy.as_object_mut().and_then(|fields| fields.remove("breaches")).unwrap_or_default();
    context.out.object(&policy);
    let (total, examined) = (&breaches["total"], &breaches["examined"]);
    context.out.note(&format!("{examined} living keys looked at, {total} breaches."));
    if total.as_u64().unwrap_or_default() > 0 {
        context.out.rows(BREACHES, &breaches["first"]);
    }
}
