//! Webhooks, delivered to receivers that check the signature by themselves.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use claviger_domain::{
    notice::{
        channel::{ChannelTarget, WebhookTarget},
        delivery::DeliveryError,
    },
    ports::notices::Courier,
    secret::SecretBytes,
};
use claviger_notify::{Lookup, Post, SystemLookup};
use claviger_testkit::{Answer, RawRequest, RawServer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    certificate::Certificate,
    letters::{channel, letter},
};

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn secret() -> SecretBytes {
    SecretBytes::new((0..32).collect())
}

async fn send(post: &Post, url: String, allow_private: bool) -> Result<(), DeliveryError> {
    let target = ChannelTarget::Webhook(WebhookTarget { url, allow_private });
    post.deliver(&channel(target), Some(&secret()), &letter()).await
}

fn post() -> Post {
    Post::new(Arc::new(SystemLookup), None).unwrap()
}

fn header<'a>(request: &'a RawRequest, name: &str) -> &'a str {
    std::str::from_utf8(request.header(name)[0]).unwrap()
}

#[tokio::test]
async fn a_receiver_can_tell_who_sent_it() {
    let server = RawServer::start(|_| Answer::bytes(TAKEN));
    send(&post(), format!("http://{}/in?x=1", server.address()), true).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!((request.method(), request.target()), ("POST", "/in?x=1"));
    assert_eq!(header(&request, "content-type"), "application/json");
    // By the letter of Standard Webhooks, with the library's own primitive rather than our signing code.
    let (id, at) = (header(&request, "webhook-id"), header(&request, "webhook-timestamp"));
    assert_eq!((id, at), ("ntc_1", "1772452800"));
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &request.body].concat();
    let signature = header(&request, "webhook-signature").strip_prefix("v1,").unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret().expose());
    aws_lc_rs::hmac::verify(&key, &signed, &signature).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        (body["type"].as_str(), body["data"]["key_id"].as_str()),
        (Some("key.expiring"), Some("key_0123456789"))
    );
}

#[tokio::test]
async fn only_a_receiver_that_is_gone_is_given_up_at_once() {
    for (status, for_good) in [
        ("410 Gone", true),
        ("301 Moved\r\nlocation: /x", true),
        ("404 No", false),
        ("500 Oh", false),
        ("429 Slow", false),
    ] {
        let server = RawServer::start(move |_| {
            Answer::bytes(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
        });
        let refused = send(&post(), format!("http://{}/", server.address()), true).await.unwrap_err();
        assert_eq!(matches!(refused, DeliveryError::Permanent(_)), for_good, "{status}: {refused:?}");
        assert_eq!(server.requests().len(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn an_address_inside_takes_the_operators_word() {
    let server = RawServer::start(|_| Answer::bytes(TAKEN));
    let refused = send(&post(), format!("http://{}/", server.address()), false).await.unwrap_err();
    assert!(matches!(refused, DeliveryError::Permanent(_)), "{refused:?}");
    assert!(server.requests().is_empty());
}

/// Leads every name to this machine.
struct Home;

#[async_trait]
impl Lookup for Home {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])
    }
}

#[tokio::test]
async fn a_name_never_leads_inside() {
    let server = RawServer::start(|_| Answer::bytes(TAKEN));
    let post = Post::new(Arc::new(Home), None).unwrap();
    let url = format!("https://hooks.example:{}/", server.address().port());
    let refused = send(&post, url, true).await.unwrap_err();
    assert!(matches!(&refused, DeliveryError::Permanent(why) if why.contains("private")), "{refused:?}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_left() {
    let server = RawServer::start(|_| Answer::default().pause(Duration::from_secs(5)));
    let post = post().with_timeout(Duration::from_millis(200));
    let late = send(&post, format!("http://{}/", server.address()), true).await.unwrap_err();
    assert!(matches!(late, DeliveryError::Transient(_)), "{late:?}");
    let reset = RawServer::start(|_| Answer::default().reset());
    let broken = send(&post, format!("http://{}/", reset.address()), true).await.unwrap_err();
    assert!(matches!(broken, DeliveryError::Transient(_)), "{broken:?}");
}

/// Answers one request over TLS.
async fn secure_server(certificate: &Certificate) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        let Ok(mut stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { return };
        assert_ne!(stream.read(&mut [0; 65_536]).await.unwrap(), 0);
        stream.write_all(TAKEN.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    tokio_util::task::TaskTracker::new().spawn(serve);
    port
}

#[tokio::test]
async fn a_receiver_must_prove_its_name() {
    let certificate = Certificate::new();
    let trusting = Post::new(Arc::new(SystemLookup), Some(certificate.pem.as_bytes())).unwrap();
    let url = format!("https://127.0.0.1:{}/", secure_server(&certificate).await);
    send(&trusting, url, true).await.unwrap();
    let url = format!("https://127.0.0.1:{}/", secure_server(&certificate).await);
    let refused = send(&post(), url, true).await.unwrap_err();
    assert!(matches!(&refused, DeliveryError::Transient(why) if why.contains("TLS")), "{refused:?}");
}
