//! Dependencies against `deny.toml`, without `cargo-deny`: every licence is in its list, no banned crate is there, and
//! all come from the one registry. What only the tool can do (advisories, licence texts) is left to it.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;

use crate::args::Arguments;
use crate::output;
use crate::process;
use crate::steps::Outcome;
use crate::workspace::{self, Workspace};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for what is in the workspace.
    source: Option<String>,
}

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    Ok(match step(workspace)? {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed(_) | Outcome::Skipped(_) => ExitCode::FAILURE,
    })
}

/// The same as a step of a longer run.
pub fn step(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let rules = fs::read_to_string(workspace.root().join("deny.toml")).context("read deny.toml")?;
    let rules: Rules = toml::from_str(&rules).context("deny.toml")?;
    let host = workspace::host()?;
    let about = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
    let metadata = process::capture(workspace.cargo().args(about))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    let problems: Vec<String> = metadata.packages.iter().filter_map(|p| problem(&rules, p)).collect();
    for problem in &problems {
        output::line(problem);
    }
    Ok(match problems.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} problem(s)")),
    })
}

fn problem(rules: &Rules, package: &Package) -> Option<String> {
    let source = package.source.as_deref()?;
    let name = format!("{} {}", package.name, package.version);
    if source != REGISTRY {
        return Some(format!("{name}: comes from {source}"));
    }
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == package.name) {
        return Some(format!("{name}: banned ({})", ban.reason));
    }
    match &package.license {
        None => Some(format!("{name}: names no licence")),
        Some(licence) if !is_allowed(licence, &rules.licenses.allow) => {
            Some(format!("{name}: {licence} is not in deny.toml's list"))
        }
        Some(_) => None,
    }
}

/// Whether an SPDX expression can be met by licences of the list. The old `/` means `OR`.
fn is_allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allow) && rest.is_empty()
}

fn any_of<'a>(rest: &mut &'a [&'a str], allow: &BTreeSet<String>) -> bool {
    let mut met = all_of(rest, allow);
    while let Some(("OR", after)) = head(rest) {
        *rest = after;
        met |= all_of(rest, allow);
    }
    met
}

fn all_of<'a>(rest: &mut &'a [&'a str], allow: &BTreeSet<String>) -> bool {
    let mut met = one(rest, allow);
    while let Some(("AND", after)) = head(rest) {
        *rest = after;
        met &= one(rest, allow);
    }
    met
}

/// One licence, with its exception, or an expression in brackets.
fn one<'a>(rest: &mut &'a [&'a str], allow: &BTreeSet<String>) -> bool {
    match **rest {
        ["(", ..] => {
            *rest = &rest[1..];
            let met = any_of(rest, allow);
            let Some((")", after)) = head(rest) else { return false };
            *rest = after;
            met
        }
        [licence, "WITH", exception, ..] => {
            *rest = &rest[3..];
            allow.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, ..] => {
            *rest = &rest[1..];
            allow.contains(licence)
        }
        [] => false,
    }
}

fn head<'a>(rest: &'a [&'a str]) -> Option<(&'a str, &'a [&'a str])> {
    rest.split_first().map(|(word, after)| (*word, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow() -> BTreeSet<String> {
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned).into()
    }

    #[test]
    fn an_expression_is_met_by_the_list_or_refused() {
        for met in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "MIT AND (GPL-2.0-only OR Apache-2.0 WITH LLVM-exception)",
            "GPL-2.0-only AND MIT OR Apache-2.0",
        ] {
            assert!(is_allowed(met, &allow()), "{met}");
        }
        for refused in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "(MIT",
            "MIT MIT",
            "MIT AND",
            "LicenseRef-MIT",
        ] {
            assert!(!is_allowed(refused, &allow()), "{refused}");
        }
    }

    #[test]
    fn a_banned_crate_another_source_and_a_missing_licence_are_named() {
        let rules = Rules {
            licenses: Licenses { allow: allow() },
            bans: Bans { deny: vec![Ban { name: "ring".to_owned(), reason: "one library".to_owned() }] },
        };
        let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let said = |p: Package| problem(&rules, &p).unwrap_or_default();
        assert_eq!(said(package("own", None, None)), "");
        assert_eq!(said(package("good", Some("MIT"), Some(REGISTRY))), "");
        assert!(said(package("ring", Some("MIT"), Some(REGISTRY))).contains("banned (one library)"));
        assert!(
            said(package("far", Some("MIT"), Some("git+https://example.com/far"))).contains("comes from")
        );
        assert!(said(package("bare", None, Some(REGISTRY))).contains("names no licence"));
        assert!(said(package("strict", Some("GPL-3.0-only"), Some(REGISTRY))).contains("GPL-3.0-only"));
    }
}
