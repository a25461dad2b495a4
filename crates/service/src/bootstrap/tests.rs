use claviger_testkit::{ManualClock, PlainSealer, SeededEntropy};

use super::*;
use crate::{
    fake::{FakeStore, House},
    lock::lock,
};

fn making(store: &Arc<FakeStore>) -> Bootstrap {
    Bootstrap {
        store: Arc::clone(store) as Arc<dyn Store>,
        sealer: Arc::new(PlainSealer),
        clock: Arc::new(store.clock.clone()),
        entropy: Arc::new(SeededEntropy::new(5)),
    }
}

#[tokio::test]
async fn a_start_after_a_crash_at_any_step_goes_on_and_makes_nothing_twice() {
    let whole = FakeStore::new(ManualClock::default());
    making(&whole).run().await.unwrap();
    let steps = lock(&whole.state).audit.len();
    assert_eq!(steps, 5);
    for done in 0..=steps {
        let store = FakeStore::new(ManualClock::default());
        {
            let (from, mut to) = (lock(&whole.state), lock(&store.state));
            let made = |n: usize| n < done;
            to.secrets = from.secrets.iter().take(done).cloned().collect();
            to.owners = from.owners.iter().filter(|_| made(3)).cloned().collect();
            to.workspaces = from.workspaces.iter().filter(|_| made(4)).cloned().collect();
        }
        making(&store).run().await.unwrap();
        making(&store).run().await.unwrap();
        let state = lock(&store.state);
        assert_eq!(
            (state.secrets.len(), state.owners.len(), state.workspaces.len()),
            (3, 1, 1),
            "after {done}"
        );
        assert_eq!(state.audit.len(), steps - done);
    }
}

#[tokio::test]
async fn the_same_secrets_are_loaded_at_each_start() {
    let house = House::new().await;
    assert!(!is_first_start(house.store.as_ref()).await.unwrap());
    let first = making(&house.store).run().await.unwrap();
    let second = making(&house.store).run().await.unwrap();
    assert_eq!(first.checkpoint_key.public(), second.checkpoint_key.public());
    let named = lock(&house.store.state)
        .audit
        .iter()
        .find_map(|r| r.event.details.get("public_key").and_then(|v| v.as_str()).map(str::to_owned));
    assert_eq!(named, Some(first.checkpoint_key.public().to_hex()), "the control chain names who signs");
}
