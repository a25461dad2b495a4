//! Policies, the cap on an owner's keys, certificates.

use std::sync::Arc;

use claviger_domain::{
    audit::{Actor, AuditEvent},
    id::{CertificateId, KeyId},
    key::{KeyRecord, KeyState, Revocation, RevocationReason},
    policy::{Policy, PolicyRecord},
    ports::{
        Applied, Change, Store, StoreError,
        lifecycle::{CertificateFilter, CertificateRecord, LifecycleStore, OwnerCap},
    },
    tenancy::{OwnerRecord, WorkspaceRecord},
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Samples, at},
};

on_both!(
    a_policy_reads_back_and_is_dropped_by_version,
    an_owner_never_has_more_keys_than_allowed_however_many_ask_at_once,
    a_line_of_successors_counts_once_and_children_not_at_all,
    a_revoked_key_waits_for_one_certificate,
    a_revoked_child_waits_for_a_certificate_only_where_it_was_asked_for,
    living_children_are_those_that_work,
);

fn event() -> AuditEvent {
    AuditEvent::new(at(1), Actor::System, "test", "")
}

async fn apply(db: &Database, changes: Vec<Change>) -> Result<Applied, StoreError> {
    db.apply(changes, event()).await
}

async fn home(db: &Database, samples: &Samples) -> (OwnerRecord, WorkspaceRecord) {
    let (owner, workspace) = (samples.owner("ann"), samples.workspace("team"));
    let changes = vec![Change::InsertOwner(owner.clone()), Change::InsertWorkspace(workspace.clone())];
    apply(db, changes).await.unwrap();
    (owner, workspace)
}

/// A key that lives and stands in a line of its own.
fn living(samples: &Samples, owner: &OwnerRecord, workspace: &WorkspaceRecord) -> KeyRecord {
    let key = samples.key(owner, workspace);
    KeyRecord {
        state: KeyState::Active,
        expires_at: None,
        revocation: None,
        rotated_from: None,
        lineage: key.id.clone(),
        parent: None,
        deprecation: None,
        version: 1,
        ..key
    }
}

fn cap(key: &KeyRecord, max_keys: u32) -> Change {
    let (owner, workspace) = (key.owner.clone(), key.workspace.clone());
    Change::HoldOwnerCap(OwnerCap { owner, workspace, max_keys, now: at(10) })
}

fn insert(key: &KeyRecord) -> Change {
    Change::InsertKey(Box::new(key.clone()))
}

async fn a_policy_reads_back_and_is_dropped_by_version(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(1);
    let (_, workspace) = home(&db, &samples).await;
    let policy = Policy { max_keys: 2, revoke_unused_days: None, ..Policy::default() };
    let record =
        PolicyRecord { workspace: Some(workspace.id.clone()), policy, updated_at: at(5), version: 0 };
    let default = PolicyRecord { workspace: None, policy: Policy::default(), updated_at: at(6), version: 0 };
    for new in [&record, &default] {
        apply(&db, vec![Change::PutPolicy(new.clone())]).await.unwrap();
    }
    let again = apply(&db, vec![Change::PutPolicy(record.clone())]).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict { what: "policy" }), "{again}");
    let kept = db.policies().await.unwrap();
    assert_eq!(kept, [PolicyRecord { version: 1, ..default }, PolicyRecord { version: 1, ..record.clone() }]);
    let stale = apply(&db, vec![Change::DropPolicy(record.workspace.clone(), 2)]).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { .. }), "{stale}");
    apply(&db, vec![Change::DropPolicy(record.workspace.clone(), 1)]).await.unwrap();
    assert_eq!(db.policies().await.unwrap().len(), 1);
}

async fn an_owner_never_has_more_keys_than_allowed_however_many_ask_at_once(place: Place) {
    const ALLOWED: u32 = 5;
    let db = Arc::new(place.open().await);
    let samples = Samples::new(2);
    let (owner, workspace) = home(&db, &samples).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (db, key) = (Arc::clone(&db), living(&samples, &owner, &workspace));
        tasks.spawn(async move {
            let change = [insert(&key), cap(&key, ALLOWED)];
            loop {
                // Whoever waits too long for the others may ask again.
                match db.apply(change.to_vec(), event()).await {
                    Err(StoreError::OverCap { has, allowed }) => {
                        assert_eq!((has, allowed), (ALLOWED, ALLOWED));
                        return false;
                    }
                    Err(StoreError::Unavailable(_) | StoreError::Conflict { .. }) => {}
                    done => return done.map(|_| true).unwrap(),
                }
            }
        });
    }
    let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
    let filter = claviger_domain::ports::KeyFilter { limit: 100, ..Default::default() };
    assert_eq!((made, db.keys(&filter).await.unwrap().len()), (5, 5));
}

