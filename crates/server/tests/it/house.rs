//! The processes of a test: one `claviger` on a data folder of its own, and the simulated Claude API.

mod program;
mod sim;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use claviger_testkit::data_folder;
use serde_json::Value;
use tempfile::TempDir;

pub use program::{Done, Process, claviger, run};
pub use sim::{Bill, Sim};

/// The longest that a start may take: with a loaded machine and an unoptimised build in mind.
pub const START: Duration = Duration::from_secs(60);
/// The longest that a stop may take beyond its drain.
pub const STOP: Duration = Duration::from_secs(45);
/// The longest that a command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A provider key as the simulator accepts any.
pub const PROVIDER_KEY: &str =
    "sk-ant-api03-provider-key-of-the-tests-0123456789abcdefghijklmnopqrstuvwxyz-AA";

/// A gateway on a data folder of its own. Whatever runs is killed when it is dropped.
pub struct Claviger {
    folder: TempDir,
    data: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

/// A key, as `key create` gave it.
pub struct Key {
    pub id: String,
    pub key: String,
}

/// Another node beside the first on its PostgreSQL database, with a data folder of its own and the same master key.
pub fn another(first: &Claviger, database: &str, address: &str) -> Claviger {
    let arguments = ["--listen", address, "--drain-timeout", "5s", "--database", database];
    let mut other = Claviger::new().with_arguments(&arguments);
    fs::DirBuilder::new().mode(0o700).create(&other.data).unwrap();
    let path = other.data.join("master.key");
    fs::copy(first.data.join("master.key"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    other.start();
    other
}

impl Claviger {
    /// Nothing runs yet, nothing is configured.
    pub fn new() -> Self {
        let folder = data_folder();
        let data = folder.path().join("data");
        Self { folder, data, arguments: Vec::new(), environment: Vec::new(), process: None }
    }

    /// One that serves, with nothing configured.
    pub fn started() -> Self {
        let mut node = Self::new();
        node.start();
        node
    }

    /// One that serves, with the simulator as its upstream and these arguments to `serve`.
    pub fn before(sim: &Sim, arguments: &[&str]) -> Self {
        let mut node = Self::new().with_arguments(arguments);
        node.start();
        node.connect(sim);
        node
    }

    /// One that serves, configured by this file's text, with the simulator as its upstream.
    pub fn configured(sim: &Sim, config: &str) -> Self {
        let node = Self::configured_alone(config);
        node.connect(sim);
        node
    }

    /// One that serves, configured by this file's text.
    pub fn configured_alone(config: &str) -> Self {
        let mut node = Self::new();
        let file = node.write("claviger.toml", config);
        node.arguments = vec!["--config".to_owned(), file.display().to_string()];
        node.start();
        node
    }

    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same processes on another data folder.
    pub fn with_data(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// Starts `serve` without waiting for anything. Ports are free ones unless the arguments name them.
    pub fn launch(&mut self) -> &Process {
        let mut arguments = vec!["serve".to_owned()];
        for listener in ["--listen", "--control"] {
            if !self.arguments.iter().any(|a| a == listener) {
                arguments.extend([listener.to_owned(), "127.0.0.1:0".to_owned()]);
            }
        }
        arguments.extend(self.arguments.iter().cloned());
        let mut command = self.command();
        command.args(arguments);
        self.process.insert(Process::start(command))
    }

    /// Starts `serve` and waits until it serves.
    ///
    /// # Panics
    /// With what it said, when it ends before.
    pub fn start(&mut self) {
        self.launch();
        self.process().wait_for_line("ready ", START);
    }

    /// The same with a library in front of all others, for the server alone.
    pub fn start_preloaded(&mut self, library: &Path) {
        self.environment.push(("LD_PRELOAD".to_owned(), library.display().to_string()));
        self.start();
        self.environment.retain(|(name, _)| name != "LD_PRELOAD");
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.take().expect("a running process").terminate(STOP)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("a running process").wait(STOP)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a running process")
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder for other files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the data folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn gateway(&self) -> SocketAddr {
        self.listener("gateway=http://")
    }

    pub fn control(&self) -> SocketAddr {
        self.listener("control=http://")
    }

    fn listener(&self, beginning: &str) -> SocketAddr {
        let lines = self.process().lines();
        let ready = lines.iter().find(|l| l.starts_with("ready ")).expect("a ready line");
        let word = ready.split(' ').find_map(|word| word.strip_prefix(beginning));
        word.expect("the listener's address").parse().expect("an address")
    }

    /// A command of the command line, run to its end.
    pub fn cli(&self, arguments: &[&str]) -> Done {
        self.cli_with_input(arguments, "")
    }

    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Done {
        let mut command = self.command();
        command.args(arguments);
        run(command, input, COMMAND)
    }

    /// A command with `--json` that must succeed; what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let done = self.cli(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).expect("JSON on standard output")
    }

    /// Makes the simulator the upstream, with its provider key sealed.
    pub fn connect(&self, sim: &Sim) {
        self.connect_to(&sim.url());
    }

    pub fn connect_to(&self, url: &str) {
        self.json(&["upstream", "add", "sim", "--kind", "anthropic", "--base-url", url]);
        let add = ["credential", "add", "--upstream", "sim", "--from-file", "-", "--json"];
        let done = self.cli_with_input(&add, &format!("{PROVIDER_KEY}\n"));
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    }

    /// A new key without limits on its rate, unless the arguments set them. The first owner may have as many as the
    /// test needs.
    pub fn key(&self, arguments: &[&str]) -> Key {
        let mut all = vec!["key", "create", "--name", "test"];
        for limit in ["--rpm", "--rpd"] {
            if !arguments.contains(&limit) {
                all.extend([limit, "0"]);
            }
        }
        all.extend(arguments);
        let made = match self.cli(&[all.as_slice(), &["--json"]].concat()) {
            done if done.stderr.contains("its policy allows") => {
                self.json(&["policy", "set", "--max-keys", "1000000"]);
                self.json(&all)
            }
            done => {
                assert_eq!(done.code, 0, "{all:?}: {}{}", done.stdout, done.stderr);
                serde_json::from_str(&done.stdout).expect("JSON on standard output")
            }
        };
        let text = |field: &str| made[field].as_str().expect(field).to_owned();
        Key { id: text("id"), key: text("key") }
    }

    /// `claviger` with this node's data folder and environment.
    pub fn command(&self) -> std::process::Command {
        let mut command = program::claviger();
        command.env("CLAVIGER_DATA", &self.data).env("HOME", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
