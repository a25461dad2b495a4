//! TLS: whom we trust, and HTTP/2 where it is agreed on.

use std::{io::Write, sync::Arc};

use claviger_upstream::{Target, UpstreamConfig, UpstreamError};
use http::Version;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Server, client_with, full, get, ok, open, read, serve};

/// An authority's certificate in a file, and a server side whose certificate it has signed.
pub struct Pki {
    pub roots: NamedTempFile,
    pub acceptor: TlsAcceptor,
}

pub fn pki(name: &str) -> Pki {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let authority = params.self_signed(&key).expect("authority");
    let mut roots = NamedTempFile::new().expect("file");
    roots.write_all(authority.pem().as_bytes()).expect("written");
    let leaf_key = KeyPair::generate().expect("key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("params");
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, key)).expect("leaf");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("config");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Pki { roots, acceptor: TlsAcceptor::from(Arc::new(config)) }
}

pub async fn tls_server(acceptor: TlsAcceptor, gate: &'static Semaphore) -> Server {
    Server::raw(move |tcp, _| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                serve(tls, move |_| async move {
                    gate.acquire().await.expect("open").forget();
                    ok(full("secure"))
                })
                .await;
            }
        }
    })
    .await
}

pub fn open_gate() -> &'static Semaphore {
    Box::leak(Box::new(Semaphore::new(1_000)))
}

fn localhost(server: &Server) -> Target {
    Target::parse(&format!("https://localhost:{}", server.address.port()), false).expect("target")
}

fn trusting(pki: &Pki, http2: bool) -> UpstreamConfig {
    let extra_roots = Some(pki.roots.path().to_path_buf());
    UpstreamConfig { extra_roots, http2, ..UpstreamConfig::default() }
}

#[tokio::test]
async fn an_authority_that_the_operator_added_is_trusted() {
    let pki = pki("localhost");
    let server = tls_server(pki.acceptor.clone(), open_gate()).await;
    let client = client_with(&trusting(&pki, false));
    for _ in 0..2 {
        let response = open(&client, &localhost(&server), get("/")).await.expect("answer");
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(read(response).await, "secure");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_before_anything_is_sent() {
    let server = tls_server(pki("localhost").acceptor, open_gate()).await;
    let client = client_with(&UpstreamConfig::default());
    let error = open(&client, &localhost(&server), get("/")).await.expect_err("untrusted");
    assert!(matches!(error, UpstreamError::Tls(_)) && !error.sent(), "{}", error.chain());
    assert!(error.chain().contains("UnknownIssuer"), "{}", error.chain());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let pki = pki("other.example");
    let server = tls_server(pki.acceptor.clone(), open_gate()).await;
    let client = client_with(&trusting(&pki, false));
    let error = open(&client, &localhost(&server), get("/")).await.expect_err("wrong name");
    assert!(matches!(error, UpstreamError::Tls(_)), "{}", error.chain());
}

#[tokio::test]
async fn http2_shares_one_connection_among_requests_at_once() {
    let pki = pki("localhost");
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(1)));
    let server = tls_server(pki.acceptor.clone(), gate).await;
    let client = client_with(&trusting(&pki, true));
    let target = localhost(&server);
    let first = open(&client, &target, get("/v1/models?x=1")).await.expect("answer");
    assert_eq!(first.version(), Version::HTTP_2);
    assert_eq!(read(first).await, "secure");
    let one = async || read(open(&client, &target, get("/")).await.expect("answer")).await;
    let release = async { gate.add_permits(3) };
    let (a, b, c, ()) = tokio::join!(one(), one(), one(), release);
    assert!(a == "secure" && b == "secure" && c == "secure");
    assert_eq!((server.connections(), client.connections().0), (1, 1));
}

#[tokio::test]
async fn streams_beyond_the_limit_get_another_http2_connection() {
    let pki = pki("localhost");
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(1)));
    let server = tls_server(pki.acceptor.clone(), gate).await;
    let mut config = trusting(&pki, true);
    config.pool.http2_streams = 2;
    let client = client_with(&config);
    let target = localhost(&server);
    read(open(&client, &target, get("/")).await.expect("answer")).await;
    let one = async || read(open(&client, &target, get("/")).await.expect("answer")).await;
    let release = async {
        while server.connections() < 2 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(3);
    };
    tokio::join!(one(), one(), one(), release);
    assert_eq!(server.connections(), 2);
}
