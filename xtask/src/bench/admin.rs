//! The admin API beside what the machine can do: keys made a second beside durable commits of one row, and how long a
//! page of keys takes among a million. Both engines, same disk.

mod caller;
mod engine;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::statistic::{Spread, percentile};
use crate::output;
use crate::postgres::Cluster;
use crate::process::{self, Deadline, now};
use crate::workspace::Workspace;
use caller::Caller;
use engine::{Engine, Node};

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
/// What was promised: half of the commits, and a page within so many milliseconds.
const LEAST_SHARE: f64 = 0.5;
const MOST_MS: f64 = 20.0;

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
    let mut lines = vec!["# The admin API".to_owned(), String::new()];
    lines.push(format!(
        "`cargo xtask bench --only admin`; {CALLERS} callers on the socket, {} runs.",
        plan.runs
    ));
    for engine in engines.into_iter().flatten() {
        let node = Node { engine, binary: binary.clone(), folder: folder.clone() };
        lines.extend(measure(&node, plan, deadline).with_context(|| node.engine.name())?);
    }
    let text = lines.join("\n") + "\n";
    output::line(&text);
    if !plan.is_quick {
        let file = workspace.root().join("bench/admin.md");
        fs::create_dir_all(workspace.root().join("bench"))?;
        fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(node: &Node, plan: &Plan, deadline: Deadline) -> anyhow::Result<Vec<String>> {
    let span = Duration::from_secs(if plan.is_quick { 2 } else { 5 });
    let (mut commits, mut made) = (Vec::new(), Vec::new());
    let mut running = node.start()?;
    for _ in 0..plan.runs {
        commits.push(node.commits_a_second(span)?);
        made.push(keys_a_second(&running.socket, span)?);
    }
    let (commits, made) = (Spread::of(commits), Spread::of(made));
    let share = made.median / commits.median;
    let mut lines = vec![String::new(), format!("## {}", node.engine.name()), String::new()];
    lines.push(format!("- durable commits of one row, one after the other: {commits:.0} a second"));
    lines.push(format!(
        "- keys made over the API: {made:.0} a second, {share:.2} of them (promised {LEAST_SHARE}): {}",
        verdict(share >= LEAST_SHARE)
    ));
    let keys = if plan.is_quick { QUICK_KEYS } else { KEYS };
    drop(running);
    node.seed(keys, deadline)?;
    running = node.start()?;
    for (name, query) in pages(keys) {
        let mut taken = page_times(&running.socket, &query)?;
        let ms = |taken: &mut [u64], percent| percentile(taken, percent) as f64 / 1_000.0;
        let (half, most) = (ms(&mut taken, 50.0), ms(&mut taken, 99.0));
        lines.push(format!(
            "- 100 keys of {keys}, {name}: p50 {half:.2} ms, p99 {most:.2} ms (promised {MOST_MS:.0}): {}",
            verdict(most < MOST_MS)
        ));
    }
    Ok(lines)
}

const fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "MISSED" }
}

/// Keys made by all callers together.
fn keys_a_second(socket: &std::path::Path, span: Duration) -> anyhow::Result<f64> {
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
    vec![
        ("the first", "limit=100".to_owned()),
        ("from the middle", format!("limit=100&{middle}")),
        ("of one owner, from the middle", format!("limit=100&owner=own_0000000001&{middle}")),
    ]
}

/// Microseconds of each read.
fn page_times(socket: &std::path::Path, query: &str) -> anyhow::Result<Vec<u64>> {
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
