//! The book, asked again and again over the socket while everything runs.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

/// How one budget stands, in pico-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: i128,
    pub settled: i128,
    pub reserved: i128,
    pub left: i128,
}

/// All budgets; `None`: the node does not answer now.
pub fn standings(data: &Path) -> Option<Vec<Standing>> {
    let mut socket = UnixStream::connect(data.join("control.sock")).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = "GET /admin/v1/budgets HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    // A node that dies answers half or not at all.
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let body = &body[body.find('{')?..=body.rfind('}')?];
    let page: Value = serde_json::from_str(body).ok()?;
    let pico = |budget: &Value, field: &str| -> i128 { budget[field].as_str().unwrap().parse().unwrap() };
    let standing = |budget: &Value| Standing {
        limit: pico(budget, "limit_pusd"),
        settled: pico(budget, "settled_pusd"),
        reserved: pico(budget, "reserved_pusd"),
        left: pico(budget, "left_pusd"),
    };
    Some(page["data"].as_array().expect("a list of budgets").iter().map(standing).collect())
}

/// Watches that no budget is ever passed.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What the watch has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often it looked and was answered.
    pub looks: usize,
    /// Of them, with something held back.
    pub held: usize,
}

impl Watch {
    pub fn begin(data: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                for standing in standings(&data).into_iter().flatten() {
                    seen.looks += 1;
                    seen.held += usize::from(standing.reserved > 0);
                    assert!(standing.reserved >= 0, "{standing:?}");
                    assert!(standing.settled + standing.reserved <= standing.limit, "{standing:?}");
                    assert_eq!(standing.left, standing.limit - standing.settled - standing.reserved);
                }
                thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Self { stop, thread }
    }

    /// # Panics
    /// When a budget was passed.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a book that never passes its limit")
    }
}
