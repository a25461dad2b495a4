//! A crash at every step: whatever takes a rotation's step is dropped wherever it waits for something, before, within
//! and after its transaction; another start goes on and comes to the same end.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use claviger_domain::{
    audit::AuditEvent,
    clock::Clock,
    id::RotationId,
    key::{KeyState, RevocationReason},
    ports::{Store, lifecycle::LifecycleStore},
    rotation::{RotationState, Step},
    token::Brand,
};
use claviger_service::{
    Caller, Deps, Services, Settings,
    keys::{Expiry, NewKey},
    rotation::{NewRotation, Started},
};
use claviger_storage::{Database, Durability, Options};
use claviger_testkit::{ManualClock, NoCourier, NoKeys, PlainSealer, SeededEntropy, data_folder};
use tokio_util::task::TaskTracker;

mod orders;

const HOUR: Duration = Duration::from_secs(3_600);
/// More waits than any one step has.
const MOST_WAITS: u32 = 400;

/// A process that can die and be started again on the same database.
struct Place {
    address: String,
    clock: ManualClock,
    seed: std::cell::Cell<u64>,
}

struct Node {
    store: Arc<Database>,
    services: Services,
}

impl Place {
    fn new(address: String) -> Self {
        Self { address, clock: ManualClock::default(), seed: 1.into() }
    }

    fn in_folder(folder: &tempfile::TempDir) -> Self {
        Self::new(folder.path().join("claviger.db").to_string_lossy().into_owned())
    }

    async fn start(&self) -> Node {
        self.seed.set(self.seed.get() + 1);
        let options = Options { durability: Durability::Process, ..Options::default() };
        let store = Arc::new(Database::open(&self.address, options).await.unwrap());
        let deps = Deps {
            store: Arc::clone(&store) as Arc<dyn Store>,
            ledger: Arc::clone(&store) as _,
            sealer: Arc::new(PlainSealer),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.seed.get())),
            brand: Brand::DEFAULT,
            tracker: TaskTracker::new(),
            free_disk: Arc::new(|| None),
            checkpoint_sink: None,
            courier: Arc::new(NoCourier),
            nonces: Arc::new(claviger_storage::MemoryNonces::new(self.clock.now(), 10_000)),
            account: Arc::new(claviger_domain::direct_use::NoAccount),
            key_fetcher: Arc::new(NoKeys),
            prices: Arc::new(claviger_testkit::FreePrices),
            settings: Settings::default(),
        };
        let (services, _background) = Services::start(deps).await.unwrap();
        Node { store, services }
    }
}

/// Lets a future wait so many times, then drops it.
struct Mortal<F>(F, u32);

impl<F: Future + Unpin> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.1 == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.1 -= 1;
                Poll::Pending
            }
        }
    }
}

/// Takes whatever is due with a death at every wait, one after the other, until one turn comes to its end.
async fn advance_through_deaths(place: &Place, node: &mut Node) {
    for waits in 0..MOST_WAITS {
        let turn = Box::pin(node.services.rotations.advance_all(None));
        if Mortal(turn, waits).await.is_some() {
            return;
        }
        // What is in the database's hands may still end there.
        node.store.close().await;
        *node = place.start().await;
    }
    panic!("a turn waited more than {MOST_WAITS} times");
}

async fn begin(place: &Place, node: &Node) -> Started {
    let caller = Caller::system();
    let new = NewKey { name: "app".to_owned(), expires: Expiry::Never, ..NewKey::default() };
    let (key, ..) = node.services.keys.create(new, &caller).await.unwrap();
    let started = node.services.rotations.start(&key.id, &NewRotation::default(), &caller).await.unwrap();
    assert_eq!(started.rotation.started_at, place.clock.now());
    started
}

async fn state(node: &Node, id: &RotationId) -> RotationState {
    node.store.rotation(id).await.unwrap().unwrap().state
}

/// How often each step was taken.
async fn steps(node: &Node) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for event in events(node).await {
        if Step::ALL_NAMES.contains(&event.action.as_str()) {
            *counts.entry(event.action).or_default() += 1;
        }
    }
    counts
}

