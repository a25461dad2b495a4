use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::vectors;
use crate::limiter::{Limiter, Limits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    per_second: Option<f64>,
    burst: Option<u32>,
    concurrency: Option<usize>,
    max_wait_ms: Option<u64>,
    arrivals: Vec<Arrival>,
    starts_ms: Vec<Option<u128>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrival {
    at_ms: u64,
    takes_ms: u64,
}

#[tokio::test(start_paused = true)]
async fn calls_start_as_the_vectors_say() {
    let file: File = vectors("limiter.json");
    for case in &file.cases {
        let limiter = Limiter::new(Limits {
            concurrency: case.concurrency,
            per_second: case.per_second,
            burst: case.burst.unwrap_or(1),
            max_wait: case.max_wait_ms.map(Duration::from_millis),
            ..Limits::default()
        });
        let began = Instant::now();
        let calls = case.arrivals.iter().map(|arrival| async {
            sleep_until(began + Duration::from_millis(arrival.at_ms)).await;
            let turn = limiter.turn().await.ok()?;
            let at = began.elapsed().as_millis();
            sleep(Duration::from_millis(arrival.takes_ms)).await;
            drop(turn);
            Some(at)
        });
        assert_eq!(join_all(calls).await, case.starts_ms, "{}", case.name);
    }
}
