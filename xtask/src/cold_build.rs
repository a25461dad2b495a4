//! `cargo xtask cold-build`: what a newcomer's first `cargo run --release` costs, in CPU-seconds.
//!
//! CPU-seconds and not minutes, so that the figure does not depend on what else the machine is doing.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::args::Arguments;
use crate::output;
use crate::process::{self, Deadline};
use crate::workspace::Workspace;

const LIMIT: f64 = 900.0;
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// USER_HZ, the unit of proc(5)'s times: 100 on every Linux we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    let folder = workspace.target().join(format!("cold-build-{}", std::process::id()));
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "-p", "claviger-server", "--target-dir"]).arg(&folder);
    // A compiler cache would measure the cache.
    cargo.env_remove("RUSTC_WRAPPER").env_remove("CARGO_BUILD_RUSTC_WRAPPER").env("CARGO_INCREMENTAL", "0");
    let before = children_cpu_seconds()?;
    let built = process::must(&mut cargo, Deadline::after(PATIENCE));
    let spent = children_cpu_seconds()? - before;
    // What is left there is only disk space; the build's own error matters more.
    let _ = fs::remove_dir_all(&folder);
    built?;
    output::line(&format!("cold build: {spent:.0} CPU-seconds (limit {LIMIT:.0})"));
    Ok(if spent <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// User and system time of all children that ended, theirs included.
fn children_cpu_seconds() -> anyhow::Result<f64> {
    parse(&fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?)
}

/// proc_pid_stat(5): cutime and cstime are fields 16 and 17; the name in field 2 may hold anything.
fn parse(stat: &str) -> anyhow::Result<f64> {
    let Some((_, fields)) = stat.rsplit_once(')') else { bail!("/proc/self/stat has no name in it") };
    let mut fields = fields.split_whitespace().skip(13).map(str::parse::<f64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS_PER_SECOND),
        _ => bail!("/proc/self/stat is too short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_children_are_read_past_a_hostile_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 700 800 1250 250 20 0 1 0";
        assert!((parse(stat).unwrap() - 15.0).abs() < 1e-9);
    }
}
