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
use crate::workspace::Workspace;

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
    /// Crates that may depend on it all the same.
    #[serde(default)]
    wrappers: BTreeSet<String>,
}

/// What a build of the workspace takes in.
struct Package {
    /// Its name and version, and where it comes from if that is not the registry.
    place: String,
    licence: String,
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
    let list =
        ["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"];
    let packages = packages(&process::capture(workspace.cargo().args(list))?);
    anyhow::ensure!(packages.len() > 1, "cargo tree lists no packages");
    let mut problems: Vec<String> = packages.iter().filter_map(|p| problem(&rules, p)).collect();
    for ban in rules.bans.deny.iter().filter(|ban| !ban.wrappers.is_empty()) {
        problems.extend(outside_wrappers(workspace, ban)?);
    }
    for problem in &problems {
        output::line(problem);
    }
    Ok(match problems.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} problem(s)")),
    })
}

/// Who depends on a crate beside those that may, in what is built and not only tried.
fn outside_wrappers(workspace: &Workspace, ban: &Ban) -> anyhow::Result<Vec<String>> {
    let list = ["tree", "--workspace", "--all-features", "--edges", "normal,build", "--prefix", "none"];
    let mut command = workspace.cargo();
    command.args(list).args(["--depth", "1", "--format", "{p}", "--invert", &ban.name]);
    let tree = process::capture(&mut command)?;
    let dependents = tree.lines().skip(1).filter_map(|line| line.split(' ').next());
    let others = dependents.filter(|name| !name.is_empty() && !ban.wrappers.contains(*name));
    Ok(others.map(|name| format!("{name}: depends on {}, banned ({})", ban.name, ban.reason)).collect())
}

/// The lines of `cargo tree`, each package once, without those of the workspace: they come from a folder.
fn packages(tree: &str) -> Vec<Package> {
    let lines: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let parts = lines.into_iter().filter_map(|line| line.split_once('|'));
    let foreign = parts.filter(|(place, _)| !place.contains(" (/"));
    let tidy = |place: &str| place.replace(" (proc-macro)", "");
    foreign.map(|(place, licence)| Package { place: tidy(place), licence: licence.to_owned() }).collect()
}

fn problem(rules: &Rules, package: &Package) -> Option<String> {
    let Package { place, licence } = package;
    if place.contains('(') {
        return Some(format!("{place}: does not come from the registry"));
    }
    let name = place.split(' ').next().unwrap_or_default();
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == name && ban.wrappers.is_empty()) {
        return Some(format!("{place}: banned ({})", ban.reason));
    }
    let allowed = is_allowed(licence, &rules.licenses.allow);
    (!allowed).then(|| format!("{place}: its licence {licence:?} is not in deny.toml's list"))
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
            bans: Bans {
                deny: vec![Ban {
                    name: "ring".to_owned(),
                    reason: "one library".to_owned(),
                    wrappers: BTreeSet::new(),
                }],
            },
        };
        let tree = "own v0.1.0 (/somewhere/own)|MIT\nring v1.0.0|MIT\nfar v1.0.0 (https://example.com/far#1)|MIT\n\
                    bare v1.0.0|\nstrict v1.0.0|GPL-3.0-only\ngood v1.0.0 (proc-macro)|MIT\ngood v1.0.0 (proc-macro)|MIT (*)\n";
        let said: Vec<String> = packages(tree).iter().filter_map(|p| problem(&rules, p)).collect();
        assert_eq!(
            said,
            [
                "bare v1.0.0: its licence \"\" is not in deny.toml's list",
                "far v1.0.0 (https://example.com/far#1): does not come from the registry",
                "ring v1.0.0: banned (one library)",
                "strict v1.0.0: its licence \"GPL-3.0-only\" is not in deny.toml's list",
            ]
        );
    }
}
