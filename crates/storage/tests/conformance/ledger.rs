//! Group commits and data chains.

use claviger_domain::{
    audit::{
        Digest,
        chain::{ChainVerifier, RowsAtHand},
        checkpoint::Checkpoint,
    },
    budget::Charge,
    id::{BudgetId, NodeId, SigningId},
    ledger::{BatchItem, Group, LedgerRow, Outcome, Recalled, RowFlags, UsageCounts},
    money::PicoUsd,
    ports::{LedgerStore, StoreError},
    signature::{Profile, Role, SignedBy},
    token::KeyClass,
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event},
};

on_both!(
    a_data_chain_verifies_with_its_rows,
    a_row_comes_back_exactly,
    a_group_out_of_place_is_a_conflict,
    a_group_whose_commit_was_not_answered_may_be_committed_again,
    a_chain_goes_on_after_its_writer_forgot_it,
    a_batch_item_is_billed_once_and_left_out_before_the_leaf,
    a_chain_is_opened_once_and_closed_once,
    checkpoints_are_kept_newest_last,
);

/// Walks a chain as `audit verify` does.
pub async fn verify(db: &Database, chain: &NodeId, retired: i64) -> (i64, Digest) {
    let mut verifier = ChainVerifier::new();
    loop {
        let records = db.data_after(chain, verifier.length(), 7).await.unwrap();
        if records.is_empty() {
            return (verifier.length(), verifier.head());
        }
        for record in records {
            let rows = db.group_rows(chain, record.number).await.unwrap();
            let at_hand = if record.number <= retired { RowsAtHand::Retired } else { RowsAtHand::All(&rows) };
            verifier.data(chain, &record, at_hand).unwrap();
        }
    }
}

async fn a_data_chain_verifies_with_its_rows(place: Place) {
    let (db, s) = (place.open().await, Samples::new(20));
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    // Sizes around those of the prepared statements, and none at all.
    for (n, size) in [1, 0, 3, 4, 5, 16, 23, 64, 86, 2].into_iter().enumerate() {
        let secs = i64::try_from(n).unwrap();
        let rows = (0..size).map(|_| s.row(&party, at(secs))).collect();
        c.rows(&db, at(secs), rows).await;
    }
    assert_eq!(verify(&db, &c.chain, 0).await, (10, c.head));
    let chains = db.chains().await.unwrap();
    assert_eq!((chains[0].length, chains[0].head, chains[0].closed_at), (10, c.head, None));
}

async fn a_row_comes_back_exactly(place: Place) {
    let (db, s) = (place.open().await, Samples::new(21));
    let mut c = Committer::open(&db, s.node()).await;
    let plain = s.row(&s.party(), at(1));
    let extreme = LedgerRow {
        intent: Some(s.intent_id()),
        batch: Some(BatchItem { batch: "msgbatch_1".to_owned(), custom_id: "item 'é'\0".replace('\0', "") }),
        usage: UsageCounts { input_tokens: u64::MAX, output_tokens: 1 << 63, ..UsageCounts::default() },
        cost: PicoUsd::MAX,
        flags: RowFlags(u32::MAX),
        attempts: u32::MAX,
        status: u16::MAX,
        first_byte_us: i64::MIN,
        duration_us: i64::MAX,
        detail: "overloaded_error".to_owned(),
        outcome: Outcome::Unknown,
        ..s.row(&s.party(), at(2))
    };
    let mut bare = LedgerRow { upstream_request_id: None, ..s.row(&s.party(), at(3)) };
    bare.party.class = KeyClass::Test;
    bare.route = claviger_domain::ledger::Route { upstream: None, credential: None };
    bare.user_agent = "x".repeat(200);
    let charges = vec![Charge { budget: BudgetId::parse("bdg_a").unwrap(), window: at(0) }];
    let by = |profile, secret, role| {
        let secret = SigningId::parse(secret).unwrap();
        Some(SignedBy { profile, secret, role })
    };
    let signed = LedgerRow {
        signed: by(Profile::V2, "sgn_a", Role::Current),
        batch: Some(BatchItem { batch: "msgbatch_1".to_owned(), custom_id: "b".to_owned() }),
        ..s.row(&s.party(), at(4))
    };
    let charged = LedgerRow { charges: charges.clone(), ..s.row(&s.party(), at(5)) };
    let signed_by = by(Profile::Rfc9421, "sgn_b", Role::Previous);
    let both = LedgerRow { signed: signed_by, charges, ..s.row(&s.party(), at(6)) };
    let whose = Some(Recalled { call: s.row(&s.party(), at(1)).request_id, saved: PicoUsd::MAX });
    let recalled = LedgerRow { recalled: whose.clone(), ..s.row(&s.party(), at(7)) };
    let all = LedgerRow { recalled: whose, ..both.clone() };
    let rows = vec![plain, extreme, bare, signed, charged, both, recalled, all];
    c.rows(&db, at(3), rows.clone()).await;
    assert_eq!(db.group_rows(&c.chain, 1).await.unwrap(), rows);
    assert_eq!(verify(&db, &c.chain, 0).await, (1, c.head));
}

async fn a_group_out_of_place_is_a_conflict(place: Place) {
    let (db, s) = (place.open().await, Samples::new(22));
    let mut c = Committer::open(&db, s.node()).await;
    c.rows(&db, at(1), vec![s.row(&s.party(), at(1))]).await;
    let conflict = Err(StoreError::Conflict { what: "data chain" });
    let good = c.group(at(2));
    assert_eq!(db.commit_group(&Group { number: 3, ..good.clone() }).await, conflict);
    assert_eq!(db.commit_group(&Group { number: 1, ..good.clone() }).await, conflict);
    assert_eq!(db.commit_group(&Group { previous: Digest([7; 32]), ..good.clone() }).await, conflict);
    assert_eq!(db.commit_group(&Group { chain: s.node(), ..good.clone() }).await, conflict);
    c.commit(&db, &good).await;
    assert_eq!(verify(&db, &c.chain, 0).await, (2, c.head));
}

