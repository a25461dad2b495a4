//! `cargo xtask bench [NAME]`: benchmarks by name; without one, all of them.

use std::process::ExitCode;

use anyhow::bail;

use crate::args::Arguments;
use crate::output;
use crate::workspace::Workspace;

/// A benchmark: it measures, prints its table and writes it under `bench/`.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> anyhow::Result<()>,
}

/// The list.
const BENCHMARKS: [Benchmark; 0] = [];

pub fn run(workspace: &Workspace, mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    let wanted = arguments.word();
    arguments.finish()?;
    let chosen: Vec<&Benchmark> = BENCHMARKS
        .iter()
        .filter(|benchmark| wanted.as_deref().is_none_or(|name| name == benchmark.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        bail!("no such benchmark; there are: {}", names.join(", "));
    }
    for benchmark in chosen {
        output::line(&format!("=== {}: {}", benchmark.name, benchmark.about));
        (benchmark.run)(workspace)?;
    }
    Ok(ExitCode::SUCCESS)
}
