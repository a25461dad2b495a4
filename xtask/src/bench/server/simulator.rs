//! `claude-sim` as the upstream.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Server, address_of};

pub struct Simulator {
    pub address: SocketAddr,
    _server: Server,
}

impl Simulator {
    /// Starts it with a wait before each answer and between the events of a stream.
    pub fn start(binary: &Path, folder: &Path, (latency, gap): (Duration, Duration)) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0", "--log-lines", "0", "--deltas", "20"]);
        command.args(["--latency-ms", &latency.as_millis().to_string()]);
        command.args(["--gap-ms", &gap.as_millis().to_string()]);
        let mut server = Server::start("claude-sim", &mut command, folder)?;
        let address = address_of(&server.line("listening ")?)?;
        Ok(Self { address, _server: server })
    }
}
