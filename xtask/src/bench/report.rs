//! `bench/results.md`.

use super::case::Case;
use super::measure::{Capacity, Effort, Latency, MemoryPoint, Percentiles, Series};
use super::process_usage::Usage;
use super::stage::Side;
use super::statistic::Spread;

const MEGABYTE: f64 = 1_000_000.0;

/// All that was measured; what was not is empty.
pub struct Report {
    machine: Vec<String>,
    effort: Effort,
    pub capacity: Vec<Series<Capacity>>,
    pub latency: Vec<Series<Latency>>,
    pub fsyncs: Vec<Percentiles>,
    /// Memory of each proxy after the capacity runs.
    pub peaks: Vec<(Side, Usage)>,
    pub memory: Vec<MemoryPoint>,
}

impl Report {
    pub fn new(machine: Vec<String>, effort: &Effort) -> Self {
        Self {
            machine,
            effort: effort.clone(),
            capacity: Vec::new(),
            latency: Vec::new(),
            fsyncs: Vec::new(),
            peaks: Vec::new(),
            memory: Vec::new(),
        }
    }

    pub fn text(&self) -> String {
        let mut lines = vec!["# Measured beside nginx".to_owned(), String::new()];
        lines.push(format!(
            "`cargo xtask bench`; {} interleaved runs; figures are the median over the runs and, in brackets, \
             the least and the most.",
            self.effort.runs
        ));
        lines.push(String::new());
        lines.extend(self.machine.iter().map(|line| format!("- {line}")));
        if !self.fsyncs.is_empty() {
            lines.push(format!(
                "- one fsync of 4 KB on the data disk: p50 {:.2} ms, p99 {:.2} ms",
                self.fsync_ms(|f| f.p50_us).median,
                self.fsync_ms(|f| f.p99_us).median
            ));
        }
        lines.push(
            "- the proxy under test alone on one core with one worker; load generator and upstream on the others"
                .to_owned(),
        );
        lines.push(
            "- Claviger with everything on: authentication, limits, ledger with fsync, metrics, audit; nginx \
             as a plain reverse proxy: kept-alive connections on both sides, no access log, request bodies \
             passed on unbuffered, answers unbuffered for streams; both may keep 1 024 idle connections to the \
             upstream"
                .to_owned(),
        );
        self.goal_lines(&mut lines);
        self.capacity_lines(&mut lines);
        self.latency_lines(&mut lines);
        self.memory_lines(&mut lines);
        lines.push(String::new());
        lines.join("\n")
    }

    fn fsync_ms(&self, pick: fn(&Percentiles) -> f64) -> Spread {
        Spread::of(self.fsyncs.iter().map(|fsync| pick(fsync) / 1000.0))
    }

