//! `claviger whoami`

use clap::Args;
use serde_json::Value;

use super::{
    Context,
    gateway::Gateway,
    holder::HolderArgs,
    output::{CliError, Columns},
    token::access::standing,
};

/// `whoami`
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    #[command(flatten)]
    holder: HolderArgs,
}

const LIMITS: Columns = &[
    ("OF", "subject"),
    ("LIMIT", "kind"),
    ("CALLS", "bucket"),
    ("SIZE", "limit"),
    ("HELD", "held"),
    ("LEFT", "remaining"),
    ("WHOLE AGAIN", "reset"),
];

const BUDGETS: Columns = &[
    ("BUDGET OF", "subject"),
    ("PER", "period"),
    ("HARD", "hard"),
    ("LIMIT $", "limit_usd"),
    ("LEFT $", "left_usd"),
    ("RESETS", "resets_at"),
];

/// Says which key this is, what it may do, what is left of its limits and budgets, and whether it is on its way out.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &WhoamiArgs) -> Result<(), CliError> {
    let (gateway, key) = Gateway::find(context, &args.holder)?;
    let mut me = standing(context, gateway, &key)?.me()?;
    if context.out.json {
        context.out.value(&me);
        return Ok(());
    }
    let limits = me["limits"].take();
    let budgets = me["budgets"].take();
    let rotation = me["rotation"].take();
    context.out.object(&me);
    if limits.as_array().is_some_and(|list| !list.is_empty()) {
        context.out.rows(LIMITS, &limits);
    }
    if budgets.as_array().is_some_and(|list| !list.is_empty()) {
        context.out.rows(BUDGETS, &budgets);
    }
    if !rotation.is_null() {
        context.out.note(&leaving(&rotation));
    }
    Ok(())
}

/// What whoever uses a key that goes must know.
fn leaving(rotation: &Value) -> String {
    let word = |name: &str| rotation[name].as_str();
    let mut text = "This key is on its way out".to_owned();
    if let Some(stage) = word("stage") {
        text.push_str(&format!(" ({stage})"));
    }
    if let Some(successor) = word("successor") {
        text.push_str(&format!("; its successor is {successor}"));
    }
    if let Some(until) = word("overlap_until") {
        text.push_str(&format!("; both work until {until}"));
    }
    if let Some(next) = word("next_at") {
        text.push_str(&format!("; the next step is at {next}"));
    }
    text.push('.');
    text
}
