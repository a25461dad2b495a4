//! `claviger limits …`

use clap::Subcommand;

use super::{
    Context,
    client::segment,
    output::{CliError, Columns},
};

/// What can be asked about limits.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// Show a key's limits and what is left of each right now
    Show {
        /// The key's id
        key: String,
    },
}

const COUNTERS: Columns = &[
    ("OF", "subject"),
    ("LIMIT", "kind"),
    ("CALLS", "bucket"),
    ("SIZE", "limit"),
    ("HELD", "held"),
    ("LEFT", "remaining"),
    ("WHOLE AGAIN", "reset"),
];

/// Runs `claviger limits …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: LimitsCommand) -> Result<(), CliError> {
    let LimitsCommand::Show { key } = command;
    let view = context.client()?.get(&format!("/admin/v1/keys/{}/limits", segment(&key)))?;
    if context.out.json {
        context.out.value(&view);
        return Ok(());
    }
    let mut view = view;
    let mut counters = view["counters"].take();
    for counter in counters.as_array_mut().into_iter().flatten() {
        let kind = counter["kind"].as_str().unwrap_or_default().replace('_', " ");
        counter["kind"] = kind.into();
    }
    context.out.rows(COUNTERS, &counters);
    let in_flight = |of: &str| view[of]["in_flight"].as_u64().unwrap_or_default();
    context.out.line(&format!(
        "in flight: {} of the key, {} of its owner, {} of its workspace; uses of the key: {}",
        view["in_flight"].as_u64().unwrap_or_default(),
        in_flight("owner"),
        in_flight("workspace"),
        view["usage_count"].as_u64().unwrap_or_default(),
    ));
    Ok(())
}
