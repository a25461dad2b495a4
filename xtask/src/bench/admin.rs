//! The admin API beside what the machine can do: keys made a second beside durable commits of one row, and how long a
//! page of keys takes among a million. Both engines, same disk.

mod caller;
mod engine;
mod verify;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::section;
use super::server::claviger;
use super::statistic::{Spread, percentile};
use crate::output;
use crate::postgres::Cluster;
use crate::process::{self, Deadline, now};
use crate::workspace::Workspace;
use caller::Caller;
use engine::{Engine, Node, Running};

/// Who makes keys at once.
const CALLERS: usize = 8;
/// Who the keys are for, in turns: an owner has few.
const OWNERS: usize = 200;
/// Keys among which pages are read.
const KEYS: u64 = 1_000_000;
const QUICK_KEYS: u64 = 20_000;
/// How often each page is read.
const READS: usize = 200;
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Keys that are stored and hot at first, and hot among the many.
const FEW: usize = 1_000;
const HOT: usize = 10_000;
/// Requests of one run.
const REQUESTS: usize = 20_000;
/// What was promised: half of the commits, and a page within so many milliseconds.
const LEAST_SHARE: f64 = 0.5;
const MOST_MS: f64 = 20.0;
/// And that a request costs no more than so many times as much.
const MOST_RATIO: f64 = 1.1;

/// What this part is told.
pub struct Plan {
    pub is_quick: bool,
    pub builds: bool,
    pub runs: usize,
}

pub fn run(workspace: &Workspace, plan: &Plan) -> anyhow::Result<ExitCode> {
    let deadline = Deadline::after(LIMIT);
    if plan.builds {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--profile", "dist", "-p", "claviger-server"]);
        process::must(&mut cargo, deadline)?;
    }
    let folder = workspace.target().join("bench/admin");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let cluster = Cluster::start(workspace, deadline)?;
    let binary = workspace.target().join("dist/claviger");
    let engines = [Some(Engine::Sqlite), cluster.as_ref().map(|c| Engine::Postgres(c.url()))];
    let mut lines = vec!["## The admin API".to_owned(), String::new()];
    lines.push(format!(
        "`cargo xtask bench --only admin`; {CALLERS} callers on the socket, {} runs: the median, the least and the most. \
         Pages are read {READS} times each. {}",
        plan.runs,
        claviger::version(&binary)?
    ));
    for engine in engines.into_iter().flatten() {
        let node = Node { engine, binary: binary.clone(), folder: folder.clone() };
        lines.extend(measure(&node, plan, deadline).with_context(|| node.engine.name())?);
    }
    let text = lines.join("\n") + "\n";
    output::line(&text);
    if !plan.is_quick {
        section::keep(workspace, "admin", &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(node: &Node, plan: &Plan, deadline: Deadline) -> anyhow::Result<Vec<String>> {
    let span = Duration::from_secs(if plan.is_quick { 2 } else { 5 });
    let (keys, hot, requests) =
        if plan.is_quick { (QUICK_KEYS, 2_000, 4_000) } else { (KEYS, HOT, REQUESTS) };
    let running = node.start()?;
    let mut hot_keys = verify::make_keys(&running.socket, FEW)?;
    let (mut commits, mut made) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        commits.push(node.commits_a_second(span)?);
        made.push(keys_a_second(&running.socket, span)?);
    }
    let (commits, made) = (Spread::of(commits), Spread::of(made));
    let share = made.median / commits.median;
    let mut lines = vec![String::new(), format!("### {}", node.engine.name()), String::new()];
    lines.push(format!("- durable commits of one row, one after the other: {commits:.0} a second"));
    lines.push(format!(
        "- keys made over the API: {made:.0} a second, {share:.2} of them (goal ≥ {LEAST_SHARE}): {}",
        verdict(share >= LEAST_SHARE)
    ));
    hot_keys.extend(verify::make_keys(&running.socket, hot - FEW)?);
    drop(running);
    node.seed(keys, deadline)?;
    let running = node.start()?;
    for (name, query) in pages(keys) {
        lines.push(page_line(&running.socket, (name, &query), keys)?);
    }
    let cold = running.usage()?;
    verify::cost(&running, &hot_keys, hot_keys.len())?;
    let warm = running.usage()?;
    let beside = node.beside()?;
    let few_running = beside.start()?;
    let few_keys = verify::make_keys(&few_running.socket, FEW)?;
    let sides = [(&few_running, few_keys.as_slice()), (&running, hot_keys.as_slice())];
    let [few, many] = costs(sides, requests, plan.runs)?;
    let found = verify::Found { few, many, memory: (cold, warm), hot: hot_keys.len() };
    lines.push(format!(
        "- CPU of a request: {:.1} µs with {FEW} keys stored and hot, {:.1} µs with {keys} stored and {hot} hot, {:.2} of \
         it (goal ≤ {MOST_RATIO}): {}",
        found.few,
        found.many,
        found.ratio(),
        verdict(found.ratio() <= MOST_RATIO)
    ));
    lines.push(format!("- memory of a hot key: {:.0} bytes", found.bytes_a_key()));
    Ok(lines)
}

/// The cost of a request at two nodes, in turns, over some runs; the first run warms up and does not count.
fn costs(sides: [(&Running, &[String]); 2], requests: usize, runs: usize) -> anyhow::Result<[Spread; 2]> {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..=runs {
        for ((running, keys), costs) in sides.iter().zip(&mut all) {
            costs.push(verify::cost(running, keys, requests)?);
        }
    }
    Ok(all.map(|costs| Spread::of(costs.into_iter().skip(1))))
}

fn page_line(socket: &Path, (name, query): (&str, &str), keys: u64) -> anyhow::Result<String> {
    let mut taken = page_times(socket, query)?;
    let ms = |taken: &mut [u64], percent| percentile(taken, percent) as f64 / 1_000.0;
    let (half, most) = (ms(&mut taken, 50.0), ms(&mut taken, 99.0));
    Ok(format!(
        "- 100 keys of {keys}, {name}: p50 {half:.2} ms, p99 {most:.2} ms (goal < {MOST_MS:.0}): {}",
        verdict(most < MOST_MS)
    ))
}

const fn verdict(holds: bool) -> &'static str {
    if holds { "met" } else { "not met" }
}

/// Keys made by all callers together.
fn keys_a_second(socket: &Path, span: Duration) -> anyhow::Result<f64> {
    let began = now();
    let until = Deadline::after(span);
    let counts = std::thread::scope(|scope| {
        let calling = |caller: usize| {
            let mut connection = Caller::connect(socket)?;
            let mut made = 0_u32;
            let mut turn = caller;
            while !until.is_over() {
                let body = format!(r#"{{"name":"bench","owner":"bench {}"}}"#, turn % OWNERS);
                connection.post("/admin/v1/keys", &body)?;
                turn += CALLERS;
                made += 1;
            }
            anyhow::Ok(made)
        };
        let running: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || calling(caller))).collect();
        let ended =
            running.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("a caller died"))?);
        ended.collect::<anyhow::Result<Vec<u32>>>()
    })?;
    Ok(f64::from(counts.iter().sum::<u32>()) / began.elapsed().as_secs_f64())
}

