//! Every bound of the pool, and what happens when it is reached.

use std::time::Duration;

use claviger_upstream::{PoolLimits, UpstreamClient, UpstreamError};
use http::Request;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::fixture::{Body, Server, call, full, get, limited, ok, open};

/// A server that answers when a permit is given to its gate.
async fn gated() -> (Server, &'static Semaphore) {
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let server = Server::http(move |_| async move {
        gate.acquire().await.expect("open").forget();
        ok(full("done"))
    })
    .await;
    (server, gate)
}

fn one_connection(max_waiting: usize, wait_timeout: Duration) -> UpstreamClient<Body> {
    limited(PoolLimits { max_connections: 1, max_waiting, wait_timeout, ..PoolLimits::default() })
}

#[tokio::test]
async fn requests_beyond_the_connections_wait_and_those_beyond_the_queue_are_refused() {
    let (server, gate) = gated().await;
    let client = one_connection(1, Duration::from_secs(10));
    let target = server.target();
    let served = async { (call(&client, &target, get("/")).await, call(&client, &target, get("/")).await) };
    let waiting = async { call(&client, &target, get("/")).await };
    let refused = async {
        let error = open(&client, &target, get("/")).await.expect_err("queue is full");
        assert!(matches!(error, UpstreamError::PoolFull { open: 1, waiting: 1 }), "{error}");
        assert!(!error.sent() && !error.transient());
        gate.add_permits(3);
    };
    let ((a, b), c, ()) = tokio::join!(served, waiting, refused);
    assert!(a == "done" && b == "done" && c == "done");
    assert_eq!((server.connections(), client.connections()), (1, (1, 1)));
}

#[tokio::test]
async fn waiting_for_a_connection_has_an_end() {
    let (server, gate) = gated().await;
    let client = one_connection(8, Duration::from_millis(20));
    let target = server.target();
    let late = async {
        let error = open(&client, &target, get("/")).await.expect_err("no connection");
        assert!(matches!(error, UpstreamError::PoolFull { open: 1, .. }), "{error}");
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(call(&client, &target, get("/")), late);
    assert_eq!(answer, "done");
    // The one that left the queue took no place with it.
    gate.add_permits(1);
    assert_eq!(call(&client, &target, get("/")).await, "done");
}

#[tokio::test]
async fn a_request_given_up_makes_room_for_who_waits() {
    let server = Server::http(|request: Request<Incoming>| async move {
        if request.uri() == "/never" {
            std::future::pending::<()>().await;
        }
        ok(full("done"))
    })
    .await;
    let client = one_connection(8, Duration::from_secs(10));
    let target = server.target();
    let given_up = async {
        let late = client.send(&target, get("/never"), Duration::from_millis(20)).await;
        late.expect_err("given up");
    };
    let ((), answer) = tokio::join!(given_up, call(&client, &target, get("/")));
    assert_eq!(answer, "done");
    assert_eq!((server.connections(), client.connections()), (2, (1, 1)));
}

#[tokio::test]
async fn an_idle_connection_to_one_host_makes_room_for_another() {
    let a = Server::http(|_| async { ok(full("a")) }).await;
    let b = Server::http(|_| async { ok(full("b")) }).await;
    let client = one_connection(0, Duration::from_secs(10));
    assert_eq!(call(&client, &a.target(), get("/")).await, "a");
    assert_eq!(call(&client, &b.target(), get("/")).await, "b");
    assert_eq!(client.connections(), (1, 1));
    a.all_sessions_ended().await;
}

#[tokio::test]
async fn a_wave_of_idle_connections_is_kept_for_a_moment() {
    let (a, gate) = gated().await;
    let pool = PoolLimits {
        idle_per_host: 1,
        idle_total: 1,
        surplus: Duration::from_millis(200),
        ..PoolLimits::default()
    };
    let client = limited(pool);
    let target = a.target();
    let one = || call(&client, &target, get("/"));
    let release = async {
        while client.connections().0 < 3 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(3);
    };
    tokio::join!(one(), one(), one(), release);
    client.sweep();
    assert_eq!(client.connections(), (3, 3));
    tokio::time::sleep(Duration::from_millis(250)).await;
    client.sweep();
    assert_eq!(client.connections(), (1, 1));
}

#[tokio::test]
async fn idle_connections_are_bounded_per_host_and_in_all() {
    let (a, gate_a) = gated().await;
    let (b, gate_b) = gated().await;
    let pool =
        PoolLimits { idle_per_host: 2, idle_total: 3, surplus: Duration::ZERO, ..PoolLimits::default() };
    let client = limited(pool);
    let burst = async |server: &Server, gate: &Semaphore| {
        let target = server.target();
        let one = || call(&client, &target, get("/"));
        let release = async {
            while client.connections().0 < client.connections().1 + 4 {
                tokio::task::yield_now().await;
            }
            gate.add_permits(4);
        };
        tokio::join!(one(), one(), one(), one(), release);
    };
    burst(&a, gate_a).await;
    assert_eq!(client.connections(), (2, 2));
    burst(&b, gate_b).await;
    assert_eq!(client.connections(), (3, 3));
}
