//! Connections are kept, reused, replaced and closed when they should be.

use std::time::Duration;

use bytes::Bytes;
use claviger_upstream::{PoolLimits, UpstreamError};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
};

use crate::fixture::{Body, SOON, Server, call, client, full, get, limited, ok, open, post, read, status};

/// A body fed by hand, sent in chunks.
fn fed() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (feed, mut fed) = mpsc::unbounded_channel::<&'static str>();
    let frames = futures_util::stream::poll_fn(move |cx| fed.poll_recv(cx));
    let frames = futures_util::StreamExt::map(frames, |t| Ok(Frame::data(Bytes::from_static(t.as_bytes()))));
    (feed, StreamBody::new(frames).boxed_unsync())
}

/// Reads a request's head.
async fn read_head(tcp: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn one_connection_carries_one_request_after_the_other() {
    let server = Server::http(|_| async { ok(full("hello")) }).await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(call(&client, &server.target(), post("/v1/messages", full("{}"))).await, "hello");
    }
    assert_eq!((server.connections(), client.connections()), (1, (1, 1)));
}

#[tokio::test]
async fn connection_is_free_as_soon_as_the_last_byte_is_read() {
    let server = Server::http(|_| async { ok(full("hello")) }).await;
    let client = client();
    let mut body = open(&client, &server.target(), get("/")).await.expect("answer").into_body();
    body.frame().await.expect("frame").expect("data");
    // Nobody asks for the end: Content-Length has told it.
    assert_eq!(client.connections(), (1, 1));
}

#[tokio::test]
async fn an_answer_without_a_body_frees_its_connection_at_once() {
    let server = Server::http(|_| async { status(204) }).await;
    let client = client();
    for _ in 0..2 {
        let response = open(&client, &server.target(), get("/")).await.expect("answer");
        assert_eq!((response.status().as_u16(), client.connections()), (204, (1, 1)));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn chunked_streams_arrive_frame_by_frame_and_free_their_connection_at_the_end() {
    let (feeds, mut streams) = mpsc::unbounded_channel();
    let server = Server::http(move |_| {
        let (feed, body) = fed();
        feeds.send(feed).expect("test listens");
        async move { ok(body) }
    })
    .await;
    let client = client();
    let mut body = open(&client, &server.target(), get("/")).await.expect("answer").into_body();
    let feed = streams.recv().await.expect("stream");
    for event in ["event: ping\n\n", "event: message_stop\n\n"] {
        feed.send(event).expect("open");
        let frame = body.frame().await.expect("frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), event);
        assert_eq!(client.connections(), (1, 0));
    }
    drop(feed);
    assert!(body.frame().await.is_none());
    assert_eq!(client.connections(), (1, 1));
}

#[tokio::test]
async fn an_answer_left_half_read_closes_its_connection() {
    let (feeds, mut streams) = mpsc::unbounded_channel();
    let server = Server::http(move |_| {
        let (feed, body) = fed();
        feeds.send(feed).expect("test listens");
        async move { ok(body) }
    })
    .await;
    let client = client();
    let response = open(&client, &server.target(), get("/")).await.expect("answer");
    let feed = streams.recv().await.expect("stream");
    feed.send("half").expect("open");
    drop(response);
    assert_eq!(client.connections(), (0, 0));
    server.all_sessions_ended().await;
}

#[tokio::test]
async fn a_request_given_up_closes_its_connection() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::http(move |_| {
        seen.send(()).expect("test listens");
        std::future::pending()
    })
    .await;
    let client = client();
    let target = server.target();
    tokio::select! {
        _ = client.send(&target, get("/"), SOON) => panic!("no answer was given"),
        _ = requests.recv() => {}
    }
    assert_eq!(client.connections(), (0, 0));
    server.all_sessions_ended().await;
}

#[tokio::test]
async fn idle_connection_closed_by_the_server_is_replaced_without_a_word() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let server = Server::raw(move |mut tcp, _| {
        let closed = closed.clone();
        async move {
            if read_head(&mut tcp).await {
                tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
            }
            drop(tcp);
            closed.send(()).ok();
        }
    })
    .await;
    let client = client();
    for expected in 1..=3 {
        let failure = client.send(&server.target(), post("/", full("{}")), SOON).await;
        assert_eq!(read(failure.expect("answer")).await, "ok");
        assert_eq!(server.connections(), expected);
        closings.recv().await.expect("closed");
    }
}

#[tokio::test]
async fn sweeping_closes_what_the_server_left() {
    let leave: &'static Notify = Box::leak(Box::new(Notify::new()));
    let server = Server::raw(move |mut tcp, _| async move {
        if read_head(&mut tcp).await {
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
        }
        leave.notified().await;
    })
    .await;
    let client = client();
    call(&client, &server.target(), get("/")).await;
    client.sweep();
    assert_eq!(client.connections(), (1, 1), "a live connection stays");
    leave.notify_one();
    server.all_sessions_ended().await;
    let swept = async {
        while client.connections() != (0, 0) {
            tokio::task::yield_now().await;
            client.sweep();
        }
    };
    tokio::time::timeout(SOON, swept).await.expect("swept");
}

#[tokio::test]
async fn a_reused_connection_that_breaks_after_the_request_left_is_an_error() {
    let server = Server::raw(|mut tcp, _| async move {
        if read_head(&mut tcp).await {
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
        }
        read_head(&mut tcp).await;
    })
    .await;
    let client = client();
    call(&client, &server.target(), get("/")).await;
    let failure = client.send(&server.target(), get("/"), SOON).await.expect_err("closed");
    assert!(failure.request.is_none(), "the request was written");
    assert!(
        matches!(failure.error, UpstreamError::ClosedBeforeHead { reused: true, sent: true, .. }),
        "{}",
        failure.error
    );
    assert!(failure.error.sent() && failure.error.transient());
    assert_eq!(client.connections(), (0, 0));
}

#[tokio::test]
async fn idle_connections_are_kept_no_longer_than_told() {
    let server = Server::http(|_| async { ok(full("hello")) }).await;
    let client = limited(PoolLimits { idle_timeout: Duration::ZERO, ..PoolLimits::default() });
    for _ in 0..3 {
        call(&client, &server.target(), get("/")).await;
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(client.connections(), (1, 1));
    client.sweep();
    assert_eq!(client.connections(), (0, 0));
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let server = Server::http(|_| async {
        let mut answer = ok(full("bye"));
        answer.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
        answer
    })
    .await;
    let client = client();
    for expected in 1..=2 {
        assert_eq!(call(&client, &server.target(), get("/")).await, "bye");
        assert_eq!((server.connections(), client.connections()), (expected, (0, 0)));
    }
}
