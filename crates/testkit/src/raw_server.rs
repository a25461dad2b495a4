//! A server that keeps every byte it was sent and answers with the bytes that a test gave it.

use std::{
    io::{BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{http::RawRequest, wait::eventually};

/// What is done to answer one request: bytes as they are, pauses, and how it ends.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    steps: Vec<Step>,
    end: End,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    #[default]
    KeepAlive,
    Close,
    Reset,
}

impl Answer {
    /// These bytes, then the next request on the same connection.
    #[must_use]
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().then(bytes)
    }

    /// A 200 answer with this content type and body, by `Content-Length`.
    #[must_use]
    pub fn ok(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
        Self::bytes(head).then(body)
    }

    /// Then these bytes, in a write of their own.
    #[must_use]
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Then nothing for so long.
    #[must_use]
    pub fn pause(mut self, time: Duration) -> Self {
        self.steps.push(Step::Pause(time));
        self
    }

    /// Then the connection is closed in order (FIN).
    #[must_use]
    pub fn close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Then the connection is torn down (RST).
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }
}

type Script = dyn Fn(&RawRequest) -> Answer + Send + Sync;

/// The server. It stops taking connections when dropped.
pub struct RawServer {
    address: SocketAddr,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<RawRequest>>,
    /// Requests that broke off or could not be read.
    broken: Mutex<usize>,
    stopped: Mutex<bool>,
}

impl RawServer {
    /// Listens on a free port of 127.0.0.1; `script` answers each request.
    #[must_use]
    pub fn start(script: impl Fn(&RawRequest) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let kept = Arc::new(Kept::default());
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&kept));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (Ok(stream), false) = (stream, *lock(&shared.stopped)) else { return };
                let (script, kept) = (Arc::clone(&script), Arc::clone(&shared));
                thread::spawn(move || serve(connection, &stream, &*script, &kept));
            }
        });
        Self { address, kept }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<RawRequest> {
        lock(&self.kept.requests).clone()
    }

    /// How many requests broke off in the middle or could not be read.
    #[must_use]
    pub fn broken(&self) -> usize {
        *lock(&self.kept.broken)
    }

    /// Takes the requests so far out, waiting up to 10 s until there are `count` of them.
    #[must_use]
    pub fn take(&self, count: usize) -> Vec<RawRequest> {
        eventually(&format!("{count} requests"), Duration::from_secs(10), || {
            let mut requests = lock(&self.kept.requests);
            (requests.len() >= count).then(|| std::mem::take(&mut *requests))
        })
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        *lock(&self.kept.stopped) = true;
        // Wakes the thread that waits for connections, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(connection: usize, stream: &TcpStream, script: &Script, kept: &Kept) {
    let mut reader = BufReader::new(stream);
    loop {
        let request = match RawRequest::read(connection, &mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(_) => {
                *lock(&kept.broken) += 1;
                return;
            }
        };
        let answer = script(&request);
        lock(&kept.requests).push(request);
        if !play(stream, &answer) {
            return;
        }
    }
}

/// Sends the answer; whether the connection goes on.
fn play(mut stream: &TcpStream, answer: &Answer) -> bool {
    // Without it, small writes would be joined and frames arrive otherwise than the test wrote them.
    let mut sent = stream.set_nodelay(true);
    for step in &answer.steps {
        sent = sent.and_then(|()| match step {
            Step::Send(bytes) => stream.write_all(bytes),
            Step::Pause(time) => {
                thread::sleep(*time);
                Ok(())
            }
        });
    }
    match answer.end {
        End::KeepAlive => sent.is_ok(),
        End::Close => {
            drop(stream.shutdown(Shutdown::Both));
            false
        }
        End::Reset => {
            drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)));
            false
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};

    use super::*;

    const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";

    fn talk(server: &RawServer, requests: usize) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&REQUEST.repeat(requests)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    }

    #[test]
    fn requests_of_one_connection_are_kept_and_answered_with_the_given_bytes() {
        let server = RawServer::start(|request| Answer::bytes(request.target()).then("!"));
        assert_eq!(talk(&server, 2).unwrap(), b"/x!/x!");
        let kept = server.take(2);
        assert_eq!((kept[1].connection, kept[1].body.as_slice()), (0, &b"hi"[..]));
        assert_eq!((server.requests().len(), server.broken()), (0, 0));
    }

    #[test]
    fn an_answer_may_end_in_order_or_be_torn_off() {
        let server = RawServer::start(|_| Answer::ok("text/plain", "ab").close());
        assert!(talk(&server, 1).unwrap().ends_with(b"content-length: 2\r\n\r\nab"));
        let server =
            RawServer::start(|_| Answer::bytes("HTTP/1.1 200").pause(Duration::from_millis(20)).reset());
        assert_eq!(talk(&server, 1).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
