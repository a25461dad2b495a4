//! What it costs a node that callers prove more, and that calls stand under ceilings: the same small JSON request at
//! full rate, in turns, each beside the plain one of its own node.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::case::Case;
use super::load::{self, Pace, Until};
use super::measure::Effort;
use super::record;
use super::server::claviger::Claviger;
use super::statistic::Spread;
use crate::output;

const SIGN: &str = include_str!("sign.py");
/// Requests for one run: more than any node answers in its time. One that runs out fails the run.
const MOST_PER_SECOND: u64 = 30_000;
/// What was promised: the share of the plain throughput that is left.
const LEAST_SHARE: f64 = 0.9;

/// One kind of call.
struct Kind<'a> {
    about: &'static str,
    node: &'a Claviger,
    caller: Caller,
    goal: bool,
    /// Requests a second and CPU of a request in microseconds, by run.
    runs: Vec<(f64, f64)>,
}

/// How the caller shows who it is.
enum Caller {
    Headers(String),
    Signs { profile: &'static str, key: Key },
}

/// A key, as `claviger key create --json` prints it.
struct Key {
    id: String,
    public_id: String,
    text: String,
    signing_secret: String,
}

impl Key {
    fn make(node: &Claviger, arguments: &[&str]) -> anyhow::Result<Self> {
        let base = ["key", "create", "--json", "--rpd", "0", "--name"];
        let made: Value = serde_json::from_str(&node.tool(&[&base, arguments].concat())?)?;
        let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, key) = (text("id"), text("key"));
        ensure!(!id.is_empty() && !key.is_empty(), "`key create` printed no key");
        let public_id = key.rsplit('_').next().and_then(|rest| rest.get(..10)).unwrap_or_default().to_owned();
        Ok(Self { id, public_id, text: key, signing_secret: text("signing_secret") })
    }

    fn header(&self) -> String {
        format!("x-api-key: {}\r\n", self.text)
    }
}

/// Both nodes: an open one, and one with ceilings on everything.
pub struct Nodes {
    pub open: Claviger,
    pub ceilings: Claviger,
}

/// Measures all kinds in turns and tells how they compare with a plain key.
pub fn measure(nodes: &Nodes, case: &Case, effort: &Effort) -> anyhow::Result<String> {
    let plain = Key::make(&nodes.open, &["plain", "--rpm", "0"])?;
    let signs = |profile| {
        let key = Key::make(&nodes.open, &[profile, "--rpm", "0", "--sign", "--require", "signature"])?;
        anyhow::Ok(Caller::Signs { profile, key })
    };
    let token = format!("authorization: Bearer {}\r\n", access_token(nodes.open.address, &plain)?);
    let limited = under_ceilings(&nodes.ceilings)?;
    let of = |about, node, caller, goal| Kind { about, node, caller, goal, runs: Vec::new() };
    let mut kinds = [
        of("a key", &nodes.open, Caller::Headers(plain.header()), false),
        of("an access token", &nodes.open, Caller::Headers(token), false),
        of("a key, signed (v2)", &nodes.open, signs("v2")?, true),
        of("a key, signed (RFC 9421)", &nodes.open, signs("rfc9421")?, true),
        of("a key, five limits, four hard budgets", &nodes.ceilings, Caller::Headers(limited.header()), true),
    ];
    for run in 0..effort.runs {
        let count = kinds.len();
        for turn in 0..count {
            if let Some(kind) = kinds.get_mut((run + turn) % count) {
                kind.run(case, effort)?;
            }
        }
    }
    let mut lines = vec![
        "| | Requests/s | of a plain key's | CPU µs/request | of a plain key's | Goal | |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    let [plain, ..] = &kinds;
    lines.extend(kinds.iter().map(|kind| kind.line(plain)));
    Ok(lines.join("\n") + "\n")
}

impl Kind<'_> {
    fn run(&mut self, case: &Case, effort: &Effort) -> anyhow::Result<()> {
        let seconds = (effort.warm_up + effort.capacity).as_secs() + 1;
        // As many of each kind, so that sending them costs the generator the same.
        let count = seconds * MOST_PER_SECOND;
        let requests: Vec<Vec<u8>> = match &self.caller {
            Caller::Headers(lines) => (0..count).map(|_| case.request(lines)).collect(),
            Caller::Signs { profile, key } => {
                let signed = sign(profile, key, &case.body(), count)?;
                signed.lines().map(|line| case.request(&(key.header() + &fields(line)))).collect()
            }
        };
        let until = Until::Time { warm_up: effort.warm_up, measure: effort.capacity };
        let pace = Pace::Closed { connections: case.connections };
        let outcome = load::drive((self.node.address, &requests), pace, until, || self.node.server.usage())
            .with_context(|| self.about)?;
        let cpu_us = outcome.after.cpu_us.saturating_sub(outcome.before.cpu_us) as f64;
        let per_second = outcome.completed as f64 / outcome.elapsed.as_secs_f64();
        let cpu_us = cpu_us / outcome.completed.max(1) as f64;
        output::line(&format!("{}: {per_second:.0}/s, {cpu_us:.1} us CPU", self.about));
        self.runs.push((per_second, cpu_us));
        Ok(())
    }

    /// Compared run by run.
    fn line(&self, plain: &Self) -> String {
        let pairs = || self.runs.iter().zip(&plain.runs);
        let share = Spread::of(pairs().map(|(own, plain)| own.0 / plain.0));
        let cost = Spread::of(pairs().map(|(own, plain)| own.1 / plain.1));
        let per_second = Spread::of(self.runs.iter().map(|run| run.0));
        let cpu_us = Spread::of(self.runs.iter().map(|run| run.1));
        let verdict = match (self.goal, share.median >= LEAST_SHARE) {
            (false, _) => "| – | |".to_owned(),
            (true, true) => format!("| ≥ {LEAST_SHARE} | met |"),
            (true, false) => format!("| ≥ {LEAST_SHARE} | not met |"),
        };
        format!("| {} | {per_second:.0} | {share:.2} | {cpu_us:.1} | {cost:.2} {verdict}", self.about)
    }
}