    /// What was promised beside what was measured.
    fn goal_lines(&self, lines: &mut Vec<String>) {
        let mut rows = Vec::new();
        for (case, goal) in [("json-1k", 2.0), ("stream-20", 1.5)] {
            let found = self.capacity.iter().find(|series| series.case.name == case);
            let Some(series) = found else { continue };
            let about = series.case.about;
            if let Some(ratio) = ratios(series, |run| run.steady_cpu_us_per_request) {
                let what = format!("CPU per request of nginx's, {about}, at the same rate");
                rows.push(Goal { what, figure: ratio.median, goal, at_most: true });
            }
            if let Some(ratio) = ratios(series, |run| run.cpu_us_per_request) {
                let what = format!("CPU per request of nginx's, {about}, each at its full rate");
                rows.push(Goal { what, figure: ratio.median, goal, at_most: true });
            }
        }
        let large = self.capacity.iter().find(|series| series.case.name == "json-1m");
        if let Some(ratio) = large.and_then(|series| ratios(series, |run| run.per_second)) {
            let what = "throughput of nginx's, JSON, 1 MB".to_owned();
            rows.push(Goal { what, figure: ratio.median, goal: 0.7, at_most: false });
        }
        for series in self.latency.iter().filter(|series| !series.runs(Side::Claviger).is_empty()) {
            let [_, first, _, last] = PICKS;
            let (about, fsync) = (series.case.about, self.fsync_ms(|fsync| fsync.p99_us).median);
            let nginx = added_ms(series, Side::Nginx, first).median.max(0.0);
            let what = format!("added p99 to the first byte, ms, {about} (3 × nginx's)");
            let figure = added_ms(series, Side::Claviger, first).median;
            rows.push(Goal { what, figure, goal: 3.0 * nginx, at_most: true });
            let nginx = added_ms(series, Side::Nginx, last).median.max(0.0);
            let what = format!("added p99 to the last byte, ms, {about} (3 × nginx's and one fsync's p99)");
            let figure = added_ms(series, Side::Claviger, last).median;
            rows.push(Goal { what, figure, goal: 3.0f64.mul_add(nginx, fsync), at_most: true });
        }
        let peaks =
            self.peaks.iter().filter(|(side, _)| *side == Side::Claviger).map(|(_, usage)| usage.peak);
        let walk = self.memory.iter().map(|point| point.usage.peak);
        if let Some(peak) = walk.max().or(peaks.max()) {
            let what = "memory at most, MB, small requests".to_owned();
            rows.push(Goal { what, figure: peak as f64 / MEGABYTE, goal: 42.0, at_most: true });
        }
        if rows.is_empty() {
            return;
        }
        heading(lines, "Goals", &["| | Measured | Goal | |", "|---|---|---|---|"]);
        lines.extend(rows.iter().map(Goal::line));
    }

    fn capacity_lines(&self, lines: &mut Vec<String>) {
        if self.capacity.is_empty() {
            return;
        }
        heading(
            lines,
            "Capacity and CPU",
            &[
                "Closed loop; the upstream replays what the simulator answered, so that the proxy is the narrow \
             place. CPU is the kernel's count (utime + stime of the process and its children): at the full rate \
             of each, then at a rate that is the same for both (open loop). A proxy that is busy all the time \
             wakes nobody and is woken by nobody, so the two differ.",
                "",
                "| Case | Proxy | Requests/s | of nginx's | CPU µs/request | of nginx's | Same rate/s | CPU µs/request | of nginx's |",
                "|---|---|---|---|---|---|---|---|---|",
            ],
        );
        for series in &self.capacity {
            for side in Side::ALL {
                let runs = series.runs(side);
                if runs.is_empty() {
                    continue;
                }
                let rate = |run: &Capacity| run.per_second;
                let throughput = Spread::of(runs.iter().map(rate));
                let (about, proxy) = (series.case.about, name(side));
                if side == Side::Bare {
                    lines.push(format!("| {about} | {proxy} | {throughput:.0} | – | – | – | – | – | – |"));
                    continue;
                }
                let full = |run: &Capacity| run.cpu_us_per_request;
                let steady = |run: &Capacity| run.steady_cpu_us_per_request;
                let full_cpu = Spread::of(runs.iter().map(full));
                let steady_cpu = Spread::of(runs.iter().map(steady));
                lines.push(format!(
                    "| {about} | {proxy} | {throughput:.0} | {} | {full_cpu:.1} | {} | {:.0} | {steady_cpu:.1} | {} |",
                    ratio(series, side, rate),
                    ratio(series, side, full),
                    series.case.steady_per_second,
                    ratio(series, side, steady),
                ));
            }
        }
    }

