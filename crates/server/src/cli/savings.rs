//! `claviger savings`

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};

/// What rows stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Models.
    Model,
    /// Keys.
    Key,
    /// Workspaces.
    Workspace,
    /// Owners of keys.
    Owner,
    /// UTC days.
    Day,
}

/// `savings`
#[derive(Debug, Args)]
pub struct SavingsArgs {
    /// One row each
    #[arg(long, value_enum, default_value = "model")]
    by: By,
    /// Only of this key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// From this moment on (RFC 3339, or a UTC day); thirty days before the end unless told
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

const COLUMNS: Columns = &[
    ("GROUP", "group"),
    ("REQUESTS", "requests"),
    ("COST USD", "cost_usd"),
    ("WOULD HAVE COST", "would_have_cost_usd"),
    ("SAVED", "saved_usd"),
    ("PROMPT CACHE", "prompt_cache_saved_usd"),
    ("BATCHES", "batch_saved_usd"),
    ("RESPONSE CACHE", "response_cache_saved_usd"),
];

/// Reports what was saved; how, stands below the table.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &SavingsArgs) -> Result<(), CliError> {
    let by = args.by.to_possible_value().map(|v| v.get_name().to_owned());
    let path = format!(
        "/admin/v1/savings{}",
        query(&[
            ("by", by),
            ("key", args.key.clone()),
            ("workspace", args.workspace.clone()),
            ("since", args.since.clone()),
            ("until", args.until.clone()),
        ])
    );
    let report = context.client()?.get(&path)?;
    if context.out.json {
        context.out.value(&report);
        return Ok(());
    }
    let mut rows = report["groups"].as_array().cloned().unwrap_or_default();
    let mut total = report["total"].clone();
    total["group"] = Value::from("total");
    rows.push(total);
    context.out.rows(COLUMNS, &Value::Array(rows));
    for note in notes(&report) {
        context.out.note(&note);
    }
    if context.out.is_terminal() {
        explain(context, &report);
    }
    Ok(())
}

/// What must not be missed.
fn notes(report: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(from) = report["kept_from"].as_str() {
        notes.push(format!("nothing is known of calls before {from}: they are not in these figures"));
    }
    if let Some(until) = report["whole_days_until"].as_str() {
        notes.push(format!(
            "before {until}, UTC days are known as sums: one counts if it begins in the time asked for"
        ));
    }
    let unexplained = report["total"]["unexplained_requests"].as_u64().unwrap_or(0);
    if unexplained > 0 {
        notes.push(format!(
            "{unexplained} requests cost what does not follow from their tokens: nothing is claimed for them"
        ));
    }
    let unpaid = &report["unpaid_cache_writes"];
    let text = |cache: &Value, name: &str| cache[name].as_str().unwrap_or_default().to_owned();
    for cache in unpaid["first"].as_array().into_iter().flatten() {
        notes.push(format!(
            "{} on {} wrote more to the prompt cache than reading paid back: {} USD lost",
            text(cache, "key"),
            text(cache, "model"),
            text(cache, "lost_usd")
        ));
    }
    notes
}

fn explain(context: &Context, report: &Value) {
    context.out.line("\nHow it was computed:");
    for how in report["how"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        context.out.line(&format!("  {how}"));
    }
    context.out.line("\nPrices, USD per million tokens:");
    context.out.rows(PRICE_COLUMNS, &report["prices"]);
}

const PRICE_COLUMNS: Columns = &[
    ("MODEL", "model"),
    ("FROM", "from"),
    ("FAST", "fast"),
    ("US", "us"),
    ("INPUT", "input_usd"),
    ("WRITE 5M", "cache_write_5m_usd"),
    ("WRITE 1H", "cache_write_1h_usd"),
    ("READ", "cache_read_usd"),
    ("OUTPUT", "output_usd"),
];
