//! A Redis server of its own for a test: it can be killed, started again and flushed.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    folder::data_folder,
    wait::{eventually, skip, steady_port},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server that keeps nothing on disk. Killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    process: Child,
    folder: TempDir,
}

/// Starts a server, or says `skipped: no Redis` and gives nothing when none is installed.
///
/// # Panics
/// When none is installed and `CI` is `true`, or it does not start.
#[must_use]
pub fn redis() -> Option<RedisServer> {
    let found =
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        skip("no Redis (install redis-server)");
        return None;
    }
    let (port, folder) = (steady_port(), data_folder());
    let process = launch(port, &folder);
    let server = RedisServer { port, process, folder };
    server.wait();
    Some(server)
}

fn launch(port: u16, folder: &TempDir) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--loglevel", "warning", "--dir"]).arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts")
}

impl RedisServer {
    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it; what it held is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("a process that ends");
    }

    /// Starts it again at the same address.
    pub fn start(&mut self) {
        self.process = launch(self.port, &self.folder);
        self.wait();
    }

    /// Sends one command and gives the first line of its answer.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("an answer from Redis")
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        stream.write_all(text.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).ok()?;
            answer.push(byte[0]);
        }
        Some(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    fn wait(&self) {
        eventually("Redis answers", PATIENCE, || (self.try_command(&["PING"])? == "+PONG").then_some(()));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
