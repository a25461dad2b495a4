//! Intents: what a later start finds of calls whose end nobody wrote down.

use claviger_domain::{
    clock::Timestamp,
    ledger::{Group, Intent, LedgerRow, Outcome, Party},
    ports::LedgerStore,
};

use crate::{
    ledger::verify,
    place::{Place, on_both},
    samples::{Committer, Samples, at, event},
};

on_both!(
    only_what_was_neither_settled_nor_released_is_an_orphan,
    an_orphan_is_booked_once_however_often_starts_die,
    a_call_that_lasts_for_long_is_still_found,
    a_settled_chain_leaves_no_orphans,
    a_start_drains_settles_and_closes_what_died,
);

fn settles(s: &Samples, party: &Party, intent: &Intent, time: Timestamp) -> LedgerRow {
    LedgerRow { intent: Some(intent.id.clone()), outcome: Outcome::Completed, ..s.row(party, time) }
}

async fn only_what_was_neither_settled_nor_released_is_an_orphan(place: Place) {
    let s = Samples::new(30);
    let party = s.party();
    let intents: Vec<_> = (0..6).map(|n| s.intent(&party, at(n))).collect();
    let (db, first) = (place.open().await, s.node());
    let mut c = Committer::open(&db, first.clone()).await;
    let group = Group { intents: intents[..4].to_vec(), ..c.group(at(1)) };
    c.commit(&db, &group).await;
    let group = Group {
        intents: intents[4..].to_vec(),
        rows: vec![settles(&s, &party, &intents[0], at(2)), settles(&s, &party, &intents[4], at(2))],
        released: vec![intents[1].id.clone()],
        ..c.group(at(2))
    };
    c.commit(&db, &group).await;
    assert!(db.orphans(&first).await.unwrap().is_empty());
    drop(db);
    let db = place.open().await;
    let own = s.node();
    Committer::open(&db, own.clone()).await;
    let orphans = db.orphans(&own).await.unwrap();
    assert_eq!(orphans, [intents[2].clone(), intents[3].clone(), intents[5].clone()]);
}

async fn an_orphan_is_booked_once_however_often_starts_die(place: Place) {
    let s = Samples::new(31);
    let party = s.party();
    let intents: Vec<_> = (0..3).map(|n| s.intent(&party, at(n))).collect();
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let group = Group { intents: intents.clone(), ..c.group(at(1)) };
    c.commit(&db, &group).await;
    drop(db);

    // The second incarnation books one of them and dies.
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    assert_eq!(db.orphans(&c.chain).await.unwrap().len(), 3);
    let first = settles(&s, &party, &intents[0], at(5));
    c.rows(&db, at(5), vec![first.clone()]).await;
    // A second settlement of the same intent is left out of the group.
    c.rows(&db, at(6), vec![first]).await;
    assert_eq!(db.group_rows(&c.chain, 2).await.unwrap(), []);
    drop(db);

    // The third books the rest, one as released.
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    assert_eq!(db.orphans(&c.chain).await.unwrap(), intents[1..]);
    let group = Group {
        rows: vec![settles(&s, &party, &intents[1], at(7))],
        released: vec![intents[2].id.clone()],
        ..c.group(at(7))
    };
    c.commit(&db, &group).await;
    assert!(db.orphans(&c.chain).await.unwrap().is_empty());
    drop(db);

    let db = place.open().await;
    let c = Committer::open(&db, s.node()).await;
    assert!(db.orphans(&c.chain).await.unwrap().is_empty());
}

async fn a_call_that_lasts_for_long_is_still_found(place: Place) {
    let s = Samples::new(32);
    let party = s.party();
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let long = s.intent(&party, at(0));
    let group = Group { intents: vec![long.clone()], ..c.group(at(0)) };
    c.commit(&db, &group).await;
    let mut last = None;
    for secs in 1..200 {
        let intent = s.intent(&party, at(secs));
        let rows = last.take().map(|done: Intent| settles(&s, &party, &done, at(secs)));
        let group =
            Group { intents: vec![intent.clone()], rows: rows.into_iter().collect(), ..c.group(at(secs)) };
        c.commit(&db, &group).await;
        last = Some(intent);
        if secs % 50 == 0 {
            // Whatever is remembered is what is stored.
            assert!(db.commit_group(&Group { number: 0, ..c.group(at(secs)) }).await.is_err());
        }
    }
    drop(db);
    let db = place.open().await;
    let own = s.node();
    Committer::open(&db, own.clone()).await;
    assert_eq!(db.orphans(&own).await.unwrap(), [long, last.unwrap()]);
}

async fn a_settled_chain_leaves_no_orphans(place: Place) {
    let s = Samples::new(33);
    let party = s.party();
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    for secs in 0..40 {
        let intent = s.intent(&party, at(secs));
        let group = Group { intents: vec![intent.clone()], ..c.group(at(secs)) };
        c.commit(&db, &group).await;
        c.rows(&db, at(secs), vec![settles(&s, &party, &intent, at(secs))]).await;
    }
    assert!(db.orphans(&s.node()).await.unwrap().is_empty());
}

async fn a_start_drains_settles_and_closes_what_died(place: Place) {
    let s = Samples::new(34);
    let party = s.party();
    let mut settled = 0;
    let mut dead: Option<Committer> = None;
    for start in 0..4 {
        let db = place.open().await;
        // What the dead incarnation had spooled goes to its own chain first.
        if let Some(dead) = &mut dead {
            let group = Group { intents: vec![s.intent(&party, at(start))], ..dead.group(at(start)) };
            dead.commit(&db, &group).await;
        }
        let mut c = Committer::open(&db, s.node()).await;
        let orphans = db.orphans(&c.chain).await.unwrap();
        assert_eq!(orphans.len(), if start == 0 { 0 } else { 4 });
        settled += orphans.len();
        c.rows(&db, at(start), orphans.iter().map(|o| settles(&s, &party, o, at(start))).collect()).await;
        if let Some(dead) = dead.take() {
            db.close_chain(&dead.chain, event("audit.chain.close")).await.unwrap();
            assert_eq!(verify(&db, &dead.chain, 0).await, (dead.length, dead.head));
        }
        let group =
            Group { intents: (0..3).map(|_| s.intent(&party, at(start))).collect(), ..c.group(at(start)) };
        c.commit(&db, &group).await;
        dead = Some(c);
    }
    let db = place.open().await;
    let query = claviger_domain::ports::UsageQuery::default();
    assert_eq!(db.usage(&query).await.unwrap()[0].requests, settled as u64);
}
