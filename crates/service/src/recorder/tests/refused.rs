//! What the store refuses for good is set aside, and nothing else waits for it.

use claviger_domain::{ledger::LedgerRow, tenancy::ResourceKind};

use super::*;
use crate::health::PartState;

fn poisoned(n: u64) -> LedgerRow {
    LedgerRow { model: "poison".to_owned(), ..row(&intent(n)) }
}

/// The lines that were set aside.
fn aside(dir: &Path) -> Vec<serde_json::Value> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "refused"));
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Holds the store up so that all of these are one group.
async fn in_one_group(running: &Running, rows: Vec<LedgerRow>) -> Vec<Result<(), RecordError>> {
    running.store.set_commits(Commits::Hang);
    let first = running.settle(1_000);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let receipts: Vec<_> =
        rows.into_iter().map(|row| running.recorder.slot().unwrap().settle(row, Vec::new())).collect();
    running.store.set_commits(Commits::Work);
    first.await.unwrap();
    join_all(receipts).await
}

#[tokio::test(start_paused = true)]
async fn one_refused_row_among_twenty_is_set_aside_and_nineteen_are_written() {
    for bad in [0, 7, 19] {
        let dir = tempfile::tempdir().unwrap();
        let house = House::with(spooling(dir.path())).await;
        let (audit, health) = (house.services.audit.clone(), house.services.health.clone());
        let running = Running::of(house);
        let rows = (0..20).map(|n| if n == bad { poisoned(n) } else { row(&intent(n)) }).collect();
        let told = in_one_group(&running, rows).await;
        for (n, told) in (0..).zip(told) {
            let expected = if n == bad { Err(RecordError::Refused) } else { Ok(()) };
            assert_eq!(told, expected, "{n}");
        }
        let stats = running.recorder.stats();
        assert_eq!((stats.rows, stats.rows_set_aside, stats.slots), (20, 1, 0));
        let lines = aside(dir.path());
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["row"]["request_id"], intent(bad).request_id.as_str());
        let part = health.parts().into_iter().find(|p| p.name == "recorder").unwrap();
        assert_eq!(part.state, PartState::Warning, "{}", part.detail);
        assert!(health.is_ready());
        running.settle(50).await.unwrap();
        let verdict = audit.verify(None).await.unwrap();
        assert!(verdict.ok, "{:?}", verdict.bad);
        let store = running.stopped().await;
        let written = [1_000].into_iter().chain((0..20).filter(|n| *n != bad)).chain([50]);
        assert_eq!(ids(&store), expected(written));
    }
}

#[tokio::test(start_paused = true)]
async fn only_refused_rows_make_an_empty_group_and_the_next_start_says_that_they_lie_there() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(spooling(dir.path())).await;
    let mut slot = running.recorder.slot().unwrap();
    slot.intent(intent(1)).await.unwrap();
    assert_eq!(slot.settle(poisoned(1), Vec::new()).await, Err(RecordError::Refused));
    assert!(lock(&running.store.state).intents.is_empty(), "what is set aside is not charged once more");
    let store = running.stopped().await;
    let next = House::on(store, spooling(dir.path()), 8).await;
    assert_eq!(next.services.recorder.set_aside(), 1);
    assert!(ids(&next.store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_resource_is_refused_is_told_so_and_its_row_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(spooling(dir.path())).await;
    let of = intent(1);
    let made = |id: &str| Resource {
        id: id.to_owned(),
        kind: ResourceKind::File,
        workspace: of.party.workspace.clone(),
        key: of.party.key.clone(),
        upstream: claviger_domain::id::UpstreamId::parse("up_1").unwrap(),
        credential: claviger_domain::id::CredentialId::parse("cred_1").unwrap(),
        created_at: of.at,
        held: None,
    };
    let slot = running.recorder.slot().unwrap();
    let told = slot.settle(row(&of), vec![made("file_1"), made("poison")]).await;
    assert_eq!(told, Err(RecordError::Refused));
    assert_eq!(aside(dir.path())[0]["resource"]["id"], "poison");
    let store = running.stopped().await;
    let kept: Vec<_> = lock(&store.state).resources.iter().map(|r| r.id.clone()).collect();
    assert_eq!((ids(&store), kept), (expected([1]), vec!["file_1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_in_the_spool_holds_up_neither_the_drain_nor_the_next_start() {
    for at_once in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::new(spooling(dir.path())).await;
        running.store.set_commits(Commits::Fail);
        running.settle(1).await.unwrap();
        running.recorder.slot().unwrap().settle(poisoned(2), Vec::new()).await.unwrap();
        running.settle(3).await.unwrap();
        let store = if at_once {
            running.store.set_commits(Commits::Work);
            running.stopped().await
        } else {
            running.writer.abort();
            running.store.set_commits(Commits::Work);
            House::on(running.store, spooling(dir.path()), 8).await.store
        };
        assert_eq!(ids(&store), expected([1, 3]));
        assert_eq!(aside(dir.path()).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_that_cannot_be_set_aside_stays_queued() {
    let running = Running::new(Settings::default()).await;
    let told = running.recorder.slot().unwrap().settle(poisoned(1), Vec::new()).await;
    assert_eq!((told, running.recorder.is_healthy()), (Err(RecordError::Timeout), false));
    assert_eq!(running.recorder.stats().slots, 1);
}
