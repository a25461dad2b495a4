//! Rotations, wrapped deliveries, and who still uses a key.

use claviger_domain::{
    id::{RotationId, WrappingId},
    key::KeyRecord,
    ledger::LedgerRow,
    mac::{KeyMac, PepperVersion},
    ports::{
        Change, ClientUse, LedgerStore, Store, StoreError,
        children::ChildStore,
        lifecycle::{LifecycleStore, RotationFilter},
    },
    rotation::{Hold, HoldReason, RotationRecord, RotationState, Succession},
    token::PublicId,
    wrapping::{Opened, WrappingRecord},
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event, put},
};

on_both!(
    a_rotation_reads_back_and_changes_once_a_version,
    a_key_begins_one_rotation_at_a_time_whoever_is_faster,
    rotations_are_listed_by_their_start_in_pages,
    a_grant_knows_the_open_rotation_of_its_key,
    of_two_who_open_a_delivery_one_is_first,
    lapsed_deliveries_are_those_that_still_hold_something,
    clients_are_those_of_the_newest_rows,
);

async fn keys(db: &Database, s: &Samples, count: usize) -> Vec<KeyRecord> {
    let (owner, workspace) = (s.owner("ada"), s.workspace("prod"));
    put(db, vec![Change::InsertOwner(owner.clone()), Change::InsertWorkspace(workspace.clone())]).await;
    let keys: Vec<KeyRecord> = (0..count).map(|_| s.key(&owner, &workspace)).collect();
    put(db, keys.iter().map(|k| Change::InsertKey(Box::new(k.clone()))).collect()).await;
    keys
}

fn rotation(name: &str, old: &KeyRecord, successor: &KeyRecord, secs: i64) -> RotationRecord {
    RotationRecord {
        id: RotationId::parse(&format!("rot_{name}")).unwrap(),
        old: old.id.clone(),
        successor: successor.id.clone(),
        owner: old.owner.clone(),
        workspace: old.workspace.clone(),
        reason: "quarterly".to_owned(),
        state: RotationState::Created,
        overlap_secs: 600,
        started_at: at(secs),
        delivered_at: None,
        activated_at: None,
        retiring_at: None,
        ended_at: None,
        hold: None,
        extended_to: None,
        version: 1,
    }
}

fn wrapping(id: &str, key: &KeyRecord, expires: i64) -> WrappingRecord {
    WrappingRecord {
        id: WrappingId::parse(&format!("wrp_{id}")).unwrap(),
        public_id: PublicId::parse(id).unwrap(),
        mac: KeyMac::from_bytes([9; 32]),
        pepper_version: PepperVersion(2),
        key: key.id.clone(),
        sealed: vec![0, 1, 255],
        created_at: at(1),
        expires_at: at(expires),
        opened: None,
        version: 1,
    }
}

async fn insert(db: &Database, rotation: RotationRecord) -> Result<(), StoreError> {
    db.apply(vec![Change::InsertRotation(Box::new(rotation))], event("key.rotate")).await.map(drop)
}

async fn update(db: &Database, rotation: RotationRecord) -> Result<(), StoreError> {
    db.apply(vec![Change::UpdateRotation(Box::new(rotation))], event("rotation.step")).await.map(drop)
}

async fn a_rotation_reads_back_and_changes_once_a_version(place: Place) {
    let (db, s) = (place.open().await, Samples::new(1));
    let keys = keys(&db, &s, 2).await;
    let begun = rotation("a", &keys[0], &keys[1], 5);
    insert(&db, begun.clone()).await.unwrap();
    assert_eq!(db.rotation(&begun.id).await.unwrap(), Some(begun.clone()));
    let delivered =
        RotationRecord { state: RotationState::Delivered, delivered_at: Some(at(6)), ..begun.clone() };
    let hold = Some(Hold { why: HoldReason::Unused, since: at(7) });
    let delivered = RotationRecord { hold, extended_to: Some(at(900)), ..delivered };
    let (a, b) = tokio::join!(update(&db, delivered.clone()), update(&db, delivered.clone()));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    assert_eq!(a.and(b), Err(StoreError::Conflict { what: "rotation" }));
    assert_eq!(db.rotation(&begun.id).await.unwrap(), Some(RotationRecord { version: 2, ..delivered }));
}

async fn a_key_begins_one_rotation_at_a_time_whoever_is_faster(place: Place) {
    let (db, s) = (place.open().await, Samples::new(2));
    let keys = keys(&db, &s, 3).await;
    let (a, b) = tokio::join!(
        insert(&db, rotation("a", &keys[0], &keys[1], 5)),
        insert(&db, rotation("b", &keys[0], &keys[2], 5))
    );
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    assert_eq!(a.and(b), Err(StoreError::Conflict { what: "open rotation of the key" }));
    let open =
        db.rotations(&RotationFilter { open: true, limit: 9, ..RotationFilter::default() }).await.unwrap();
    let ended = RotationRecord { state: RotationState::Cancelled, ended_at: Some(at(6)), ..open[0].clone() };
    update(&db, ended).await.unwrap();
    insert(&db, rotation("c", &keys[0], &keys[2], 7)).await.unwrap();
}

