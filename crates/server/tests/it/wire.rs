//! A raw HTTP/1.1 client: it sends the bytes that a test wrote, and tells a clean end from an abort.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

/// The longest silence that a test waits for.
const SILENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Wire {
    stream: TcpStream,
    /// Bytes that were read and not yet used.
    ahead: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Its end was there, as announced.
    pub clean: bool,
}

/// How an answer's body is delimited.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
    Close,
}

/// An answer's body, read piece by piece.
pub struct Body {
    framing: Framing,
    ended: bool,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// `error.type` and `error.message` of an envelope.
    pub fn error(&self) -> (String, String) {
        let body = self.json();
        assert_eq!(body["type"], "error", "{body}");
        let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
        (text("type"), text("message"))
    }

    pub fn request_id(&self) -> &str {
        self.header("request-id").expect("a request-id")
    }
}

impl Wire {
    pub fn to(address: SocketAddr) -> Self {
        Self::try_to(address).expect("a connection")
    }

    pub fn try_to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    pub fn patience(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("bytes that can be sent");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The client goes away: no more bytes in either direction.
    pub fn leave(self) {
        drop(self.stream.shutdown(std::net::Shutdown::Both));
    }

    /// One whole answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    /// One whole answer to HEAD.
    pub fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).expect("an answer")
    }

    pub fn try_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let head = self.try_head()?;
        let mut body = head.body(to_head);
        let mut bytes = Vec::new();
        let clean = loop {
            match self.piece(&mut body) {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Ok(Answer { status: head.status, headers: head.headers, body: bytes, clean })
    }

    pub fn head(&mut self) -> Head {
        self.try_head().expect("an answer's head")
    }

    pub fn try_head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or(ErrorKind::InvalidData)?;
        let headers = lines.filter_map(|l| l.split_once(':'));
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        // An interim answer is followed by the real one.
        if (100..200).contains(&status) { self.try_head() } else { Ok(Head { status, headers }) }
    }

    /// The next piece of a body; `None` at its announced end; an error when it is cut off.
    pub fn piece(&mut self, body: &mut Body) -> io::Result<Option<Vec<u8>>> {
        if body.ended {
            return Ok(None);
        }
        match &mut body.framing {
            Framing::Length(0) => {
                body.ended = true;
                Ok(None)
            }
            Framing::Length(left) => {
                if self.ahead.is_empty() {
                    self.more()?;
                }
                let take = self.ahead.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= take as u64;
                Ok(Some(self.ahead.drain(..take).collect()))
            }
            Framing::Close => match self.more() {
                Ok(()) => Ok(Some(std::mem::take(&mut self.ahead))),
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    body.ended = true;
                    Ok(None)
                }
                Err(e) => Err(e),
            },
            Framing::Chunked => self.chunk(body),
        }
    }

    fn chunk(&mut self, body: &mut Body) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.map_err(|_| ErrorKind::InvalidData)?;
        if size == 0 {
            while !self.line()?.is_empty() {}
            body.ended = true;
            return Ok(None);
        }
        while self.ahead.len() < size + 2 {
            self.more()?;
        }
        let piece = self.ahead.drain(..size).collect();
        self.ahead.drain(..2);
        Ok(Some(piece))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.more()?;
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_ok() {}
        std::mem::take(&mut self.ahead)
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.ahead.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }
}

impl Head {
    /// Its body, to be read with [`Wire::piece`].
    pub fn body(&self, to_head: bool) -> Body {
        let length = self.header("content-length").and_then(|l| l.parse().ok());
        let chunked = self.header("transfer-encoding").is_some_and(|t| t.contains("chunked"));
        let framing = match length {
            _ if to_head || self.status == 204 || self.status == 304 => Framing::Length(0),
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        };
        Body { framing, ended: false }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// Sends these bytes on a connection of their own and reads one answer.
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut wire = Wire::to(address);
    wire.send(request);
    wire.answer()
}

/// `POST /v1/messages` with this key.
pub fn message(address: SocketAddr, key: &str, body: &Value) -> Answer {
    ask(address, &post("/v1/messages", key, &body.to_string()))
}

/// The bytes of a POST with `x-api-key`.
pub fn post(path: &str, key: &str, body: &str) -> Vec<u8> {
    post_with(path, &[("x-api-key", key)], body)
}

/// The bytes of a POST with these headers beside the usual ones.
pub fn post_with(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: claviger.test\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    request.into_bytes()
}

/// The bytes of a GET with `x-api-key`.
pub fn get(path: &str, key: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: claviger.test\r\nanthropic-version: 2023-06-01\r\nx-api-key: {key}\r\n\r\n")
        .into_bytes()
}

/// A small request for one answer.
pub fn say(prompt: &str) -> Value {
    json!({"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]})
}

/// The same, streamed.
pub fn say_streamed(prompt: &str) -> Value {
    let mut body = say(prompt);
    body["stream"] = json!(true);
    body
}

/// A plain GET of the control plane or of a health check.
pub fn fetch(address: SocketAddr, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nhost: claviger.test\r\n\r\n").as_bytes())
}
