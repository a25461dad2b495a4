//! HTTP/1.1 over the socket of a node, one kept connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

const SILENCE: Duration = Duration::from_secs(30);

pub struct Caller {
    stream: BufReader<UnixStream>,
}

impl Caller {
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connect {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn post(&mut self, path: &str, body: &str) -> anyhow::Result<Value> {
        self.ask("POST", path, body)
    }

    pub fn patch(&mut self, path: &str, body: &str) -> anyhow::Result<Value> {
        self.ask("PATCH", path, body)
    }

    pub fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, "")
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: claviger\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let field = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if let Some((_, value)) = field {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        let is_good = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        ensure!(is_good, "{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
        Ok(line.trim_end().to_owned())
    }
}
