//! Fuzz targets, run with the stock compiler: the corpus first, then a short search.
//!
//! `fuzz/` is a workspace of its own (its coverage flags would rebuild everything else). Seeds that are kept
//! in the repository lie in `fuzz/seeds/<target>/`; what a search finds stays under `target/fuzz/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Deadline};
use crate::steps::{Outcome, Steps, run_as_step};
use crate::workspace::{self, Workspace};

/// Coverage for libFuzzer on a stable compiler; no sanitizer, which needs a nightly one.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Builds the targets, then runs each for `seconds`.
pub fn run(workspace: &Workspace, seconds: u64, steps: &mut Steps) {
    let targets = targets(workspace.root());
    if targets.is_empty() {
        return;
    }
    let mut programs = PathBuf::new();
    let built = steps.step("fuzz: build", |deadline| {
        if process::find("c++").or_else(|| process::find("g++")).is_none() {
            return Ok(Outcome::Skipped("no C++ compiler on PATH".to_owned()));
        }
        programs = build(workspace, deadline)?;
        Ok(Outcome::Passed)
    });
    if built != Outcome::Passed {
        return;
    }
    for target in targets {
        steps.step(&format!("fuzz: {target}"), |deadline| {
            let mut command = search(workspace, &programs, &target, seconds)?;
            // It stops itself; the rest is for start-up and the corpus.
            run_as_step(&mut command, deadline.at_most(Duration::from_secs(seconds + 120)))
        });
    }
}

/// The names of the targets, from their files.
pub fn targets(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("fuzz/fuzz_targets")) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn build(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<PathBuf> {
    let host = workspace::host()?;
    let folder = workspace.target().join("fuzz");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"]);
    // With a target given, the flags spare build scripts and procedural macros.
    cargo.args(["--target", &host, "--target-dir"]).arg(&folder).env("RUSTFLAGS", FLAGS);
    process::must(&mut cargo, deadline)?;
    Ok(folder.join(&host).join("release"))
}

fn search(workspace: &Workspace, programs: &Path, target: &str, seconds: u64) -> anyhow::Result<Command> {
    let corpus = workspace.target().join("fuzz/corpus").join(target);
    let artifacts = workspace.target().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = workspace.command(&programs.join(target).to_string_lossy());
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(&corpus);
    let seeds = workspace.root().join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    Ok(command)
}
