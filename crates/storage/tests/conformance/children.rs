//! Child keys: never more of them than allowed, and what they did counts for their parent.
#![expect(clippy::panic, reason = "a test that fails shall stop where it stands and say so")]

use std::sync::Arc;

use claviger_domain::{
    key::{KeyRecord, KeyState},
    ledger::Party,
    limit::UsedBefore,
    ports::{
        Change, Store, StoreError, UsedBy,
        children::{ChildCap, ChildStore},
    },
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event, put},
};

on_both!(
    a_parent_never_has_more_living_children_than_allowed_however_many_ask_at_once,
    a_parent_that_is_not_active_gets_no_child,
    what_children_used_is_what_each_of_them_used,
);

async fn parent(db: &Database, samples: &Samples) -> KeyRecord {
    let (owner, workspace) = (samples.owner("ada"), samples.workspace("prod"));
    let key = active(samples.key(&owner, &workspace));
    let home = [Change::InsertOwner(owner), Change::InsertWorkspace(workspace)];
    put(db, [home.to_vec(), vec![insert(&key)]].concat()).await;
    key
}

fn active(key: KeyRecord) -> KeyRecord {
    KeyRecord {
        state: KeyState::Active,
        revocation: None,
        rotated_from: None,
        parent: None,
        deprecation: None,
        ..key
    }
}

fn child(samples: &Samples, parent: &KeyRecord, secs: i64) -> KeyRecord {
    let public_id = samples.public_id();
    let id = public_id.key_id().unwrap();
    KeyRecord {
        lineage: id.clone(),
        id,
        public_id,
        parent: Some(parent.id.clone()),
        expires_at: Some(at(secs)),
        ..parent.clone()
    }
}

fn insert(key: &KeyRecord) -> Change {
    Change::InsertKey(Box::new(key.clone()))
}

fn mint(key: &KeyRecord, most: u32) -> Vec<Change> {
    let parent = key.parent.clone().unwrap();
    vec![insert(key), Change::HoldChildCap(ChildCap { parent, most, now: at(100) })]
}

async fn a_parent_never_has_more_living_children_than_allowed_however_many_ask_at_once(place: Place) {
    const MOST: u32 = 5;
    let (db, samples) = (Arc::new(place.open().await), Samples::new(31));
    let parent = parent(&db, &samples).await;
    // Those that are over do not count.
    db.apply(mint(&child(&samples, &parent, 100), 0), event("child.create")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (db, key) = (Arc::clone(&db), child(&samples, &parent, 200));
        tasks.spawn(async move {
            loop {
                match db.apply(mint(&key, MOST), event("child.create")).await {
                    Ok(_) => return true,
                    Err(StoreError::OverCap { has, allowed }) => {
                        assert_eq!((has, allowed), (MOST, MOST));
                        return false;
                    }
                    // Whoever waits too long for the others may ask again.
                    Err(StoreError::Unavailable(_) | StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 5);
}

async fn a_parent_that_is_not_active_gets_no_child(place: Place) {
    let (db, samples) = (place.open().await, Samples::new(32));
    let parent = parent(&db, &samples).await;
    let suspended = KeyRecord { state: KeyState::Suspended, ..parent.clone() };
    put(&db, vec![Change::UpdateKey(Box::new(suspended))]).await;
    let key = child(&samples, &parent, 200);
    let refused = db.apply(mint(&key, 5), event("child.create")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { what: "parent" }), "{refused}");
    assert!(db.key(&key.id).await.unwrap().is_none(), "nothing is left of it");
}

async fn what_children_used_is_what_each_of_them_used(place: Place) {
    let (db, samples) = (place.open().await, Samples::new(33));
    let parent = parent(&db, &samples).await;
    let today = at(86_400);
    assert_eq!(db.used_by_children(&parent.id, today).await.unwrap(), UsedBefore::default());
    let children: Vec<KeyRecord> = (0..3).map(|_| child(&samples, &parent, 10 * 86_400)).collect();
    put(&db, children.iter().map(insert).collect()).await;
    let parties: Vec<Party> = children
        .iter()
        .chain([&parent])
        .map(|key| Party { key: key.id.clone(), ..samples.party() })
        .collect();
    let mut committer = Committer::open(&db, samples.node()).await;
    for round in 0..40 {
        let moment = at(round * 7_200);
        let rows = parties.iter().map(|party| samples.row(party, moment)).collect();
        committer.rows(&db, moment, rows).await;
    }
    let mut expected = UsedBefore::default();
    for key in &children {
        expected = expected.plus(db.used_since(UsedBy::Key(&key.id), today).await.unwrap());
        let uses = db.key_uses(std::slice::from_ref(&key.id)).await.unwrap();
        expected.uses += uses.iter().map(|(_, used)| used.uses).sum::<u64>();
    }
    assert!(expected.work_today > 0 && expected.look_today > 0 && expected.uses > 0);
    assert!(expected.tokens_today.input > 0 && expected.tokens_today.output > 0);
    assert_eq!(db.used_by_children(&parent.id, today).await.unwrap(), expected);
}
