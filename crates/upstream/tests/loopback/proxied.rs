//! Names, addresses and the proxy between.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use claviger_domain::secret::SecretBytes;
use claviger_upstream::{
    ProxyConfig, Target, Transport, UpstreamClient, UpstreamConfig, UpstreamError, dns::Lookup,
};
use http::Request;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::task::TaskTracker;

use crate::{
    fixture::{Body, Server, call, full, get, ok, open},
    secured::{open_gate, pki, tls_server},
};

/// Answers every name with one list, and counts how often it is asked.
struct Fixed(Vec<IpAddr>, AtomicUsize);

impl Fixed {
    fn new(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|a| a.parse().expect("address")).collect();
        Arc::new(Self(addresses, AtomicUsize::new(0)))
    }
}

#[async_trait]
impl Lookup for Fixed {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(self.0.clone())
    }
}

fn client(config: &UpstreamConfig, lookup: Arc<Fixed>) -> UpstreamClient<Body> {
    UpstreamClient::new(Transport::with_lookup(config, lookup).expect("transport"), TaskTracker::new())
}

fn through(server: &Server, basic: bool) -> UpstreamConfig {
    let proxy = ProxyConfig {
        url: format!("http://proxy.corp:{}", server.address.port()),
        basic: basic.then(|| ("user".to_owned(), SecretBytes::new(b"pass".to_vec()))),
        no_proxy: Vec::new(),
    };
    UpstreamConfig { proxy: Some(proxy), ..UpstreamConfig::default() }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_before_any_connection() {
    for inside in [&["127.0.0.1"][..], &["169.254.169.254"], &["10.0.0.1", "fd00::1"], &["::ffff:127.0.0.1"]]
    {
        let client = client(&UpstreamConfig::default(), Fixed::new(inside));
        let target = Target::parse("https://api.example", false).expect("target");
        let error = open(&client, &target, get("/")).await.expect_err("refused");
        assert!(matches!(error, UpstreamError::NotPublic { .. }), "{error}");
        assert!(!error.sent() && !error.transient());
    }
}

#[tokio::test]
async fn a_typed_private_address_and_localhost_are_reached() {
    let server = Server::http(|_| async { ok(full("inside")) }).await;
    let lookup = Fixed::new(&["192.0.2.1"]);
    let client = client(&UpstreamConfig::default(), Arc::clone(&lookup));
    assert_eq!(call(&client, &server.target(), get("/")).await, "inside");
    let localhost = Target::parse(&format!("http://localhost:{}", server.address.port()), false);
    assert_eq!(call(&client, &localhost.expect("target"), get("/")).await, "inside");
    assert_eq!(lookup.1.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_requests_reach_the_proxy_in_absolute_form_and_its_name_is_looked_up_once() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::http(move |request: Request<Incoming>| {
        seen.send(request.into_parts().0).expect("test listens");
        // So that every request needs a new connection.
        let mut answer = ok(full("proxied"));
        answer.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
        async move { answer }
    })
    .await;
    let lookup = Fixed::new(&["127.0.0.1"]);
    let client = client(&through(&server, true), Arc::clone(&lookup));
    let target = Target::parse("http://api.example:81/x", true).expect("target");
    for _ in 0..3 {
        assert_eq!(call(&client, &target, get("/v1/models?a=b")).await, "proxied");
        let head = requests.recv().await.expect("request");
        assert_eq!(head.uri, "http://api.example:81/x/v1/models?a=b");
        assert_eq!(head.headers["host"], "api.example:81");
        assert_eq!(head.headers["proxy-authorization"], "Basic dXNlcjpwYXNz");
    }
    assert_eq!((server.connections(), lookup.1.load(Ordering::SeqCst)), (3, 1));
}

/// A proxy that answers `CONNECT` with `answer` and, after a 200, joins the two ends.
async fn connect_proxy(
    answer: &'static str,
    inner: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
) -> Server {
    Server::raw(move |mut tcp, _| {
        let seen = Arc::clone(&seen);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.expect("head"));
            }
            seen.lock().expect("lock").push(String::from_utf8(head).expect("text"));
            tcp.write_all(answer.as_bytes()).await.expect("written");
            if answer.contains(" 200 ") {
                let mut far = TcpStream::connect(inner).await.expect("connected");
                let _ = copy_bidirectional(&mut tcp, &mut far).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_the_proxy_never_sees_the_request() {
    let pki = pki("api.example");
    let inner = tls_server(pki.acceptor.clone(), open_gate()).await;
    let seen = Arc::default();
    let ok = "HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n";
    let proxy = connect_proxy(ok, inner.address, Arc::clone(&seen)).await;
    let mut config = through(&proxy, true);
    config.extra_roots = Some(pki.roots.path().to_path_buf());
    let client = client(&config, Fixed::new(&["127.0.0.1"]));
    let target = Target::parse("https://api.example", false).expect("target");
    for _ in 0..2 {
        assert_eq!(call(&client, &target, get("/v1/models")).await, "secure");
    }
    let expected = "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\
                    Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
    assert_eq!(*seen.lock().expect("lock"), [expected]);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_talks_nonsense_is_named_as_the_culprit() {
    let nowhere = "127.0.0.1:1".parse().expect("address");
    let target = Target::parse("https://api.example", false).expect("target");
    for (answer, label) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy_refused"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "proxy_broken"),
        ("HTTP/1.1 200", "proxy_broken"),
    ] {
        let proxy = connect_proxy(answer, nowhere, Arc::default()).await;
        let client = client(&through(&proxy, false), Fixed::new(&["127.0.0.1"]));
        let error = open(&client, &target, get("/")).await.expect_err("refused");
        assert_eq!(error.label(), label, "{}", error.chain());
        assert!(!error.sent());
        assert_eq!(client.connections(), (0, 0));
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let server = Server::http(|_| async { ok(full("second")) }).await;
    // Nothing listens on the first address at the proxy's port.
    let client = client(&through(&server, false), Fixed::new(&["127.0.0.9", "127.0.0.1"]));
    let target = Target::parse("http://api.example", true).expect("target");
    assert_eq!(call(&client, &target, get("/")).await, "second");
}
