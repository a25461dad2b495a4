//! The processes that take part: the simulator, nginx and Claviger.

pub mod claviger;
pub mod nginx;
pub mod simulator;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};

use super::process_usage::{self, Usage};
use crate::process::Deadline;

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A child that is stopped when dropped; what it prints is kept in a file.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` on the cores of the caller.
    pub fn start(name: &'static str, command: &mut Command, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("output.log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits for a line that starts with `start` and returns the rest of it.
    pub fn line(&mut self, start: &str) -> anyhow::Result<String> {
        self.wait_for(|log| {
            let text = fs::read_to_string(log).ok()?;
            let whole = &text[..text.rfind('\n')?];
            whole.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        })
    }

    /// Waits until `address` accepts connections.
    pub fn port(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.wait_for(|_| TcpStream::connect(address).ok().map(drop))
    }

    fn wait_for<T>(&mut self, mut look: impl FnMut(&Path) -> Option<T>) -> anyhow::Result<T> {
        let patience = Deadline::after(START_LIMIT);
        loop {
            if let Some(found) = look(&self.log) {
                return Ok(found);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || patience.is_over() {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} does not start ({ended:?}); it said:\n{said}", self.name);
            }
            std::thread::sleep(POLL);
        }
    }

    /// What it and its children have used.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        process_usage::read(self.child.id()).with_context(|| self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let patience = Deadline::after(STOP_LIMIT);
        while !patience.is_over() {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for servers that cannot choose one.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The address in `http://ADDRESS`.
fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.trim().strip_prefix("http://").with_context(|| format!("no http URL: {url}"))?;
    address.parse().with_context(|| format!("no address: {url}"))
}
