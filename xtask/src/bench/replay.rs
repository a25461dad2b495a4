//! An upstream that costs next to nothing: it answers every request with a recorded answer, byte for byte.
//!
//! The simulator reads and judges each request as the real API does, which at a megabyte costs more than any
//! proxy; where capacity is measured the proxy must be the narrow place, so the recording stands in for it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::poller::Poller;
use super::wire::MessageReader;
use crate::process::now;

const LISTENER: u64 = u64::MAX - 1;
/// How often the thread looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 256 << 10;

/// A recorded answer, in the pieces in which it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pieces: Vec<Vec<u8>>,
    /// Between two pieces.
    gap: Duration,
}

impl Recording {
    /// Cuts `answer` behind its head's first event and behind every later event; an answer without events
    /// stays whole.
    pub fn of(answer: &[u8], gap: Duration) -> Self {
        // An event is one chunk here: a blank line, then the end of the chunk.
        const END: &[u8] = b"\n\n\r\n";
        let mut pieces = Vec::new();
        let mut rest = answer;
        while let Some(at) = rest.windows(END.len()).position(|window| window == END) {
            let (piece, after) = rest.split_at(at + END.len());
            pieces.push(piece.to_vec());
            rest = after;
        }
        match pieces.last_mut() {
            // The last chunk, which ends the body, leaves with the last event.
            Some(last) => last.extend_from_slice(rest),
            None => pieces.push(rest.to_vec()),
        }
        Self { pieces, gap }
    }

    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }
}

/// The running upstream; stops when dropped.
pub struct Replay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

struct Shared {
    recording: Mutex<Arc<Recording>>,
    stop: AtomicBool,
}

impl Replay {
    /// Starts on a free port, on the cores of the caller.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let empty = Recording { pieces: Vec::new(), gap: Duration::ZERO };
        let shared =
            Arc::new(Shared { recording: Mutex::new(Arc::new(empty)), stop: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || Server::new(listener, theirs)?.run());
        Ok(Self { address, shared, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What requests are answered with from now on.
    pub fn play(&self, recording: Recording) {
        *self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(recording);
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            crate::output::problem(&format!("the replayed upstream failed: {error:#}"));
        }
    }
}

struct Server {
    listener: TcpListener,
    poller: Poller,
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    /// Connections that have a piece to send, and when; the gap is the same for all, so they stay in order.
    due: VecDeque<(Instant, usize)>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    reader: MessageReader,
    answer: Option<Answer>,
}

struct Answer {
    recording: Arc<Recording>,
    piece: usize,
    /// Bytes of the piece that are sent.
    sent: usize,
}

impl Server {
    fn new(listener: TcpListener, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(&listener, LISTENER)?;
        let buffer = vec![0; READ_BYTES];
        Ok(Self { listener, poller, shared, connections: Vec::new(), due: VecDeque::new(), buffer })
    }

    fn run(mut self) -> anyhow::Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let wake = self.due.front().map(|(due, _)| due.saturating_duration_since(now()));
            let ready: Vec<u64> = self.poller.wait(wake.unwrap_or(PATIENCE).min(PATIENCE))?.collect();
            for token in ready {
                if token == LISTENER {
                    self.accept()?;
                } else {
                    self.read(usize::try_from(token)?)?;
                }
            }
            let moment = now();
            // One piece each: streams that run at the same time take turns.
            for _ in 0..self.due.len() {
                let Some((_, at)) = self.due.pop_front_if(|(due, _)| *due <= moment) else { break };
                self.send(at)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.poller.watch(&stream, self.connections.len() as u64)?;
            let reader = MessageReader::of_requests();
            self.connections.push(Some(Connection { stream, reader, answer: None }));
        }
    }

    fn read(&mut self, at: usize) -> anyhow::Result<()> {
        let slot = self.connections.get_mut(at).context("an event of no connection")?;
        let Some(connection) = slot else { return Ok(()) };
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => 0,
        };
        if count == 0 {
            *slot = None;
            return Ok(());
        }
        if connection.reader.feed(self.buffer.get(..count).unwrap_or_default())? {
            connection.reader.restart();
            let recording = Arc::clone(&self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner));
            connection.answer = Some(Answer { recording, piece: 0, sent: 0 });
            self.due.push_back((now(), at));
        }
        Ok(())
    }

    fn send(&mut self, at: usize) -> anyhow::Result<()> {
        let slot = self.connections.get_mut(at).context("a piece for no connection")?;
        let Some(Connection { stream, answer, .. }) = slot else { return Ok(()) };
        let Some(under_way) = answer else { return Ok(()) };
        let piece = under_way.recording.pieces.get(under_way.piece).map_or(&[][..], Vec::as_slice);
        match stream.write(piece.get(under_way.sent..).unwrap_or_default()) {
            Ok(count) => under_way.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                *slot = None;
                return Ok(());
            }
        }
        let mut due = now();
        if under_way.sent == piece.len() {
            under_way.piece += 1;
            under_way.sent = 0;
            due += under_way.recording.gap;
        }
        if under_way.piece >= under_way.recording.pieces.len() {
            *answer = None;
        } else {
            self.due.push_back((due, at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_behind_each_event_and_nothing_is_lost() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n5\r\na:1\n\n\r\n5\r\nb:2\n\n\r\n0\r\n\r\n";
        let recording = Recording::of(answer, Duration::ZERO);
        assert_eq!(recording.pieces(), 2);
        assert_eq!(recording.pieces.concat(), answer);
    }

    #[test]
    fn an_answer_without_events_stays_whole() {
        assert_eq!(Recording::of(b"HTTP/1.1 200 OK\r\n\r\n{}", Duration::ZERO).pieces(), 1);
    }
}
