//! `claviger usage`

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
    /// Keys.
    Key,
    /// Models.
    Model,
    /// Days.
    Day,
    /// Workspaces.
    Workspace,
    /// Owners of keys.
    Owner,
    /// Weeks, from Monday on.
    Week,
    /// Months.
    Month,
}

/// `usage`
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// One row each
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only of this key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Only of keys of this owner
    #[arg(long)]
    owner: Option<String>,
    /// The time zone in which days, weeks and months begin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// From this moment on (RFC 3339, or a day)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

const COLUMNS: Columns = &[
    ("GROUP", "group"),
    ("REQUESTS", "requests"),
    ("ERRORS", "errors"),
    ("INPUT", "input_tokens"),
    ("WRITE 5M", "cache_write_5m_tokens"),
    ("WRITE 1H", "cache_write_1h_tokens"),
    ("READ", "cache_read_tokens"),
    ("OUTPUT", "output_tokens"),
    ("SEARCHES", "web_search_requests"),
    ("HITS", "response_cache_hits"),
    ("USD", "cost_usd"),
];

const CSV_FIELDS: &[&str] = &[
    "group",
    "requests",
    "errors",
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
    "web_search_requests",
    "estimated",
    "response_cache_hits",
    "cost_pusd",
    "cost_usd",
];

/// Reports usage.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &UsageArgs) -> Result<(), CliError> {
    let by = args.by.and_then(|b| b.to_possible_value()).map(|v| v.get_name().to_owned());
    let path = format!(
        "/admin/v1/usage{}",
        query(&[
            ("by", by),
            ("key", args.key.clone()),
            ("workspace", args.workspace.clone()),
            ("owner", args.owner.clone()),
            ("tz", Some(args.tz.clone())),
            ("since", args.since.clone()),
            ("until", args.until.clone()),
        ])
    );
    let rows = context.client()?.list(&path)?;
    if args.csv {
        context.out.raw(&csv(&rows));
    } else {
        context.out.rows(COLUMNS, &rows);
    }
    Ok(())
}

fn csv(rows: &Value) -> String {
    let mut text = CSV_FIELDS.join(",");
    text.push_str("\r\n");
    for row in rows.as_array().into_iter().flatten() {
        let cells: Vec<String> = CSV_FIELDS.iter().map(|f| csv_cell(&row[*f])).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// RFC 4180 quoting; a leading `=`, `+`, `-` or `@` in text is quoted away from spreadsheets' formulas.
fn csv_cell(value: &Value) -> String {
    match value {
        Value::String(s) => {
            let formula = s.starts_with(['=', '+', '@']);
            let text = if formula { format!("'{s}") } else { s.clone() };
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text
            }
        }
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it() {
        let rows = serde_json::json!([{"group": "a,\"b\"", "requests": 1, "cost_usd": "0.5"}]);
        assert_eq!(csv(&rows).lines().nth(1), Some("\"a,\"\"b\"\"\",1,,,,,,,,,,,0.5"));
        assert_eq!(csv_cell(&serde_json::json!("=cmd()")), "'=cmd()");
    }
}