/// The whole audit log.
async fn events(node: &Node) -> Vec<AuditEvent> {
    let (mut all, mut last) = (Vec::new(), -1);
    loop {
        let page = node.store.audit_after(last, 1_000).await.unwrap();
        let Some(newest) = page.last() else { return all };
        last = newest.number;
        all.extend(page.into_iter().map(|record| record.event));
    }
}

async fn every_step_is_taken_once(place: &Place) {
    let caller = Caller::system();
    let mut node = place.start().await;

    // From the start to the end: deliver, activate, retire, three rungs, finish.
    let finished = begin(place, &node).await;
    node.services.wrappings.unwrap(finished.token.expose(), &caller).await.unwrap();
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &finished.rotation.id).await, RotationState::Delivered);
    mark_used(place, &finished).await;
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &finished.rotation.id).await, RotationState::Overlapping);
    place.clock.advance(HOUR * 24 * 7);
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &finished.rotation.id).await, RotationState::Retiring);
    for hours in [1, 23, 24, 24] {
        place.clock.advance(HOUR * hours);
        advance_through_deaths(place, &mut node).await;
    }
    assert_eq!(state(&node, &finished.rotation.id).await, RotationState::Finished);
    let old = node.store.key(&finished.rotation.old).await.unwrap().unwrap();
    let new = node.store.key(&finished.rotation.successor).await.unwrap().unwrap();
    assert_eq!((old.state, new.state), (KeyState::Revoked, KeyState::Active));
    assert_eq!(old.revocation.unwrap().reason, RevocationReason::Rotation);

    // The old key dies by another hand; a successor dies by another hand.
    let closed = begin(place, &node).await;
    node.services
        .keys
        .revoke(&closed.rotation.old, RevocationReason::UserRequest, true, &caller)
        .await
        .unwrap();
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &closed.rotation.id).await, RotationState::Finished);
    let left = begin(place, &node).await;
    let reason = RevocationReason::UserRequest;
    node.services.keys.revoke(&left.rotation.successor, reason, true, &caller).await.unwrap();
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &left.rotation.id).await, RotationState::Cancelled);

    // A successor is suspended when the overlap is over, and resumed; another one nobody opens.
    let used = begin(place, &node).await;
    mark_used(place, &used).await;
    advance_through_deaths(place, &mut node).await;
    let unopened = begin(place, &node).await;
    node.services.keys.suspend(&used.rotation.successor, &caller).await.unwrap();
    place.clock.advance(HOUR * 24 * 7);
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &used.rotation.id).await, RotationState::Overlapping);
    assert_eq!(state(&node, &unopened.rotation.id).await, RotationState::Created);
    node.services.keys.resume(&used.rotation.successor, &caller).await.unwrap();
    advance_through_deaths(place, &mut node).await;
    assert_eq!(state(&node, &used.rotation.id).await, RotationState::Retiring);

    let taken = steps(&node).await;
    for name in Step::ALL_NAMES {
        let expected = match name {
            "rotation.deprecate" => 3,
            "rotation.activate" | "rotation.retire" | "rotation.hold" => 2,
            _ => 1,
        };
        assert_eq!(taken.get(name), Some(&expected), "{name}: {taken:?}");
    }
    node.store.close().await;
}

/// As the recorder's totals would say it.
async fn mark_used(place: &Place, started: &Started) {
    let (key, now) = (&started.rotation.successor, place.clock.now().as_micros());
    let insert = format!(
        "INSERT INTO key_uses (key_id, uses, last_used_us, last_used_ip, last_user_agent) \
         VALUES ('{key}', 1, {now}, '192.0.2.1', 'test')"
    );
    let url = if place.address.contains("://") {
        place.address.clone()
    } else {
        format!("sqlite:{}", place.address)
    };
    assert_eq!(claviger_testkit::sql::execute(&url, &insert), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let folder = data_folder();
    every_step_is_taken_once(&Place::in_folder(&folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let Some(database) = claviger_testkit::postgres().await else { return };
    every_step_is_taken_once(&Place::new(database.url().to_owned())).await;
}
