//! `claviger reconcile`

use clap::Args;
use claviger_domain::money::PicoUsd;
use serde_json::Value;

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// UTC days, today among them
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
    /// Only the account behind this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Differences up to this many dollars are no failure
    #[arg(long, value_name = "USD", default_value = "0.005", value_parser = PicoUsd::from_usd)]
    tolerance: PicoUsd,
    /// Show also what agrees
    #[arg(long)]
    all: bool,
}

const COLUMNS: Columns = &[
    ("VERDICT", "verdict"),
    ("DAY", "day"),
    ("CREDENTIAL", "credential"),
    ("NAME", "name"),
    ("HINT", "hint"),
    ("MODEL", "model"),
    ("TIER", "tier"),
    ("SPEED", "speed"),
    ("GEO", "geography"),
    ("PAST USD", "excess_usd"),
    ("PAST IN", "past_in"),
    ("PAST OUT", "past_out"),
    ("REQUESTS", "requests"),
];

/// Holds the provider's bill against the ledger. What does not agree is a proof that does not hold.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &ReconcileArgs) -> Result<(), CliError> {
    let asked = query(&[("days", Some(args.days.to_string())), ("upstream", args.upstream.clone())]);
    let report = context.client()?.get(&format!("/admin/v1/reconciliation{asked}"))?;
    if context.out.json {
        context.out.value(&report);
    } else {
        context.out.rows(COLUMNS, &Value::Array(rows(&report, args.all)));
    }
    if let Some(from) = report["kept_from"].as_str() {
        context.out.note(&format!("single calls are kept from {from} on: earlier days cannot be reconciled"));
    }
    let over = |name: &str| {
        let pico: i128 = report[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        pico.abs() > i128::from(args.tolerance.as_pico())
    };
    let usd = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    if over("leaked_pusd") {
        let what = "the provider billed calls that did not come through Claviger";
        return Err(CliError::unproven(format!("{what}: {} USD", usd("leaked_usd"))));
    }
    if over("unexplained_pusd") {
        let what = "the provider's cost report and the ledger differ by what no call explains";
        return Err(CliError::unproven(format!("{what}: {} USD", usd("unexplained_usd"))));
    }
    context.out.line("The provider's bill and the ledger agree.");
    Ok(())
}

fn rows(report: &Value, all: bool) -> Vec<Value> {
    let mut rows = Vec::new();
    let accounts = report["accounts"].as_array().into_iter().flatten();
    for finding in accounts.flat_map(|account| account["findings"].as_array().into_iter().flatten()) {
        let mut row = finding.clone();
        if !all && row["verdict"] == "equal" {
            continue;
        }
        let excess = &finding["excess"];
        let count = |name: &str| excess[name].as_u64().unwrap_or(0);
        let input = ["input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens"];
        row["past_in"] = input.map(count).iter().sum::<u64>().into();
        row["past_out"] = count("output_tokens").into();
        rows.push(row);
    }
    rows
}
