//! Notices: raised with what they speak of or not at all, said once, one delivery a channel.

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    id::{ChannelId, NoticeId, ReportId, WorkspaceId},
    notice::{
        About, Notice, NoticeRecord, Severity,
        channel::{ChannelRecord, ChannelTarget, WebhookTarget},
        delivery::{DeliveryError, DeliveryState},
    },
    ports::{
        Change, Store, StoreError,
        notices::{NoticeFilter, NoticeStore, ReportRecord},
    },
    upstream::ServiceState,
};
use claviger_storage::Database;
use tokio::task::JoinSet;

use crate::{
    place::{Place, on_both},
    samples::{Samples, at, event, put},
};

on_both!(
    a_notice_is_raised_with_its_change_or_not_at_all,
    a_notice_that_must_not_be_said_twice_is_said_once,
    a_notice_goes_to_the_channels_that_it_concerns,
    one_worker_takes_a_delivery,
    what_is_due_comes_in_order_and_what_is_dead_waits_for_nobody,
    channels_have_their_name_for_themselves_and_may_give_it_back,
    notices_are_listed_newest_first,
    reports_are_kept,
);

fn channel(name: &str, min_severity: Severity, workspace: Option<WorkspaceId>) -> ChannelRecord {
    ChannelRecord {
        id: ChannelId::parse(&format!("chn_{name}")).unwrap(),
        name: name.to_owned(),
        target: ChannelTarget::Webhook(WebhookTarget {
            url: "https://hooks.example/".to_owned(),
            allow_private: false,
        }),
        sealed: vec![1, 2, 3],
        min_severity,
        workspace,
        state: ServiceState::Active,
        created_at: at(1),
        version: 1,
    }
}

fn add(name: &str) -> Change {
    Change::InsertChannel(Box::new(channel(name, Severity::Info, None)))
}

fn trial(n: u32, raised_at: Timestamp) -> NoticeRecord {
    let id = NoticeId::parse(&format!("ntc_{n}")).unwrap();
    NoticeRecord::new(id, About::everyone(), Notice::Trial { channel: "ops".to_owned() }, raised_at)
}

fn expiring(n: u32, workspace: Option<WorkspaceId>, days: u32) -> NoticeRecord {
    let id = NoticeId::parse(&format!("ntc_{n}")).unwrap();
    let about = About { workspace, ..About::default() };
    let notice = Notice::KeyExpiring { name: "ci".to_owned(), expires_at: at(900), days };
    NoticeRecord::new(id, about, notice, at(100))
}

fn raise(notice: &NoticeRecord) -> Change {
    Change::RaiseNotice(Box::new(notice.clone()))
}

async fn all(db: &Database) -> Vec<NoticeRecord> {
    db.notices(&NoticeFilter { limit: 100, ..NoticeFilter::default() }).await.unwrap()
}

async fn a_notice_is_raised_with_its_change_or_not_at_all(place: Place) {
    let (db, s) = (place.open().await, Samples::new(70));
    let (notice, stale) = (trial(1, at(5)), s.workspace("nowhere"));
    let changes = vec![add("ops"), raise(&notice), Change::UpdateWorkspace(stale)];
    let refused = db.apply(changes, event("test")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }));
    assert_eq!((all(&db).await.len(), db.channels().await.unwrap().len()), (0, 0));
    put(&db, vec![add("ops"), raise(&notice)]).await;
    assert_eq!(db.notice(&notice.id).await.unwrap(), Some(notice));
}

async fn a_notice_that_must_not_be_said_twice_is_said_once(place: Place) {
    let db = Arc::new(place.open().await);
    put(&db, vec![add("ops")]).await;
    let mut writers = JoinSet::new();
    for n in 0..8 {
        let db = Arc::clone(&db);
        writers.spawn(async move { put(&db, vec![raise(&expiring(n, None, 14))]).await });
    }
    writers.join_all().await;
    assert_eq!(all(&db).await.len(), 1);
    assert_eq!(
        db.due_deliveries(&channel("ops", Severity::Info, None).id, at(200), 9).await.unwrap().len(),
        1
    );
    put(&db, vec![raise(&expiring(9, None, 7))]).await;
    assert_eq!(all(&db).await.len(), 2);
}

