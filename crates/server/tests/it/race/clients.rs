//! The clients: each asks again and again, for JSON or streams, goes away in the middle now and then, and has the
//! provider fail now and then.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, thread, time::Duration};

use claviger_domain::clock::Entropy;
use claviger_testkit::{SeededEntropy, eventually};
use serde_json::json;

use crate::wire::{Wire, post};

/// Faults that cost nothing.
const HARMLESS: [&str; 3] = ["status=529; first=1", "status=500", "status=429; should-retry=false"];
/// Faults after which nobody can know what was billed.
const HARMFUL: [&str; 3] = ["cut=4", "error=5", "hangup; first=1"];

/// What a round's clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub gateway: SocketAddr,
    pub clients: usize,
    /// Requests of each client.
    pub requests: usize,
    pub seed: u64,
    /// Whether calls may be lost on the provider's side.
    pub harmful: bool,
}

/// How the requests of a round ended, as clients saw it: by status, or by what went wrong.
pub type Ends = BTreeMap<String, usize>;

/// Starts the clients; each gives back how its requests ended.
pub fn start(load: Load, key: &str) -> Vec<thread::JoinHandle<Ends>> {
    let key: Arc<str> = key.into();
    let client = |number: usize| {
        let key = Arc::clone(&key);
        let seed = load.seed.wrapping_mul(10_000) + number as u64;
        let client = Client { load, key, number, dice: SeededEntropy::new(seed), wire: None };
        thread::spawn(move || client.run())
    };
    (0..load.clients).map(client).collect()
}

/// What all of them saw.
pub fn join(clients: Vec<thread::JoinHandle<Ends>>) -> Ends {
    let mut all = Ends::new();
    for client in clients {
        for (end, count) in client.join().expect("a client that ends") {
            *all.entry(end).or_default() += count;
        }
    }
    all
}

/// A connection, once there is somebody at the other end.
fn connect(gateway: SocketAddr) -> Wire {
    eventually("a connection to the gateway", Duration::from_secs(60), || Wire::try_to(gateway).ok())
}

struct Client {
    load: Load,
    key: Arc<str>,
    number: usize,
    dice: SeededEntropy,
    wire: Option<Wire>,
}

impl Client {
    fn run(mut self) -> Ends {
        let mut ends = Ends::new();
        for turn in 0..self.load.requests {
            *ends.entry(self.ask(turn)).or_default() += 1;
        }
        ends
    }

    /// A number from nothing to below `most`.
    fn up_to(&self, most: u64) -> u64 {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % most
    }

    fn fault(&self) -> &'static str {
        let pick = |faults: [&'static str; 3]| faults[usize::try_from(self.up_to(3)).unwrap()];
        match self.up_to(100) {
            0..8 => pick(HARMLESS),
            8..16 if self.load.harmful => pick(HARMFUL),
            _ => "",
        }
    }

    fn ask(&mut self, turn: usize) -> String {
        let stream = self.up_to(2) == 0;
        let tokens = 3_000 + self.up_to(6_000);
        let prompt = format!(
            "[[sim: {}; usage={{\"input_tokens\":{tokens}}}]] {} {} {turn}",
            self.fault(),
            self.load.seed,
            self.number
        );
        let messages = json!([{"role": "user", "content": prompt}]);
        let body =
            json!({"model": "claude-opus-5-5", "max_tokens": 64, "stream": stream, "messages": messages});
        let mut wire = self.wire.take().unwrap_or_else(|| connect(self.load.gateway));
        wire.patience(Duration::from_secs(60));
        if wire.try_send(post("/v1/messages", &self.key, &body.to_string())).is_err() {
            return "not sent".to_owned();
        }
        match self.up_to(100) {
            // Before the answer.
            0..8 => {
                thread::sleep(Duration::from_millis(self.up_to(12)));
                wire.leave();
                "left early".to_owned()
            }
            // Within it.
            8..18 => {
                let Ok(head) = wire.try_head() else { return "broken".to_owned() };
                let mut body = head.body(false);
                for _ in 0..self.up_to(4) {
                    drop(wire.piece(&mut body));
                }
                wire.leave();
                format!("left after {}", head.status)
            }
            _ => self.whole(wire),
        }
    }

    fn whole(&mut self, mut wire: Wire) -> String {
        let Ok(answer) = wire.try_answer(false) else {
            thread::sleep(Duration::from_millis(20));
            return "broken".to_owned();
        };
        if !answer.clean {
            return "cut".to_owned();
        }
        if answer.status == 429 && answer.text().contains("billing_error") {
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{}", answer.text());
            self.wire = Some(wire);
            return "spent".to_owned();
        }
        if answer.header("connection") != Some("close") {
            self.wire = Some(wire);
        }
        answer.status.to_string()
    }
}
