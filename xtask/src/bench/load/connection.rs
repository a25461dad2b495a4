//! One connection of the load generator.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, bail};

use super::Sample;
use crate::bench::poller::Poller;
use crate::bench::wire::MessageReader;
use crate::process::now;

pub struct Connection {
    stream: TcpStream,
    token: u64,
    reader: MessageReader,
    exchange: Option<Exchange>,
}

/// A request under way.
struct Exchange {
    due: Instant,
    /// Which request it is.
    which: usize,
    /// Bytes of the request that are sent.
    sent: usize,
    watches_writes: bool,
    first_byte: Option<Instant>,
}

pub enum Progress {
    Waiting,
    Complete(Sample),
    /// The server closed it between two requests.
    Closed,
}

impl Connection {
    pub fn open(address: SocketAddr, token: u64, poller: &Poller) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poller.watch(&stream, token)?;
        Ok(Self { stream, token, reader: MessageReader::of_responses(), exchange: None })
    }

    pub fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Starts a request that was due at `due`.
    pub fn send(
        &mut self,
        poller: &Poller,
        (requests, which): (&[Vec<u8>], usize),
        due: Instant,
    ) -> anyhow::Result<()> {
        self.reader.restart();
        self.exchange = Some(Exchange { due, which, sent: 0, watches_writes: false, first_byte: None });
        self.write(poller, requests)
    }

    fn write(&mut self, poller: &Poller, requests: &[Vec<u8>]) -> anyhow::Result<()> {
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let request = requests.get(exchange.which).context("more requests were needed than were prepared")?;
        while let Some(rest) = request.get(exchange.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => exchange.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("send a request"),
            }
        }
        let is_blocked = exchange.sent < request.len();
        if is_blocked != exchange.watches_writes {
            exchange.watches_writes = is_blocked;
            poller.watch_writes(&self.stream, self.token, is_blocked)?;
        }
        Ok(())
    }

    /// Goes on with whatever the socket is ready for.
    pub fn step(
        &mut self,
        poller: &Poller,
        requests: &[Vec<u8>],
        buffer: &mut [u8],
    ) -> anyhow::Result<Progress> {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.watches_writes) {
            self.write(poller, requests)?;
        }
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
            Err(error) => return Err(error).context("read an answer"),
        };
        let moment = now();
        let Some(exchange) = &mut self.exchange else {
            return if count == 0 { Ok(Progress::Closed) } else { bail!("bytes that nobody asked for") };
        };
        if count == 0 {
            bail!("the connection ended within an answer: {}", self.reader.head());
        }
        let first_byte = *exchange.first_byte.get_or_insert(moment);
        let bytes = buffer.get(..count).unwrap_or_default();
        let is_complete = self.reader.feed(bytes)?;
        if self.reader.status().is_some_and(|status| status != 200) {
            bail!("not 200: {}\n{}", self.reader.head(), String::from_utf8_lossy(bytes));
        }
        if !is_complete {
            return Ok(Progress::Waiting);
        }
        if exchange.watches_writes {
            bail!("answered before the request was sent: {}", self.reader.head());
        }
        let due = exchange.due;
        self.exchange = None;
        let since = |moment: Instant| u64::try_from((moment - due).as_nanos()).unwrap_or(u64::MAX);
        Ok(Progress::Complete(Sample { first_byte_ns: since(first_byte), last_byte_ns: since(moment) }))
    }
}
