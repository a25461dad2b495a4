//! `cargo xtask setup`: installs what `test` and `bench` use.
//!
//! System packages only as root on a Debian-like system, and only those that are missing; everything else
//! goes under `target/`. Without root it names what is missing and goes on.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::args::Arguments;
use crate::postgres;
use crate::process::{self, Deadline};
use crate::steps::{OnSkip, Outcome, Steps};
use crate::suites::Peers;
use crate::workspace::{self, Workspace};

const LIMIT: Duration = Duration::from_secs(30 * 60);
const APT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A Debian package, why it is wanted, and how to tell that it is there.
struct Package {
    name: &'static str,
    purpose: &'static str,
    is_present: fn() -> bool,
}

const PACKAGES: [Package; 7] = [
    Package {
        name: "postgresql",
        purpose: "the second storage engine",
        is_present: || postgres::programs().is_some(),
    },
    Package {
        name: "nginx-light",
        purpose: "the plain proxy of the benchmark",
        is_present: || has("nginx") || std::path::Path::new("/usr/sbin/nginx").is_file(),
    },
    Package {
        name: "redis-server",
        purpose: "remembers nonces of signed requests for several nodes",
        is_present: || has("redis-server"),
    },
    Package {
        name: "faketime",
        purpose: "moves the clock of the real binary",
        is_present: || has("faketime"),
    },
    Package { name: "curl", purpose: "runs the line that a first start prints", is_present: || has("curl") },
    Package { name: "g++", purpose: "links the fuzz targets", is_present: || has("c++") || has("g++") },
    Package {
        name: "python3-venv",
        purpose: "the Python suites",
        is_present: || imports(&["venv", "ensurepip"]),
    },
];

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    let mut steps = Steps::new(LIMIT, OnSkip::from_environment());
    steps.step("system packages", system_packages);
    Peers::prepare(workspace, &mut steps);
    fetch_crates(workspace, &mut steps);
    Ok(steps.finish())
}

/// For this kind of machine only: the lock file also names crates of others.
fn fetch_crates(workspace: &Workspace, steps: &mut Steps) {
    steps.step("fetch crates", |deadline| {
        let host = workspace::host()?;
        process::must(workspace.cargo().args(["fetch", "--locked", "--target", &host]), deadline)?;
        if workspace.root().join("fuzz/Cargo.toml").is_file() {
            let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
            process::must(workspace.cargo().args(["fetch", "--target", &host]).args(manifest), deadline)?;
        }
        Ok(Outcome::Passed)
    });
}

fn system_packages(deadline: Deadline) -> anyhow::Result<Outcome> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !(package.is_present)()).collect();
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    if !process::is_root() || !has("apt-get") {
        let wanted: Vec<String> =
            missing.iter().map(|package| format!("{} ({})", package.name, package.purpose)).collect();
        return Ok(Outcome::Skipped(format!("as root, install {}", wanted.join(", "))));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let deadline = deadline.at_most(APT_LIMIT);
    process::must(apt_get().args(["update", "-qq"]), deadline)?;
    process::must(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(names), deadline)?;
    Ok(match PACKAGES.iter().find(|package| !(package.is_present)()) {
        Some(package) => Outcome::Failed(format!("{} is still not to be found", package.name)),
        None => Outcome::Passed,
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn has(program: &str) -> bool {
    process::find(program).is_some()
}

fn imports(modules: &[&str]) -> bool {
    let script = format!("import {}", modules.join(", "));
    process::capture(Command::new("python3").args(["-c", &script])).is_ok()
}
