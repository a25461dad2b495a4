//! A TCP proxy that breaks connections as it is told.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

/// What happens to connections that are made from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing: bytes pass.
    #[default]
    None,
    /// The connection is torn down (RST) as soon as it is made.
    Refuse,
    /// Bytes are swallowed in both directions; the connection stays.
    Drop,
    /// Every stretch of bytes waits so long before it is passed on.
    Delay(Duration),
    /// After so many bytes of the answer the connection is closed in order (FIN).
    CloseAfter(u64),
    /// After so many bytes of the answer the connection is torn down (RST).
    ResetAfter(u64),
    /// After so many bytes of the request the connection is torn down (RST) on both sides.
    ResetRequestAfter(u64),
    /// After so many bytes of the answer nothing more comes; the connection stays.
    StallAfter(u64),
}

/// The proxy. It stops, and cuts what passes through it, when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    fault: Mutex<Fault>,
    /// What passes through; `None` once the proxy is gone.
    open: Mutex<Option<Vec<Weak<Passage>>>>,
}

/// One connection through the proxy. Both threads that serve it share its two sockets.
struct Passage {
    client: TcpStream,
    server: TcpStream,
    torn: AtomicBool,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and passes on to `target`.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Shared { target, fault: Mutex::default(), open: Mutex::new(Some(Vec::new())) };
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if lock(&accepting.open).is_none() {
                    return;
                }
                accepting.connect(client);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to connections made from now on. Those that are open keep what they have.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// Tears down all open connections.
    pub fn cut(&self) {
        let open = lock(&self.shared.open).as_mut().map(std::mem::take).unwrap_or_default();
        open.iter().filter_map(Weak::upgrade).for_each(|passage| passage.tear());
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.cut();
        *lock(&self.shared.open) = None;
        // Wakes the thread that waits for connections, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn connect(&self, client: TcpStream) {
        let fault = *lock(&self.fault);
        let server = if fault == Fault::Refuse { None } else { TcpStream::connect(self.target).ok() };
        let Some(server) = server else {
            drop(SockRef::from(&client).set_linger(Some(Duration::ZERO)));
            return;
        };
        let passage = Arc::new(Passage { client, server, torn: AtomicBool::new(false) });
        if let Some(open) = lock(&self.open).as_mut() {
            open.retain(|passage| passage.strong_count() > 0);
            open.push(Arc::downgrade(&passage));
        }
        let other = Arc::clone(&passage);
        thread::spawn(move || passage.pass(&passage.client, &passage.server, Rule::request(fault)));
        thread::spawn(move || other.pass(&other.server, &other.client, Rule::answer(fault)));
    }
}

impl Passage {
    /// Both sockets are reset as soon as both threads let go of them, which this makes them do. Shutting down for
    /// writing would be an orderly end.
    fn tear(&self) {
        self.torn.store(true, Ordering::SeqCst);
        for socket in [&self.client, &self.server] {
            drop(SockRef::from(socket).set_linger(Some(Duration::ZERO)));
            drop(socket.shutdown(Shutdown::Read));
        }
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, rule: Rule) {
        let mut left = rule.limit.unwrap_or(u64::MAX);
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) if self.torn.load(Ordering::SeqCst) => return,
                Ok(0) => return drop(to.shutdown(Shutdown::Write)),
                Ok(read) => read,
                Err(_) => return self.tear(),
            };
            thread::sleep(rule.delay);
            let pass = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            left -= pass as u64;
            if to.write_all(&buffer[..pass]).is_err() {
                return self.tear();
            }
            if rule.limit.is_some() && left == 0 {
                return self.end(from, rule.end);
            }
        }
    }

    fn end(&self, mut from: &TcpStream, end: End) {
        match end {
            End::Close => drop((self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both))),
            End::Reset => self.tear(),
            // Goes on reading, so that the sender never notices, until the connection is cut.
            End::Stall => drop(std::io::copy(&mut from, &mut std::io::sink())),
        }
    }
}

/// What one direction does with its bytes.
#[derive(Clone, Copy)]
struct Rule {
    delay: Duration,
    limit: Option<u64>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Close,
    Reset,
    Stall,
}

impl Rule {
    const PASS: Self = Self { delay: Duration::ZERO, limit: None, end: End::Close };

    const fn request(fault: Fault) -> Self {
        match fault {
            Fault::None
            | Fault::Refuse
            | Fault::CloseAfter(_)
            | Fault::ResetAfter(_)
            | Fault::StallAfter(_) => Self::PASS,
            Fault::Drop => Self { limit: Some(0), end: End::Stall, ..Self::PASS },
            Fault::Delay(delay) => Self { delay, ..Self::PASS },
            Fault::ResetRequestAfter(bytes) => Self { limit: Some(bytes), end: End::Reset, ..Self::PASS },
        }
    }

    const fn answer(fault: Fault) -> Self {
        match fault {
            Fault::None | Fault::Refuse | Fault::ResetRequestAfter(_) => Self::PASS,
            Fault::Drop => Self { limit: Some(0), end: End::Stall, ..Self::PASS },
            Fault::Delay(delay) => Self { delay, ..Self::PASS },
            Fault::CloseAfter(bytes) => Self { limit: Some(bytes), end: End::Close, ..Self::PASS },
            Fault::ResetAfter(bytes) => Self { limit: Some(bytes), end: End::Reset, ..Self::PASS },
            Fault::StallAfter(bytes) => Self { limit: Some(bytes), end: End::Stall, ..Self::PASS },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::raw_server::{Answer, RawServer};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

    fn talk(fault: Fault) -> (std::io::Result<Vec<u8>>, RawServer) {
        let server = RawServer::start(|_| Answer::bytes(ANSWER).close());
        let proxy = FaultProxy::start(server.address());
        proxy.set(fault);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = Vec::new();
        let result =
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.read_to_end(&mut answer));
        (result.map(|_| answer), server)
    }

    #[test]
    fn bytes_pass_when_nothing_is_wrong_and_late_when_delayed() {
        for fault in [Fault::None, Fault::Delay(Duration::from_millis(10))] {
            assert_eq!(talk(fault).0.unwrap(), ANSWER.as_bytes());
        }
    }

    #[test]
    fn an_answer_is_closed_or_torn_after_exactly_so_many_bytes() {
        assert_eq!(talk(Fault::CloseAfter(20)).0.unwrap(), &ANSWER.as_bytes()[..20]);
        assert_eq!(talk(Fault::ResetAfter(20)).0.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_request_that_is_torn_never_arrives_whole() {
        let (answer, server) = talk(Fault::ResetRequestAfter(5));
        assert!(answer.is_err());
        assert!(server.requests().is_empty());
    }

    #[test]
    fn refused_stalled_and_swallowed_connections_give_no_answer() {
        assert!(talk(Fault::Refuse).0.is_err());
        let (answer, server) = talk(Fault::Drop);
        assert!(matches!(answer.unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(server.requests().is_empty());
        let stalled = talk(Fault::StallAfter(3)).0.unwrap_err();
        assert!(matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    }

    #[test]
    fn open_connections_can_be_cut() {
        let server = RawServer::start(|_| Answer::bytes("x"));
        let proxy = FaultProxy::start(server.address());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        proxy.cut();
        assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    }
}