async fn rotations_are_listed_by_their_start_in_pages(place: Place) {
    let (db, s) = (place.open().await, Samples::new(3));
    let keys = keys(&db, &s, 8).await;
    for (n, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let started = i64::try_from(n / 2).unwrap();
        insert(&db, rotation(name, &keys[2 * n], &keys[2 * n + 1], started)).await.unwrap();
    }
    let mut filter = RotationFilter { open: true, limit: 3, ..RotationFilter::default() };
    let names = |page: &[RotationRecord]| page.iter().map(|r| r.id.to_string()).collect::<Vec<_>>();
    let first = db.rotations(&filter).await.unwrap();
    assert_eq!(names(&first), ["rot_a", "rot_b", "rot_c"]);
    filter.after = Some(first[2].id.clone());
    assert_eq!(names(&db.rotations(&filter).await.unwrap()), ["rot_d"]);
    let of =
        |key: &KeyRecord| RotationFilter { key: Some(key.id.clone()), limit: 9, ..RotationFilter::default() };
    assert_eq!(names(&db.rotations(&of(&keys[2])).await.unwrap()), ["rot_b"]);
    assert_eq!(names(&db.rotations(&of(&keys[3])).await.unwrap()), ["rot_b"]);
}

async fn a_grant_knows_the_open_rotation_of_its_key(place: Place) {
    let (db, s) = (place.open().await, Samples::new(4));
    let keys = keys(&db, &s, 2).await;
    let begun = rotation("a", &keys[0], &keys[1], 5);
    insert(&db, begun.clone()).await.unwrap();
    let succession =
        async |key: &KeyRecord| db.key_for_grant(key.public_id).await.unwrap().1.unwrap().succession;
    let expected = Succession { successor: keys[1].id.clone(), deadline: at(605) };
    assert_eq!(succession(&keys[0]).await, Some(expected));
    assert_eq!(succession(&keys[1]).await, None);
    update(&db, RotationRecord { extended_to: Some(at(700)), ..begun.clone() }).await.unwrap();
    assert_eq!(succession(&keys[0]).await.unwrap().deadline, at(700));
    let begun = RotationRecord { version: 2, ..begun };
    update(&db, RotationRecord { ended_at: Some(at(9)), state: RotationState::Finished, ..begun })
        .await
        .unwrap();
    assert_eq!(succession(&keys[0]).await, None);
}

async fn of_two_who_open_a_delivery_one_is_first(place: Place) {
    let (db, s) = (place.open().await, Samples::new(5));
    let keys = keys(&db, &s, 1).await;
    let waiting = wrapping("abcdefghij", &keys[0], 10);
    put(&db, vec![Change::InsertWrapping(Box::new(waiting.clone()))]).await;
    let opened = waiting.open(at(3), "192.0.2.7").unwrap();
    let open = || db.apply(vec![Change::UpdateWrapping(Box::new(opened.clone()))], event("key.unwrap"));
    let (a, b) = tokio::join!(open(), open());
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    let kept = db.wrapping(waiting.public_id).await.unwrap().unwrap();
    assert_eq!((kept.sealed.len(), kept.version), (0, 2));
    assert_eq!(kept.opened, Some(Opened { at: at(3), client_ip: "192.0.2.7".to_owned() }));
    assert_eq!(db.wrapping_of(&keys[0].id).await.unwrap().unwrap().id, waiting.id);
    assert_eq!(kept.mac.as_bytes(), waiting.mac.as_bytes());
}

async fn lapsed_deliveries_are_those_that_still_hold_something(place: Place) {
    let (db, s) = (place.open().await, Samples::new(6));
    let keys = keys(&db, &s, 1).await;
    let made = [
        wrapping("aaaaaaaaaa", &keys[0], 10),
        wrapping("bbbbbbbbbb", &keys[0], 20),
        wrapping("cccccccccc", &keys[0], 30),
    ];
    put(&db, made.iter().map(|w| Change::InsertWrapping(Box::new(w.clone()))).collect()).await;
    let lapsed = async |now: i64| {
        let found = db.lapsed_wrappings(at(now), 10).await.unwrap();
        found.into_iter().map(|w| w.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lapsed(9).await.len(), 0);
    assert_eq!(lapsed(20).await, ["wrp_aaaaaaaaaa", "wrp_bbbbbbbbbb"]);
    let emptied = WrappingRecord { sealed: Vec::new(), ..made[0].clone() };
    put(&db, vec![Change::UpdateWrapping(Box::new(emptied))]).await;
    assert_eq!(lapsed(20).await, ["wrp_bbbbbbbbbb"]);
}

async fn clients_are_those_of_the_newest_rows(place: Place) {
    let (db, s) = (place.open().await, Samples::new(7));
    let (one, other) = (s.party(), s.party());
    let mut committer = Committer::open(&db, s.node()).await;
    let row = |party, secs, ip: &str, agent: &str| LedgerRow {
        client_ip: ip.to_owned(),
        user_agent: agent.to_owned(),
        ..s.row(party, at(secs))
    };
    let rows = vec![
        row(&one, 1, "192.0.2.1", "old"),
        row(&one, 2, "192.0.2.2", "sdk"),
        row(&other, 3, "192.0.2.3", "sdk"),
        row(&one, 4, "192.0.2.2", "sdk"),
        row(&one, 5, "192.0.2.4", "curl"),
    ];
    committer.rows(&db, at(6), rows).await;
    let seen = async |since: i64, rows: u32| {
        db.clients_since(std::slice::from_ref(&one.key), at(since), rows).await.unwrap()
    };
    let client = |ip: &str, agent: &str, requests, secs| ClientUse {
        client_ip: ip.to_owned(),
        user_agent: agent.to_owned(),
        requests,
        last_used_at: at(secs),
    };
    let all = seen(2, 4).await;
    assert_eq!(all.seen, [client("192.0.2.4", "curl", 1, 5), client("192.0.2.2", "sdk", 2, 4)]);
    assert_eq!(all.truncated_at, None);
    let cut = seen(0, 2).await;
    assert_eq!(cut.seen, [client("192.0.2.4", "curl", 1, 5), client("192.0.2.2", "sdk", 1, 4)]);
    assert_eq!(cut.truncated_at, Some(at(3)), "what is older was not looked at");
    assert_eq!(db.children_last_used(&one.key).await.unwrap(), None);
}
