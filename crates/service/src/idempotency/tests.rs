use claviger_domain::{
    audit::{Actor, Digest},
    ports::idempotency::Reservation,
};

use super::*;
use crate::{Caller, Settings, fake::House, keys::NewKey};

fn caller(request_id: &str) -> Caller {
    Caller {
        actor: Actor::Local { uid: 1, pid: 1 },
        request_id: request_id.to_owned(),
        idempotency_key: Some("k".to_owned()),
        ..Caller::system()
    }
}

fn wanted(house: &House, request_id: &str, asked: u8) -> Reservation {
    Reservation {
        principal: "local".to_owned(),
        key: "k".to_owned(),
        request: Digest([asked; 32]),
        request_id: request_id.to_owned(),
        at: house.clock.now(),
    }
}

async fn begin(house: &House, request_id: &str, asked: u8) -> Begun {
    house.services.idempotency.begin(wanted(house, request_id, asked)).await.unwrap()
}

async fn run(house: &House, request_id: &str) -> Running {
    match begin(house, request_id, 1).await {
        Begun::Run(running) => running,
        Begun::Answered { .. } | Begun::Done { .. } | Begun::UnderWay | Begun::OtherRequest => {
            panic!("{request_id} was not begun")
        }
    }
}

async fn make(house: &House, request_id: &str) -> Result<String, ServiceError> {
    let new = NewKey { name: "app".to_owned(), ..NewKey::default() };
    house.services.keys.create(new, &caller(request_id)).await.map(|(key, ..)| key.id.to_string())
}

#[tokio::test]
async fn a_repetition_gets_the_answer_and_nothing_is_made_again() {
    let house = House::new().await;
    run(&house, "req_1").await.done(201, Some(b"{}")).await.unwrap();
    let again = begin(&house, "req_2", 1).await;
    assert!(matches!(again, Begun::Answered { status: 201, body } if body == b"{}"));
}

#[tokio::test]
async fn the_same_key_on_another_request_is_a_mistake() {
    let house = House::new().await;
    run(&house, "req_1").await.done(201, Some(b"{}")).await.unwrap();
    assert!(matches!(begin(&house, "req_2", 2).await, Begun::OtherRequest));
}

#[tokio::test]
async fn a_repetition_during_the_first_is_told_to_wait() {
    let house = House::new().await;
    let _running = run(&house, "req_1").await;
    assert!(matches!(begin(&house, "req_2", 1).await, Begun::UnderWay));
}

#[tokio::test]
async fn after_a_crash_past_the_commit_a_repetition_is_told_what_was_made() {
    let house = House::new().await;
    let running = run(&house, "req_1").await;
    let made = make(&house, "req_1").await.unwrap();
    drop(running);
    let reborn = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    let keys = lock(&house.store.state).keys.len();
    assert!(matches!(begin(&reborn, "req_2", 1).await, Begun::Done { made: Some(id) } if id == made));
    assert_eq!(lock(&house.store.state).keys.len(), keys);
}

#[tokio::test]
async fn after_a_crash_before_the_commit_a_repetition_is_carried_out_and_the_first_can_make_nothing_more() {
    let house = House::new().await;
    drop(run(&house, "req_1").await);
    let _second = run(&house, "req_2").await;
    let late = make(&house, "req_1").await;
    assert!(matches!(late, Err(ServiceError::Conflict { .. })), "{late:?}");
    assert!(make(&house, "req_2").await.is_ok());
}

#[tokio::test]
async fn a_secret_is_not_kept_but_what_was_made_is() {
    let house = House::new().await;
    let running = run(&house, "req_1").await;
    let made = make(&house, "req_1").await.unwrap();
    running.done(201, None).await.unwrap();
    assert!(matches!(begin(&house, "req_2", 1).await, Begun::Done { made: Some(id) } if id == made));
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_one_that_made_something_may_not() {
    let house = House::new().await;
    run(&house, "req_1").await.failed().await.unwrap();
    let running = run(&house, "req_2").await;
    make(&house, "req_2").await.unwrap();
    running.failed().await.unwrap();
    assert!(matches!(begin(&house, "req_3", 1).await, Begun::Done { made: Some(_) }));
}

#[tokio::test]
async fn after_a_day_the_key_is_free_again() {
    let house = House::new().await;
    run(&house, "req_1").await.done(201, Some(b"{}")).await.unwrap();
    house.clock.advance(std::time::Duration::from_secs(24 * 3_600 + 1));
    run(&house, "req_2").await;
}
