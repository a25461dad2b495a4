//! The measurements: capacity, latency, memory.

use std::time::Duration;

use anyhow::Context;

use super::case::{CASES, Case};
use super::fsync;
use super::load::{self, Outcome, Pace, Sample, Until};
use super::process_usage::Usage;
use super::replay::{Recording, Replay};
use super::stage::{Side, Stage};
use super::statistic::percentile;
use crate::output;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    pub runs: usize,
    pub warm_up: Duration,
    pub capacity: Duration,
    pub latency: Duration,
    /// Only this case.
    pub case: Option<String>,
}

impl Effort {
    fn cases(&self) -> impl Iterator<Item = &'static Case> {
        CASES.iter().filter(|case| self.case.as_deref().is_none_or(|name| name == case.name))
    }
}

/// One closed-loop run of one side.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub per_second: f64,
    /// Of the proxy, by the kernel's count, at the most that it can do.
    pub cpu_us_per_request: f64,
    /// The same at a rate that is equal for all sides.
    pub steady_cpu_us_per_request: f64,
}

/// One open-loop run of one side, in microseconds from the moment the request was due.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub first: Percentiles,
    pub last: Percentiles,
    pub cpu_us_per_request: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct Percentiles {
    pub p50_us: f64,
    pub p99_us: f64,
}

/// All runs of one case.
pub struct Series<T> {
    pub case: &'static Case,
    rows: Vec<(Side, Vec<T>)>,
}

impl<T> Series<T> {
    fn new(case: &'static Case) -> Self {
        Self { case, rows: Side::ALL.into_iter().map(|side| (side, Vec::new())).collect() }
    }

    fn push(&mut self, side: Side, run: T) {
        if let Some((_, runs)) = self.rows.iter_mut().find(|(other, _)| *other == side) {
            runs.push(run);
        }
    }

    /// The runs of a side, in order; empty when it took no part.
    pub fn runs(&self, side: Side) -> &[T] {
        self.rows.iter().find(|(other, _)| *other == side).map_or(&[], |(_, runs)| runs)
    }
}

/// Closed loop against the recordings, which are in the order of [`CASES`].
pub fn capacity(
    stage: &Stage,
    replay: &Replay,
    recordings: &[Recording],
    effort: &Effort,
) -> anyhow::Result<Vec<Series<Capacity>>> {
    let mut all: Vec<Series<Capacity>> = effort.cases().map(Series::new).collect();
    for run in 0..effort.runs {
        for series in &mut all {
            let at = CASES.iter().position(|case| case.name == series.case.name);
            replay.play(at.and_then(|at| recordings.get(at)).context("no recording")?.clone());
            for side in Side::order(run) {
                let Some(measured) = capacity_of(stage, side, (series.case, run), effort)? else { continue };
                output::line(&format!(
                    "run {run} {} {side:?}: {:.0}/s, {:.1} us CPU; at {:.0}/s {:.1} us CPU",
                    series.case.name,
                    measured.per_second,
                    measured.cpu_us_per_request,
                    series.case.steady_per_second,
                    measured.steady_cpu_us_per_request
                ));
                series.push(side, measured);
            }
        }
    }
    Ok(all)
}

fn capacity_of(
    stage: &Stage,
    side: Side,
    (case, run): (&Case, usize),
    effort: &Effort,
) -> anyhow::Result<Option<Capacity>> {
    let until = Until::Time { warm_up: effort.warm_up, measure: effort.capacity };
    let full = Pace::Closed { connections: case.connections };
    let steady = Pace::Open { per_second: case.steady_per_second, seed: run as u64 + 1 };
    let Some(full) = drive(stage, side, case, (full, until))? else { return Ok(None) };
    let Some(steady) = drive(stage, side, case, (steady, until))? else { return Ok(None) };
    Ok(Some(Capacity {
        per_second: full.completed as f64 / full.elapsed.as_secs_f64(),
        cpu_us_per_request: cpu_us_per_request(&full),
        steady_cpu_us_per_request: cpu_us_per_request(&steady),
    }))
}