/// A line of headers parted by tabs, as they stand in a request.
fn fields(line: &str) -> String {
    line.split('\t').flat_map(|field| [field, "\r\n"]).collect()
}

/// Signs the same body so many times, a line each.
fn sign(profile: &str, key: &Key, body: &str, count: u64) -> anyhow::Result<String> {
    let mut python = Command::new("python3");
    python.args(["-c", SIGN, profile, &key.public_id, &key.signing_secret, &count.to_string()]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(body.as_bytes())?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success(), "signing failed: {}", ended.status);
    Ok(String::from_utf8(ended.stdout)?)
}

/// Buys one at the counter.
fn access_token(gateway: SocketAddr, key: &Key) -> anyhow::Result<String> {
    let request = format!(
        "POST /v1/auth/token HTTP/1.1\r\nhost: gateway.example\r\n{}content-length: 0\r\n\r\n",
        key.header()
    );
    let answer = String::from_utf8(record::answer(gateway, request.as_bytes())?)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).context("no body")?;
    let json = body.get(body.find('{').unwrap_or_default()..=body.rfind('}').unwrap_or_default());
    let bought: Value = serde_json::from_str(json.unwrap_or_default())?;
    Ok(bought.get("access_token").and_then(Value::as_str).context("no access token")?.to_owned())
}

/// A key under five limits and four budgets that are never reached.
fn under_ceilings(node: &Claviger) -> anyhow::Result<Key> {
    const MUCH: &str = "1000000000";
    let limits = ["--rpm", MUCH, "--rph", MUCH, "--itpm", MUCH, "--otpm", MUCH, "--concurrency", "100000"];
    let key = Key::make(node, &[&["ceilings"], limits.as_slice()].concat())?;
    let owners: Value = serde_json::from_str(&node.tool(&["key", "show", &key.id, "--json"])?)?;
    let whose = |name: &str| owners.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (owner, workspace) = (whose("owner"), whose("workspace"));
    let subjects: [&[&str]; 4] =
        [&["--key", &key.id], &["--owner", &owner], &["--workspace", &workspace], &["--all"]];
    for subject in subjects {
        node.tool(&[&["budget", "set", "--usd", "1000000", "--per", "month"], subject].concat())?;
    }
    Ok(key)
}

/// Starts both, each with room for all signatures of a run.
pub fn start(binary: &Path, folder: &Path, upstream: SocketAddr) -> anyhow::Result<Nodes> {
    let node = |name: &str| Claviger::start(binary, &folder.join(name), upstream);
    Ok(Nodes { open: node("open")?, ceilings: node("ceilings")? })
}
