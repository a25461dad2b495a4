//! Issuers, rules of trust, and tokens that buy once.

use std::{collections::BTreeMap, sync::Arc};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    id::{IssuerId, TrustId},
    jose::Algorithm,
    ports::{
        Change, Store, StoreError,
        workload::{AssertionUse, WorkloadStore},
    },
    workload::{
        claims::Pattern,
        issuer::{IssuerRecord, KeySource, Platform},
        rule::{TrustRecord, TrustSource, TrustTerms},
    },
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Samples, at},
};

on_both!(issuers_and_rules_read_back_and_go_by_version, a_token_is_used_once_however_many_show_it_at_once,);

async fn apply(db: &Database, changes: Vec<Change>) -> Result<(), StoreError> {
    db.apply(changes, AuditEvent::new(at(1), Actor::System, "test", "")).await.map(drop)
}

fn issuer() -> IssuerRecord {
    IssuerRecord {
        id: IssuerId::parse("iss_1").unwrap(),
        name: "github".to_owned(),
        issuer: "https://issuer.example".to_owned(),
        platform: Platform::Github,
        algorithms: vec![Algorithm::Rs256, Algorithm::EdDsa],
        keys: KeySource::Url { url: "https://issuer.example/k".to_owned(), private_network: true },
        created_at: at(2),
        version: 1,
    }
}

async fn issuers_and_rules_read_back_and_go_by_version(place: Place) {
    let db = place.open().await;
    let samples = Samples::new(1);
    let (owner, workspace) = (samples.owner("ann"), samples.workspace("team"));
    let key = samples.key(&owner, &workspace);
    let issuer = issuer();
    let claims = BTreeMap::from([("repository".to_owned(), Pattern::parse("acme/*").unwrap())]);
    let source = TrustSource::Token { issuer: issuer.id.clone(), audience: "gw".to_owned() };
    let pins = BTreeMap::from([("repository_owner_id".to_owned(), None)]);
    let rule = TrustRecord {
        id: TrustId::parse("tru_1").unwrap(),
        name: "ci".to_owned(),
        terms: TrustTerms { source, claims, pins, ttl_secs: 600, most_live: 7 },
        key: key.id.clone(),
        workspace: workspace.id.clone(),
        created_at: at(3),
        version: 1,
    };
    let first = vec![
        Change::InsertOwner(owner),
        Change::InsertWorkspace(workspace),
        Change::InsertKey(Box::new(key)),
        Change::InsertIssuer(Box::new(issuer.clone())),
        Change::InsertTrust(Box::new(rule.clone())),
    ];
    apply(&db, first).await.unwrap();
    assert_eq!(db.issuers().await.unwrap(), std::slice::from_ref(&issuer));
    assert_eq!(db.trust_rules().await.unwrap(), std::slice::from_ref(&rule));

    let again =
        IssuerRecord { id: IssuerId::parse("iss_2").unwrap(), name: "other".to_owned(), ..issuer.clone() };
    let taken = apply(&db, vec![Change::InsertIssuer(Box::new(again))]).await.unwrap_err();
    assert_eq!(taken, StoreError::Conflict { what: "issuer" });
    let twin = TrustRecord { id: TrustId::parse("tru_2").unwrap(), ..rule.clone() };
    let taken = apply(&db, vec![Change::InsertTrust(Box::new(twin))]).await.unwrap_err();
    assert_eq!(taken, StoreError::Conflict { what: "rule of trust" });

    let pinned = rule.pinned(BTreeMap::from([("repository_owner_id".to_owned(), "7".to_owned())]));
    apply(&db, vec![Change::UpdateTrust(Box::new(pinned.clone()))]).await.unwrap();
    let kept = db.trust_rules().await.unwrap().remove(0);
    assert_eq!(kept, TrustRecord { version: 2, ..pinned.clone() });
    let stale = apply(&db, vec![Change::UpdateTrust(Box::new(pinned))]).await.unwrap_err();
    assert_eq!(stale, StoreError::Conflict { what: "rule of trust" });

    let stale = apply(&db, vec![Change::DropTrust(rule.id.clone(), 1)]).await.unwrap_err();
    assert_eq!(stale, StoreError::Conflict { what: "rule of trust" });
    apply(&db, vec![Change::DropTrust(rule.id, 2), Change::DropIssuer(issuer.id, 1)]).await.unwrap();
    assert!(db.trust_rules().await.unwrap().is_empty() && db.issuers().await.unwrap().is_empty());
}

async fn a_token_is_used_once_however_many_show_it_at_once(place: Place) {
    let db = Arc::new(place.open().await);
    let used = |mark: u8, until: i64, now: i64| {
        Change::UseAssertion(AssertionUse { mark: [mark; 32], until: at(until), now: at(now) })
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (db, change) = (Arc::clone(&db), used(1, 100, 50));
        tasks.spawn(async move {
            loop {
                match apply(&db, vec![change.clone()]).await {
                    Err(StoreError::Unavailable(_)) => {}
                    done => return done,
                }
            }
        });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
    assert!(
        done.iter().all(|d| matches!(d, Ok(()) | Err(StoreError::Conflict { what: "token" }))),
        "{done:?}"
    );
    // It is remembered to its last moment, and then forgotten.
    assert!(apply(&db, vec![used(1, 200, 100)]).await.is_err());
    apply(&db, vec![used(1, 200, 101)]).await.unwrap();
    apply(&db, vec![used(2, 200, 101)]).await.unwrap();
}
