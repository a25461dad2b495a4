//! Suites that are not Rust: one folder each under `tests/`, run with the client they are about.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::{self, Client};
use crate::go;
use crate::process::Deadline;
use crate::steps::{Outcome, Steps, run_as_step};
use crate::workspace::Workspace;

/// What hangs in one suite must not take the others' time.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How a suite's files are run.
#[derive(Clone, Copy)]
enum Runner {
    /// `pytest` of `target/venv`.
    Pytest,
    /// `node --test` over `*.test.mjs`.
    NodeTest,
}

struct Suite {
    name: &'static str,
    folder: &'static str,
    runner: Runner,
}

/// The list; a folder that does not exist is not listed in a run.
const SUITES: [Suite; 14] = [
    Suite { name: "exchanges and accounts", folder: "tests/wire", runner: Runner::Pytest },
    Suite { name: "strict budgets by the oracle", folder: "tests/money", runner: Runner::Pytest },
    Suite { name: "admin API", folder: "tests/control", runner: Runner::Pytest },
    Suite { name: "secrets in what is left behind", folder: "tests/secrets", runner: Runner::Pytest },
    Suite { name: "Python SDK", folder: "tests/python", runner: Runner::Pytest },
    Suite { name: "TypeScript SDK", folder: "tests/node", runner: Runner::NodeTest },
    Suite { name: "Claude Code", folder: "tests/claude_code", runner: Runner::Pytest },
    Suite { name: "Python client", folder: "clients/python/tests", runner: Runner::Pytest },
    Suite { name: "TypeScript client", folder: "clients/typescript/tests", runner: Runner::NodeTest },
    Suite { name: "Python SDK with the adapter", folder: "tests/adapters", runner: Runner::Pytest },
    Suite { name: "TypeScript SDK with the adapter", folder: "tests/adapters", runner: Runner::NodeTest },
    Suite {
        name: "other libraries' tokens and signatures, Python",
        folder: "tests/peers",
        runner: Runner::Pytest,
    },
    Suite {
        name: "other libraries' tokens and signatures, Node",
        folder: "tests/peers",
        runner: Runner::NodeTest,
    },
    Suite { name: "Go client at a gateway", folder: "tests/go", runner: Runner::Pytest },
];

/// What suites and Rust tests are told through their environment.
#[derive(Default)]
pub struct Peers {
    variables: Vec<(&'static str, PathBuf)>,
    missing: Vec<String>,
}

impl Peers {
    /// Installs the clients, one step each, and points at our own debug binaries.
    pub fn prepare(workspace: &Workspace, steps: &mut Steps) -> Self {
        let mut peers = Self::default();
        peers.variables.push(("CLAVIGER_TEST_BIN", workspace.debug_binary("claviger")));
        peers.variables.push(("CLAVIGER_TEST_SIM", workspace.debug_binary("claude-sim")));
        let install: [(&str, &'static str, Installer); 5] = [
            ("install: Python SDK", "CLAVIGER_TEST_PYTHON", clients::python),
            ("install: TypeScript SDKs", "CLAVIGER_TEST_NODE_MODULES", clients::node),
            ("build: TypeScript client", "CLAVIGER_TEST_TS_DIST", clients::typescript),
            ("install: Go", go::VARIABLE, go::toolchain),
            ("install: Claude Code", "CLAVIGER_TEST_CLAUDE_CODE", clients::claude_code),
        ];
        for (name, variable, installer) in install {
            steps.step(name, |deadline| {
                Ok(match installer(workspace, deadline)? {
                    Client::Ready(path) => {
                        peers.variables.push((variable, path));
                        Outcome::Passed
                    }
                    Client::Missing(why) => {
                        peers.missing.push(why.clone());
                        Outcome::Skipped(why)
                    }
                })
            });
        }
        peers
    }

    pub fn export(&self, command: &mut Command) {
        for (variable, path) in &self.variables {
            command.env(variable, path);
        }
    }

    pub fn path(&self, variable: &str) -> Option<&PathBuf> {
        self.variables.iter().find(|(name, _)| *name == variable).map(|(_, path)| path)
    }
}

type Installer = fn(&Workspace, Deadline) -> anyhow::Result<Client>;

/// Runs every suite that exists.
pub fn run(workspace: &Workspace, peers: &Peers, export: impl Fn(&mut Command), steps: &mut Steps) {
    for suite in SUITES.iter().filter(|suite| workspace.root().join(suite.folder).is_dir()) {
        steps.step(suite.name, |deadline| match command(workspace, peers, suite) {
            Some(mut command) => {
                export(&mut command);
                run_as_step(&mut command, deadline.at_most(LIMIT))
            }
            None => Ok(Outcome::Skipped(peers.missing.join(", "))),
        });
    }
}

fn command(workspace: &Workspace, peers: &Peers, suite: &Suite) -> Option<Command> {
    Some(match suite.runner {
        Runner::Pytest => {
            let python = peers.path("CLAVIGER_TEST_PYTHON")?;
            let mut command = workspace.command(&python.to_string_lossy());
            // No bytecode and no cache folder in the checkout.
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", suite.folder]);
            command
        }
        Runner::NodeTest => {
            peers.path("CLAVIGER_TEST_NODE_MODULES")?;
            let mut command = workspace.command("node");
            command.arg("--test").args(node_files(workspace, suite.folder));
            command
        }
    })
}

/// Node 20 takes file names only, no patterns.
fn node_files(workspace: &Workspace, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(workspace.root().join(folder)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    files
}
