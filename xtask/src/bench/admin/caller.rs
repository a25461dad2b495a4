//! HTTP/1.1 to a node, over its socket or to its gateway, one kept connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

const SILENCE: Duration = Duration::from_secs(30);

trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

pub struct Caller {
    stream: BufReader<Box<dyn Wire>>,
}

impl Caller {
    /// To the control plane.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connect {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// To the gateway.
    pub fn call(gateway: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway).with_context(|| format!("connect {gateway}"))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    pub fn post(&mut self, path: &str, body: &str) -> anyhow::Result<Value> {
        self.ask("POST", path, "", body)
    }

    pub fn patch(&mut self, path: &str, body: &str) -> anyhow::Result<Value> {
        self.ask("PATCH", path, "", body)
    }

    pub fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, "", "")
    }

    /// A request of a key's holder.
    pub fn post_as(&mut self, key: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let headers = format!("x-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n");
        self.ask("POST", path, &headers, body)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> anyhow::Result<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: claviger\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let mut length = Some(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => length = Some(value.trim().parse()?),
                Some(("transfer-encoding", _)) => length = None,
                Some(_) => {}
            }
        }
        let answer = match length {
            Some(length) => self.bytes(length)?,
            None => self.chunks()?,
        };
        let is_good = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        ensure!(is_good, "{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }

    fn bytes(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16)?;
            whole.extend(self.bytes(length)?);
            self.line()?;
            if length == 0 {
                return Ok(whole);
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
        Ok(line.trim_end().to_owned())
    }
}
