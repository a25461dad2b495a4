//! The line that a soak leaves in `bench/soak.md`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::state::State;
use crate::process;
use crate::workspace::Workspace;

const HEAD: &str = "\
# Soak runs

Appended by `cargo xtask soak`: what was run, on which commit and machine, from which seed, and how it ended.
A failure counts a portion of rounds in which something failed.

| date | commit | soak | seed | rounds | failures | hours | machine |
|---|---|---|---|---|---|---|---|
";

pub struct Report<'a> {
    pub soak: &'a str,
    pub seed: u64,
    pub state: &'a State,
    pub took: Duration,
}

impl Report<'_> {
    pub fn append(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let file = workspace.root().join("bench/soak.md");
        fs::create_dir_all(workspace.root().join("bench"))?;
        let is_new = !file.exists();
        let mut log = OpenOptions::new().create(true).append(true).open(&file);
        let log = log.as_mut().map_err(|error| anyhow::anyhow!("open {}: {error}", file.display()))?;
        if is_new {
            log.write_all(HEAD.as_bytes())?;
        }
        let date = process::capture(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
        log.write_all(self.row(date.trim(), &machine()?).as_bytes()).context("append to bench/soak.md")
    }

    fn row(&self, date: &str, machine: &str) -> String {
        let Self { soak, seed, state, took } = self;
        let (commit, rounds, failures) = (state.commit(), state.rounds(), state.failures());
        let hours = took.as_secs_f64() / 3600.0;
        format!("| {date} | {commit} | {soak} | {seed} | {rounds} | {failures} | {hours:.2} | {machine} |\n")
    }
}

/// Processor, cores, memory and kernel: what another person needs to compare figures.
fn machine() -> anyhow::Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = process::capture(Command::new("uname").arg("-sr"))?;
    let model = model.trim_start_matches(['\t', ' ', ':']);
    Ok(format!("{model}, {cores} cores, {} GiB, {}", kib / (1 << 20), kernel.trim()))
}
