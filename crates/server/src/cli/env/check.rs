//! `claviger env check`

use std::path::PathBuf;

use clap::Args;
use claviger_domain::token::{Brand, TokenKind, inspect_any_brand};
use serde_json::json;

use super::{EXAMPLE, read};
use crate::{
    cli::{
        Context,
        holder::is_providers,
        output::{CliError, Columns},
    },
    dotenv::{is_name, variables},
};

/// Without names: what every program needs that speaks to Claude through a gateway.
const NEEDED: [&str; 2] = ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"];

const COLUMNS: Columns =
    &[("VARIABLE", "name"), ("STATE", "state"), ("FROM", "from"), ("PROBLEM", "problem")];

/// `env check`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing is missing or wrong, 5 something is.")]
pub struct CheckArgs {
    /// The variables that the program needs [default: ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL and what .env.example names]
    names: Vec<String>,
    /// Files that the program reads, the first one weighing most; the environment weighs more than all [default: .env.local, .env]
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// Says of each variable whether it is set, where, and whether its value can work. Values are not shown.
///
/// # Errors
/// [`CliError`]: 5 when something is missing or wrong.
pub fn run(context: &Context, args: &CheckArgs) -> Result<(), CliError> {
    let names = names(args)?;
    let files =
        if args.file.is_empty() { vec![".env.local".into(), ".env".into()] } else { args.file.clone() };
    let mut sources = vec![("environment".to_owned(), None)];
    for file in files {
        if !args.file.is_empty() && !file.exists() {
            return Err(CliError::usage(format!("{}: no such file", file.display())));
        }
        sources.push((file.display().to_string(), Some(read(&file)?)));
    }
    let find = |name: &str| {
        sources.iter().find_map(|(from, text)| {
            let value = match text {
                None => std::env::var(name).ok(),
                Some(text) => variables(text).filter(|(n, _)| *n == name).last().map(|(_, v)| v.to_owned()),
            };
            value.filter(|v| !v.is_empty()).map(|value| (from.clone(), value))
        })
    };
    let mut wrong = Vec::new();
    let mut rows = Vec::new();
    for name in &names {
        let found = find(name);
        let problem = match &found {
            None => Some("not set".to_owned()),
            Some((_, value)) => problem(name, value).or_else(|| conflict(name, value, &find)),
        };
        let state = match (&found, &problem) {
            (None, _) => "missing",
            (Some(_), Some(_)) => "wrong",
            (Some(_), None) => "set",
        };
        if problem.is_some() {
            wrong.push(name.as_str());
        }
        rows.push(
            json!({"name": name, "state": state, "from": found.map(|(from, _)| from), "problem": problem}),
        );
    }
    if context.out.json {
        context.out.value(&json!({"ok": wrong.is_empty(), "variables": rows}));
    } else {
        context.out.rows(COLUMNS, &json!(rows));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(CliError::unproven(format!(
        "missing or wrong: {}. `claviger env` writes the key and the address",
        wrong.join(", ")
    )))
}

fn names(args: &CheckArgs) -> Result<Vec<String>, CliError> {
    if let Some(odd) = args.names.iter().find(|name| !is_name(name)) {
        return Err(CliError::usage(format!("{odd:?} is not a variable's name")));
    }
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    let mut names: Vec<String> = NEEDED.iter().map(|&n| n.to_owned()).collect();
    let example = read(std::path::Path::new(EXAMPLE))?;
    for (name, _) in variables(&example) {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What is wrong with a value, as far as a look can tell.
fn problem(name: &str, value: &str) -> Option<String> {
    let said = |text: &str| Some(text.to_owned());
    match name {
        "ANTHROPIC_API_KEY" | "CLAUDE_API_KEY" | "CLAVIGER_KEY" => wrong_key(value),
        "ANTHROPIC_BASE_URL" | "CLAUDE_API_URL" | "CLAUDE_BASE_URL" | "CLAVIGER_BASE_URL" => {
            let versioned = value.trim_end_matches('/').ends_with("/v1");
            if !(value.starts_with("http://") || value.starts_with("https://")) {
                said("not an http:// or https:// address")
            } else if is_providers(value) {
                said("the provider's own address: calls pass the gateway by")
            } else if name == "ANTHROPIC_BASE_URL" && versioned {
                said("ends with /v1, which the SDKs add themselves")
            } else {
                None
            }
        }
        "API_KEY_ROTATION_DAYS" => {
            let days = value.parse::<u32>().is_ok_and(|days| days > 0);
            if days { None } else { said("not a number of days") }
        }
        "ENABLE_REQUEST_SIGNING" | "LOG_API_CALLS" => {
            let word = ["true", "false", "1", "0"].contains(&value.to_ascii_lowercase().as_str());
            if word { None } else { said("neither true nor false") }
        }
        _ => None,
    }
}

fn wrong_key(value: &str) -> Option<String> {
    let found = inspect_any_brand(Brand::DEFAULT, value);
    match found.kind {
        TokenKind::LiveKey | TokenKind::TestKey if found.valid => None,
        TokenKind::LiveKey | TokenKind::TestKey => {
            Some("not a whole key: a part is missing or mistyped".to_owned())
        }
        TokenKind::ProviderApiKey
        | TokenKind::ProviderAdminKey
        | TokenKind::ProviderOauthToken
        | TokenKind::ProviderOther => Some(
            "the provider's key: seal it with `claviger credential add` and use one of Claviger's".to_owned(),
        ),
        TokenKind::OperatorToken
        | TokenKind::WrappingToken
        | TokenKind::RefreshToken
        | TokenKind::SigningSecret
        | TokenKind::Unknown => Some("not one of Claviger's keys".to_owned()),
    }
}

/// The SDKs send both when both are set, and a request with two keys is refused.
fn conflict(name: &str, key: &str, find: &impl Fn(&str) -> Option<(String, String)>) -> Option<String> {
    let other = (name == "ANTHROPIC_API_KEY").then(|| find("ANTHROPIC_AUTH_TOKEN")).flatten();
    let (from, _) = other.filter(|(_, token)| token != key)?;
    Some(format!("ANTHROPIC_AUTH_TOKEN in {from} is another key: calls would show both, and be refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_judged_by_what_it_is_for() {
        let live = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";
        for (name, good, bad) in [
            ("ANTHROPIC_API_KEY", live, &live[..50]),
            ("CLAUDE_API_KEY", live, "sk-ant-api03-abcdefghijklmnop"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8787", "http://127.0.0.1:8787/v1"),
            ("CLAUDE_BASE_URL", "http://127.0.0.1:8787/v1", "https://api.anthropic.com/v1"),
            ("CLAUDE_API_URL", "https://h/v1", "h/v1"),
            ("API_KEY_ROTATION_DAYS", "90", "0"),
            ("ENABLE_REQUEST_SIGNING", "TRUE", "yes please"),
        ] {
            assert_eq!(problem(name, good), None, "{name}");
            let said = problem(name, bad).unwrap();
            assert!(!said.contains(bad), "{name}");
        }
        assert_eq!(problem("CLAUDE_MODEL", "anything"), None);
    }

    #[test]
    fn two_keys_at_once_are_told() {
        let find = |_: &str| Some(("environment".to_owned(), "other".to_owned()));
        assert!(conflict("ANTHROPIC_API_KEY", "one", &find).is_some());
        assert_eq!(conflict("ANTHROPIC_API_KEY", "other", &find), None);
        assert_eq!(conflict("CLAUDE_API_KEY", "one", &find), None);
    }
}
