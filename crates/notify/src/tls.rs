//! TLS towards mail servers and webhooks: rustls on aws-lc-rs, trusting the machine's authorities and those that the
//! operator added.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("the authorities cannot be read as PEM")]
    Unreadable,
    /// Nothing in it.
    #[error("the authorities hold no certificate")]
    Empty,
    /// The TLS library refuses them.
    #[error("the authorities cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificates in a PEM text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| RootsError::Unreadable)?;
    if read.is_empty() { Err(RootsError::Empty) } else { Ok(read) }
}

/// For webhooks, HTTP/1.1 only.
pub(crate) fn client_config(extra: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, RootsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in extra {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_without_a_certificate_are_refused() {
        assert!(matches!(certificates(b"nothing here\n"), Err(RootsError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates(broken), Err(RootsError::Unreadable)));
    }
}