/// The pages that are read, with what follows `/admin/v1/keys`.
fn pages(keys: u64) -> Vec<(&'static str, String)> {
    let middle = format!("after=key_{:010}", keys / 2);
    let last = format!("after=key_{:010}", keys - 101);
    vec![
        ("the first", "limit=100".to_owned()),
        ("from the middle", format!("limit=100&{middle}")),
        ("the last", format!("limit=100&{last}")),
        ("the first of their workspace", "limit=100&workspace=default".to_owned()),
        ("from the middle of their workspace", format!("limit=100&workspace=default&{middle}")),
        ("the first of one owner", "limit=100&owner=own_0000000001".to_owned()),
        ("from the middle of one owner", format!("limit=100&owner=own_0000000001&{middle}")),
        (
            "from the middle of one owner in their workspace",
            format!("limit=100&owner=own_0000000001&workspace=default&{middle}"),
        ),
    ]
}

/// Microseconds of each read.
fn page_times(socket: &Path, query: &str) -> anyhow::Result<Vec<u64>> {
    let mut caller = Caller::connect(socket)?;
    let path = format!("/admin/v1/keys?{query}");
    let mut taken = Vec::with_capacity(READS);
    for _ in 0..READS {
        let began = now();
        let page = caller.get(&path)?;
        taken.push(u64::try_from(began.elapsed().as_micros())?);
        let rows = page["data"].as_array().map_or(0, Vec::len);
        anyhow::ensure!(rows == 100, "{path}: {rows} rows");
    }
    Ok(taken)
}
