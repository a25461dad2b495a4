//! TLS towards providers: rustls on aws-lc-rs, trusting the system's and Mozilla's authorities and those that
//! the operator added.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    config::UpstreamConfig,
    error::ConfigError,
    target::{Address, Origin},
};

/// Builds the one client configuration; workers share it, and with it the session tickets.
pub(crate) fn client_config(config: &UpstreamConfig) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(config)?)
        .with_no_client_auth();
    tls.alpn_protocols =
        if config.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(tls))
}

fn roots(config: &UpstreamConfig) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = rustls_native_certs::load_native_certs();
    if !native.errors.is_empty() {
        tracing::debug!(errors = native.errors.len(), "some system certificates could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    let Some(path) = &config.extra_roots else { return Ok(roots) };
    let unreadable = |source| ConfigError::Roots { path: path.clone(), source };
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
        added += 1;
    }
    if added == 0 {
        return Err(ConfigError::NoRoots { path: path.clone() });
    }
    Ok(roots)
}

/// The name that the upstream's certificate must bear.
pub(crate) fn server_name(origin: &Origin) -> Result<ServerName<'static>, std::io::Error> {
    match &origin.address {
        Address::Name(name) => ServerName::try_from(name.to_string()).map_err(std::io::Error::other),
        Address::Literal(ip) => Ok(ServerName::from(*ip)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_file(content: &str) -> Result<Arc<ClientConfig>, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(content.as_bytes()).expect("written");
        let config = UpstreamConfig { extra_roots: Some(file.path().into()), ..UpstreamConfig::default() };
        client_config(&config)
    }

    #[test]
    fn a_file_of_authorities_without_a_certificate_is_refused() {
        assert!(matches!(with_file("nothing here\n"), Err(ConfigError::NoRoots { .. })));
    }

    #[test]
    fn a_missing_or_broken_file_of_authorities_is_refused() {
        let config = UpstreamConfig { extra_roots: Some("/nonexistent/ca.pem".into()), ..Default::default() };
        assert!(matches!(client_config(&config), Err(ConfigError::Roots { .. })));
        let broken = "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
        assert!(matches!(with_file(broken), Err(ConfigError::Roots { .. })));
    }

    #[test]
    fn http2_is_offered_only_when_asked_for() {
        let plain = client_config(&UpstreamConfig::default()).expect("config");
        assert_eq!(plain.alpn_protocols, [b"http/1.1".to_vec()]);
        let both = client_config(&UpstreamConfig { http2: true, ..Default::default() }).expect("config");
        assert_eq!(both.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}