/// Open loop against the simulator, and the price of one fsync between the runs.
pub fn latency(
    stage: &Stage,
    effort: &Effort,
    disk: &std::path::Path,
) -> anyhow::Result<(Vec<Series<Latency>>, Vec<Percentiles>)> {
    let cases = effort.cases().filter(|case| case.per_second.is_some());
    let mut all: Vec<Series<Latency>> = cases.map(Series::new).collect();
    let mut fsyncs = Vec::new();
    for run in 0..effort.runs {
        fsyncs.push(percentiles(fsync::measure(disk)?));
        for series in &mut all {
            let per_second = series.case.per_second.context("a case without a rate")?;
            for side in Side::order(run) {
                let pace = Pace::Open { per_second, seed: run as u64 + 1 };
                let until = Until::Time { warm_up: effort.warm_up, measure: effort.latency };
                let Some(outcome) = drive(stage, side, series.case, (pace, until))? else { continue };
                let cpu_us_per_request = cpu_us_per_request(&outcome);
                let of = |pick: fn(&Sample) -> u64| percentiles(outcome.samples.iter().map(pick).collect());
                let first = of(|sample| sample.first_byte_ns);
                let last = of(|sample| sample.last_byte_ns);
                output::line(&format!(
                    "run {run} {} {side:?}: first byte p50 {:.0} p99 {:.0} us, last byte p50 {:.0} p99 {:.0} us, {cpu_us_per_request:.1} us CPU",
                    series.case.name, first.p50_us, first.p99_us, last.p50_us, last.p99_us,
                ));
                series.push(side, Latency { first, last, cpu_us_per_request });
            }
        }
    }
    Ok((all, fsyncs))
}

/// Memory of a side after so many requests.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPoint {
    pub requests: u64,
    pub usage: Usage,
}

/// Sends `requests` small requests and looks at Claviger's memory ten times on the way.
pub fn memory(stage: &Stage, requests: u64) -> anyhow::Result<Vec<MemoryPoint>> {
    const STEPS: u64 = 10;
    let case = CASES.first().context("no cases")?;
    let mut points = vec![MemoryPoint { requests: 0, usage: stage.usage(Side::Claviger)? }];
    for step in 1..=STEPS {
        let pace = Pace::Closed { connections: case.connections };
        let Some(outcome) = drive(stage, Side::Claviger, case, (pace, Until::Requests(requests / STEPS)))?
        else {
            return Ok(Vec::new());
        };
        let point = MemoryPoint { requests: step * (requests / STEPS), usage: outcome.after };
        output::line(&format!(
            "{} requests: {:.1} MB resident, {:.1} MB at most",
            point.requests,
            point.usage.resident as f64 / 1e6,
            point.usage.peak as f64 / 1e6
        ));
        points.push(point);
    }
    Ok(points)
}

fn drive(
    stage: &Stage,
    side: Side,
    case: &Case,
    (pace, until): (Pace, Until),
) -> anyhow::Result<Option<Outcome<Usage>>> {
    let Some(target) = stage.target(side, case) else { return Ok(None) };
    load::drive((target.address, &target.requests), pace, until, || stage.usage(side))
        .with_context(|| format!("{} against {side:?}", case.name))
        .map(Some)
}

fn cpu_us_per_request(outcome: &Outcome<Usage>) -> f64 {
    let used = outcome.after.cpu_us.saturating_sub(outcome.before.cpu_us);
    used as f64 / outcome.completed.max(1) as f64
}

fn percentiles(mut nanoseconds: Vec<u64>) -> Percentiles {
    let mut at = |percent| percentile(&mut nanoseconds, percent) as f64 / 1000.0;
    Percentiles { p50_us: at(50.0), p99_us: at(99.0) }
}
