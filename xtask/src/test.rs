//! `cargo xtask test`: everything that CI asks for, as one list of steps.
//!
//! Needs no root and installs only under `target/`. What is not on PATH is skipped and listed; with
//! `CI=true` a skip is a failure.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::args::Arguments;
use crate::check;
use crate::fuzz;
use crate::go;
use crate::output;
use crate::postgres::{self, Cluster};
use crate::steps::{OnSkip, Outcome, Steps, run_as_step};
use crate::suites::{self, Peers};
use crate::workspace::Workspace;

/// The whole run stops itself after this.
const LIMIT: Duration = Duration::from_secs(75 * 60);
const FUZZ_SECONDS: u64 = 10;

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    let mut steps = Steps::new(LIMIT, OnSkip::from_environment());
    check::lints(workspace, &mut steps);
    let built =
        steps.command("build", workspace.cargo().args(["build", "--workspace", "--bins", "--examples"]));
    if built == Outcome::Passed {
        tests(workspace, &mut steps);
    }
    fuzz::run(workspace, FUZZ_SECONDS, &mut steps);
    Ok(steps.finish())
}

fn tests(workspace: &Workspace, steps: &mut Steps) {
    let peers = Peers::prepare(workspace, steps);
    let cluster = start_postgres(workspace, steps);
    let export = |command: &mut Command| {
        peers.export(command);
        match &cluster {
            Some(cluster) => command.env(postgres::URL_VARIABLE, cluster.url()),
            None => command.env_remove(postgres::URL_VARIABLE),
        };
    };
    let mut rust = check::test_runner(workspace, &["--workspace"]);
    export(&mut rust);
    let skipped = workspace.target().join("tests-left-out.txt");
    steps.step("Rust tests", |deadline| {
        // Not being there is as good as being removed.
        let _ = fs::remove_file(&skipped);
        let outcome = run_as_step(rust.env("CLAVIGER_TEST_SKIPPED", &skipped), deadline)?;
        let list = fs::read_to_string(&skipped).unwrap_or_default();
        list.lines().for_each(|why| output::line(&format!("skipped: {why}")));
        Ok(outcome)
    });
    let mut examples = workspace.cargo();
    steps.command("documentation tests", examples.args(["test", "--workspace", "--doc", "--quiet"]));
    go::run(workspace, peers.path(go::VARIABLE), steps);
    suites::run(workspace, &peers, export, steps);
}

fn start_postgres(workspace: &Workspace, steps: &mut Steps) -> Option<Cluster> {
    let mut started = None;
    steps.step("start PostgreSQL", |deadline| {
        started = Cluster::start(workspace, deadline)?;
        Ok(match started {
            Some(_) => Outcome::Passed,
            None => Outcome::Skipped("PostgreSQL's programs are not installed".to_owned()),
        })
    });
    started
}
