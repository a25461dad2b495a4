//! `cargo xtask bench [--quick] [--runs N] [--only PART] [--case NAME] [--requests N] [--no-build]`
//!
//! Claviger, nginx as a plain reverse proxy, and the bare upstream, side by side in one run on the same cores.
//! The parts: `capacity` (closed loop: throughput and CPU per request), `latency` (open loop: first and last
//! byte), `memory` (flat over N requests). A complete run writes `bench/results.md`. By themselves, when asked for, each
//! writing its own section of it: `admin` (keys made a second, pages of keys, the cost of many keys), `stages`
//! (instructions and time of proofs and ceilings), `callers` (throughput of signed calls and of calls under ceilings).

mod admin;
mod arrivals;
mod callers;
mod case;
mod cores;
mod fsync;
mod load;
mod machine;
mod measure;
mod poller;
mod process_usage;
mod record;
mod replay;
mod report;
mod section;
mod server;
mod stage;
mod stages;
mod statistic;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::args::Arguments;
use crate::output;
use crate::process::{self, Deadline};
use crate::workspace::Workspace;
use case::CASES;
use cores::Cores;
use measure::Effort;
use replay::{Recording, Replay};
use report::Report;
use server::simulator::Simulator;
use stage::{Side, Stage};

/// What a model takes until its first byte, so that work which overlaps it does so here, too.
const UPSTREAM_LATENCY: Duration = Duration::from_millis(20);
/// Between two events of a stream.
const UPSTREAM_GAP: Duration = Duration::from_millis(2);
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
const REQUESTS: u64 = 1_000_000;
const QUICK_REQUESTS: u64 = 50_000;

/// What the command line asks for.
struct Options {
    is_quick: bool,
    effort: Effort,
    part: Option<String>,
    requests: u64,
    builds: bool,
}

/// The parts that are measured by themselves.
const ADMIN: &str = "admin";
const STAGES: &str = "stages";
const CALLERS: &str = "callers";
const PARTS: [&str; 6] = ["capacity", "latency", "memory", ADMIN, STAGES, CALLERS];

pub fn run(workspace: &Workspace, mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    let options = Options::take(&mut arguments)?;
    arguments.finish()?;
    match options.part.as_deref() {
        Some(ADMIN) => {
            let (is_quick, builds, runs) = (options.is_quick, options.builds, options.effort.runs);
            return admin::run(workspace, &admin::Plan { is_quick, builds, runs });
        }
        Some(STAGES) => return stages::run(workspace, !options.is_quick),
        _ => {}
    }
    let bench = Bench::prepare(workspace, &options)?;
    if options.part.as_deref() == Some(CALLERS) {
        return bench.callers(workspace, &options);
    }
    let mut report = Report::new(machine::describe(&bench.cores, bench.binary.as_deref())?, &options.effort);
    if options.wants("capacity") || options.wants("memory") {
        bench.capacity_and_memory(&options, &mut report)?;
    }
    if options.wants("latency") {
        bench.latency(&options, &mut report)?;
    }
    let text = report.text();
    output::line(&text);
    if options.is_complete() && bench.binary.is_some() {
        let file = section::file(workspace);
        fs::create_dir_all(workspace.root().join("bench"))?;
        let kept = fs::read_to_string(&file).unwrap_or_default();
        let text = section::carried_over(&kept, &text);
        fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn take(arguments: &mut Arguments) -> anyhow::Result<Self> {
        let is_quick = arguments.flag("--quick");
        let builds = !arguments.flag("--no-build");
        let part = arguments.option::<String>("--only")?;
        let case = arguments.option::<String>("--case")?;
        if let Some(name) = part.as_deref().filter(|name| !PARTS.contains(name)) {
            bail!("no part {name:?}; there are: {}", PARTS.join(", "));
        }
        if let Some(name) = case.as_deref().filter(|name| CASES.iter().all(|case| case.name != *name)) {
            let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            bail!("no case {name:?}; there are: {}", names.join(", "));
        }
        let seconds = |quick, full| Duration::from_secs(if is_quick { quick } else { full });
        let effort = Effort {
            runs: arguments.option("--runs")?.unwrap_or(if is_quick { 2 } else { 5 }),
            warm_up: Duration::from_secs(1),
            capacity: seconds(2, 4),
            latency: seconds(3, 8),
            case,
        };
        let requests = arguments.option("--requests")?;
        let requests = requests.unwrap_or(if is_quick { QUICK_REQUESTS } else { REQUESTS });
        Ok(Self { is_quick, effort, part, requests, builds })
    }

    fn wants(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|wanted| wanted == part)
    }

    fn is_complete(&self) -> bool {
        self.part.is_none() && self.effort.case.is_none()
    }
}

