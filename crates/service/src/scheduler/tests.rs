use std::sync::atomic::{AtomicU32, Ordering};

use claviger_domain::ports::jobs::JobStore;
use claviger_testkit::{ManualClock, SeededEntropy};

use super::*;
use crate::fake::FakeStore;

const HOUR: Duration = Duration::from_secs(3_600);

/// Counts its runs, and fails as often as it is told to.
struct Counter {
    schedule: Schedule,
    runs: AtomicU32,
    failures: AtomicU32,
    slots: Mutex<Vec<Timestamp>>,
}

impl Counter {
    fn new(cron: &str) -> Arc<Self> {
        Arc::new(Self {
            schedule: Schedule::cron(cron, "UTC").unwrap(),
            runs: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            slots: Mutex::default(),
        })
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Job for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(ServiceError::Unavailable("not now".to_owned()));
        }
        lock(&self.slots).push(turn.lease.slot);
        tokio::task::yield_now().await;
        Ok("counted".to_owned())
    }
}

struct Stage {
    clock: ManualClock,
    store: Arc<FakeStore>,
    job: Arc<Counter>,
}

impl Stage {
    fn new(cron: &str) -> Self {
        let clock = ManualClock::default();
        Self { store: FakeStore::new(clock.clone()), clock, job: Counter::new(cron) }
    }

    /// Another node with the same jobs on the same store.
    fn node(&self, seed: u64) -> Scheduler {
        let entropy = SeededEntropy::new(seed);
        let node = NodeId::generate(&entropy).unwrap();
        let jobs = vec![Arc::clone(&self.job) as Arc<dyn Job>];
        Scheduler::new(Arc::clone(&self.store) as _, Arc::new(self.clock.clone()), &entropy, node, jobs)
    }

    async fn record(&self) -> JobRecord {
        self.store.jobs().await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_slot_is_run_once_however_often_one_looks() {
    let stage = Stage::new("0 9 * * *");
    let node = stage.node(1);
    node.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 0, "it is noon: the next slot is tomorrow");
    stage.clock.advance(22 * HOUR);
    for _ in 0..3 {
        node.tick().await.unwrap();
    }
    assert_eq!(stage.job.runs(), 1);
    assert_eq!(stage.record().await.last_outcome, "ok");
}

#[tokio::test]
async fn days_that_were_slept_through_are_caught_up_once() {
    let stage = Stage::new("0 9 * * *");
    stage.node(1).tick().await.unwrap();
    stage.clock.advance(10 * 24 * HOUR);
    let node = stage.node(2);
    node.tick().await.unwrap();
    node.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 1);
    let newest = stage.clock.now().plus_micros(-3 * 3_600_000_000);
    assert_eq!(*lock(&stage.job.slots), [newest]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_repeats_no_slot_and_silences_nothing() {
    let stage = Stage::new("0 9 * * *");
    let (node, noon) = (stage.node(1), stage.clock.now());
    node.tick().await.unwrap();
    stage.clock.advance(22 * HOUR);
    node.tick().await.unwrap();
    stage.clock.set_wall(noon);
    node.tick().await.unwrap();
    stage.clock.advance(22 * HOUR);
    node.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 1, "tomorrow's slot was run before the clock was set back");
    stage.clock.advance(24 * HOUR);
    node.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 2);
}

#[tokio::test]
async fn of_two_nodes_one_acts() {
    let stage = Stage::new("0 9 * * *");
    let (a, b) = (stage.node(1), stage.node(2));
    a.tick().await.unwrap();
    stage.clock.advance(22 * HOUR);
    let (one, other) = tokio::join!(a.tick(), b.tick());
    one.unwrap();
    other.unwrap();
    assert_eq!(stage.job.runs(), 1);
}

#[tokio::test]
async fn what_a_dead_runner_left_is_taken_up_when_its_lease_has_lapsed() {
    let stage = Stage::new("0 9 * * *");
    let (dying, heir) = (stage.node(1), stage.node(2));
    dying.tick().await.unwrap();
    stage.clock.advance(22 * HOUR);
    let mut claimed = dying.claim_due().await.unwrap();
    let (_, lost) = claimed.remove(0);
    heir.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 0, "the lease may still be held");
    stage.clock.advance(Duration::from_secs(60));
    heir.tick().await.unwrap();
    assert_eq!(stage.job.runs(), 1);
    let hold = vec![Change::HoldLease(lost.clone())];
    let event = Caller::system().event(stage.clock.now(), "test", "");
    assert!(stage.store.apply(hold, event).await.is_err(), "who was replaced can write nothing");
    assert!(!stage.store.renew_job(&lost, stage.clock.now()).await.unwrap());
}

#[tokio::test]
async fn what_fails_is_tried_again_with_growing_pauses_and_then_given_up() {
    let stage = Stage::new("0 9 * * *");
    let node = stage.node(1);
    node.tick().await.unwrap();
    stage.job.failures.store(u32::MAX, Ordering::SeqCst);
    stage.clock.advance(22 * HOUR);
    for pause in [30, 60, 120, 240] {
        node.tick().await.unwrap();
        stage.clock.advance(Duration::from_secs(pause - 1));
        let before = stage.job.runs();
        node.tick().await.unwrap();
        assert_eq!(stage.job.runs(), before, "not before {pause} s");
        stage.clock.advance(Duration::from_secs(1));
    }
    node.tick().await.unwrap();
    assert_eq!(stage.job.runs(), ATTEMPTS);
    let record = stage.record().await;
    assert_eq!((record.running_slot, record.last_outcome.as_str()), (None, "unavailable: not now"));
    stage.job.failures.store(0, Ordering::SeqCst);
    stage.clock.advance(24 * HOUR);
    node.tick().await.unwrap();
    assert_eq!(stage.record().await.last_outcome, "ok");
}

#[tokio::test]
async fn a_job_can_be_run_by_hand_beside_its_schedule() {
    let stage = Stage::new("0 9 * * *");
    let node = stage.node(1);
    assert_eq!(node.run_now("counter", &Caller::system()).await.unwrap(), "counted");
    let next = stage.record().await.next_run_at;
    assert!(matches!(node.run_now("nothing", &Caller::system()).await, Err(ServiceError::NotFound { .. })));
    stage.clock.advance(22 * HOUR);
    node.tick().await.unwrap();
    assert_eq!((stage.job.runs(), lock(&stage.job.slots)[1]), (2, next));
    assert_eq!(node.list().await.unwrap()[0].schedule, "0 9 * * * UTC");
}
