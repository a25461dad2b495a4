//! The simulated Claude API, on a thread of the test.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use claviger_claude_sim::{LogConfig, SimConfig, Simulator, WallClock, bind_shared};
use claviger_testkit::eventually;
use serde_json::Value;

use super::START;
use crate::wire;

/// What the provider bills for a call.
pub struct Bill {
    pub request_id: String,
    /// In pico-dollars.
    pub cost: i128,
}

/// The server. It stops with the test.
pub struct Sim {
    address: SocketAddr,
}

impl Sim {
    pub fn start() -> Self {
        Self::start_with(|config| config)
    }

    /// One with other settings.
    pub fn start_with(change: impl FnOnce(SimConfig) -> SimConfig) -> Self {
        let clock = WallClock::new(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(now.as_millis()).unwrap()
        });
        let seed = clock.now_ms() ^ u64::from(std::process::id()) << 44;
        let config = SimConfig { seed, ..SimConfig::stand_alone(clock) };
        let config = change(config);
        let simulator = Simulator::new(config).unwrap();
        let listener = bind_shared("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                simulator.serve(listener, std::future::pending()).await;
            });
        });
        Self { address }
    }

    /// One that answers at once, a little, and keeps no log: for load.
    pub fn for_load() -> Self {
        Self::start_with(|config| SimConfig {
            latency: Duration::from_millis(3),
            event_gap: Duration::from_millis(1),
            deltas: 5,
            log: LogConfig { memory_lines: 0, file: None },
            ..config
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked and how each answer ended, in the order of the ends.
    pub fn log(&self) -> Vec<Value> {
        let answer = wire::ask(self.address, b"GET /__sim/log HTTP/1.1\r\nhost: sim\r\n\r\n");
        assert_eq!(answer.status, 200);
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for the log's line of the request that named this word in its body.
    pub fn ending_of(&self, path: &str) -> Value {
        eventually(&format!("the end of a request to {path}"), Duration::from_secs(20), || {
            self.log().into_iter().rev().find(|line| line["path"] == path)
        })
    }

    /// What the provider bills, by the independent oracle, once it has ended all calls.
    pub fn bills(&self) -> Vec<Bill> {
        let log = eventually("the provider to end all calls", START, || {
            let counters = wire::fetch(self.address, "/__sim/counters").text();
            // This question is one itself.
            counters.contains("\"in_flight\":1,").then(|| self.log())
        });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bills.py");
        let mut oracle = Command::new("python3")
            .args(["-B", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut input = oracle.stdin.take().unwrap();
        let writing = thread::spawn(move || {
            for line in log {
                writeln!(input, "{line}").unwrap();
            }
        });
        let done = oracle.wait_with_output().unwrap();
        writing.join().unwrap();
        assert!(done.status.success());
        let bill = |line: &str| {
            let bill: Value = serde_json::from_str(line).unwrap();
            Bill {
                request_id: bill["request_id"].as_str().unwrap().to_owned(),
                cost: bill["pusd"].as_str().unwrap().parse().unwrap(),
            }
        };
        String::from_utf8(done.stdout).unwrap().lines().map(bill).collect()
    }
}
