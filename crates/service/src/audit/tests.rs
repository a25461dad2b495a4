use claviger_domain::{
    audit::{Digest, checkpoint::CheckpointKey},
    clock::MICROS_PER_DAY,
    id::NodeId,
    money::PicoUsd,
    ports::DayCheck,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Caller, Settings,
    fake::{FakeStore, House, State, intent, row},
    lock::lock,
};

/// Two starts: the first has closed its chain, the second is running; a checkpoint lies before the last records.
struct Log {
    house: House,
    kept: Checkpoint,
}

async fn log() -> Log {
    let first = House::new().await;
    let store = run(first, 0..5).await;
    let house = House::on(store, Settings::default(), 9).await;
    let ledger = Arc::clone(&house.deps.ledger);
    let chain = house.services.recorder.chain().clone();
    commit(ledger.as_ref(), &chain, 100..103).await;
    let kept = house.background.jobs.checkpoints.sign().await.unwrap().unwrap();
    commit(ledger.as_ref(), &chain, 103..105).await;
    house
        .services
        .tenants
        .create_owner("ann", None, claviger_domain::limit::LimitsPatch::default(), &Caller::system())
        .await
        .unwrap();
    Log { house, kept }
}

async fn run(house: House, settled: std::ops::Range<u64>) -> Arc<FakeStore> {
    let stop = CancellationToken::new();
    let writer = house.deps.tracker.spawn(house.background.writer.run(stop.clone()));
    for n in settled {
        house.services.recorder.slot().unwrap().settle(row(&intent(n)), Vec::new()).await.unwrap();
    }
    stop.cancel();
    writer.await.unwrap();
    house.store
}

async fn commit(ledger: &dyn LedgerStore, chain: &NodeId, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let at = ledger.chains().await.unwrap().into_iter().find(|c| c.chain == *chain).unwrap();
        let group = claviger_domain::ledger::Group {
            chain: chain.clone(),
            number: at.length + 1,
            at: at.opened_at,
            previous: at.head,
            intents: Vec::new(),
            rows: vec![row(&intent(n)), row(&intent(n + 1_000))],
            released: Vec::new(),
            resources: Vec::new(),
        };
        ledger.commit_group(&group).await.unwrap();
    }
}

impl Log {
    async fn verify(&self) -> Verdict {
        self.house.services.audit.verify(None).await.unwrap()
    }

    async fn against(&self) -> Verdict {
        self.house.services.audit.verify(Some(&self.kept)).await.unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut lock(&self.house.store.state));
    }

    async fn export(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let write = |line: &[u8]| {
            file.extend_from_slice(line);
            Ok(())
        };
        self.house.services.audit.export(write).await.unwrap();
        file
    }
}

#[tokio::test]
async fn an_untouched_log_holds_and_says_what_is_not_yet_proven() {
    let log = log().await;
    let verdict = log.against().await;
    assert_eq!(verdict.bad, None);
    assert!(verdict.ok);
    // Control: 3 secrets, owner, workspace, a key of tokens; 2 × open, close of the first, an owner. Data: 5 and 5.
    assert_eq!((verdict.records, verdict.unproven), (10 + 10, 3));
    let signed = log.house.background.jobs.checkpoints.sign().await.unwrap().unwrap();
    let verdict = log.verify().await;
    assert_eq!((verdict.ok, verdict.unproven), (true, 0));
    assert_eq!(signed.number, 2);
}

