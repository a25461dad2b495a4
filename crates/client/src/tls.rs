//! Mutual TLS: the certificate that this caller shows, for keys and tokens that are bound to it (RFC 8705). For programs
//! whose HTTP client takes a `rustls` configuration.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::ClientError;

/// PEM files. They are read when a configuration is made: a certificate that was renewed is shown by those made after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    certificate: PathBuf,
    key: PathBuf,
    authority: Option<PathBuf>,
}

impl ClientCertificate {
    /// The certificate, with those between it and its authority. Its private key stands in the same file.
    pub fn new(certificate: impl Into<PathBuf>) -> Self {
        let certificate = certificate.into();
        Self { key: certificate.clone(), certificate, authority: None }
    }

    /// Its private key stands in this file.
    #[must_use]
    pub fn key(mut self, key: impl Into<PathBuf>) -> Self {
        self.key = key.into();
        self
    }

    /// The gateway's own certificate must be signed by this authority, and no other is believed.
    #[must_use]
    pub fn authority(mut self, authority: impl Into<PathBuf>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// From `CLAVIGER_CLIENT_CERT`, `CLAVIGER_CLIENT_KEY` (if it is another file) and `CLAVIGER_CA_FILE` (if the system
    /// does not know the gateway's authority). `None`: no certificate is set.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| env::var(name).ok())
    }

    pub(crate) fn from_variables(read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let read = |name: &str| read(name).filter(|text| !text.is_empty());
        let mut made = Self::new(read("CLAVIGER_CLIENT_CERT")?);
        if let Some(key) = read("CLAVIGER_CLIENT_KEY") {
            made = made.key(key);
        }
        match read("CLAVIGER_CA_FILE") {
            Some(authority) => Some(made.authority(authority)),
            None => Some(made),
        }
    }

    /// A configuration that shows it, from TLS 1.2 on; it believes the authority, or else those of the system.
    ///
    /// # Errors
    /// [`ClientError::Certificate`] names the file that cannot be used.
    pub fn config(&self) -> Result<ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(file) => {
                for trusted in certificates(file)? {
                    roots.add(trusted).map_err(|error| unusable(file, &error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(&self.key, &error))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| unusable(&self.certificate, &error))?;
        let shown = certificates(&self.certificate)?;
        let made = builder.with_root_certificates(roots).with_client_auth_cert(shown, key);
        made.map_err(|error| unusable(&self.certificate, &error))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unusable(file, &error))?;
    if read.is_empty() { Err(unusable(file, &"it holds no certificate")) } else { Ok(read) }
}

fn unusable(file: &Path, why: &dyn std::fmt::Display) -> ClientError {
    ClientError::Certificate(format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_what_the_environment_names() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<_> = set.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            ClientCertificate::from_variables(move |name| {
                set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            })
        };
        assert_eq!(of(&[("CLAVIGER_CLIENT_KEY", "k"), ("CLAVIGER_CA_FILE", "ca")]), None);
        assert_eq!(of(&[("CLAVIGER_CLIENT_CERT", "")]), None);
        assert_eq!(of(&[("CLAVIGER_CLIENT_CERT", "c")]), Some(ClientCertificate::new("c")));
        let all = [("CLAVIGER_CLIENT_CERT", "c"), ("CLAVIGER_CLIENT_KEY", "k"), ("CLAVIGER_CA_FILE", "ca")];
        assert_eq!(of(&all), Some(ClientCertificate::new("c").key("k").authority("ca")));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        for certificate in [
            ClientCertificate::new(&empty),
            ClientCertificate::new("c").authority(&empty),
            ClientCertificate::new("missing.pem"),
        ] {
            let said = certificate.config().unwrap_err().to_string();
            assert!(said.contains("empty.pem") || said.contains("missing.pem"), "{said}");
        }
    }
}
