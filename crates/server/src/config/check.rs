//! What settings must be, beyond what the file's grammar says, once everything was put together.

use std::{net::SocketAddr, time::Duration};

use claviger_domain::jose::Algorithm;

use super::{ClientAuthWord, Config, ConfigError};

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bad = |name, why: &str| Err(ConfigError::Setting { name, why: why.to_owned() });
        let open = |address: SocketAddr| !address.ip().is_loopback() && !self.insecure_plaintext;
        if open(self.listen) && self.tls.is_none() {
            return Err(ConfigError::Plaintext { name: "listen", address: self.listen });
        }
        if open(self.control) && self.control_tls.is_none() {
            return Err(ConfigError::Plaintext { name: "control", address: self.control });
        }
        if self.client_ca.is_some() && self.tls.is_none() {
            return bad("tls.client_ca", "callers show certificates in TLS only: give `cert` and `key`, too");
        }
        if self.client_auth == ClientAuthWord::Required && self.client_ca.is_none() {
            return bad(
                "tls.client_auth",
                "expected `client_ca`, too: without it no certificate can be verified",
            );
        }
        self.check_values()
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        let bad = |name, why: &str| Err(ConfigError::Setting { name, why: why.to_owned() });
        if self.token_algorithm == Algorithm::Rs256 {
            return bad(
                "tokens.algorithm",
                "expected EdDSA or ES256: RS256 is for verifying what others signed",
            );
        }
        if !(1..=256).contains(&self.workers) {
            return bad("workers", "expected 1 to 256");
        }
        if self.max_staleness < Duration::from_secs(2) {
            return bad("max_staleness", "expected at least 2s: the feed is polled every second");
        }
        if self.public_url.as_deref().is_some_and(|url| !is_origin(url)) {
            return bad("public_url", "expected an origin such as https://claude.example.com");
        }
        let postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if self.database.as_deref().is_some_and(|url| !postgres(url)) {
            return bad("database", "expected an address such as postgres://user@host/database");
        }
        match self.empty() {
            Some(name) => bad(name, "expected more than nothing"),
            None => Ok(()),
        }
    }

    /// A bound that would let nothing through.
    fn empty(&self) -> Option<&'static str> {
        let (calls, clients) = (&self.upstream, &self.limits);
        let spans = [
            ("upstream.connect_timeout", calls.connect_timeout),
            ("upstream.first_byte_timeout", calls.first_byte_timeout),
            ("upstream.idle_timeout", calls.idle_timeout),
            ("upstream.total_timeout", calls.total_timeout),
            ("stream.ping_after", self.ping_after),
            ("limits.body_idle", clients.body_idle),
            ("limits.body_timeout", clients.body_timeout),
            ("ledger.retention", self.retention),
        ];
        let counts = [
            ("limits.connections", clients.connections as u64),
            ("limits.connections_per_address", clients.connections_per_address as u64),
            ("limits.body_budget", clients.body_budget),
        ];
        let spans = spans.into_iter().filter(|(_, span)| span.is_zero()).map(|(name, _)| name);
        spans.chain(counts.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name)).next()
    }
}

/// Whether clients can be told to call it: a scheme and a host, perhaps a path, nothing behind it.
fn is_origin(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.query().is_none()
        && !url.contains(['#', '@'])
}
