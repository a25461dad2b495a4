//! `claviger scan`

use std::{fs::File, path::PathBuf, time::Duration};

use clap::Args;
use claviger_domain::token::TokenKind;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Context, output::CliError};
use crate::scan::{Looked, Sighting, files, look_through};

/// Findings that `--json` lists; more are counted.
const MOST_LISTED: usize = 10_000;

/// `scan`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing found, 1 not everything could be read, 5 keys found.")]
pub struct ScanArgs {
    /// A folder or a file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Files to pass over
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Look at what .gitignore names, too
    #[arg(long)]
    no_ignore: bool,
}

/// What was found so far.
#[derive(Default)]
struct Report {
    files: u64,
    binary: u64,
    unreadable: u64,
    found: u64,
    listed: Vec<Value>,
}

/// Finds keys that stand in files: ours of every brand, and the provider's.
///
/// # Errors
/// [`CliError`]: 5 when there are any.
pub fn run(context: &Context, args: &ScanArgs) -> Result<(), CliError> {
    let bar = progress(context);
    let walk = files(&args.path, &args.exclude, args.no_ignore)
        .map_err(|e| CliError::usage(format!("--exclude: {e}")))?;
    let mut report = Report::default();
    for entry in walk {
        let looked = match entry {
            Ok(entry) => {
                let path = entry.into_path();
                let shown = path.display().to_string();
                bar.set_message(shown.clone());
                let opened = File::open(&path).map_err(|e| format!("{shown}: {e}"));
                opened.and_then(|file| {
                    look_through(file, |seen| bar.suspend(|| tell(context, &mut report, &shown, &seen)))
                        .map_err(|e| format!("{shown}: {e}"))
                })
            }
            Err(error) => Err(error.to_string()),
        };
        match looked {
            Ok(Looked::Text) => report.files += 1,
            Ok(Looked::Binary) => report.binary += 1,
            Err(error) => {
                report.unreadable += 1;
                bar.suspend(|| context.out.note(&format!("not read: {error}")));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    conclude(context, report)
}

fn progress(context: &Context) -> ProgressBar {
    if context.out.json {
        return ProgressBar::hidden();
    }
    // Draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} files {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn tell(context: &Context, report: &mut Report, path: &str, seen: &Sighting) {
    report.found += 1;
    context.out.line(&format!("{path}:{}:{}: {} {}", seen.line, seen.column, kind(seen.kind), seen.masked));
    if context.out.json && report.listed.len() < MOST_LISTED {
        report.listed.push(json!({
            "path": path, "line": seen.line, "column": seen.column, "kind": seen.kind, "masked": seen.masked,
        }));
    }
}

/// As in JSON, so that both can be searched for.
fn kind(kind: TokenKind) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn conclude(context: &Context, report: Report) -> Result<(), CliError> {
    let Report { files, binary, unreadable, found, listed } = report;
    if context.out.json {
        context.out.value(&json!({
            "found": listed, "total": found, "files": files, "binary": binary, "unreadable": unreadable,
        }));
    }
    let files = plural(files, "file");
    match (found, unreadable) {
        (0, 0) => {
            context.out.line(&format!("No keys in {files}."));
            Ok(())
        }
        (0, _) => Err(CliError::failed(format!("no keys in {files}, but {unreadable} could not be read"))),
        (_, _) => Err(CliError::unproven(format!(
            "{} in {files}: take them out, and revoke them, for whoever could read the file may have them",
            plural(found, "key")
        ))),
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
