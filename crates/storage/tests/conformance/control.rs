//! The control plane's records: written whole or not at all, with their audit record.

use claviger_domain::{
    audit::chain::ChainVerifier,
    key::{KeyState, KeyStatus, Revocation, RevocationReason},
    ports::{
        Change, KeyFilter, SealedSecret, Store, StoreError,
        lifecycle::{LifePlace, LifecycleStore},
    },
    upstream::ServiceState,
};

use crate::{
    place::{Place, on_both},
    samples::{Samples, at, event, put},
};

on_both!(
    every_statement_fits_the_schema,
    records_come_back_as_they_were_written,
    a_stale_version_is_a_conflict_and_nothing_is_written,
    a_taken_name_is_a_conflict_that_says_which,
    the_name_of_a_removed_upstream_is_free_again,
    a_grant_says_as_of_when_and_whether_its_workspace_is_archived,
    keys_are_listed_by_creation_in_pages,
    living_keys_are_listed_by_their_end_in_pages,
    keys_that_work_are_counted_as_their_status_says,
    tenants_are_found_by_id_before_name,
    the_control_chain_verifies_and_survives_a_restart,
);

async fn every_statement_fits_the_schema(place: Place) {
    assert_eq!(place.open().await.refused_statements().await, Vec::<String>::new());
}

async fn records_come_back_as_they_were_written(place: Place) {
    let (db, s) = (place.open().await, Samples::new(1));
    let (owner, workspace, upstream) = (s.owner("ada"), s.workspace("prod"), s.upstream("main"));
    let mut key = s.key(&owner, &workspace);
    let credential = s.credential(&upstream, Some(workspace.id.clone()));
    let secret = |version, sealed: &[u8]| SealedSecret {
        name: "pepper".to_owned(),
        version,
        sealed: sealed.to_vec(),
        created_at: at(8),
    };
    let changes = vec![
        Change::InsertOwner(owner.clone()),
        Change::InsertWorkspace(workspace.clone()),
        Change::InsertKey(Box::new(key.clone())),
        Change::InsertUpstream(upstream.clone()),
        Change::InsertCredential(credential.clone()),
        Change::PutSecret(secret(1, b"one")),
        Change::PutSecret(secret(2, b"two")),
    ];
    put(&db, changes).await;
    assert_eq!(db.owners().await.unwrap(), [owner]);
    assert_eq!(db.workspaces().await.unwrap(), [workspace]);
    assert_eq!(db.upstreams().await.unwrap(), [upstream]);
    assert_eq!(db.credentials().await.unwrap(), [credential]);
    put(&db, vec![Change::PutSecret(secret(1, b"rewrapped"))]).await;
    assert_eq!(db.secrets().await.unwrap(), [secret(1, b"rewrapped"), secret(2, b"two")]);
    let stored = db.key(&key.id).await.unwrap().unwrap();
    assert_eq!(shown(&stored), shown(&key));

    key.state = KeyState::Revoked;
    key.revocation = Some(Revocation { at: at(9), reason: RevocationReason::Compromised, immediate: true });
    key.name = "renamed".to_owned();
    key.expires_at = None;
    put(&db, vec![Change::UpdateKey(Box::new(key.clone()))]).await;
    let stored = db.key(&key.id).await.unwrap().unwrap();
    key.version = 2;
    assert_eq!(shown(&stored), shown(&key));
}

/// A key's record in full, its MAC too.
fn shown(key: &claviger_domain::key::KeyRecord) -> String {
    format!("{key:?} {:?}", key.mac.as_bytes())
}

async fn a_stale_version_is_a_conflict_and_nothing_is_written(place: Place) {
    let (db, s) = (place.open().await, Samples::new(2));
    let (owner, workspace) = (s.owner("ada"), s.workspace("prod"));
    put(&db, vec![Change::InsertOwner(owner.clone()), Change::InsertWorkspace(workspace.clone())]).await;
    put(&db, vec![Change::UpdateOwner(owner.clone())]).await;
    let before = (db.audit_head().await.unwrap(), db.feed_after(0, 100).await.unwrap().head);
    let changes = vec![Change::UpdateWorkspace(workspace.clone()), Change::UpdateOwner(owner)];
    let refused = db.apply(changes, event("owner.update")).await;
    assert_eq!(refused, Err(StoreError::Conflict { what: "owner" }));
    assert_eq!(db.workspaces().await.unwrap(), [workspace]);
    assert_eq!((db.audit_head().await.unwrap(), db.feed_after(0, 100).await.unwrap().head), before);
}

