//! The control listener's certificate, replaced while connections go on.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificate in use.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Current>);

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Begins with this one.
    #[must_use]
    pub fn new(certified: Arc<CertifiedKey>) -> Self {
        Self(Arc::new(Current(ArcSwap::new(certified))))
    }

    /// Connections that come from now on get this one.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        self.0.0.store(certified);
    }

    /// What a listener of HTTP/1.1 needs.
    ///
    /// # Errors
    /// When the cryptographic library was built without what TLS needs.
    pub fn listener(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("setting up TLS")?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&self.0) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
