//! `claviger batch run`, as those use it who have a file of requests: what comes of them stands in a file, in their order,
//! whatever happens in between.

mod ceilings;
mod kills;
mod mistakes;
mod provider;
mod story;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use claviger_claude_sim::{LogConfig, SimConfig};
use claviger_testkit::{data_folder, steady_port};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{Claviger, Done, Key, Sim, run};

/// The longest that a run may take.
const RUN: Duration = Duration::from_secs(300);

/// A gateway, a key, and a folder for the files.
struct Desk {
    sim: Sim,
    node: Claviger,
    key: Key,
    folder: TempDir,
}

impl Desk {
    fn new(key: &[&str]) -> Self {
        Self::with(key, |config| config)
    }

    fn with(key: &[&str], change: impl FnOnce(SimConfig) -> SimConfig) -> Self {
        let sim = Sim::start_with(|config| {
            change(SimConfig { log: LogConfig { memory_lines: 1_000_000, file: None }, ..config })
        });
        let address = format!("127.0.0.1:{}", steady_port());
        let node = Claviger::before(&sim, &["--listen", &address]);
        let key = node.key(key);
        Self { sim, node, key, folder: data_folder() }
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("in.jsonl")
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out.jsonl")
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("out.jsonl.journal")
    }

    fn write(&self, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.input(), text).unwrap();
    }

    /// `batch run` of the input into the output.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.command();
        command.args(["batch", "run"]).arg(self.input()).arg("-o").arg(self.output()).args(arguments);
        command.env("CLAVIGER_KEY", &self.key.key);
        command.env("CLAVIGER_BASE_URL", format!("http://{}", self.node.gateway()));
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        run(self.command(arguments), "", RUN)
    }

    /// The same with `--json`: the exit code, and what it says it did.
    fn told(&self, arguments: &[&str]) -> (i32, Value) {
        let done = self.run(&[arguments, &["--json"]].concat());
        let said = serde_json::from_str(&done.stdout);
        (done.code, said.unwrap_or_else(|_| panic!("{}{}", done.stdout, done.stderr)))
    }

    fn answers(&self) -> Vec<Value> {
        lines(&self.output())
    }

    /// Calls of messages that reached the provider, as it wrote them down.
    fn calls(&self) -> Vec<Value> {
        self.sim.log().into_iter().filter(|line| line["path"] == "/v1/messages").collect()
    }

    /// What Claviger booked: calls, and their cost in pico-dollars.
    fn booked(&self) -> (u64, i128) {
        let rows = self.node.json(&["usage", "--by", "key", "--key", &self.key.id]);
        let Some(row) = rows.get(0) else { return (0, 0) };
        (row["requests"].as_u64().unwrap(), row["cost_pusd"].as_str().unwrap().parse().unwrap())
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A Messages request; `told` tells the simulator what to do with it.
fn request(prompt: &str, told: &str) -> Value {
    let steer = if told.is_empty() { String::new() } else { format!(" [[sim: {told}]]") };
    json!({
        "model": "claude-opus-5-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": format!("{prompt}{steer}")}],
    })
}

/// A line of Message Batches.
fn entry(custom_id: &str, told: &str) -> Value {
    json!({"custom_id": custom_id, "params": request(custom_id, told)})
}

fn ids(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["custom_id"].as_str().unwrap()).collect()
}

fn kinds(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["result"]["type"].as_str().unwrap()).collect()
}
