//! `cargo xtask soak [NAME] --rounds N --seed S`: the same tests as in `test`, for many more rounds.
//!
//! A soak is a test, in Rust or in Python, that reads how many rounds to do, and from which seed, from its environment. Rounds
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
/// The test program's exit code for tests that ran and failed; the build was done before.
const TESTS_FAILED: i32 = 101;

/// The program that holds the tests of whole processes.
const TESTS: [&str; 6] = ["test", "--release", "-p", "claviger-server", "--test", "it"];
/// The one that holds the stores of nonces to their promise.
const REPLAYS: [&str; 6] = ["test", "--release", "-p", "claviger-service", "--test", "replay"];
/// The one that simulates conversations under budgets that go by what calls are likely to cost.
const CONVERSATIONS: [&str; 6] = ["test", "--release", "-p", "claviger-domain", "--test", "expected"];

/// What a soak runs.
#[derive(Clone, Copy)]
enum Runs {
    /// A test of `crates/server/tests/it`, by its full name.
    Test(&'static str),
    /// A test of `crates/service/tests/replay`; a round is one signed request.
    Replay(&'static str),
    /// A test of `crates/domain/tests/expected.rs`; a round is ten thousand conversations.
    Conversations(&'static str),
    /// The requests that the admin API's document describes, by everyone; a round is one example of each operation.
    Document,
}

/// Everyone who sends the requests of [`Runs::Document`]: see `tests/control/conftest.py`.
const EVERYONE: &str = "owner,admin,auditor,viewer,workspace,machine,person,nobody";
/// Where those tests are, and what they read.
const DOCUMENT_TESTS: &str = "tests/control/test_document.py";
const ROLES_VARIABLE: &str = "CLAVIGER_TEST_ROLES";
const EXAMPLES_VARIABLE: &str = "CLAVIGER_TEST_EXAMPLES";
/// pytest's exit code for tests that ran and failed.
const PYTEST_FAILED: i32 = 1;

/// One soak and the test behind it.
pub struct Soak {
    name: &'static str,
    about: &'static str,
    runs: Runs,
    needs_postgres: bool,
    /// Rounds without `--rounds`, and rounds between two saves of the state.
    rounds: u64,
    portion: u64,
}

/// The list.
const SOAKS: [Soak; 18] = [
    Soak {
        name: "kill-sqlite",
        about: "kill -9 under load on SQLite: nothing a client saw finished is lost, no chain breaks",
        runs: Runs::Test("kill::sqlite"),
        needs_postgres: false,
        rounds: 500,
        portion: 20,
    },
    Soak {
        name: "kill-postgres",
        about: "the same on PostgreSQL",
        runs: Runs::Test("kill::postgres"),
        needs_postgres: true,
        rounds: 500,
        portion: 20,
    },
    Soak {
        name: "lifecycle",
        about: "kill -9 wherever a rotation may be, on SQLite: it is resumed and each step is taken once",
        runs: Runs::Test("rotation::kills::sqlite"),
        needs_postgres: false,
        rounds: 1_000,
        // What people were told is looked up among the newest thousand notices.
        portion: 75,
    },
    Soak {
        name: "lifecycle-postgres",
        about: "the same on PostgreSQL",
        runs: Runs::Test("rotation::kills::postgres"),
        needs_postgres: true,
        rounds: 1_000,
        // What people were told is looked up among the newest thousand notices.
        portion: 75,
    },
    Soak {
        name: "kill-unsynced",
        about: "power lost under load: a disk that forgets what was not synced",
        runs: Runs::Test("kill::unsynced::unsynced"),
        needs_postgres: false,
        rounds: 20,
        portion: 20,
    },
    Soak {
        name: "race",
        about: "200 clients against one ceiling on SQLite: it is never passed, and the book is the provider's bill",
        runs: Runs::Test("race::sqlite"),
        needs_postgres: false,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "race-postgres",
        about: "the same on PostgreSQL",
        runs: Runs::Test("race::postgres"),
        needs_postgres: true,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "race-killed",
        about: "the same with nodes killed and calls lost: the book is never less than the bill",
        runs: Runs::Test("race::killed_sqlite"),
        needs_postgres: false,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "race-killed-postgres",
        about: "the same on PostgreSQL",
        runs: Runs::Test("race::killed_postgres"),
        needs_postgres: true,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "race-nodes",
        about: "200 clients on three nodes of one PostgreSQL against one ceiling: together they never pass it",
        runs: Runs::Test("race::replicas_do_not_pass_a_ceiling_together"),
        needs_postgres: true,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "race-nodes-killed",
        about: "the same with a node killed in each round: its calls are charged, its block is free after its lease",
        runs: Runs::Test("race::a_dead_nodes_block_is_charged_and_freed"),
        needs_postgres: true,
        rounds: 50,
        portion: 5,
    },
    Soak {
        name: "batch",
        about: "batches of 10 000 requests, each killed 20 times: every one answered once; a round is one batch",
        runs: Runs::Test("batch::kills::every_request_is_answered_once"),
        needs_postgres: false,
        rounds: 1,
        portion: 1,
    },
    Soak {
        name: "schemathesis",
        about: "what the admin API's document says of every operation is so, whoever asks; a round is one example of each",
        runs: Runs::Document,
        needs_postgres: false,
        rounds: 200,
        portion: 50,
    },
    Soak {
        name: "replay",
        about: "signed requests at the edges of the window, clocks apart, nonces lost: in memory; a round is a request",
        runs: Runs::Replay("memory"),
        needs_postgres: false,
        rounds: 1_000_000,
        portion: 100_000,
    },
    Soak {
        name: "replay-sqlite",
        about: "the same on SQLite",
        runs: Runs::Replay("sqlite"),
        needs_postgres: false,
        rounds: 1_000_000,
        portion: 100_000,
    },
    Soak {
        name: "replay-postgres",
        about: "the same on PostgreSQL, with three nodes",
        runs: Runs::Replay("postgres"),
        needs_postgres: true,
        rounds: 1_000_000,
        portion: 100_000,
    },
    Soak {
        name: "replay-redis",
        about: "the same on Redis, with three nodes",
        runs: Runs::Replay("redis"),
        needs_postgres: false,
        rounds: 1_000_000,
        portion: 100_000,
    },
    Soak {
        name: "expected",
        about: "10,000 conversations a round under budgets that go by what calls are likely to cost: hardly anybody is refused \
                while money is left, and no budget is passed by more than is printed",
        runs: Runs::Conversations(
            "hardly_anybody_is_refused_while_money_is_left_and_what_is_printed_is_never_passed",
        ),
        needs_postgres: false,
        rounds: 200,
        portion: 20,
    },
];

/// One test of a test program.
fn rust_test(workspace: &Workspace, program: [&str; 6], test: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(program).args(["--", test, "--exact", "--nocapture"]);
    command
}

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
            command.env(EXAMPLES_VARIABLE, portion.to_string());
            command.env(SEED_VARIABLE, (seed + state.rounds()).to_string());
            if let Some(cluster) = &cluster {
                command.env(postgres::URL_VARIABLE, cluster.url());
            }
            let failed = match process::run(&mut command, Deadline::after(PORTION_LIMIT))? {
                Ended::Success => false,
                Ended::Failure(status) if status.code() == Some(self.failed()) => true,
                Ended::TimedOut => true,
                Ended::Failure(status) => bail!("{}: it could not be run: {status}", self.name),
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
        let deadline = Deadline::after(PORTION_LIMIT);
        let mut bins = workspace.cargo();
        process::must(bins.args(["build", "--release", "--workspace", "--bins"]), deadline)?;
        match self.runs {
            Runs::Test(_) => process::must(workspace.cargo().args(TESTS).arg("--no-run"), deadline),
            Runs::Replay(_) => process::must(workspace.cargo().args(REPLAYS).arg("--no-run"), deadline),
            Runs::Conversations(_) => {
                process::must(workspace.cargo().args(CONVERSATIONS).arg("--no-run"), deadline)
            }
            Runs::Document => Ok(()),
        }
    }

    const fn failed(&self) -> i32 {
        match self.runs {
            Runs::Test(_) | Runs::Replay(_) | Runs::Conversations(_) => TESTS_FAILED,
            Runs::Document => PYTEST_FAILED,
        }
    }

    fn command(&self, workspace: &Workspace) -> anyhow::Result<Command> {
        let mut command = match self.runs {
            Runs::Test(test) => rust_test(workspace, TESTS, test),
            Runs::Replay(test) => rust_test(workspace, REPLAYS, test),
            Runs::Conversations(test) => rust_test(workspace, CONVERSATIONS, test),
            Runs::Document => {
                let python = match clients::python(workspace, Deadline::after(PORTION_LIMIT))? {
                    Client::Ready(python) => python,
                    Client::Missing(why) => bail!("{}: {why}", self.name),
                };
                let mut command = workspace.command(&python.to_string_lossy());
                command.env("PYTHONDONTWRITEBYTECODE", "1").env(ROLES_VARIABLE, EVERYONE);
                command.env("CLAVIGER_TEST_BIN", workspace.target().join("release/claviger"));
                command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", DOCUMENT_TESTS]);
                command
            }
        };
        command.env("CLAVIGER_TEST_SIM", workspace.target().join("release/claude-sim"));
        Ok(command)
    }
}