/// Everything that the parts share.
struct Bench {
    cores: Cores,
    folder: PathBuf,
    simulator: Simulator,
    binary: Option<PathBuf>,
}

impl Bench {
    fn prepare(workspace: &Workspace, options: &Options) -> anyhow::Result<Self> {
        if options.builds {
            let mut cargo = workspace.cargo();
            cargo.args(["build", "--profile", "dist", "-p", "claviger-server", "-p", "claviger-claude-sim"]);
            process::must(&mut cargo, Deadline::after(BUILD_LIMIT))?;
        }
        let dist = workspace.target().join("dist");
        let binary = dist.join("claviger");
        let folder = workspace.target().join("bench");
        let cores = Cores::available()?;
        cores.take_load_side()?;
        let folder_of = |name: &str| folder.join(name);
        let simulator = Simulator::start(
            &dist.join("claude-sim"),
            &folder_of("simulator"),
            (UPSTREAM_LATENCY, UPSTREAM_GAP),
        )?;
        Ok(Self { cores, simulator, binary: Some(binary).filter(|file| file.is_file()), folder })
    }

    /// Both proxies on their core, and we back on ours.
    fn stage(&self, name: &str, upstream: std::net::SocketAddr) -> anyhow::Result<Stage> {
        self.cores.take_proxy_side()?;
        let stage = Stage::start(&self.folder.join(name), self.binary.as_deref(), upstream);
        self.cores.take_load_side()?;
        stage
    }

    fn capacity_and_memory(&self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let replay = Replay::start()?;
        let recordings = self.recordings()?;
        let stage = self.stage("capacity", replay.address())?;
        if options.wants("capacity") {
            report.capacity = measure::capacity(&stage, &replay, &recordings, &options.effort)?;
            report.peaks = vec![(Side::Nginx, stage.usage(Side::Nginx)?)];
            if self.binary.is_some() {
                report.peaks.push((Side::Claviger, stage.usage(Side::Claviger)?));
            }
        }
        if options.wants("memory") && self.binary.is_some() {
            replay.play(recordings.first().context("no recordings")?.clone());
            report.memory = measure::memory(&stage, options.requests)?;
        }
        Ok(())
    }

    fn latency(&self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let stage = self.stage("latency", self.simulator.address)?;
        let disk: &Path = &self.folder;
        (report.latency, report.fsyncs) = measure::latency(&stage, &options.effort, disk)?;
        Ok(())
    }

    /// Callers of all kinds, each at the same small request.
    fn callers(&self, workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
        let binary = self.binary.as_deref().context("there is no binary to measure: build it")?;
        let replay = Replay::start()?;
        replay.play(self.recordings()?.first().context("no recordings")?.clone());
        self.cores.take_proxy_side()?;
        let nodes = callers::start(binary, &self.folder.join("callers"), replay.address());
        self.cores.take_load_side()?;
        let table = callers::measure(&nodes?, CASES.first().context("no cases")?, &options.effort)?;
        let text = format!(
            "## Callers\n\n`cargo xtask bench --only callers`; {} runs, {} at full rate over {} connections; the median and, \
             in brackets, the least and the most, compared run by run. All requests are made before they are sent: \
             signing is no part of what is measured. Nonces are kept in memory; budgets are hard, so that each call waits \
             for its reservation to be on the disk. {}\n\n{table}",
            options.effort.runs,
            CASES[0].about,
            CASES[0].connections,
            server::claviger::version(binary)?,
        );
        output::line(&text);
        if !options.is_quick {
            section::keep(workspace, "callers", &text)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the simulator answers, in the order of the cases.
    fn recordings(&self) -> anyhow::Result<Vec<Recording>> {
        let record = |case: &case::Case| {
            let answer =
                record::answer(self.simulator.address, &case.request("x-api-key: sk-ant-api03-bench\r\n"))?;
            let recording = Recording::of(&answer, case.gap);
            if case.is_stream != (recording.pieces() > 20) {
                bail!("{}: the simulator's answer has {} pieces", case.name, recording.pieces());
            }
            Ok(recording)
        };
        CASES.iter().map(record).collect()
    }
}
