//! What is sent arrives, what is answered comes back, and what fails says how.

use std::{io, time::Duration};

use bytes::Bytes;
use claviger_upstream::{PoolLimits, RequestBody, Target, UpstreamClient, UpstreamConfig, UpstreamError};
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::fixture::{SOON, Server, call, client, client_with, empty, full, get, ok, open, post, status};

fn assert_send<T: Send>(value: T) -> T {
    value
}

/// Never called: that it compiles is the point.
#[expect(dead_code, reason = "checked by the compiler")]
fn sending_can_move_between_threads<B: RequestBody>(
    client: &UpstreamClient<B>,
    target: &Target,
    request: Request<B>,
) -> impl Future + Send {
    assert_send(client.send(target, request, SOON))
}

#[tokio::test]
async fn request_goes_out_as_given_but_for_path_prefix_and_host() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::http(move |request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("body").to_bytes();
            seen.send((head, body)).expect("test listens");
            ok(full("ok"))
        }
    })
    .await;
    let mut request = post("/v1/messages?beta=true", full(" {\"x\": 1}\n"));
    for (name, value) in
        [("host", "gateway.example"), ("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-odd", "\u{e9}")]
    {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("value");
        if name == "host" {
            request.headers_mut().insert("host", value)
        } else {
            request.headers_mut().append(name, value);
            None
        };
    }
    call(&client(), &server.target_at("/team-a"), request).await;
    let (head, body) = requests.recv().await.expect("request");
    assert_eq!(head.uri, "/team-a/v1/messages?beta=true");
    assert_eq!(body, " {\"x\": 1}\n");
    let mut expected = HeaderMap::new();
    expected.insert("host", server.address.to_string().parse().expect("value"));
    expected.append("anthropic-beta", "a".parse().expect("value"));
    expected.append("anthropic-beta", "b".parse().expect("value"));
    expected.insert("x-odd", http::HeaderValue::from_bytes("\u{e9}".as_bytes()).expect("value"));
    expected.insert("content-length", "10".parse().expect("value"));
    assert_eq!(head.headers, expected);
}

#[tokio::test]
async fn a_long_body_of_unknown_length_arrives_whole_while_the_answer_waits() {
    let server = Server::http(|request: Request<hyper::body::Incoming>| async {
        ok(full(request.into_body().collect().await.expect("body").to_bytes()))
    })
    .await;
    let chunks: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; 20_000])).collect();
    let sent: Vec<u8> = chunks.concat();
    let frames = futures_util::stream::iter(chunks.into_iter().map(|c| Ok::<_, io::Error>(Frame::data(c))));
    let client = client();
    let echo = call(&client, &server.target(), post("/", StreamBody::new(frames).boxed_unsync())).await;
    assert!(echo == sent, "{} of {} bytes", echo.len(), sent.len());
    assert_eq!(client.connections(), (1, 1));
}

#[tokio::test]
async fn a_request_body_that_fails_is_told_from_an_upstream_that_does() {
    let server = Server::http(|request: Request<hyper::body::Incoming>| async {
        let _ = request.into_body().collect().await;
        ok(empty())
    })
    .await;
    let frames = futures_util::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"half"))),
        Err(io::Error::other("the client went away")),
    ]);
    let client = client();
    let error = open(&client, &server.target(), post("/", StreamBody::new(frames).boxed_unsync())).await;
    let error = error.expect_err("no whole request");
    assert!(matches!(error, UpstreamError::RequestBody(_)), "{}", error.chain());
    assert!(!error.transient());
    assert_eq!(client.connections(), (0, 0));
}

#[tokio::test]
async fn silence_before_the_head_ends_at_the_timeout() {
    let server = Server::http(|_| std::future::pending()).await;
    let client = client();
    let failure = client.send(&server.target(), get("/"), Duration::from_millis(20)).await.expect_err("late");
    assert!(matches!(failure.error, UpstreamError::HeadTimeout(_)) && failure.error.sent());
    assert_eq!(client.connections(), (0, 0));
    server.all_sessions_ended().await;
}

#[tokio::test]
async fn redirects_are_refused_and_never_followed() {
    let server = Server::http(|request: Request<hyper::body::Incoming>| async move {
        let code = request.uri().path().trim_start_matches('/').parse().expect("code");
        let mut answer = status(code);
        answer.headers_mut().insert("location", http::HeaderValue::from_static("/elsewhere"));
        answer
    })
    .await;
    let client = client();
    for code in [301, 302, 303, 307, 308] {
        let error = open(&client, &server.target(), get(&format!("/{code}"))).await.expect_err("refused");
        assert!(matches!(error, UpstreamError::Redirected(s) if s.as_u16() == code), "{error}");
    }
    let not_modified = open(&client, &server.target(), get("/304")).await.expect("no redirect");
    assert_eq!(not_modified.status().as_u16(), 304);
}