    fn latency_lines(&self, lines: &mut Vec<String>) {
        if self.latency.is_empty() {
            return;
        }
        heading(
            lines,
            "Added latency",
            &[
                "Open loop: requests are due at random moments of a fixed rate, and each latency counts from the \
             moment the request was due. The upstream is the simulator, which takes 20 ms until its first byte \
             and 2 ms between events. Milliseconds above the bare simulator's in the same run.",
                "",
                "| Case | Rate/s | Proxy | First byte p50 | First byte p99 | Last byte p50 | Last byte p99 | CPU µs/request |",
                "|---|---|---|---|---|---|---|---|",
            ],
        );
        for series in &self.latency {
            for side in [Side::Nginx, Side::Claviger] {
                let runs = series.runs(side);
                if runs.is_empty() {
                    continue;
                }
                let cells: String =
                    PICKS.iter().map(|pick| format!(" {:.2} |", added_ms(series, side, *pick))).collect();
                lines.push(format!(
                    "| {} | {} | {} |{cells} {:.1} |",
                    series.case.about,
                    rate(series.case),
                    name(side),
                    Spread::of(runs.iter().map(|run| run.cpu_us_per_request)),
                ));
            }
        }
    }

    fn memory_lines(&self, lines: &mut Vec<String>) {
        if self.peaks.is_empty() && self.memory.is_empty() {
            return;
        }
        heading(lines, "Memory", &[]);
        for (side, usage) in &self.peaks {
            lines.push(format!(
                "- {} after the capacity runs: {:.1} MB resident, {:.1} MB at most",
                name(*side),
                usage.resident as f64 / MEGABYTE,
                usage.peak as f64 / MEGABYTE
            ));
        }
        if self.memory.is_empty() {
            return;
        }
        lines.extend(
            ["", "| Small requests | Claviger resident, MB | at most, MB |", "|---|---|---|"]
                .map(str::to_owned),
        );
        for point in &self.memory {
            lines.push(format!(
                "| {} | {:.1} | {:.1} |",
                point.requests,
                point.usage.resident as f64 / MEGABYTE,
                point.usage.peak as f64 / MEGABYTE
            ));
        }
    }
}

/// One promise.
struct Goal {
    what: String,
    figure: f64,
    goal: f64,
    /// Or at least.
    at_most: bool,
}

impl Goal {
    fn line(&self) -> String {
        let Self { what, figure, goal, at_most } = self;
        let is_met = if *at_most { figure <= goal } else { figure >= goal };
        let (sign, verdict) = (if *at_most { "≤" } else { "≥" }, if is_met { "met" } else { "not met" });
        format!("| {what} | {figure:.2} | {sign} {goal:.2} | {verdict} |")
    }
}

/// The columns of the latency table.
const PICKS: [fn(&Latency) -> f64; 4] =
    [|run| run.first.p50_us, |run| run.first.p99_us, |run| run.last.p50_us, |run| run.last.p99_us];

fn heading(lines: &mut Vec<String>, title: &str, body: &[&str]) {
    lines.extend([String::new(), format!("## {title}"), String::new()]);
    lines.extend(body.iter().map(|line| (*line).to_owned()));
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Bare => "none",
        Side::Nginx => "nginx",
        Side::Claviger => "Claviger",
    }
}

fn rate(case: &Case) -> String {
    case.per_second.map_or_else(String::new, |rate| format!("{rate:.0}"))
}

/// Claviger's figure over nginx's, run by run; `None` when it took no part.
fn ratios(series: &Series<Capacity>, pick: impl Fn(&Capacity) -> f64) -> Option<Spread> {
    let pairs = series.runs(Side::Claviger).iter().zip(series.runs(Side::Nginx));
    let spread = Spread::of(pairs.map(|(run, nginx)| pick(run) / pick(nginx)));
    (!spread.median.is_nan()).then_some(spread)
}

/// A side's figure over nginx's, run by run.
fn ratio<T>(series: &Series<T>, side: Side, pick: impl Fn(&T) -> f64) -> String {
    let pairs = series.runs(side).iter().zip(series.runs(Side::Nginx));
    format!("{:.2}", Spread::of(pairs.map(|(run, nginx)| pick(run) / pick(nginx))))
}

/// A side's figure above the bare upstream's, run by run, in milliseconds.
fn added_ms(series: &Series<Latency>, side: Side, pick: fn(&Latency) -> f64) -> Spread {
    let pairs = series.runs(side).iter().zip(series.runs(Side::Bare));
    Spread::of(pairs.map(|(run, bare)| (pick(run) - pick(bare)) / 1000.0))
}