async fn a_taken_name_is_a_conflict_that_says_which(place: Place) {
    let (db, s) = (place.open().await, Samples::new(3));
    put(&db, vec![Change::InsertWorkspace(s.workspace("prod"))]).await;
    let taken = db.apply(vec![Change::InsertWorkspace(s.workspace("prod"))], event("workspace.create")).await;
    assert_eq!(taken, Err(StoreError::Conflict { what: "workspace name" }));
    let (owner, nowhere) = (s.owner("ada"), s.workspace("missing"));
    let key = s.key(&owner, &nowhere);
    let changes = vec![Change::InsertOwner(owner), Change::InsertKey(Box::new(key))];
    assert_eq!(db.apply(changes, event("key.create")).await, Err(StoreError::Conflict { what: "key" }));
    assert!(db.owners().await.unwrap().is_empty());
}

async fn the_name_of_a_removed_upstream_is_free_again(place: Place) {
    let (db, s) = (place.open().await, Samples::new(4));
    let mut old = s.upstream("main");
    put(&db, vec![Change::InsertUpstream(old.clone())]).await;
    let taken = db.apply(vec![Change::InsertUpstream(s.upstream("main"))], event("upstream.add")).await;
    assert_eq!(taken, Err(StoreError::Conflict { what: "upstream name" }));
    old.state = ServiceState::Removed;
    put(&db, vec![Change::UpdateUpstream(old), Change::InsertUpstream(s.upstream("main"))]).await;
    assert_eq!(db.upstreams().await.unwrap().len(), 2);
}

async fn a_grant_says_as_of_when_and_whether_its_workspace_is_archived(place: Place) {
    let (db, s) = (place.open().await, Samples::new(5));
    let (owner, mut workspace) = (s.owner("ada"), s.workspace("prod"));
    let key = s.key(&owner, &workspace);
    assert!(matches!(db.key_for_grant(key.public_id).await, Ok((0, None))));
    put(&db, vec![Change::InsertOwner(owner), Change::InsertWorkspace(workspace.clone())]).await;
    put(&db, vec![Change::InsertKey(Box::new(key.clone()))]).await;
    let (seq, found) = db.key_for_grant(key.public_id).await.unwrap();
    let found = found.unwrap();
    assert_eq!((seq, shown(&found.key), found.workspace_archived), (2, shown(&key), false));
    workspace.archived_at = Some(at(10));
    put(&db, vec![Change::UpdateWorkspace(workspace)]).await;
    let (seq, found) = db.key_for_grant(key.public_id).await.unwrap();
    assert_eq!((seq, found.unwrap().workspace_archived), (3, true));
}