async fn a_group_whose_commit_was_not_answered_may_be_committed_again(place: Place) {
    let (db, s) = (place.open().await, Samples::new(23));
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    c.rows(&db, at(1), vec![s.row(&party, at(1))]).await;
    let item = BatchItem { batch: "msgbatch_1".to_owned(), custom_id: "a".to_owned() };
    let row = LedgerRow { batch: Some(item), ..s.row(&party, at(2)) };
    let group = Group { rows: vec![row, s.row(&party, at(2))], ..c.group(at(2)) };
    c.commit(&db, &group).await;
    // Another handle knows nothing of the first commit but what is stored.
    let other = place.open().await;
    assert_eq!(other.commit_group(&group).await, Ok(c.head));
    assert_eq!(other.group_rows(&c.chain, 2).await.unwrap().len(), 2);
    assert_eq!(verify(&other, &c.chain, 0).await, (2, c.head));
}

async fn a_chain_goes_on_after_its_writer_forgot_it(place: Place) {
    let (db, s) = (place.open().await, Samples::new(24));
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    for n in 0..20 {
        // An error makes the writer read the chain again.
        let wrong = Group { number: 99, ..c.group(at(n)) };
        assert!(db.commit_group(&wrong).await.is_err());
        c.rows(&db, at(n), vec![s.row(&party, at(n)), s.row(&party, at(n))]).await;
    }
    assert_eq!(verify(&db, &c.chain, 0).await, (20, c.head));
}

async fn a_batch_item_is_billed_once_and_left_out_before_the_leaf(place: Place) {
    let (db, s) = (place.open().await, Samples::new(25));
    let party = s.party();
    let item = |batch: &str, custom_id: &str, secs| LedgerRow {
        batch: Some(BatchItem { batch: batch.to_owned(), custom_id: custom_id.to_owned() }),
        ..s.row(&party, at(secs))
    };
    let mut c = Committer::open(&db, s.node()).await;
    let first = [item("b1", "a", 1), item("b1", "b", 1), s.row(&party, at(1))];
    c.rows(&db, at(1), first.to_vec()).await;
    let again = item("b1", "a", 2);
    let other = item("b2", "a", 2);
    let twice = item("b2", "c", 2);
    let plain = s.row(&party, at(2));
    c.rows(&db, at(2), vec![again, other.clone(), twice.clone(), twice.clone(), plain.clone()]).await;
    assert_eq!(db.group_rows(&c.chain, 2).await.unwrap(), [other, twice, plain]);
    assert_eq!(verify(&db, &c.chain, 0).await, (2, c.head));
    // A batch of ten thousand items, read twice.
    let many: Vec<_> = (0..1_000).map(|n| item("b3", &n.to_string(), 3)).collect();
    c.rows(&db, at(3), many.clone()).await;
    c.rows(&db, at(4), many).await;
    assert_eq!(db.group_rows(&c.chain, 3).await.unwrap().len(), 1_000);
    assert!(db.group_rows(&c.chain, 4).await.unwrap().is_empty());
    assert_eq!(verify(&db, &c.chain, 0).await, (4, c.head));
}

async fn a_chain_is_opened_once_and_closed_once(place: Place) {
    let (db, s) = (place.open().await, Samples::new(26));
    let mut c = Committer::open(&db, s.node()).await;
    let conflict = Err(StoreError::Conflict { what: "data chain" });
    assert_eq!(db.open_chain(&c.chain, event("audit.chain.open")).await, conflict);
    c.rows(&db, at(1), vec![s.row(&s.party(), at(1))]).await;
    db.close_chain(&c.chain, event("audit.chain.close")).await.unwrap();
    assert_eq!(db.close_chain(&c.chain, event("audit.chain.close")).await, conflict);
    assert_eq!(db.commit_group(&c.group(at(2))).await.map(drop), conflict);
    let second = Committer::open(&db, s.node()).await;
    let chains = db.chains().await.unwrap();
    assert_eq!(chains.iter().map(|c| c.chain.clone()).collect::<Vec<_>>(), [c.chain, second.chain]);
    assert_eq!((chains[0].closed_at.is_some(), chains[0].head, chains[0].length), (true, c.head, 1));
    assert_eq!((chains[1].closed_at.is_some(), chains[1].head, chains[1].length), (false, Digest::EMPTY, 0));
}

async fn checkpoints_are_kept_newest_last(place: Place) {
    let db = place.open().await;
    assert_eq!(db.last_checkpoint().await.unwrap(), None);
    let checkpoint = |number| Checkpoint {
        number,
        at: at(number),
        heads: Vec::new(),
        root: Digest([1; 32]),
        previous: Digest([2; 32]),
        public_key: "00".to_owned(),
        signature: "11".to_owned(),
    };
    for number in [1, 2, 9_000] {
        db.put_checkpoint(&checkpoint(number)).await.unwrap();
    }
    assert_eq!(db.last_checkpoint().await.unwrap(), Some(checkpoint(9_000)));
    let taken = db.put_checkpoint(&checkpoint(9_000)).await;
    assert_eq!(taken, Err(StoreError::Conflict { what: "checkpoint" }));
    // Old ones make room.
    db.put_checkpoint(&checkpoint(2)).await.unwrap();
}
