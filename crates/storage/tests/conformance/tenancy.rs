//! Whose is what at the provider.

use claviger_domain::{
    ledger::Group,
    ports::LedgerStore,
    tenancy::{Resource, ResourceKind},
};

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at},
};

on_both!(
    no_workspace_sees_what_another_made,
    an_id_stays_with_whoever_made_it_first,
    batches_wait_until_they_are_billed,
);

fn ids(resources: &[Resource]) -> Vec<&str> {
    resources.iter().map(|r| r.id.as_str()).collect()
}

async fn no_workspace_sees_what_another_made(place: Place) {
    let (db, s) = (place.open().await, Samples::new(40));
    let (a, b) = (s.party(), s.party());
    let mut c = Committer::open(&db, s.node()).await;
    let resources = (0..10)
        .map(|n| {
            let party = if n % 2 == 0 { &a } else { &b };
            s.resource(&format!("msgbatch_{n}"), ResourceKind::Batch, party, at(n / 4))
        })
        .chain([s.resource("file_1", ResourceKind::File, &a, at(0))])
        .collect();
    let group = Group { resources, ..c.group(at(1)) };
    c.commit(&db, &group).await;
    let page = |before: Option<&'static str>| {
        let (db, workspace) = (&db, &a.workspace);
        async move { db.resources(workspace, ResourceKind::Batch, before, 3).await.unwrap() }
    };
    assert_eq!(ids(&page(None).await), ["msgbatch_8", "msgbatch_6", "msgbatch_4"]);
    assert_eq!(ids(&page(Some("msgbatch_4")).await), ["msgbatch_2", "msgbatch_0"]);
    assert_eq!(ids(&page(Some("msgbatch_3")).await), Vec::<&str>::new());
    assert_eq!(ids(&page(Some("file_1")).await), Vec::<&str>::new());
    assert_eq!(db.resource("msgbatch_3").await.unwrap().unwrap().workspace, b.workspace);
    assert_eq!(db.resource("msgbatch_99").await.unwrap(), None);
}

async fn an_id_stays_with_whoever_made_it_first(place: Place) {
    let (db, s) = (place.open().await, Samples::new(41));
    let (a, b) = (s.party(), s.party());
    let mut c = Committer::open(&db, s.node()).await;
    let first = s.resource("file_1", ResourceKind::File, &a, at(1));
    let second = s.resource("file_1", ResourceKind::File, &b, at(2));
    for resource in [first.clone(), second] {
        let group = Group { resources: vec![resource], ..c.group(at(1)) };
        c.commit(&db, &group).await;
    }
    assert_eq!(db.resource("file_1").await.unwrap(), Some(first));
}

async fn batches_wait_until_they_are_billed(place: Place) {
    let (db, s) = (place.open().await, Samples::new(42));
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    let resources =
        (0..3).map(|n| s.resource(&format!("b{n}"), ResourceKind::Batch, &party, at(n))).collect();
    let group = Group { resources, ..c.group(at(1)) };
    c.commit(&db, &group).await;
    assert_eq!(ids(&db.unbilled_batches(2).await.unwrap()), ["b0", "b1"]);
    db.batch_billed("b0", at(9)).await.unwrap();
    assert_eq!(ids(&db.unbilled_batches(9).await.unwrap()), ["b1", "b2"]);
}