async fn keys_are_listed_by_creation_in_pages(place: Place) {
    let (db, s) = (place.open().await, Samples::new(6));
    let (owners, workspaces) = ([s.owner("a"), s.owner("b")], [s.workspace("x"), s.workspace("y")]);
    put(&db, owners.iter().cloned().map(Change::InsertOwner).collect()).await;
    put(&db, workspaces.iter().cloned().map(Change::InsertWorkspace).collect()).await;
    let mut keys = Vec::new();
    for n in 0..9_u8 {
        let mut key = s.key(&owners[usize::from(n % 2)], &workspaces[usize::from(n / 5)]);
        key.created_at = at(i64::from(n / 3));
        keys.push(key.clone());
        put(&db, vec![Change::InsertKey(Box::new(key))]).await;
    }
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let ids =
        |keys: &[claviger_domain::key::KeyRecord]| -> Vec<_> { keys.iter().map(|k| k.id.clone()).collect() };
    let (mut seen, mut filter) = (Vec::new(), KeyFilter { limit: 4, ..KeyFilter::default() });
    loop {
        let page = db.keys(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some(last.id.clone());
        seen.extend(ids(&page));
    }
    assert_eq!(seen, ids(&keys));
    let of = KeyFilter {
        owner: Some(owners[1].id.clone()),
        workspace: Some(workspaces[0].id.clone()),
        after: None,
        limit: 100,
    };
    keys.retain(|k| k.owner == owners[1].id && k.workspace == workspaces[0].id);
    assert_eq!(ids(&db.keys(&of).await.unwrap()), ids(&keys));
}

async fn the_control_chain_verifies_and_survives_a_restart(place: Place) {
    let s = Samples::new(7);
    let db = place.open().await;
    put(&db, vec![Change::InsertOwner(s.owner("a"))]).await;
    let applied = db.apply(Vec::new(), event("auth.refused").with("count", 12)).await.unwrap();
    // Nothing changed, so the feed did not move.
    assert_eq!((applied.seq, applied.audit_number), (1, 2));
    db.close().await;
    let db = place.open().await;
    put(&db, vec![Change::InsertOwner(s.owner("b"))]).await;
    let mut verifier = ChainVerifier::new();
    for record in db.audit_after(0, 100).await.unwrap() {
        verifier.control(&record).unwrap();
    }
    let head = db.audit_head().await.unwrap();
    assert_eq!((head.length, head.head), (3, verifier.head()));
    assert_eq!(db.audit_after(1, 1).await.unwrap()[0].event, event("auth.refused").with("count", 12));
}

async fn living_keys_are_listed_by_their_end_in_pages(place: Place) {
    let (db, s) = (place.open().await, Samples::new(77));
    let (owner, workspace) = (s.owner("ada"), s.workspace("prod"));
    let mut changes = vec![Change::InsertOwner(owner.clone()), Change::InsertWorkspace(workspace.clone())];
    let mut expected = Vec::new();
    for n in 0..9_i64 {
        let mut key = s.key(&owner, &workspace);
        key.parent = None;
        key.expires_at = (n % 3 != 0).then(|| at(1_000 - n / 2));
        key.state = if n == 4 { KeyState::Revoked } else { KeyState::Active };
        if n != 4 {
            expected.push((key.expires_at, key.id.to_string()));
        }
        changes.push(Change::InsertKey(Box::new(key)));
    }
    // Those without an end come last.
    expected.sort_by_key(|(end, id)| (end.is_none(), *end, id.clone()));
    put(&db, changes).await;
    let mut found = Vec::new();
    for mut after in [LifePlace::Ends(at(0), String::new()), LifePlace::Endless(String::new())] {
        loop {
            let page = db.unexpired_keys(&after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            let id = last.id.to_string();
            after = last
                .expires_at
                .map_or(LifePlace::Endless(id.clone()), |end| LifePlace::Ends(end, id.clone()));
            found.extend(page.into_iter().map(|key| (key.expires_at, key.id.to_string())));
        }
    }
    assert_eq!(found, expected);
    let page = db.unexpired_keys(&LifePlace::Ends(at(5_000), String::new()), 10).await.unwrap();
    assert_eq!(page.len(), 0, "what has ended is not read");
}

async fn keys_that_work_are_counted_as_their_status_says(place: Place) {
    let (db, s) = (place.open().await, Samples::new(9));
    let (owner, workspace) = (s.owner("ada"), s.workspace("prod"));
    put(&db, vec![Change::InsertOwner(owner.clone()), Change::InsertWorkspace(workspace.clone())]).await;
    let mut keys = Vec::new();
    for state in [KeyState::Active, KeyState::Suspended, KeyState::Revoked, KeyState::Purged] {
        for (not_before, expires_at) in [(None, None), (Some(at(4)), Some(at(6))), (None, Some(at(5)))] {
            let mut key = s.key(&owner, &workspace);
            (key.state, key.not_before, key.expires_at, key.parent) = (state, not_before, expires_at, None);
            if matches!(state, KeyState::Revoked | KeyState::Purged) {
                let reason = RevocationReason::Rotation;
                key.revocation = Some(Revocation { at: at(3), reason, immediate: false });
            } else if expires_at.is_none() {
                key.deprecation = None;
            }
            put(&db, vec![Change::InsertKey(Box::new(key.clone()))]).await;
            keys.push(key);
        }
    }
    let mut seen = Vec::new();
    for now in [at(3), at(4), at(5), at(6)] {
        let works = |key: &&claviger_domain::key::KeyRecord| {
            matches!(key.status(now), KeyStatus::Active | KeyStatus::Deprecated)
        };
        let expected = keys.iter().filter(works).count() as u64;
        assert_eq!(db.working_keys(now).await.unwrap(), expected);
        seen.push(expected);
    }
    assert_eq!(seen, [2, 3, 2, 1]);
}

async fn tenants_are_found_by_id_before_name(place: Place) {
    let (db, s) = (place.open().await, Samples::new(10));
    assert_eq!((db.first_workspace().await.unwrap(), db.first_owner().await.unwrap()), (None, None));
    let (mut workspace, mut owner) = (s.workspace("prod"), s.owner("ada"));
    // Named as the other's id is.
    let (impostor, twin) = (s.workspace(workspace.id.as_str()), s.owner(owner.id.as_str()));
    put(
        &db,
        vec![
            Change::InsertWorkspace(impostor.clone()),
            Change::InsertWorkspace(workspace.clone()),
            Change::InsertOwner(twin.clone()),
            Change::InsertOwner(owner.clone()),
        ],
    )
    .await;
    for wanted in [workspace.id.as_str(), "prod"] {
        assert_eq!(db.workspace(wanted).await.unwrap().as_ref(), Some(&workspace), "{wanted}");
    }
    for wanted in [owner.id.as_str(), "ada"] {
        assert_eq!(db.owner(wanted).await.unwrap().as_ref(), Some(&owner), "{wanted}");
    }
    assert_eq!((db.workspace("nobody").await.unwrap(), db.owner("nobody").await.unwrap()), (None, None));
    (workspace.archived_at, owner.archived_at) = (Some(at(9)), Some(at(9)));
    put(&db, vec![Change::UpdateWorkspace(workspace), Change::UpdateOwner(owner)]).await;
    assert_eq!(db.first_workspace().await.unwrap(), Some(impostor));
    assert_eq!(db.first_owner().await.unwrap(), Some(twin));
}
