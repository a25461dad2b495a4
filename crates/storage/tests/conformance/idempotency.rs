//! Requests with an `Idempotency-Key`: what is done is marked in its own transaction, or not done.

use claviger_domain::{
    audit::{AuditEvent, Digest},
    ports::{
        Change, Store, StoreError,
        idempotency::{DETAIL, IdempotencyStore, KeptAnswer, Known, Reservation},
    },
};

use crate::{
    place::{Place, on_both},
    samples::{Samples, at, event},
};

on_both!(
    a_row_is_reserved_once_and_keeps_its_answer,
    what_is_made_is_marked_with_it,
    a_row_that_was_taken_over_lets_its_first_request_make_nothing,
    old_rows_are_forgotten,
);

fn wanted(request_id: &str, secs: i64) -> Reservation {
    Reservation {
        principal: "local:1000".to_owned(),
        key: "k".to_owned(),
        request: Digest([7; 32]),
        request_id: request_id.to_owned(),
        at: at(secs),
    }
}

fn begun(request_id: &str) -> AuditEvent {
    let mut event = event("test.make").with(DETAIL, "k");
    event.request_id = request_id.to_owned();
    event
}

async fn a_row_is_reserved_once_and_keeps_its_answer(place: Place) {
    let db = place.open().await;
    assert_eq!(db.reserve(&wanted("req_1", 0)).await.unwrap(), None);
    let mut known = Known {
        request: Digest([7; 32]),
        request_id: "req_1".to_owned(),
        at: at(0),
        made: None,
        answer: None,
    };
    assert_eq!(db.reserve(&wanted("req_2", 1)).await.unwrap(), Some(known.clone()));
    for sealed in [Some(b"sealed".to_vec()), None] {
        let answer = KeptAnswer { status: 201, sealed };
        db.keep_answer("req_1", &answer).await.unwrap();
        known.answer = Some(answer);
        assert_eq!(db.reserve(&wanted("req_2", 1)).await.unwrap(), Some(known.clone()));
    }
    let other = Reservation { principal: "local:0".to_owned(), ..wanted("req_3", 1) };
    assert_eq!(db.reserve(&other).await.unwrap(), None);
}

async fn what_is_made_is_marked_with_it(place: Place) {
    let (db, s) = (place.open().await, Samples::new(1));
    db.reserve(&wanted("req_1", 0)).await.unwrap();
    db.apply(vec![Change::InsertOwner(s.owner("ada"))], begun("req_1")).await.unwrap();
    let mut second = begun("req_1");
    second.target = "other".to_owned();
    db.apply(vec![Change::InsertOwner(s.owner("bob"))], second).await.unwrap();
    db.release("req_1").await.unwrap();
    let known = db.reserve(&wanted("req_2", 1)).await.unwrap().unwrap();
    assert_eq!(known.made.as_deref(), Some("target"));
    assert!(!db.take_over("req_1", &wanted("req_2", 1)).await.unwrap());
}

async fn a_row_that_was_taken_over_lets_its_first_request_make_nothing(place: Place) {
    let (db, s) = (place.open().await, Samples::new(1));
    db.reserve(&wanted("req_1", 0)).await.unwrap();
    assert!(db.take_over("req_1", &wanted("req_2", 1)).await.unwrap());
    assert!(!db.take_over("req_1", &wanted("req_3", 1)).await.unwrap());
    let late = db.apply(vec![Change::InsertOwner(s.owner("ada"))], begun("req_1")).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(db.owners().await.unwrap(), []);
    db.apply(vec![Change::InsertOwner(s.owner("ada"))], begun("req_2")).await.unwrap();
}

async fn old_rows_are_forgotten(place: Place) {
    let db = place.open().await;
    for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
        let secs = i64::try_from(n).unwrap();
        let row = Reservation { key: key.to_owned(), ..wanted(&format!("req_{n}"), secs) };
        assert_eq!(db.reserve(&row).await.unwrap(), None);
    }
    assert_eq!(db.forget_requests(at(2), 1).await.unwrap(), 1);
    assert_eq!(db.forget_requests(at(2), 10).await.unwrap(), 1);
    assert!(db.reserve(&Reservation { key: "c".to_owned(), ..wanted("req_9", 9) }).await.unwrap().is_some());
    db.release("req_2").await.unwrap();
    assert_eq!(db.reserve(&Reservation { key: "c".to_owned(), ..wanted("req_9", 9) }).await.unwrap(), None);
}
