//! What stages of the way cost by themselves: instructions by callgrind, which do not depend on what else the machine
//! does, and the time that they take.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::section;
use crate::output;
use crate::process::{self, Deadline};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(45 * 60);
/// The library and its runner must be of one version; `bench/instructions/Cargo.toml` names the same.
const RUNNER: &str = "0.20.0";

/// One stage: its name in the benchmark, what it does, and the most time that it may take.
struct Stage {
    name: &'static str,
    about: &'static str,
    most_us: Option<f64>,
}

const STAGES: [Stage; 8] = [
    Stage { name: "key", about: "a known key is verified", most_us: None },
    Stage {
        name: "known_token",
        about: "an access token is verified that was seen before",
        most_us: Some(5.0),
    },
    Stage {
        name: "new_token",
        about: "an access token is verified for the first time (Ed25519)",
        most_us: None,
    },
    Stage { name: "signature_v1", about: "HMAC over 1 KB, profile v1, with its nonce", most_us: Some(3.0) },
    Stage { name: "signature_v2", about: "HMAC over 1 KB, profile v2, with its nonce", most_us: Some(3.0) },
    Stage {
        name: "signature_rfc9421",
        about: "RFC 9421 with a digest over 1 KB (HMAC), with its nonce",
        most_us: Some(3.0),
    },
    Stage { name: "free", about: "a call is admitted and settled: no limits, no budgets", most_us: None },
    Stage {
        name: "ceilings",
        about: "a call is admitted and settled: five limits, four budgets",
        most_us: Some(10.0),
    },
];

pub fn run(workspace: &Workspace, keeps: bool) -> anyhow::Result<ExitCode> {
    let deadline = Deadline::after(LIMIT);
    let runner = runner(workspace, deadline)?;
    let package = workspace.root().join("bench/instructions");
    let target = workspace.target().join("instructions");
    let cargo = |arguments: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.current_dir(&package).env("CARGO_TARGET_DIR", &target).env("GUNGRAUN_RUNNER", &runner);
        cargo.args(arguments);
        cargo
    };
    process::must(&mut cargo(&["bench", "--bench", "stages", "--", "--save-summary=json"]), deadline)?;
    let timed = process::capture(&mut cargo(&["run", "--quiet", "--release", "--bin", "timed"]))?;
    let mut lines = vec![
        "## Stages".to_owned(),
        String::new(),
        "`cargo xtask bench --only stages`: the services of a node over SQLite, everything known, nothing waited for. \
         Instructions are callgrind's, which knows no processor's own instructions for SHA-2; the time is measured on the \
         machine itself, with the allocator of the server, over requests that were read just before."
            .to_owned(),
        String::new(),
        "| | Instructions | µs | Goal, µs | |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for stage in &STAGES {
        let summary = target
            .join("gungraun/claviger-instructions/stages/stages")
            .join(format!("stage.{}", stage.name))
            .join("summary.json");
        let count = instructions(&summary)?;
        let micros = micros(&timed, stage.name)?;
        let goal = stage.most_us.map_or("–".to_owned(), |most| format!("≤ {most}"));
        let verdict = stage.most_us.map_or("", |most| if micros <= most { "met" } else { "not met" });
        lines.push(format!("| {} | {count} | {micros:.2} | {goal} | {verdict} |", stage.about));
    }
    let text = lines.join("\n") + "\n";
    output::line(&text);
    if keeps {
        section::keep(workspace, "stages", &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The benchmark's runner, installed beside what else is built here.
fn runner(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<PathBuf> {
    process::find("valgrind").context("valgrind is not installed: apt-get install valgrind")?;
    let root = workspace.target().join("tools");
    let program = root.join("bin/gungraun-runner");
    let is_there = program.is_file()
        && process::capture(Command::new(&program).arg("--version")).is_ok_and(|said| said.contains(RUNNER));
    if !is_there {
        let mut cargo = workspace.cargo();
        cargo.args(["install", "--quiet", "gungraun-runner", "--version", RUNNER, "--root"]).arg(&root);
        process::must(&mut cargo, deadline)?;
    }
    Ok(program)
}

fn instructions(summary: &std::path::Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(summary).with_context(|| format!("read {}", summary.display()))?;
    let summary: Value = serde_json::from_str(&text)?;
    let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new").and_then(Value::as_u64);
    count.filter(|count| *count > 0).context("a summary without instructions")
}

fn micros(timed: &str, name: &str) -> anyhow::Result<f64> {
    let line = timed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let nanos: f64 = line.with_context(|| format!("{name} was not timed"))?.parse()?;
    Ok(nanos / 1_000.0)
}
