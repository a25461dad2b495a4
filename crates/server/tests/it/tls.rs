//! TLS at the gateway: the certificate is presented, and taken over when its files change.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use claviger_testkit::eventually;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer};

use crate::house::Claviger;

/// A certificate of its own, in files that `serve` is given.
struct Certificate(CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    fn new() -> Self {
        Self(generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap())
    }

    fn write(&self, node: &Claviger) -> [String; 2] {
        // The key first: until its certificate is there as well, the pair does not fit and is not taken.
        let key = node.write("key.pem", &self.0.signing_key.serialize_pem());
        let cert = node.write("cert.pem", &self.0.cert.pem());
        [cert, key].map(|path| path.display().to_string())
    }
}

/// `GET /readyz` by somebody who trusts this certificate alone; the answer's first line.
fn ask(address: SocketAddr, trusted: &Certificate) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.0.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(client, stream);
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_certificate_is_presented_and_a_new_one_taken_over() {
    let mut node = Claviger::new();
    let first = Certificate::new();
    let [cert, key] = first.write(&node);
    node = node.with_arguments(&["--tls-cert", &cert, "--tls-key", &key, "--listen", "0.0.0.0:0"]);
    node.start();
    let ready = node.process().lines().pop().unwrap();
    let port = ready.split(' ').nth(1).unwrap().rsplit(':').next().unwrap().parse().unwrap();
    assert!(ready.contains("gateway=https://"), "{ready}");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(ask(address, &first).unwrap(), "HTTP/1.1 200 OK");

    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "plain text on a TLS port");

    fs::write(&cert, "no certificate").unwrap();
    eventually("the refusal in the log", Duration::from_secs(20), || {
        node.process().errors().iter().any(|line| line.contains("not taken over")).then_some(())
    });
    assert_eq!(ask(address, &first).unwrap(), "HTTP/1.1 200 OK", "the old one goes on");

    let second = Certificate::new();
    second.write(&node);
    eventually("the new certificate", Duration::from_secs(20), || ask(address, &second).ok());
    assert!(ask(address, &first).is_err(), "the old one is gone");
}

#[test]
fn a_key_that_does_not_fit_is_told_before_anything_starts() {
    let node = Claviger::new();
    let [cert, _] = Certificate::new().write(&node);
    let key = node.write("other.pem", &Certificate::new().0.signing_key.serialize_pem());
    let done = node.cli(&["serve", "--tls-cert", &cert, "--tls-key", key.to_str().unwrap()]);
    assert_eq!(done.code, 4, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("other.pem"), "{}", done.stderr);
    assert!(!node.data().exists());
}
