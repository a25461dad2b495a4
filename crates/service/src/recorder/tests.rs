mod refused;

use std::{path::Path, time::Duration};

use claviger_domain::{
    id::RequestId,
    ledger::Outcome,
    ports::{ChainHead, LedgerStore},
};
use futures_util::{FutureExt, future::join_all};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Settings,
    fake::{Commits, FakeStore, House, intent, row},
    lock::lock,
};

/// A recorder whose writer runs.
struct Running {
    store: Arc<FakeStore>,
    recorder: Recorder,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Running {
    async fn new(settings: Settings) -> Self {
        Self::of(House::with(settings).await)
    }

    fn of(house: House) -> Self {
        let stop = CancellationToken::new();
        let writer = house.deps.tracker.spawn(house.background.writer.run(stop.clone()));
        Self { store: house.store, recorder: house.services.recorder, stop, writer }
    }

    async fn stopped(self) -> Arc<FakeStore> {
        self.stop.cancel();
        self.writer.await.unwrap();
        self.store
    }

    fn settle(&self, n: u64) -> Receipt {
        self.recorder.slot().unwrap().settle(row(&intent(n)), Vec::new())
    }
}

fn spooling(dir: &Path) -> Settings {
    Settings { spool_dir: Some(dir.to_owned()), ..Settings::default() }
}

fn commits(store: &FakeStore) -> usize {
    store.commit_calls.load(Ordering::SeqCst)
}

fn ids(store: &FakeStore) -> Vec<RequestId> {
    lock(&store.state).all_rows().into_iter().map(|r| r.request_id).collect()
}

fn expected(ns: impl IntoIterator<Item = u64>) -> Vec<RequestId> {
    ns.into_iter().map(|n| intent(n).request_id).collect()
}

#[tokio::test(start_paused = true)]
async fn what_gathers_while_one_group_is_committed_is_the_next_group() {
    let running = Running::new(Settings::default()).await;
    let before = commits(&running.store);
    running.store.set_commits(Commits::Hang);
    let first = running.settle(0);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let more: Vec<_> = (1..500).map(|n| running.settle(n)).collect();
    running.store.set_commits(Commits::Work);
    first.await.unwrap();
    assert!(join_all(more).await.into_iter().all(|r| r.is_ok()));
    assert_eq!(commits(&running.store) - before, 2);
    assert_eq!(running.recorder.stats().slots, 0);
    let store = running.stopped().await;
    assert_eq!(ids(&store), expected(0..500));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_resolves_after_the_commit_and_not_before() {
    let running = Running::new(Settings::default()).await;
    running.store.set_commits(Commits::Hang);
    let mut receipt = running.settle(1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((receipt.now(), (&mut receipt).now_or_never()), (None, None));
    assert!(ids(&running.store).is_empty());
    running.store.set_commits(Commits::Work);
    receipt.await.unwrap();
    assert_eq!(ids(&running.store), expected([1]));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_slot_books_its_intent_as_unknown_at_its_reservation() {
    let running = Running::new(Settings::default()).await;
    let mut slot = running.recorder.slot().unwrap();
    slot.intent(intent(1)).await.unwrap();
    assert_eq!(lock(&running.store.state).intents.len(), 1);
    drop(slot);
    let mut at_once = running.recorder.slot().unwrap();
    drop(at_once.intent(intent(2)));
    drop(at_once);
    drop(running.recorder.slot().unwrap());
    let store = running.stopped().await;
    let state = lock(&store.state);
    let mut rows = state.all_rows();
    rows.sort_by_key(|r| r.intent != Some(intent(1).id));
    assert_eq!(rows.len(), 2, "a slot without an intent leaves no row");
    for (row, n) in rows.iter().zip([1, 2]) {
        let of = intent(n);
        assert_eq!((row.outcome, row.cost), (Outcome::Unknown, of.reservation));
        assert_eq!((row.intent.clone(), &row.party), (Some(of.id), &of.party));
    }
    assert!(state.intents.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_retry_releases_the_intent_before_it_and_a_billed_attempt_is_settled_first() {
    let running = Running::new(Settings::default()).await;
    let mut slot = running.recorder.slot().unwrap();
    slot.intent(intent(1)).await.unwrap();
    slot.intent(intent(2)).await.unwrap();
    let open: Vec<_> = lock(&running.store.state).intents.iter().map(|(_, i)| i.id.clone()).collect();
    assert_eq!(open, [intent(2).id]);
    slot.book(row(&intent(2)), Vec::new()).await.unwrap();
    slot.intent(intent(3)).await.unwrap();
    slot.settle(row(&intent(3)), Vec::new()).await.unwrap();
    let mut unsent = running.recorder.slot().unwrap();
    unsent.intent(intent(4)).await.unwrap();
    unsent.release();
    let store = running.stopped().await;
    assert_eq!(ids(&store), expected([2, 3]));
    assert!(lock(&store.state).intents.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_nobody_waits_for_goes_along_with_its_settlement_in_one_commit() {
    let running = Running::new(Settings::default()).await;
    running.settle(0).await.unwrap();
    let before = commits(&running.store);
    let mut slot = running.recorder.slot().unwrap();
    let intended = slot.intent(intent(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    slot.settle(row(&intent(1)), Vec::new()).await.unwrap();
    assert_eq!(intended.now(), Some(Ok(())), "the row says all that the intent said");
    assert_eq!(commits(&running.store) - before, 1);
    assert!(lock(&running.store.state).intents.is_empty());
    assert_eq!(ids(&running.store), expected([0, 1]));
}

#[tokio::test(start_paused = true)]
async fn an_intent_is_committed_at_once_when_somebody_waits_and_soon_when_nobody_does() {
    let running = Running::new(Settings::default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (n, awaited, took) in [(1, true, 0), (2, false, 5), (3, true, 0), (4, false, 5)] {
        let mut slot = running.recorder.slot().unwrap();
        let begun = tokio::time::Instant::now();
        let receipt = slot.intent(intent(n));
        if awaited {
            receipt.await.unwrap();
        } else {
            while receipt.now().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let waited = begun.elapsed().as_millis();
        assert!((took..=took + 2).contains(&waited), "{n}: {waited} ms");
        slot.settle(row(&intent(n)), Vec::new()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn slots_are_bounded_and_free_only_once_their_record_is_durable() {
    let running = Running::new(Settings { slots: 2, ..Settings::default() }).await;
    running.store.set_commits(Commits::Hang);
    let (first, second) = (running.settle(1), running.recorder.slot().unwrap());
    assert_eq!(running.recorder.slot().err(), Some(RecorderFull::Slots));
    second.release();
    assert!(running.recorder.slot().is_ok());
    running.store.set_commits(Commits::Work);
    first.await.unwrap();
    let both = (running.recorder.slot().unwrap(), running.recorder.slot().unwrap());
    assert_eq!(running.recorder.slot().err(), Some(RecorderFull::Slots));
    drop(both);
}

#[tokio::test]
async fn admission_closes_before_the_disk_is_full() {
    let house = House::new().await;
    let watch = |free| crate::jobs::DiskWatch {
        free_disk: Arc::new(move || Some(free)),
        min_free_bytes: 256 << 20,
        health: house.services.health.clone(),
    };
    watch((256 << 20) - 1).look();
    assert_eq!(house.services.recorder.slot().err(), Some(RecorderFull::Disk));
    assert!(!house.services.health.is_ready());
    watch(256 << 20).look();
    assert!(house.services.recorder.slot().is_ok() && house.services.health.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_tried_again_and_one_whose_answer_was_lost_is_not_doubled() {
    let running = Running::new(Settings::default()).await;
    running.store.set_commits(Commits::Fail);
    let mut failing = running.settle(1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((&mut failing).now_or_never(), None);
    running.store.set_commits(Commits::LoseAnswer);
    failing.await.unwrap();
    running.store.set_commits(Commits::Work);
    running.settle(2).await.unwrap();
    let store = running.stopped().await;
    assert_eq!(ids(&store), expected([1, 2]));
}

#[tokio::test(start_paused = true)]
async fn without_a_spool_a_settlement_fails_after_two_seconds_and_stays_queued() {
    let running = Running::new(Settings::default()).await;
    running.store.set_commits(Commits::Fail);
    let begun = tokio::time::Instant::now();
    assert_eq!(running.settle(1).await, Err(RecordError::Timeout));
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert!(!running.recorder.is_healthy());
    assert_eq!(running.settle(2).await, Err(RecordError::Timeout));
    assert_eq!(running.recorder.stats().slots, 2, "their slots stay taken");
    running.store.set_commits(Commits::Work);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(running.recorder.is_healthy());
    assert_eq!(running.recorder.stats().slots, 0);
    running.settle(3).await.unwrap();
    let store = running.stopped().await;
    assert_eq!(ids(&store), expected([1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_waited_two_seconds_is_spooled_and_drained_exactly_once() {
    for away in [Commits::Fail, Commits::Hang] {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::new(spooling(dir.path())).await;
        running.store.set_commits(away);
        let begun = tokio::time::Instant::now();
        running.settle(1).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        for n in 2..10 {
            running.settle(n).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_millis(2_100), "a store known to be away is not waited for");
        assert!(!running.recorder.is_healthy() && running.recorder.spooled_bytes() > 0);
        assert_eq!(running.recorder.stats().slots, 0);
        assert!(ids(&running.store).is_empty());
        running.store.set_commits(Commits::Work);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(running.recorder.is_healthy());
        assert_eq!(running.recorder.spooled_bytes(), 0);
        running.settle(10).await.unwrap();
        let store = running.stopped().await;
        assert_eq!(ids(&store), expected(1..=10), "{away:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file is gone");
        assert!(lock(&store.state).chains[0].closed_at.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_in_the_spool_can_be_settled_and_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(spooling(dir.path())).await;
    running.store.set_commits(Commits::Fail);
    let mut settled = running.recorder.slot().unwrap();
    let mut abandoned = running.recorder.slot().unwrap();
    settled.intent(intent(1)).await.unwrap();
    abandoned.intent(intent(2)).await.unwrap();
    settled.settle(row(&intent(1)), Vec::new()).await.unwrap();
    drop(abandoned);
    running.store.set_commits(Commits::Work);
    let store = running.stopped().await;
    let state = lock(&store.state);
    assert_eq!(
        state.all_rows().iter().map(|r| r.outcome).collect::<Vec<_>>(),
        [Outcome::Completed, Outcome::Unknown]
    );
    assert!(state.intents.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_drains_what_a_dead_start_spooled_exactly_once_whatever_was_drained_before() {
    for drained in 0..=5 {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::new(spooling(dir.path())).await;
        running.settle(0).await.unwrap();
        running.store.set_commits(Commits::Fail);
        let mut slot = running.recorder.slot().unwrap();
        slot.intent(intent(99)).await.unwrap();
        for n in 1..5 {
            running.settle(n).await.unwrap();
        }
        // kill -9: nothing more is done, but the store may have taken some groups already.
        running.writer.abort();
        let store = running.store;
        store.set_commits(Commits::Work);
        let leftover = spool::leftovers(dir.path()).unwrap().remove(0);
        assert_eq!(leftover.frames.len(), 5);
        for frame in leftover.frames.into_iter().take(drained) {
            let at = lock(&store.state).chains[0].clone();
            let head = ChainHead { length: at.length, head: at.head };
            store.commit_group(&frame.content.into_group(at.chain, head)).await.unwrap();
        }
        let next = House::on(Arc::clone(&store), spooling(dir.path()), 8).await;
        let state = lock(&next.store.state);
        let mut found: Vec<_> = state.all_rows().into_iter().map(|r| r.request_id).collect();
        assert_eq!(found.pop(), Some(intent(99).request_id), "the call that died is charged");
        assert_eq!(found, expected(0..5), "{drained} groups were drained before");
        assert!(state.chains[0].closed_at.is_some() && state.intents.is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_died_with_their_start_are_charged_once() {
    let running = Running::new(Settings::default()).await;
    let mut slots: Vec<_> = (0..600).map(|_| running.recorder.slot().unwrap()).collect();
    let intents = (0_u64..).zip(&mut slots).map(|(n, slot)| slot.intent(intent(n)));
    assert!(join_all(intents).await.into_iter().all(|r| r.is_ok()));
    running.writer.abort();
    std::mem::forget(slots);
    for seed in [8, 9] {
        let next = House::on(Arc::clone(&running.store), Settings::default(), seed).await;
        let state = lock(&next.store.state);
        let rows = state.all_rows();
        assert_eq!((rows.len(), state.intents.len()), (600, 0));
        assert!(rows.iter().all(|r| r.outcome == Outcome::Unknown && r.cost == intent(0).reservation));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_on_a_writer_that_is_gone_is_told() {
    let running = Running::new(Settings::default()).await;
    running.store.set_commits(Commits::Hang);
    let waiting = running.settle(1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let queued = running.settle(2);
    running.writer.abort();
    assert_eq!((waiting.await, queued.await), (Err(RecordError::Stopped), Err(RecordError::Stopped)));
    assert_eq!(running.recorder.slot().err(), Some(RecorderFull::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_commits_what_is_queued_and_closes_the_chain() {
    let running = Running::new(Settings::default()).await;
    let receipts: Vec<_> = (0..10).map(|n| running.settle(n)).collect();
    running.stop.cancel();
    assert!(join_all(receipts).await.into_iter().all(|r| r.is_ok()));
    let recorder = running.recorder.clone();
    let store = running.stopped().await;
    let state = lock(&store.state);
    let close = &state.audit.last().unwrap().event;
    assert_eq!(
        (close.action.as_str(), close.target.as_str()),
        ("audit.chain.close", recorder.chain().as_str())
    );
    assert_eq!(close.details["length"], state.chains[0].length);
    assert_eq!(recorder.slot().err(), Some(RecorderFull::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_is_away_leaves_the_spool_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(spooling(dir.path())).await;
    running.store.set_commits(Commits::Fail);
    running.settle(1).await.unwrap();
    let begun = tokio::time::Instant::now();
    let store = running.stopped().await;
    assert!(begun.elapsed() <= Duration::from_secs(6));
    assert!(lock(&store.state).chains[0].closed_at.is_none());
    store.set_commits(Commits::Work);
    let next = House::on(store, spooling(dir.path()), 8).await;
    assert_eq!(ids(&next.store), expected([1]));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_is_not_wanted_any_more_leaves_nothing_behind() {
    let running = Running::new(Settings::default()).await;
    running.store.set_commits(Commits::Hang);
    let mut dropped = running.settle(1);
    let kept = running.settle(2);
    assert_eq!((&mut dropped).now_or_never(), None);
    drop(dropped);
    running.store.set_commits(Commits::Work);
    kept.await.unwrap();
    assert_eq!(ids(&running.store), expected([1, 2]));
}
