//! `cargo xtask check`: the quick gate before a commit. SQLite only, nothing to install.

use std::process::ExitCode;
use std::time::Duration;

use crate::args::Arguments;
use crate::process;
use crate::steps::{OnSkip, Steps};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(30 * 60);

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    let mut steps = Steps::new(LIMIT, OnSkip::Report);
    lints(workspace, &mut steps);
    let mut tests = test_runner(workspace, &["--workspace", "--lib", "--bins"]);
    tests.env_remove(crate::postgres::URL_VARIABLE);
    steps.command("unit tests", &mut tests);
    Ok(steps.finish())
}

/// What both `check` and `test` begin with.
pub fn lints(workspace: &Workspace, steps: &mut Steps) {
    steps.command("format", workspace.cargo().args(["fmt", "--all", "--check"]));
    steps.step("layers", |_| crate::layers::step(workspace));
    steps.step("dependencies", |_| crate::dependencies::step(workspace));
    steps.step("documentation", |_| crate::docs::step(workspace));
    steps.step("failings of others", |_| crate::failings::step(workspace));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.command("clippy", workspace.cargo().args(clippy));
}

/// nextest where it is installed, else `cargo test`.
pub fn test_runner(workspace: &Workspace, selection: &[&str]) -> std::process::Command {
    let mut command = workspace.cargo();
    if process::find("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        command.args(["test", "--no-fail-fast"]);
    }
    command.args(selection);
    command
}