async fn a_notice_goes_to_the_channels_that_it_concerns(place: Place) {
    let (db, s) = (place.open().await, Samples::new(71));
    let (a, b) = (s.workspace("a"), s.workspace("b"));
    let changes = vec![
        Change::InsertWorkspace(a.clone()),
        Change::InsertWorkspace(b.clone()),
        add("all"),
        Change::InsertChannel(Box::new(channel("grave", Severity::Critical, None))),
        Change::InsertChannel(Box::new(channel("a", Severity::Info, Some(a.id.clone())))),
        Change::InsertChannel(Box::new(channel("b", Severity::Info, Some(b.id)))),
    ];
    put(&db, changes).await;
    let notice = expiring(1, Some(a.id), 3);
    put(&db, vec![raise(&notice), raise(&trial(2, at(100)))]).await;
    let names = |deliveries: Vec<_>| {
        deliveries
            .into_iter()
            .map(|d: claviger_domain::notice::delivery::DeliveryRecord| d.channel.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(db.deliveries(&notice.id).await.unwrap()), ["chn_a", "chn_all"]);
    assert_eq!(names(db.deliveries(&NoticeId::parse("ntc_2").unwrap()).await.unwrap()), ["chn_all"]);
}

async fn one_worker_takes_a_delivery(place: Place) {
    let db = Arc::new(place.open().await);
    put(&db, vec![add("ops"), raise(&trial(1, at(5)))]).await;
    let channels = db.due_channels(at(5)).await.unwrap();
    assert_eq!(channels.len(), 1);
    let seen = db.due_deliveries(&channels[0], at(5), 9).await.unwrap().remove(0);
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let (db, taken) = (Arc::clone(&db), seen.taken(at(65)));
        workers.spawn(async move { db.put_delivery(&taken).await.is_ok() });
    }
    assert_eq!(workers.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert!(db.due_channels(at(64)).await.unwrap().is_empty());
    assert_eq!(db.due_deliveries(&channels[0], at(65), 9).await.unwrap()[0].attempts, 1);
}

async fn what_is_due_comes_in_order_and_what_is_dead_waits_for_nobody(place: Place) {
    let db = place.open().await;
    put(&db, vec![add("ops"), raise(&trial(1, at(7))), raise(&trial(2, at(5))), raise(&trial(3, at(9)))])
        .await;
    let ops = db.due_channels(at(9)).await.unwrap().remove(0);
    let due = db.due_deliveries(&ops, at(8), 9).await.unwrap();
    let order: Vec<&str> = due.iter().map(|d| d.notice.as_str()).collect();
    assert_eq!(order, ["ntc_2", "ntc_1"]);
    let dead = due[0].after(Err(DeliveryError::Permanent("410".to_owned())), at(8), 0);
    db.put_delivery(&dead).await.unwrap();
    assert_eq!(db.due_deliveries(&ops, at(8), 9).await.unwrap().len(), 1);
    let filter = NoticeFilter { state: Some(DeliveryState::Dead), limit: 9, ..NoticeFilter::default() };
    let listed = db.notices(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["ntc_2"]);
    let stored = db.deliveries(&listed[0].id).await.unwrap().remove(0);
    assert_eq!((stored.last_error.as_str(), stored.done_at), ("410", Some(at(8))));
    put(&db, vec![Change::UpdateDelivery(stored.again(at(10)))]).await;
    assert_eq!(db.due_deliveries(&ops, at(10), 9).await.unwrap().len(), 3);
    // What waits is not forgotten, whatever its age.
    assert_eq!(db.forget_notices(at(100)).await.unwrap(), 0);
}

async fn channels_have_their_name_for_themselves_and_may_give_it_back(place: Place) {
    let db = place.open().await;
    put(&db, vec![add("ops"), raise(&trial(1, at(5)))]).await;
    let mut second = channel("other", Severity::Info, None);
    second.name = "ops".to_owned();
    let insert = || vec![Change::InsertChannel(Box::new(second.clone()))];
    let taken = db.apply(insert(), event("test")).await.unwrap_err();
    assert_eq!(taken, StoreError::Conflict { what: "channel name" });
    let first = db.channels().await.unwrap().remove(0);
    let removed = ChannelRecord { state: ServiceState::Removed, ..first.clone() };
    put(&db, vec![Change::UpdateChannel(Box::new(removed.clone()))]).await;
    assert!(db.due_channels(at(9)).await.unwrap().is_empty(), "nothing waits for a channel that is gone");
    let stale = db.apply(vec![Change::UpdateChannel(Box::new(removed))], event("test")).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    put(&db, insert()).await;
    assert_eq!(db.channels().await.unwrap()[1], second);
}

async fn notices_are_listed_newest_first(place: Place) {
    let db = place.open().await;
    put(&db, (0..7).map(|n| raise(&trial(n, at(i64::from(n / 2))))).collect()).await;
    let page = |before: Option<NoticeId>| {
        let filter = NoticeFilter { before, limit: 3, ..NoticeFilter::default() };
        let db = &db;
        async move { db.notices(&filter).await.unwrap().into_iter().map(|n| n.id).collect::<Vec<_>>() }
    };
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let ids = page(before.clone()).await;
        before = ids.last().cloned();
        if before.is_none() {
            break;
        }
        seen.extend(ids.iter().map(ToString::to_string));
    }
    assert_eq!(seen, ["ntc_6", "ntc_5", "ntc_4", "ntc_3", "ntc_2", "ntc_1", "ntc_0"]);
    assert_eq!(db.forget_notices(at(2)).await.unwrap(), 4);
    assert_eq!(all(&db).await.len(), 3);
}

async fn reports_are_kept(place: Place) {
    let db = place.open().await;
    let report = |n: i64| ReportRecord {
        id: ReportId::parse(&format!("rpt_{n}")).unwrap(),
        from: at(n),
        until: at(n + 7),
        made_at: at(n + 8),
        markdown: "# Report".to_owned(),
        html: "<h1>Report</h1>".to_owned(),
        json: "{}".to_owned(),
    };
    assert_eq!(db.report(None).await.unwrap(), None);
    put(&db, vec![Change::InsertReport(Box::new(report(1))), Change::InsertReport(Box::new(report(2)))])
        .await;
    assert_eq!(db.report(None).await.unwrap(), Some(report(2)));
    assert_eq!(db.report(Some(&report(1).id)).await.unwrap(), Some(report(1)));
}
