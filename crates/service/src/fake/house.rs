//! Services over a fake store.

use std::sync::Arc;

use claviger_domain::{
    clock::Clock,
    direct_use::NoAccount,
    ports::{LedgerStore, Store, notices::Courier},
    token::Brand,
};
use claviger_storage::MemoryNonces;
use claviger_testkit::{FreePrices, ManualClock, PlainSealer, SeededEntropy};
use tokio_util::task::TaskTracker;

use super::{FakeCourier, FakeKeys, FakeStore};
use crate::{Background, Deps, Services, Settings, lock::lock};

/// Services over a fake store, with the clock in the test's hand.
pub(crate) struct House {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) clock: ManualClock,
    pub(crate) courier: Arc<FakeCourier>,
    pub(crate) keys: Arc<FakeKeys>,
    pub(crate) deps: Deps,
    pub(crate) services: Services,
    pub(crate) background: Background,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let clock = ManualClock::default();
        Self::on(FakeStore::new(clock.clone()), settings, 7).await
    }

    /// Another start on the same store.
    pub(crate) async fn on(store: Arc<FakeStore>, settings: Settings, seed: u64) -> Self {
        let clock = store.clock.clone();
        let courier = FakeCourier::new();
        let keys = Arc::<FakeKeys>::default();
        let deps = Deps {
            store: Arc::clone(&store) as Arc<dyn Store>,
            ledger: Arc::clone(&store) as Arc<dyn LedgerStore>,
            sealer: Arc::new(PlainSealer),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(seed)),
            brand: Brand::DEFAULT,
            tracker: TaskTracker::new(),
            free_disk: Arc::new(|| None),
            checkpoint_sink: None,
            courier: Arc::clone(&courier) as Arc<dyn Courier>,
            nonces: Arc::new(MemoryNonces::new(clock.now(), 10_000)),
            account: Arc::new(NoAccount),
            key_fetcher: Arc::clone(&keys) as _,
            prices: Arc::new(FreePrices),
            settings,
        };
        let (services, background) = Services::start(deps.clone()).await.unwrap();
        Self { store, clock, courier, keys, deps, services, background }
    }

    pub(crate) async fn poll(&mut self) {
        self.background.jobs.feed.poll().await.unwrap();
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        lock(&self.store.state).audit.iter().map(|r| r.event.action.clone()).collect()
    }
}
