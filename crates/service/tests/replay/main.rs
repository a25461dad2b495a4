//! Signed requests without number, across the edges of the window, with clocks apart, while nodes are started again and
//! what they remember is lost: no replay is accepted, and nothing fresh is refused but by the stated rule.
//!
//! Requests are signed as clients sign, verified as the gateway verifies (shape, clock, signature, and when the body has
//! ended the nonce), and asked of the real stores through the real service. Time is virtual, Redis's too.
#![expect(clippy::unwrap_used, reason = "a test that fails shall stop where it stands and say so")]
#![expect(clippy::print_stdout, reason = "what was tried is worth a line")]

mod clients;
mod dice;
mod places;
mod referee;

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, MICROS_PER_SEC, Timestamp},
    ports::signing::NonceStore,
    signature::{Against, Check, Claim, SKEW_SECS, SignatureError, Target, nonce::KEPT_SECS},
};
use claviger_service::nonces::Nonces;
use claviger_testkit::ManualClock;

use clients::{Clients, Eavesdropper, METHOD, Request, disguised};
use dice::Dice;
use places::{Place, With};
use referee::{Referee, Refused, Told};

/// How many signed requests: 20 k, or what a soak asks for.
const COUNT: &str = "CLAVIGER_TEST_ROUNDS";
const SEED: &str = "CLAVIGER_TEST_SEED";
const QUICK: u64 = 20_000;
/// Requests that come at the same moment.
const AT_ONCE: u64 = 16;

struct Node {
    clock: ManualClock,
    off_micros: i64,
    store: Arc<dyn NonceStore>,
    nonces: Nonces,
}

impl Node {
    async fn start(place: &Place, now: Timestamp, off_micros: i64) -> Self {
        let clock = ManualClock::at(now.plus_micros(off_micros));
        let store = place.store(clock.now()).await;
        let nonces = Nonces::new(Arc::clone(&store), Arc::new(clock.clone()), u32::MAX);
        Self { clock, off_micros, store, nonces }
    }
}

/// A request whose body is on its way.
struct Flight {
    node: usize,
    request: Arc<Request>,
    arrived_secs: i64,
    is_over: bool,
    check: Check,
    due: Timestamp,
}

struct World {
    dice: Dice,
    place: Place,
    now: Timestamp,
    /// How far the store's own clock is off, where it can be.
    store_off_micros: i64,
    nodes: Vec<Node>,
    clients: Clients,
    eavesdropper: Eavesdropper,
    flights: Vec<Flight>,
    referee: Referee,
    /// A loss that no node has noticed yet.
    unnoticed: bool,
    until_loss: i64,
    outage_rounds: i64,
}

#[expect(clippy::disallowed_methods, reason = "PostgreSQL has a clock of its own, and ours begins with it")]
fn machine_time() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

impl World {
    async fn new(place: Place, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let now = machine_time().plus_micros(10 * MICROS_PER_SEC);
        let store_off_micros = dice.within(-2 * MICROS_PER_SEC, 2 * MICROS_PER_SEC);
        place.set_clock(now.plus_micros(store_off_micros));
        let clients = Clients::new(now.plus_micros(-86_400 * MICROS_PER_SEC));
        let mut world = Self {
            dice,
            now,
            store_off_micros,
            nodes: Vec::new(),
            clients,
            eavesdropper: Eavesdropper::default(),
            flights: Vec::new(),
            referee: Referee::new(seed),
            unnoticed: true,
            until_loss: 300,
            outage_rounds: 0,
            place,
        };
        for _ in 0..world.place.nodes() {
            let off = world.drift();
            world.nodes.push(Node::start(&world.place, now, off).await);
        }
        world
    }

    fn drift(&mut self) -> i64 {
        let most = self.place.drift_secs() * MICROS_PER_SEC;
        self.dice.within(-most, most)
    }

    /// Time passes, and things happen.
    async fn step(&mut self) {
        let jump = if self.dice.one_in(300) { self.dice.within(0, 900) } else { 0 };
        let micros = self.dice.within(0, 4 * MICROS_PER_SEC) + jump * MICROS_PER_SEC;
        self.now = self.now.plus_micros(micros);
        if self.dice.one_in(40) {
            // A clock is corrected.
            let (node, off) = (self.dice.below(self.nodes.len()), self.drift());
            self.nodes[node].off_micros = off;
        }
        for node in &self.nodes {
            node.clock.set_wall(self.now.plus_micros(node.off_micros));
        }
        self.place.set_clock(self.now.plus_micros(self.store_off_micros));
        self.outage_rounds = (self.outage_rounds - 1).max(0);
        self.until_loss -= 1;
        if self.until_loss <= 0 {
            self.until_loss = self.dice.within(300, 600);
            self.lose().await;
        } else if self.dice.one_in(120) && !matches!(self.place, Place::Memory) {
            let node = self.dice.below(self.nodes.len());
            self.restart(node).await;
        }
        if self.dice.one_in(200) {
            let (holder, node) = (self.dice.below(self.clients.holders()), self.dice.below(self.nodes.len()));
            if !self.clients.has_pair(holder) {
                let at_once = self.dice.one_in(4);
                self.clients.rotate(holder, self.nodes[node].clock.now(), at_once);
            }
        }
        if self.dice.one_in(5) {
            let node = &self.nodes[self.dice.below(self.nodes.len())];
            // Redis may just have gone.
            let _ = node.store.forget(node.clock.now()).await;
        }
    }

