//! The load: clients that ask again and again, over connections that are kept, and note what they saw finished.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use crate::wire::{Answer, Wire, post, say, say_streamed};

/// Clients at once.
pub const CLIENTS: usize = 64;
/// Between an answer and the next request: the record of a round stays small enough to be proved after each.
const PAUSE: Duration = Duration::from_millis(100);
/// So many of ten requests are streams.
const STREAMS_OF_TEN: usize = 4;

/// One request that a client saw finished.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The id that the client was given.
    pub id: String,
    pub stream: bool,
    pub output_tokens: u64,
}

/// What all clients saw.
#[derive(Default)]
pub struct Seen {
    finished: Mutex<Vec<Finished>>,
    /// Answers that were no success, with their status: none is expected.
    refused: Mutex<Vec<(u16, String)>>,
    pub broken: AtomicUsize,
    stop: AtomicBool,
}

impl Seen {
    pub fn finished(&self) -> Vec<Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self) -> usize {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn refused(&self) -> Vec<(u16, String)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The clients, until they are told to stop.
pub struct Clients {
    pub seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn start(gateway: SocketAddr, key: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let threads = (0..CLIENTS).map(|number| {
            let (seen, key) = (Arc::clone(&seen), key.to_owned());
            thread::spawn(move || Client { gateway, key, number, wire: None }.run(&seen))
        });
        Self { threads: threads.collect(), seen }
    }

    pub fn stop(self) -> Arc<Seen> {
        self.seen.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.seen
    }
}

struct Client {
    gateway: SocketAddr,
    key: String,
    number: usize,
    wire: Option<Wire>,
}

impl Client {
    fn run(mut self, seen: &Seen) {
        let mut turn = self.number;
        while !seen.stop.load(Ordering::Relaxed) {
            turn += 1;
            let stream = turn % 10 < STREAMS_OF_TEN;
            match self.ask(turn, stream) {
                Some(answer) if answer.status == 200 => match finished(&answer, stream) {
                    Some(done) => {
                        seen.finished.lock().unwrap().push(done);
                        thread::sleep(PAUSE);
                    }
                    None => self.broke(seen),
                },
                Some(answer) => {
                    seen.refused.lock().unwrap().push((answer.status, answer.text()));
                    self.wire = None;
                    thread::sleep(Duration::from_millis(50));
                }
                None => self.broke(seen),
            }
        }
    }

    fn broke(&mut self, seen: &Seen) {
        seen.broken.fetch_add(1, Ordering::Relaxed);
        self.wire = None;
        thread::sleep(Duration::from_millis(20));
    }

    fn ask(&mut self, turn: usize, stream: bool) -> Option<Answer> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::try_to(self.gateway).ok()?,
        };
        let prompt = format!("{} {turn}", self.number);
        let body = if stream { say_streamed(&prompt) } else { say(&prompt) };
        wire.try_send(post("/v1/messages", &self.key, &body.to_string())).ok()?;
        let answer = wire.try_answer(false).ok()?;
        if answer.clean && answer.header("connection") != Some("close") {
            self.wire = Some(wire);
        }
        Some(answer)
    }
}

/// What a client takes for a finished answer: all its bytes, and in a stream the event that ends it.
fn finished(answer: &Answer, stream: bool) -> Option<Finished> {
    if !answer.clean {
        return None;
    }
    let id = answer.header("x-request-id").expect("an x-request-id in every answer").to_owned();
    let text = answer.text();
    let output_tokens = if stream {
        if !text.contains("event: message_stop") {
            return None;
        }
        let delta = text.lines().rev().find(|l| l.contains("\"message_delta\""))?;
        let data: Value = serde_json::from_str(delta.strip_prefix("data:")?).ok()?;
        data["usage"]["output_tokens"].as_u64()?
    } else {
        answer.json()["usage"]["output_tokens"].as_u64()?
    };
    Some(Finished { id, stream, output_tokens })
}
