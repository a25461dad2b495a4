//! A node on either engine, what the engine alone can do, and a million keys in it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::super::process_usage::Usage;
use super::super::server::Server;
use super::OWNERS;
use super::caller::Caller;
use crate::postgres;
use crate::process::{self, Deadline};

const COMMITS: &str = include_str!("commits.py");
const SEED: &str = include_str!("seed.py");
const SEED_SQL: &str = include_str!("seed.sql");
/// One row, committed by itself; for `pgbench`.
const COMMIT_SQL: &str = "INSERT INTO one (body) VALUES (repeat('x', 400));\n";

/// Where a node keeps its data.
pub enum Engine {
    Sqlite,
    /// A server's URL.
    Postgres(String),
}

impl Engine {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}

pub struct Node {
    pub engine: Engine,
    pub binary: PathBuf,
    pub folder: PathBuf,
}

/// A node that serves; stopped when dropped.
pub struct Running {
    pub socket: PathBuf,
    pub gateway: SocketAddr,
    server: Server,
}

impl Running {
    /// What it has used so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        self.server.usage()
    }
}

impl Node {
    /// Another node on the same engine, with nothing in it.
    pub fn beside(&self) -> anyhow::Result<Self> {
        let engine = match &self.engine {
            Engine::Sqlite => Engine::Sqlite,
            Engine::Postgres(url) => {
                let (server, _) = url.rsplit_once('/').context("a URL with a database's name")?;
                self.psql(url, "DROP DATABASE IF EXISTS beside")?;
                self.psql(url, "CREATE DATABASE beside")?;
                Engine::Postgres(format!("{server}/beside"))
            }
        };
        Ok(Self { engine, binary: self.binary.clone(), folder: self.folder.join("beside") })
    }

    fn data(&self) -> PathBuf {
        self.folder.join(self.engine.name()).join("data")
    }

    /// Starts it; the first time with an owner for each caller and room for all their keys.
    pub fn start(&self) -> anyhow::Result<Running> {
        let data = self.data();
        let is_first = !data.exists();
        let mut command = Command::new(&self.binary);
        command.env("CLAVIGER_DATA", &data).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
        ]);
        if let Engine::Postgres(url) = &self.engine {
            command.args(["--database", url]);
        }
        let mut server = Server::start("claviger", &mut command, &self.folder.join(self.engine.name()))?;
        let ready = server.line("ready gateway=http://")?;
        let gateway =
            ready.split(' ').next().unwrap_or_default().parse().context("no address of a gateway")?;
        let socket = data.join("control.sock");
        if is_first {
            let mut caller = Caller::connect(&socket)?;
            caller.patch("/admin/v1/policy", r#"{"max_keys":1000000}"#)?;
            for owner in 0..OWNERS {
                caller.post("/admin/v1/owners", &format!(r#"{{"name":"bench {owner}"}}"#))?;
            }
        }
        Ok(Running { socket, gateway, server })
    }

    /// Durable commits of one row, one after the other: as the records of the audit log are written.
    pub fn commits_a_second(&self, span: Duration) -> anyhow::Result<f64> {
        match &self.engine {
            Engine::Sqlite => {
                let folder = self.folder.join("commits");
                if folder.exists() {
                    fs::remove_dir_all(&folder)?;
                }
                fs::create_dir_all(&folder)?;
                let mut python = Command::new("python3");
                python.args(["-c", COMMITS]).arg(&folder).arg(span.as_secs().to_string());
                let said = process::capture(&mut python)?;
                said.trim().parse().with_context(|| format!("python3 said {said:?}"))
            }
            Engine::Postgres(url) => {
                self.psql(url, "DROP TABLE IF EXISTS one; CREATE TABLE one (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL)")?;
                let script = self.folder.join("commit.sql");
                fs::write(&script, COMMIT_SQL)?;
                let mut pgbench = self.program("pgbench")?;
                pgbench.args(["-n", "-c", "1", "-T", &span.as_secs().to_string(), "-f"]);
                let said = process::capture(pgbench.arg(&script).arg(url))?;
                let rate = said
                    .lines()
                    .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
                rate.with_context(|| format!("pgbench said {said:?}"))
            }
        }
    }

    /// Fills the stopped node up.
    pub fn seed(&self, keys: u64, deadline: Deadline) -> anyhow::Result<()> {
        match &self.engine {
            Engine::Sqlite => {
                let mut python = Command::new("python3");
                python.args(["-c", SEED]).arg(self.data().join("claviger.db")).arg(keys.to_string());
                process::must(&mut python, deadline)
            }
            Engine::Postgres(url) => {
                let script = self.folder.join("seed.sql");
                fs::write(&script, SEED_SQL)?;
                let mut psql = self.program("psql")?;
                psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-v", &format!("keys={keys}"), "-f"])
                    .arg(&script)
                    .arg(url);
                process::capture(&mut psql).map(drop)
            }
        }
    }

    fn psql(&self, url: &str, statement: &str) -> anyhow::Result<()> {
        let mut psql = self.program("psql")?;
        process::capture(psql.args(["-q", "-c", statement]).arg(url)).map(drop)
    }

    /// One of PostgreSQL's own programs: from PATH, else beside those that the cluster was made with.
    fn program(&self, name: &str) -> anyhow::Result<Command> {
        let beside = || {
            let initdb = postgres::programs()?.join("initdb").canonicalize().ok()?;
            initdb.parent().map(|folder| folder.join(name)).filter(|file| file.is_file())
        };
        let found = process::find(name).or_else(beside);
        found.map(Command::new).with_context(|| format!("{name} is not installed"))
    }
}
