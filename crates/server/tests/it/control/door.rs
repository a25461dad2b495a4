//! The control plane beyond loopback: TLS, or not at all.

use rcgen::generate_simple_self_signed;

use crate::house::{Claviger, START};

/// A control plane on all addresses, with a certificate for `localhost`; where it is, and who vouches for it.
fn beyond_loopback() -> (Claviger, String, String) {
    let mut node = Claviger::new();
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key] = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())]
        .map(|(name, text)| node.write(name, &text).display().to_string());
    node = node.with_arguments(&[
        "--control",
        "0.0.0.0:0",
        "--control-tls-cert",
        &cert,
        "--control-tls-key",
        &key,
    ]);
    node.launch();
    let ready = node.process().wait_for_line("ready ", START);
    let url = ready.rsplit_once("control=").unwrap().1.trim().replace("0.0.0.0", "localhost");
    assert!(url.starts_with("https://"), "{ready}");
    (node, url, cert)
}

#[test]
fn the_commands_reach_it_by_tls_and_must_prove_who_asks() {
    let (node, url, cert) = beyond_loopback();
    let stranger = node.cli(&["--url", &url, "status"]);
    assert_eq!(stranger.code, 3, "a certificate that nobody vouches for: {}", stranger.stderr);
    let unproved = node.cli(&["--url", &url, "--ca-file", &cert, "status"]);
    assert_eq!(unproved.code, 4, "{}{}", unproved.stdout, unproved.stderr);
    let plain = url.replace("https://", "http://");
    assert_eq!(node.cli(&["--url", &plain, "status"]).code, 1, "plain text at a TLS port");
    // The socket goes on as before.
    assert_eq!(node.cli(&["status"]).code, 0);
}

#[test]
fn it_is_not_served_in_plain_text() {
    let node = Claviger::new();
    let refused = node.cli(&["serve", "--control", "0.0.0.0:0"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("--control-tls-cert"), "{}", refused.stderr);
}

#[test]
fn a_token_is_not_sent_in_plain_text() {
    let node = Claviger::new();
    let refused = node.cli(&["--url", "http://claviger.example.com", "status"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}
