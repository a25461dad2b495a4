//! TLS towards clients: one certificate, replaced while connections go on.

use std::{fs, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate file holds no certificate, or a broken one.
    #[error("{path} holds no usable certificate chain in PEM")]
    Certificate {
        /// Which.
        path: String,
    },
    /// The key file holds no private key, or a broken one.
    #[error("{path} holds no usable private key in PEM")]
    Key {
        /// Which.
        path: String,
    },
    /// Certificate and key do not fit each other, or the key is of a kind that is not supported.
    #[error("certificate and key cannot be used together")]
    Mismatch(#[source] rustls::Error),
}

/// The certificate in use.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS for a listener.
#[derive(Clone)]
pub struct Tls {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(certificate, key)?)));
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Mismatch)?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { current, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Reads them again. New connections get the new certificate; on an error the old one stays.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        self.current.0.store(Arc::new(read(certificate, key)?));
        Ok(())
    }

    pub(crate) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let bytes = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read { path: path.display().to_string(), source })
    };
    let bad_certificate = || TlsError::Certificate { path: certificate.display().to_string() };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| bad_certificate())?;
    if chain.is_empty() {
        return Err(bad_certificate());
    }
    let bad_key = || TlsError::Key { path: key.display().to_string() };
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|_| bad_key())?;
    let signer = aws_lc_rs::sign::any_supported_type(&private).map_err(|_| bad_key())?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(TlsError::Mismatch)?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_bad_reload_keeps_the_old_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (cert_a, key_a) = write(folder.path(), "a");
        let (cert_b, key_b) = write(folder.path(), "b");
        let tls = Tls::load(&cert_a, &key_a).unwrap();
        let before = tls.current.0.load_full();
        assert!(matches!(tls.reload(&cert_b, &key_a), Err(TlsError::Mismatch(_))));
        assert!(matches!(tls.reload(&key_b, &key_b), Err(TlsError::Certificate { .. })));
        assert!(matches!(tls.reload(&cert_b, &cert_b), Err(TlsError::Key { .. })));
        assert!(matches!(tls.reload(&folder.path().join("none"), &key_b), Err(TlsError::Read { .. })));
        assert!(Arc::ptr_eq(&before, &tls.current.0.load_full()));
        tls.reload(&cert_b, &key_b).unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.current.0.load_full()));
    }
}