async fn a_line_of_successors_counts_once_and_children_not_at_all(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(3);
    let (owner, workspace) = home(&db, &samples).await;
    let first = living(&samples, &owner, &workspace);
    let successor = KeyRecord {
        lineage: first.id.clone(),
        rotated_from: Some(first.id.clone()),
        ..living(&samples, &owner, &workspace)
    };
    let child = KeyRecord { parent: Some(first.id.clone()), ..living(&samples, &owner, &workspace) };
    let expired = KeyRecord { expires_at: Some(at(9)), ..living(&samples, &owner, &workspace) };
    for key in [&first, &successor, &child, &expired] {
        apply(&db, vec![insert(key), cap(key, 1)]).await.unwrap();
    }
    let second = living(&samples, &owner, &workspace);
    let refused = apply(&db, vec![insert(&second), cap(&second, 1)]).await.unwrap_err();
    assert_eq!(refused, StoreError::OverCap { has: 1, allowed: 1 });
    assert!(db.key(&second.id).await.unwrap().is_none(), "nothing is left of it");
}

fn revoked(key: &KeyRecord) -> KeyRecord {
    let revocation = Revocation { at: at(20), reason: RevocationReason::UserRequest, immediate: false };
    KeyRecord { state: KeyState::Revoked, revocation: Some(revocation), ..key.clone() }
}

fn certificate(id: &str, key: &KeyId) -> CertificateRecord {
    CertificateRecord {
        id: CertificateId::parse(id).unwrap(),
        key: key.clone(),
        created_at: at(21),
        body: "{}".to_owned(),
    }
}

async fn a_revoked_key_waits_for_one_certificate(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(4);
    let (owner, workspace) = home(&db, &samples).await;
    let key = living(&samples, &owner, &workspace);
    apply(&db, vec![insert(&key)]).await.unwrap();
    assert!(db.uncertified_keys(10).await.unwrap().is_empty());
    let ended = revoked(&key);
    let applied = apply(&db, vec![Change::UpdateKey(Box::new(ended.clone()))]).await.unwrap();
    let waiting = db.uncertified_keys(10).await.unwrap();
    let seen: Vec<_> = waiting.iter().map(|w| (w.key.id.clone(), w.seq, w.audit_number)).collect();
    assert_eq!(seen, [(key.id.clone(), applied.seq, applied.audit_number)]);
    // A second change of a revoked key moves nothing.
    let sharper = KeyRecord { version: 2, ..ended };
    apply(&db, vec![Change::UpdateKey(Box::new(sharper.clone()))]).await.unwrap();
    assert_eq!(db.uncertified_keys(10).await.unwrap()[0].seq, applied.seq);
    let one = certificate("crt_one", &key.id);
    apply(&db, vec![Change::InsertCertificate(Box::new(one.clone()))]).await.unwrap();
    let two = apply(&db, vec![Change::InsertCertificate(Box::new(certificate("crt_two", &key.id)))]).await;
    assert!(matches!(two, Err(StoreError::Conflict { what: "certificate of the key" })), "{two:?}");
    assert_eq!(db.certificate_of(&key.id).await.unwrap(), Some(one.clone()));
    let filter = CertificateFilter { workspace: Some(workspace.id), before: None, limit: 10 };
    let purged = KeyRecord { version: 3, ..sharper };
    apply(&db, vec![Change::UpdateKey(Box::new(purged))]).await.unwrap();
    assert!(db.uncertified_keys(10).await.unwrap().is_empty());
    assert_eq!(db.certificates(&filter).await.unwrap(), [one]);
}

async fn a_revoked_child_waits_for_a_certificate_only_where_it_was_asked_for(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(6);
    let (owner, workspace) = home(&db, &samples).await;
    let parent = living(&samples, &owner, &workspace);
    apply(&db, vec![insert(&parent)]).await.unwrap();
    let mut asked_for = Vec::new();
    for asks in [false, true] {
        let child = KeyRecord { parent: Some(parent.id.clone()), ..living(&samples, &owner, &workspace) };
        apply(&db, vec![insert(&child)]).await.unwrap();
        let mut changes = vec![Change::UpdateKey(Box::new(revoked(&child)))];
        changes.extend(asks.then(|| Change::Certify(child.id.clone())));
        apply(&db, changes).await.unwrap();
        asked_for.extend(asks.then_some(child.id));
    }
    let waiting = db.uncertified_keys(10).await.unwrap();
    assert_eq!(waiting.into_iter().map(|w| w.key.id).collect::<Vec<_>>(), asked_for);
}

async fn living_children_are_those_that_work(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(5);
    let (owner, workspace) = home(&db, &samples).await;
    let parent = living(&samples, &owner, &workspace);
    let child = |expires| KeyRecord {
        parent: Some(parent.id.clone()),
        expires_at: expires,
        ..living(&samples, &owner, &workspace)
    };
    let (alive, expired, dead) = (child(Some(at(99))), child(Some(at(5))), revoked(&child(None)));
    let keys = [&parent, &alive, &expired, &dead];
    apply(&db, keys.into_iter().map(insert).collect()).await.unwrap();
    let found: Vec<_> =
        db.living_children(&parent.id, at(10)).await.unwrap().into_iter().map(|k| k.id).collect();
    assert_eq!(found, [alive.id]);
}
