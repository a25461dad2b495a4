//! `cargo xtask soak [NAME] --rounds N --seed S`: the same tests as in `test`, for many more rounds.
//!
//! A soak is a test that reads how many rounds to do, and from which seed, from its environment. Rounds
//! are done in portions and the state is kept under `target/soak/`, so a stopped run goes on where it was;
//! what was done is appended to `bench/soak.md`.

mod report;
mod state;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::bail;

use crate::args::Arguments;
use crate::clients::{self, Client};
use crate::output;
use crate::postgres::{self, Cluster};
use crate::process::{self, Deadline, Ended};
use crate::workspace::Workspace;
use report::Report;
use state::State;

/// How many rounds the test is to do.
const ROUNDS_VARIABLE: &str = "CLAVIGER_TEST_ROUNDS";
/// From which seed it draws them; round `n` of a run uses seed + n.
const SEED_VARIABLE: &str = "CLAVIGER_TEST_SEED";
/// One portion may take this long.
const PORTION_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
const DEFAULT_SEED: u64 = 1;
/// pytest's exit code for tests that ran and failed; the others are its own troubles.
const TESTS_FAILED: i32 = 1;

/// One soak and the test behind it.
pub struct Soak {
    name: &'static str,
    about: &'static str,
    /// As pytest names it: `file::function`.
    test: &'static str,
    needs_postgres: bool,
    /// Rounds without `--rounds`, and rounds between two saves of the state.
    rounds: u64,
    portion: u64,
}

/// The list.
const SOAKS: [Soak; 2] = [
    Soak {
        name: "kill-sqlite",
        about: "kill -9 under load on SQLite: nothing a client saw finished is lost, no chain breaks",
        test: "tests/kill/test_kill.py::test_sqlite",
        needs_postgres: false,
        rounds: 500,
        portion: 20,
    },
    Soak {
        name: "kill-postgres",
        about: "the same on PostgreSQL",
        test: "tests/kill/test_kill.py::test_postgres",
        needs_postgres: true,
        rounds: 500,
        portion: 20,
    },
];

pub fn run(workspace: &Workspace, mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    let rounds = arguments.option::<u64>("--rounds")?;
    let seed = arguments.option::<u64>("--seed")?.unwrap_or(DEFAULT_SEED);
    let wanted = arguments.word();
    arguments.finish()?;
    let chosen: Vec<&Soak> =
        SOAKS.iter().filter(|soak| wanted.as_deref().is_none_or(|name| name == soak.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SOAKS.iter().map(|soak| soak.name).collect();
        bail!("no such soak; there are: {}", names.join(", "));
    }
    let mut failures = 0;
    for soak in chosen {
        output::line(&format!("=== {}: {}", soak.name, soak.about));
        failures += soak.run(workspace, rounds.unwrap_or(soak.rounds), seed)?;
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Soak {
    /// Does what is left of `rounds` and returns the number of portions that failed.
    fn run(&self, workspace: &Workspace, rounds: u64, seed: u64) -> anyhow::Result<u64> {
        let commit = process::capture(workspace.command("git").args(["rev-parse", "--short=12", "HEAD"]))?;
        let mut state = State::open(&workspace.target(), self.name, commit.trim(), seed)?;
        self.build(workspace)?;
        let cluster = self.postgres(workspace)?;
        let started = process::now();
        let before = state.rounds();
        while state.rounds() < rounds {
            let portion = self.portion.min(rounds - state.rounds());
            let mut command = self.command(workspace)?;
            command.env(ROUNDS_VARIABLE, portion.to_string());
            command.env(SEED_VARIABLE, (seed + state.rounds()).to_string());
            if let Some(cluster) = &cluster {
                command.env(postgres::URL_VARIABLE, cluster.url());
            }
            let failed = match process::run(&mut command, Deadline::after(PORTION_LIMIT))? {
                Ended::Success => false,
                Ended::Failure(status) if status.code() == Some(TESTS_FAILED) => true,
                Ended::TimedOut => true,
                Ended::Failure(status) => bail!("{}: pytest could not run it: {status}", self.name),
            };
            state.add(portion, failed)?;
            output::line(&format!("{}: {} of {rounds} rounds", self.name, state.rounds()));
        }
        if state.rounds() > before {
            let report = Report { soak: self.name, seed, state: &state, took: started.elapsed() };
            report.append(workspace)?;
        }
        Ok(state.failures())
    }

    fn postgres(&self, workspace: &Workspace) -> anyhow::Result<Option<Cluster>> {
        if !self.needs_postgres {
            return Ok(None);
        }
        match Cluster::start(workspace, Deadline::after(PORTION_LIMIT))? {
            Some(cluster) => Ok(Some(cluster)),
            None => bail!("{} needs PostgreSQL: run `cargo xtask setup` as root", self.name),
        }
    }

    /// The release build is what is killed, limited and measured.
    fn build(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let mut build = workspace.cargo();
        build.args(["build", "--release", "--workspace", "--bins"]);
        process::must(&mut build, Deadline::after(PORTION_LIMIT))
    }

    fn command(&self, workspace: &Workspace) -> anyhow::Result<Command> {
        let python = match clients::python(workspace, Deadline::after(PORTION_LIMIT))? {
            Client::Ready(python) => python,
            Client::Missing(why) => bail!("{}: {why}", self.name),
        };
        let mut command = workspace.command(&python.to_string_lossy());
        command.args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", self.test]);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let release = workspace.target().join("release");
        command.env("CLAVIGER_TEST_BIN", release.join("claviger"));
        command.env("CLAVIGER_TEST_SIM", release.join("claude-sim"));
        Ok(command)
    }
}
