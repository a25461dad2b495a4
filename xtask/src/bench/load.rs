//! The load generator: one thread, non-blocking sockets, one request at a time on each connection.
//!
//! Closed loop: every connection sends its next request when the answer is there; that is how capacity is
//! measured. Open loop: requests are due at moments drawn beforehand (a Poisson process of a fixed rate and
//! seed), whether or not earlier ones were answered, and each latency counts from the moment at which its
//! request was due, so a stall of the server is charged to all that should have been sent during it.

mod connection;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::connection::{Connection, Progress};
use super::arrivals::Arrivals;
use super::poller::Poller;
use crate::process::now;

/// Open connections of an open loop; above it a request waits for a free one, and the wait counts.
const OPEN_CONNECTIONS: usize = 512;
/// Without any progress for this long the run has failed.
const SILENCE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 256 << 10;

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    Closed { connections: usize },
    Open { per_second: f64, seed: u64 },
}

/// When the measurement ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After a warm-up that is not counted.
    Time {
        warm_up: Duration,
        measure: Duration,
    },
    Requests(u64),
}

/// Latencies of one request, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub first_byte_ns: u64,
    pub last_byte_ns: u64,
}

/// What a run saw.
pub struct Outcome<U> {
    pub samples: Vec<Sample>,
    pub completed: u64,
    pub elapsed: Duration,
    /// What the probe said when the measurement began and when it ended.
    pub before: U,
    pub after: U,
}

/// Sends the requests to `address` in turn, the only one again and again; `probe` is asked when the measurement begins and ends.
pub fn drive<U>(
    (address, requests): (SocketAddr, &[Vec<u8>]),
    pace: Pace,
    until: Until,
    mut probe: impl FnMut() -> anyhow::Result<U>,
) -> anyhow::Result<Outcome<U>> {
    let mut load = Load::new(address, requests, pace)?;
    let measure = match until {
        Until::Time { warm_up, measure } => {
            load.run(Stop::At(now() + warm_up))?;
            Stop::At(now() + measure)
        }
        Until::Requests(count) => Stop::After(count),
    };
    load.completed = 0;
    load.samples.clear();
    let before = probe()?;
    let started = now();
    load.run(measure)?;
    let elapsed = started.elapsed();
    let after = probe()?;
    let completed = load.completed;
    load.drain()?;
    Ok(Outcome { samples: load.samples, completed, elapsed, before, after })
}

#[derive(Clone, Copy)]
enum Stop {
    At(Instant),
    After(u64),
}

struct Load<'a> {
    address: SocketAddr,
    requests: &'a [Vec<u8>],
    /// Which one is sent next.
    next: usize,
    poller: Poller,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// Requests that are due and have no connection yet.
    waiting: VecDeque<Instant>,
    arrivals: Option<Arrivals>,
    samples: Vec<Sample>,
    completed: u64,
    buffer: Vec<u8>,
    last_progress: Instant,
    draining: bool,
}

impl<'a> Load<'a> {
    fn new(address: SocketAddr, requests: &'a [Vec<u8>], pace: Pace) -> anyhow::Result<Self> {
        let mut load = Self {
            address,
            requests,
            next: 0,
            poller: Poller::new()?,
            connections: Vec::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            arrivals: None,
            samples: Vec::new(),
            completed: 0,
            buffer: vec![0; READ_BYTES],
            last_progress: now(),
            draining: false,
        };
        match pace {
            Pace::Closed { connections } => {
                for _ in 0..connections {
                    load.connect()?;
                }
                for at in 0..connections {
                    load.send(at, now())?;
                }
            }
            Pace::Open { per_second, seed } => load.arrivals = Some(Arrivals::new(per_second, seed, now())),
        }
        Ok(load)
    }

    fn run(&mut self, stop: Stop) -> anyhow::Result<()> {
        loop {
            let is_over = match stop {
                Stop::At(end) => now() >= end,
                Stop::After(count) => self.completed >= count,
            };
            if is_over {
                return Ok(());
            }
            let end = match stop {
                Stop::At(end) => end,
                Stop::After(_) => now() + SILENCE,
            };
            self.turn(end)?;
        }
    }

    /// Lets what is under way end, sending nothing new, so that the next run meets an idle server.
    fn drain(&mut self) -> anyhow::Result<()> {
        self.arrivals = None;
        self.draining = true;
        while self.connections.iter().any(Connection::is_busy) || !self.waiting.is_empty() {
            self.turn(now() + SILENCE)?;
        }
        Ok(())
    }

    /// Sends what is due, waits at most until `end`, and reads what has come.
    fn turn(&mut self, end: Instant) -> anyhow::Result<()> {
        let moment = now();
        if let Some(arrivals) = &mut self.arrivals {
            while arrivals.next() <= moment {
                self.waiting.push_back(arrivals.take());
            }
        }
        while !self.waiting.is_empty() {
            let Some(at) = self.free()? else { break };
            if let Some(due) = self.waiting.pop_front() {
                self.send(at, due)?;
            }
        }
        let wake = self.arrivals.as_ref().map_or(end, |arrivals| arrivals.next().min(end));
        let patience = wake.saturating_duration_since(now());
        let ready: Vec<u64> = self.poller.wait(patience)?.collect();
        if !ready.is_empty() {
            self.last_progress = now();
        } else if self.last_progress.elapsed() > SILENCE {
            bail!("no answer for {} s", SILENCE.as_secs());
        }
        for token in ready {
            self.step(usize::try_from(token)?)?;
        }
        Ok(())
    }

    fn step(&mut self, at: usize) -> anyhow::Result<()> {
        let connection = self.connections.get_mut(at).context("an event of no connection")?;
        match connection.step(&self.poller, self.requests, &mut self.buffer)? {
            Progress::Waiting => {}
            Progress::Complete(sample) => {
                self.completed += 1;
                self.samples.push(sample);
                if self.arrivals.is_some() || self.draining {
                    self.idle.push(at);
                } else {
                    self.send(at, now())?;
                }
            }
            // An idle connection that the server closed.
            Progress::Closed => {
                self.idle.retain(|other| *other != at);
                let fresh = Connection::open(self.address, at as u64, &self.poller)?;
                if let Some(old) = self.connections.get_mut(at) {
                    *old = fresh;
                }
                self.idle.push(at);
            }
        }
        Ok(())
    }

    fn free(&mut self) -> anyhow::Result<Option<usize>> {
        if let Some(at) = self.idle.pop() {
            return Ok(Some(at));
        }
        if self.connections.len() >= OPEN_CONNECTIONS {
            return Ok(None);
        }
        self.connect().map(Some)
    }

    fn connect(&mut self) -> anyhow::Result<usize> {
        let at = self.connections.len();
        self.connections.push(Connection::open(self.address, at as u64, &self.poller)?);
        Ok(at)
    }

    fn send(&mut self, at: usize, due: Instant) -> anyhow::Result<()> {
        let connection = self.connections.get_mut(at).context("no such connection")?;
        let which = if self.requests.len() == 1 { 0 } else { self.next };
        self.next += 1;
        connection.send(&self.poller, (self.requests, which), due)
    }
}
