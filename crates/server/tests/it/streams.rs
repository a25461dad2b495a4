//! Streams: passed on as they come, never ended by a lie, cut and drained as the operator says.

mod ending;
mod relaying;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    house::{Claviger, Key},
    wire::{Body, Head, Wire, post, say_streamed},
};

/// One stream as a client reads it.
pub struct Listener {
    wire: Wire,
    head: Head,
    body: Body,
    text: String,
    /// How much of the text was taken as events.
    taken: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Clean,
    Aborted,
}

impl Listener {
    /// Asks for a stream and waits for its head.
    pub fn open(node: &Claviger, key: &Key, prompt: &str) -> Self {
        let mut wire = Wire::to(node.gateway());
        wire.send(post("/v1/messages", &key.key, &say_streamed(prompt).to_string()));
        let head = wire.head();
        let body = head.body(false);
        assert_eq!(head.status, 200);
        Self { wire, head, body, text: String::new(), taken: 0 }
    }

    /// The next event: its name, its data, and when it was whole.
    fn event(&mut self) -> Result<(String, Value, Instant), Ended> {
        loop {
            let rest = &self.text[self.taken..];
            if let Some(end) = rest.find("\n\n") {
                let event = rest[..end].to_owned();
                self.taken += end + 2;
                return Ok(read_event(&event));
            }
            match self.wire.piece(&mut self.body) {
                Ok(Some(piece)) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) => return Err(Ended::Clean),
                Err(_) => return Err(Ended::Aborted),
            }
        }
    }

    /// Waits for an event of this name.
    pub fn until(&mut self, name: &str) -> (Value, Instant) {
        loop {
            match self.event() {
                Ok((event, data, at)) if event == name => return (data, at),
                Ok(_) => {}
                Err(ended) => panic!("{ended:?} before {name}: {}", self.text),
            }
        }
    }

    /// Reads on to the end; the names of the events that came.
    pub fn rest(&mut self) -> (Vec<String>, Ended) {
        let mut names = Vec::new();
        loop {
            match self.event() {
                Ok((name, ..)) => names.push(name),
                Err(ended) => return (names, ended),
            }
        }
    }
}

fn read_event(text: &str) -> (String, Value, Instant) {
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let data = field("data:").map_or(json!(null), |d| serde_json::from_str(d).unwrap_or(json!(d)));
    (field("event:").unwrap_or("message").to_owned(), data, Instant::now())
}

/// Above what a loaded machine needs, below what a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);