#[tokio::test]
async fn every_edited_deleted_or_moved_record_is_found() {
    type Edit = (&'static str, fn(&mut State), i64);
    let edits: [Edit; 11] = [
        ("an event", |s| s.audit[3].event.outcome = "denied".to_owned(), 4),
        ("a deleted event", |s| drop(s.audit.remove(3)), 4),
        ("swapped events", |s| s.audit.swap(2, 3), 3),
        ("a replaced head", |s| s.audit[1].head = Digest([1; 32]), 2),
        ("a row's cost", |s| rows(s, 2)[0].cost = PicoUsd::ZERO, 2),
        ("a row's model", |s| rows(s, 4)[0].model = "cheap".to_owned(), 4),
        ("a deleted row", |s| rows(s, 3).clear(), 3),
        ("an added row", |s| rows(s, 3).push(row(&intent(77))), 3),
        ("a deleted group", |s| drop(s.data.remove(1)), 2),
        ("swapped groups", |s| s.data.swap(0, 1), 1),
        ("a group's time", |s| s.data[2].at = s.data[2].at.plus_micros(1), 3),
    ];
    for (what, edit, number) in edits {
        let log = log().await;
        log.edit(edit);
        let verdict = log.verify().await;
        assert!(!verdict.ok, "{what}");
        assert_eq!(verdict.bad.as_ref().map(|b| b.number), Some(number), "{what}: {:?}", verdict.bad);
        let exported = log.export().await;
        let offline = verify(&mut ExportFile::new(exported.as_slice()), None).await.unwrap();
        assert_eq!(offline.bad, verdict.bad, "{what}, exported");
    }
}

#[tokio::test]
async fn rows_behind_a_closed_chain_and_totals_that_do_not_add_up_are_found() {
    type Edit = (&'static str, fn(&mut State), (usize, i64));
    let edits: [Edit; 2] = [
        (
            "a row behind the end",
            |s| {
                let chain = s.chains[0].chain.clone();
                s.rows.insert((chain, 6), vec![row(&intent(77))]);
            },
            (0, 6),
        ),
        (
            "a total",
            |s| s.wrong_total = Some(DayCheck { day: 20_000, differs: Some("key_0123456789".to_owned()) }),
            (1, 20_000),
        ),
    ];
    for (what, edit, (place, number)) in edits {
        let log = log().await;
        log.edit(edit);
        let first = lock(&log.house.store.state).chains[0].chain.to_string();
        let named = [first, "daily totals".to_owned()][place].clone();
        let verdict = log.verify().await;
        let found = verdict.bad.as_ref().map(|b| (b.chain.clone(), b.number));
        assert_eq!(found, Some((named, number)), "{what}: {:?}", verdict.bad);
        let exported = log.export().await;
        let offline = verify(&mut ExportFile::new(exported.as_slice()), None).await.unwrap();
        assert_eq!(offline.bad, verdict.bad, "{what}, exported");
    }
}

/// The rows of one group of the first chain.
fn rows(state: &mut State, number: i64) -> &mut Vec<claviger_domain::ledger::LedgerRow> {
    let chain = state.chains[0].chain.clone();
    state.rows.get_mut(&(chain, number)).unwrap()
}

#[tokio::test]
async fn a_cut_tail_of_a_closed_chain_and_a_chain_removed_whole_are_found_without_a_checkpoint() {
    let log = log().await;
    log.edit(|s| {
        let cut = s.data.remove(4);
        s.chains[0].length = 4;
        s.chains[0].head = s.data[3].head;
        s.rows.remove(&(cut.chain, 5));
    });
    assert_eq!(log.verify().await.bad.map(|b| b.number), Some(5));
    let log = self::log().await;
    log.edit(|s| {
        let gone = s.chains.remove(0).chain;
        s.data.retain(|r| r.chain != gone);
    });
    assert_eq!(log.verify().await.bad.map(|b| b.number), Some(1));
}

#[tokio::test]
async fn a_cut_tail_or_a_rolled_back_store_is_found_against_a_kept_checkpoint() {
    // Everything from the second start on, and the store's own checkpoints with it: consistent in itself.
    let rolled_back = |s: &mut State| {
        let second = s.chains.remove(1).chain;
        s.data.retain(|r| r.chain != second);
        let open = s.audit.iter().position(|r| r.event.target == second.as_str()).unwrap();
        s.audit.truncate(open);
        s.checkpoints.clear();
    };
    let log = log().await;
    log.edit(rolled_back);
    assert!(log.verify().await.ok);
    let found = log.against().await;
    assert_eq!(found.bad.map(|b| b.chain), Some("checkpoint".to_owned()));

    // Only the last signed group of the open chain.
    let log = self::log().await;
    log.edit(|s| {
        let second = s.chains[1].chain.clone();
        s.data.retain(|r| r.chain != second || r.number <= 2);
        s.rows.retain(|(chain, number), _| *chain != second || *number <= 2);
        let last = s.data.iter().rfind(|r| r.chain == second).unwrap().clone();
        (s.chains[1].length, s.chains[1].head) = (2, last.head);
        s.checkpoints.clear();
    });
    assert!(log.verify().await.ok);
    assert!(!log.against().await.ok);
}

#[tokio::test]
async fn a_tail_that_was_rewritten_to_fit_is_found_against_a_kept_checkpoint() {
    let log = log().await;
    log.edit(|s| {
        let mut head = s.audit[5].head;
        for n in 6..s.audit.len() {
            let mut event = s.audit[n].event.clone();
            event.user_agent = "rewritten".to_owned();
            s.audit[n] = AuditRecord::append(n as i64, head, event);
            head = s.audit[n].head;
        }
        s.checkpoints.clear();
    });
    assert!(log.verify().await.ok, "a chain alone proves nothing against its writer");
    let found = log.against().await.bad.unwrap();
    assert!(found.why.contains("rewritten"), "{}", found.why);
}

#[tokio::test]
async fn a_checkpoint_by_another_key_is_not_believed() {
    let log = log().await;
    let stranger = CheckpointKey::from_seed(&[9; 32]).unwrap();
    log.edit(|s| {
        let last = s.checkpoints.pop().unwrap();
        s.checkpoints.push(Checkpoint::sign(&stranger, None, last.at, last.heads));
    });
    let found = log.verify().await.bad.unwrap();
    assert!(found.why.contains("key"), "{}", found.why);
    let log = self::log().await;
    log.edit(|s| s.checkpoints[0].at = s.checkpoints[0].at.plus_micros(1));
    assert_eq!(log.verify().await.bad.map(|b| b.chain), Some("checkpoint".to_owned()));
}

#[tokio::test]
async fn rows_that_retention_took_stay_proven_by_their_leaves_and_rows_taken_otherwise_are_missed() {
    let log = log().await;
    log.house.clock.advance(std::time::Duration::from_micros(200 * MICROS_PER_DAY as u64));
    assert!(log.house.background.jobs.retention.retire().await.unwrap() > 0);
    let verdict = log.against().await;
    assert_eq!((verdict.bad, verdict.ok), (None, true));
    let export = log.export().await;
    assert!(verify(&mut ExportFile::new(export.as_slice()), Some(&log.kept)).await.unwrap().ok);
    let log = self::log().await;
    log.edit(|s| s.rows.clear());
    assert!(!log.verify().await.ok);
}

#[tokio::test]
async fn an_export_is_verified_without_the_store_and_a_cut_one_is_noticed() {
    let log = log().await;
    let export = log.export().await;
    log.house.store.set_down(true);
    let verdict = verify(&mut ExportFile::new(export.as_slice()), Some(&log.kept)).await.unwrap();
    assert!(verdict.ok, "{:?}", verdict.bad);
    let lines: Vec<&[u8]> = export.split_inclusive(|b| *b == b'\n').collect();
    for kept in 0..lines.len() {
        let cut = lines[..kept].concat();
        let verdict = verify(&mut ExportFile::new(cut.as_slice()), None).await.unwrap();
        assert!(!verdict.ok, "cut after {kept} lines");
    }
    for gone in 1..lines.len() - 1 {
        let without = [&lines[..gone], &lines[gone + 1..]].concat().concat();
        assert!(
            !verify(&mut ExportFile::new(without.as_slice()), None).await.unwrap().ok,
            "without line {gone}"
        );
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_error_and_no_verdict() {
    let log = log().await;
    log.house.store.set_down(true);
    assert!(matches!(log.house.services.audit.verify(None).await, Err(ServiceError::Unavailable(_))));
}
