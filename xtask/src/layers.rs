//! `cargo xtask layers`: the rules of the house that a compiler does not know.
//!
//! Import edges come from `cargo metadata`; sizes, names and calls from the parsed sources. What a rule
//! must tolerate is listed, with its reason, in `xtask/layers-exceptions.toml` and nowhere else.

mod attributes;
mod calls;
mod edges;
mod exceptions;
mod names;
mod nesting;
mod sizes;
mod source;
mod sql;

use std::fmt;
use std::process::ExitCode;

use serde::Deserialize;

use crate::args::Arguments;
use crate::output;
use crate::process;
use crate::steps::Outcome;
use crate::workspace::Workspace;
use exceptions::Exceptions;
use source::Source;

/// One rule of the house; the name is what the exceptions file calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A crate imports what its layer may not see.
    Edge,
    /// More than [`sizes::FILE_LINES`] lines of code.
    FileSize,
    /// More than [`sizes::FUNCTION_LINES`] lines of code.
    FunctionSize,
    /// More than [`sizes::PARAMETERS`] parameters.
    Parameters,
    /// Blocks more than [`nesting::DEPTH`] deep.
    Nesting,
    /// A file or folder whose name says nothing, or `mod.rs`.
    Name,
    /// The ambient clock.
    Clock,
    /// A task without an owner.
    Spawn,
    /// Ambient randomness.
    Randomness,
    /// SQL text outside `storage`.
    Sql,
    /// `#[allow]` in place of `#[expect]` with a reason.
    Allow,
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Edge => "edge",
            Self::FileSize => "file-size",
            Self::FunctionSize => "function-size",
            Self::Parameters => "parameters",
            Self::Nesting => "nesting",
            Self::Name => "name",
            Self::Clock => "clock",
            Self::Spawn => "spawn",
            Self::Randomness => "randomness",
            Self::Sql => "sql",
            Self::Allow => "allow",
        })
    }
}

/// One place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    /// Relative to the checkout.
    pub path: String,
    /// 0 when the whole file or manifest is meant.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.what)
    }
}

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    Ok(match step(workspace)? {
        Outcome::Passed => {
            output::line("layers: every rule holds");
            ExitCode::SUCCESS
        }
        Outcome::Failed(why) | Outcome::Skipped(why) => {
            output::line(&format!("layers: {why}"));
            ExitCode::FAILURE
        }
    })
}

/// The same as a step of a longer run.
pub fn step(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let problems = problems(workspace)?;
    for problem in &problems {
        output::line(problem);
    }
    Ok(match problems.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} problem(s)")),
    })
}

/// Everything that is wrong, one line each.
fn problems(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let exceptions = Exceptions::read(&workspace.root().join("xtask/layers-exceptions.toml"))?;
    let metadata =
        process::capture(workspace.cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let mut violations = edges::check(&metadata)?;
    for source in source::read_all(workspace.root())? {
        violations.extend(check_source(&source));
    }
    Ok(exceptions.judge(violations))
}

fn check_source(source: &Source) -> Vec<Violation> {
    let mut found = names::check(source);
    found.extend(attributes::check(source));
    found.extend(sizes::check(source));
    found.extend(nesting::check(source));
    found.extend(calls::check(source));
    found.extend(sql::check(source));
    found
}

#[cfg(test)]
mod tests;
