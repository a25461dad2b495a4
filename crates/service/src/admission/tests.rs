use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::{
    Caller,
    fake::House,
    keys::{LimitsPatch, NewKey},
};

async fn with_limits(limits: LimitsPatch) -> (House, Arc<LiveGrant>) {
    let house = House::new().await;
    let new = NewKey { name: "k".to_owned(), limits, ..NewKey::default() };
    let (_, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
    let live = house.services.grants.verify(&token).await.unwrap();
    (house, live)
}

fn one_at_a_time() -> LimitsPatch {
    LimitsPatch { concurrency: Some(Some(1)), rpm: Some(None), rpd: Some(None), ..LimitsPatch::default() }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_admitted_in_the_order_of_arrival() {
    let (house, live) = with_limits(one_at_a_time()).await;
    let admission = house.services.admission.clone();
    let first = admission.admit_wait(&live, Bucket::Work).await.unwrap();
    let mut second = Box::pin(admission.admit_wait(&live, Bucket::Work));
    let mut third = Box::pin(admission.admit_wait(&live, Bucket::Look));
    assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
    drop(first);
    let overtaking = admission.admit(&live, Bucket::Work, house.clock.now()).unwrap_err();
    assert_eq!(overtaking.headroom.kind, LimitKind::Concurrency, "nobody overtakes those who wait");
    assert!((&mut third).now_or_never().is_none());
    let second = (&mut second).now_or_never().unwrap().unwrap();
    assert_eq!(live.runtime.in_flight(), 1);
    drop(second);
    let third = (&mut third).now_or_never().unwrap().unwrap();
    drop(third);
    assert_eq!(live.runtime.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_ends_after_two_seconds() {
    let (house, live) = with_limits(one_at_a_time()).await;
    let admission = &house.services.admission;
    let _first = admission.admit(&live, Bucket::Work, house.clock.now()).unwrap();
    let begun = Instant::now();
    let refused = admission.admit_wait(&live, Bucket::Work).await.unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::Concurrency);
    assert_eq!(refused.retry_at, Some(house.clock.now().plus_micros(1_000_000)), "calls end all the time");
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert_eq!(live.runtime.subject().waiting().load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_64_requests_of_one_key_wait() {
    let (house, live) = with_limits(one_at_a_time()).await;
    let admission = house.services.admission.clone();
    let first = admission.admit(&live, Bucket::Work, house.clock.now()).unwrap();
    let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(admission.admit_wait(&live, Bucket::Work))).collect();
    for one in &mut waiting {
        assert!(one.as_mut().now_or_never().is_none());
    }
    assert!(admission.admit_wait(&live, Bucket::Work).now_or_never().unwrap().is_err());
    waiting.pop();
    assert!(
        admission.admit_wait(&live, Bucket::Work).now_or_never().is_none(),
        "a place in the queue is free"
    );
    drop(first);
    for one in waiting {
        drop(one.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_away_passes_its_place_on() {
    let (house, live) = with_limits(one_at_a_time()).await;
    let admission = house.services.admission.clone();
    let first = admission.admit(&live, Bucket::Work, house.clock.now()).unwrap();
    let mut second = Box::pin(admission.admit_wait(&live, Bucket::Work));
    let mut third = Box::pin(admission.admit_wait(&live, Bucket::Work));
    assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
    drop(first);
    drop(second);
    assert!(third.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_spent_is_not_waited_for_and_takes_nothing() {
    let limits = LimitsPatch { rps: Some(Some(1)), ..one_at_a_time() };
    let (house, live) = with_limits(limits).await;
    let admission = &house.services.admission;
    let now = house.clock.now();
    while let Ok(admitted) = admission.admit(&live, Bucket::Work, now) {
        drop(admitted);
    }
    let refused = admission.admit_wait(&live, Bucket::Work).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::RequestsPerSecond);
    assert_eq!(live.runtime.in_flight(), 0);
}

mod shared;
mod tokens;