    async fn restart(&mut self, node: usize) {
        let off = self.drift();
        self.nodes[node] = Node::start(&self.place, self.now, off).await;
        if matches!(self.place, Place::Memory) {
            // It is dated by the start itself.
            self.referee.lose(self.nodes[node].clock.now().as_secs());
            self.unnoticed = false;
        }
        self.flights.retain(|flight| flight.node != node);
        self.referee.count.restarts += 1;
    }

    async fn lose(&mut self) {
        self.referee.count.losses += 1;
        // Nobody writes to a file that is being replaced.
        let lost = self.place.lose(&mut self.dice).await;
        self.unnoticed = true;
        match lost {
            With::Restart => self.restart(0).await,
            // A connection that has died is noticed when it is used next.
            With::Nothing { outage } => self.outage_rounds = if outage { 12 } else { 0 },
        }
    }

    /// The last second to which a loss that is noticed now may be dated.
    fn latest_secs(&self) -> i64 {
        let by_nodes = self.nodes.iter().map(|node| node.clock.now().as_secs()).max().unwrap();
        let by_store = self.now.plus_micros(self.store_off_micros).as_secs();
        if matches!(self.place, Place::Redis(_)) { by_store + self.place.slack_secs() } else { by_nodes }
    }

    /// A new request, or one that was heard.
    fn next_request(&mut self, node_secs: i64) -> Arc<Request> {
        if self.dice.one_in(2)
            && let Some(heard) = self.eavesdropper.choose(&mut self.dice, node_secs)
        {
            return disguised(&mut self.dice, &heard);
        }
        // Most clocks are right; some are off by just what is allowed, or a little more.
        let off = match self.dice.roll(8) {
            0 => self.dice.within(SKEW_SECS - 3, SKEW_SECS + 2),
            1 => -self.dice.within(SKEW_SECS - 3, SKEW_SECS + 2),
            2 => self.dice.within(-SKEW_SECS, SKEW_SECS),
            _ => self.dice.within(-2, 2),
        };
        let request = Arc::new(self.clients.request(&mut self.dice, node_secs + off));
        self.eavesdropper.hear(&request);
        request
    }

    /// How long a body takes: those of somebody who wants to be late, just until the last moment, or the one after.
    fn body_secs(&mut self, age_secs: i64) -> i64 {
        match self.dice.roll(16) {
            0 => self.dice.within(0, 700),
            1 => (KEPT_SECS - age_secs + self.dice.within(-2, 2)).max(0),
            2 => self.dice.within(0, 8),
            _ => 0,
        }
    }

    /// A head comes to a node: shape, clock, key, and whatever can be told without the body.
    fn arrive(&mut self, at_once: &mut Vec<Flight>, refused: &mut Vec<Told>) {
        let node = self.dice.below(self.nodes.len());
        let now = self.nodes[node].clock.now();
        let request = self.next_request(now.as_secs());
        let holder = request.id.0;
        let is_over = self.clients.is_over(&request, now);
        let begin = || {
            let claim = Claim::read(&request.head, now)?.ok_or(SignatureError::NoSigner)?;
            let target = Target::of_url(METHOD, request.url).unwrap();
            let (key, signers) = (self.clients.key(holder), self.clients.signers(holder));
            let mut check =
                Check::begin(claim, Against { key, signers, target: &target, fields: &request.head }, now)?;
            check.update(&request.body);
            Ok(check)
        };
        self.referee.count.sent += 1;
        match begin() {
            Err(error) => refused.push(Told {
                arrived_secs: now.as_secs(),
                judged: now,
                is_over,
                verdict: Err(Refused::Signature(error)),
                request,
            }),
            Ok(check) => {
                let secs = self.body_secs(now.as_secs() - request.made_at_secs);
                let due = self.now.plus_micros(secs * MICROS_PER_SEC);
                let flight = Flight { node, arrived_secs: now.as_secs(), is_over, check, due, request };
                if secs == 0 { at_once.push(flight) } else { self.flights.push(flight) }
            }
        }
    }

    /// Bodies end, all at the same time.
    async fn finish(&self, flights: Vec<Flight>) -> Vec<Told> {
        let finish = |flight: Flight| async move {
            let Flight { node, request, arrived_secs, is_over, check, .. } = flight;
            let node = &self.nodes[node];
            let judged = node.clock.now();
            let verdict = match check.finish() {
                Ok(proven) => node.nonces.take(&proven.used).await.map_err(Refused::Nonce),
                Err(error) => Err(Refused::Signature(error)),
            };
            Told { request, arrived_secs, judged, is_over, verdict }
        };
        futures_util::future::join_all(flights.into_iter().map(finish)).await
    }

    async fn round(&mut self) {
        self.step().await;
        let (mut ending, mut told) = (Vec::new(), Vec::new());
        for _ in 0..AT_ONCE {
            self.arrive(&mut ending, &mut told);
        }
        ending.extend(self.flights.extract_if(.., |flight| flight.due <= self.now));
        self.referee.outage = self.outage_rounds > 0;
        if self.unnoticed && !ending.is_empty() {
            self.referee.lose(self.latest_secs());
        }
        let asked = !ending.is_empty();
        told.extend(self.finish(ending).await);
        let noticed = |told: &Told| !matches!(told.verdict, Err(Refused::Signature(_)));
        if asked && told.iter().any(noticed) && !self.referee.outage {
            self.unnoticed = false;
        }
        self.referee.judge(&told);
    }
}

async fn run(place: Place) {
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (wanted, seed) = (number(COUNT, QUICK), number(SEED, 7));
    let mut world = World::new(place, seed).await;
    while world.referee.count.sent < wanted {
        world.round().await;
    }
    world.referee.finish(wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    run(Place::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run(Place::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    if let Some(place) = Place::postgres().await {
        run(place).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    if let Some(place) = Place::redis() {
        run(place).await;
    }
}
