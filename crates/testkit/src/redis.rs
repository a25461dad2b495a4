//! A Redis server of its own for a test: it can be killed, started again and flushed, and its clock can be moved.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use claviger_domain::clock::Timestamp;
use tempfile::TempDir;

use crate::{
    folder::data_folder,
    wait::{eventually, skip, steady_port},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// What moves a server's clock. `faketime` cannot: it and the server's allocator wait for each other.
const CLOCK: &str = include_str!("redis/clock.c");
const LIBRARY: &str = "clock.so";
const AHEAD: &str = "ahead";

/// A running server that keeps nothing on disk. Killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    process: Child,
    folder: TempDir,
    moves: bool,
}

/// Starts a server, or says `skipped: no Redis` and gives nothing when none is installed.
///
/// # Panics
/// When none is installed and `CI` is `true`, or it does not start.
#[must_use]
pub fn redis() -> Option<RedisServer> {
    server(false)
}

/// The same with a clock that [`RedisServer::set_clock`] moves.
///
/// # Panics
/// As [`redis`], and when there is no C compiler.
#[must_use]
pub fn redis_with_clock() -> Option<RedisServer> {
    server(true)
}

fn server(moves: bool) -> Option<RedisServer> {
    let found =
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        skip("no Redis (install redis-server)");
        return None;
    }
    let (port, folder) = (steady_port(), data_folder());
    if moves {
        compile(&folder);
    }
    let process = launch(port, &folder, moves);
    let server = RedisServer { port, process, folder, moves };
    server.wait();
    Some(server)
}

fn compile(folder: &TempDir) {
    fs::write(folder.path().join("clock.c"), CLOCK).expect("a source file");
    fs::write(folder.path().join(AHEAD), 0_i64.to_ne_bytes()).expect("a file for the clock");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o", LIBRARY, "clock.c"]).current_dir(folder.path());
    assert!(compiler.status().expect("a C compiler").success(), "the clock compiles");
}

fn launch(port: u16, folder: &TempDir, moves: bool) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    if moves {
        command.env("LD_PRELOAD", folder.path().join(LIBRARY));
        command.env("TESTKIT_CLOCK", folder.path().join(AHEAD));
    }
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
        self.process = launch(self.port, &self.folder, self.moves);
        self.wait();
    }

    /// Sets the server's clock, which goes on from there.
    ///
    /// # Panics
    /// When it has none that can be set.
    #[expect(clippy::disallowed_methods, reason = "the server's own clock is the machine's")]
    pub fn set_clock(&self, to: Timestamp) {
        assert!(self.moves, "made by redis_with_clock");
        let machine = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let machine = machine.expect("a time after 1970").as_micros();
        let ahead = to.as_micros() - i64::try_from(machine).expect("a time that fits");
        let mut file =
            fs::OpenOptions::new().write(true).open(self.folder.path().join(AHEAD)).expect("its clock");
        file.write_all(&ahead.to_ne_bytes()).expect("a clock that is set");
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
