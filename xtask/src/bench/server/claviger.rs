//! Claviger as it is shipped, with everything on that is on by default: authentication, limits, the ledger with
//! fsync, metrics and the audit log. Only the key's own limits are lifted, for they would end the run.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{Server, address_of};

/// As many idle connections to the upstream as nginx keeps; the default is 30, and more connections than that are
/// busy here at once.
const CONFIGURATION: &str = "\
[upstream]
pool_idle = 1024
pool_idle_per_host = 1024
# As many signatures as a run makes.
[nonces]
per_key = 10000000
";

pub struct Claviger {
    pub address: SocketAddr,
    /// A live key without limits.
    pub key: String,
    pub server: Server,
    binary: PathBuf,
    data: PathBuf,
}

impl Claviger {
    /// Starts it on an empty data folder and makes a key.
    pub fn start(binary: &Path, folder: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let configuration = folder.join("claviger.toml");
        fs::write(&configuration, CONFIGURATION)?;
        let mut command = Command::new(binary);
        command.env("CLAVIGER_DATA", &data).arg("serve").arg("--config").arg(&configuration);
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        let mut server = Server::start("claviger", &mut command, folder)?;
        let ready = server.line("ready gateway=")?;
        let address = address_of(ready.split_whitespace().next().unwrap_or_default())?;
        let mut node =
            Self { address, key: String::new(), server, binary: binary.to_owned(), data: data.clone() };
        node.run(
            &["upstream", "add", "bench", "--kind", "anthropic", "--base-url", &format!("http://{upstream}")],
            "",
        )?;
        node.run(&["credential", "add", "--upstream", "bench", "--from-file", "-"], "sk-ant-api03-bench\n")?;
        let made =
            node.run(&["key", "create", "--name", "bench", "--rpm", "0", "--rpd", "0", "--json"], "")?;
        let made: serde_json::Value = serde_json::from_str(&made).context("what `key create` printed")?;
        let key = made.get("key").and_then(|key| key.as_str()).context("`key create` printed no key")?;
        node.key = key.to_owned();
        Ok(node)
    }

    /// What a command prints that is run beside it.
    pub fn tool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(arguments, "")
    }

    fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.binary);
        command.env("CLAVIGER_DATA", &self.data).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("claviger {}: {}: {}", arguments.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The version that the binary names.
pub fn version(binary: &Path) -> anyhow::Result<String> {
    Ok(crate::process::capture(Command::new(binary).arg("--version"))?.trim().to_owned())
}