#[tokio::test]
async fn a_switch_of_protocols_is_refused_and_its_connection_never_used_again() {
    let server = Server::raw(|mut tcp, n| async move {
        let mut head = [0; 1024];
        let _ = tcp.read(&mut head).await;
        let answer: &[u8] = match n {
            0 => b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        let _ = tcp.write_all(answer).await;
        let _ = tcp.read(&mut head).await;
    })
    .await;
    let client = client();
    let error = open(&client, &server.target(), get("/")).await.expect_err("refused");
    assert!(matches!(error, UpstreamError::SwitchedProtocols), "{error}");
    assert!(error.sent() && !error.transient());
    assert_eq!(client.connections(), (0, 0));
    assert_eq!(call(&client, &server.target(), get("/")).await, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_refused_connection_gives_the_request_back() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = closed.local_addr().expect("address");
    drop(closed);
    let target = Target::parse(&format!("http://{address}"), false).expect("target");
    let client = client();
    let failure = client.send(&target, post("/v1/messages", full("{}")), SOON).await.expect_err("refused");
    assert!(matches!(failure.error, UpstreamError::Connect { .. }), "{}", failure.error);
    assert!(!failure.error.sent() && failure.error.transient());
    assert_eq!(failure.request.expect("given back").uri(), "/v1/messages");
    assert_eq!(client.connections(), (0, 0));
}

#[tokio::test]
async fn an_upstream_that_hangs_up_or_speaks_nonsense_is_named_so() {
    let server = Server::raw(|mut tcp, n| async move {
        let mut head = [0; 1024];
        let _ = tcp.read(&mut head).await;
        if n > 0 {
            let _ = tcp.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        }
    })
    .await;
    let client = client();
    let error = open(&client, &server.target(), get("/")).await.expect_err("closed");
    assert!(matches!(error, UpstreamError::ClosedBeforeHead { reused: false, sent: true, .. }), "{error}");
    let error = open(&client, &server.target(), get("/")).await.expect_err("nonsense");
    assert!(matches!(error, UpstreamError::Malformed(_)), "{}", error.chain());
}

#[tokio::test]
async fn an_answer_cut_short_is_an_error_and_never_a_clean_end() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let server = Server::raw(move |mut tcp, _| async move {
            let mut seen = [0; 1024];
            let _ = tcp.read(&mut seen).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n");
            let _ = tcp.write_all(answer.as_bytes()).await;
        })
        .await;
        let client = client();
        let response = open(&client, &server.target(), get("/")).await.expect("head");
        assert!(response.into_body().collect().await.is_err(), "{head}");
        assert_eq!(client.connections(), (0, 0));
    }
}

#[tokio::test]
async fn an_early_answer_to_an_unfinished_upload_is_delivered_and_the_connection_closed() {
    let server = Server::raw(|mut tcp, _| async move {
        let mut seen = [0; 1024];
        let _ = tcp.read(&mut seen).await;
        let _ = tcp.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        let _ = tcp.read(&mut seen).await;
    })
    .await;
    let first = futures_util::stream::iter([Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"begin")))]);
    let endless = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let client = client();
    let upload = post("/", StreamBody::new(endless).boxed_unsync());
    let response = open(&client, &server.target(), upload).await.expect("answer");
    assert_eq!(response.status().as_u16(), 413);
    assert_eq!(response.into_body().collect().await.expect("body").to_bytes(), "big");
    assert_eq!(client.connections(), (0, 0));
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_given_up_in_time() {
    let server = Server::raw(|tcp, _| async move {
        let _open = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let config = UpstreamConfig { connect_timeout: Duration::from_millis(50), ..UpstreamConfig::default() };
    let target = Target::parse(&format!("https://{}", server.address), false).expect("target");
    let error = open(&client_with(&config), &target, get("/")).await.expect_err("late");
    assert_eq!(error.to_string(), "no connection within 50 ms (while at `tls`)");
    assert!(!error.sent());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bytes_come_through_unchanged_however_they_are_cut(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5_000), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let whole = chunks.concat();
        let came = runtime.block_on(async move {
            let server = Server::http(move |_| {
                let chunks: Vec<_> = chunks.iter().map(|c| Ok(Frame::data(Bytes::from(c.clone())))).collect();
                async move { ok(StreamBody::new(futures_util::stream::iter(chunks)).boxed_unsync()) }
            })
            .await;
            let client = crate::fixture::limited(PoolLimits::default());
            let first = call(&client, &server.target(), get("/")).await;
            let again = call(&client, &server.target(), get("/")).await;
            assert_eq!((server.connections(), &first), (1, &again));
            first
        });
        prop_assert_eq!(came, whole);
    }
}
