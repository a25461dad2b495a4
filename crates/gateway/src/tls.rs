//! TLS towards clients: one certificate of ours, the authorities whose certificates callers may show, both replaced
//! while connections go on.

mod peer;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub use peer::PeerCertificate;

/// Whether callers must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They may; one that is shown must be good.
    #[default]
    Optional,
    /// Without one there is no connection.
    Required,
}

/// Whose certificates callers may show.
#[derive(Debug, Clone)]
pub struct ClientAuthorities {
    /// The authorities.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether a certificate must be shown.
    pub auth: ClientAuth,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An authority's certificate cannot be used.
    #[error("a certificate authority cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// There is no authority.
    #[error("there is no certificate authority to verify callers' certificates with")]
    NoAuthority,
    /// The rest.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What a listener goes by at one time, checked.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl TlsIdentity {
    /// With this certificate, for HTTP/2 and HTTP/1.1; callers may show certificates of these authorities.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        certificate: Arc<CertifiedKey>,
        callers: Option<&ClientAuthorities>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = callers.map(|c| verifier(c, &provider)).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), verifier })
    }
}

fn verifier(
    callers: &ClientAuthorities,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in &callers.roots {
        roots.add(root.clone()).map_err(TlsError::Authority)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match callers.auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    // Without revocation lists this is the only way in which it can fail.
    builder.build().map_err(|_| TlsError::NoAuthority)
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("verifies_callers", &self.verifier.is_some())
            .finish_non_exhaustive()
    }
}

/// TLS for a listener. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: ArcSwap<TlsIdentity>,
    /// How often it was replaced.
    generation: AtomicU64,
}

impl Tls {
    /// With this identity.
    #[must_use]
    pub fn new(identity: TlsIdentity) -> Self {
        Self(Arc::new(Inner { current: ArcSwap::from_pointee(identity), generation: AtomicU64::new(0) }))
    }

    /// Connections that come from now on get this one; certificates that callers showed before are judged again, each
    /// with the next request.
    pub fn replace(&self, identity: TlsIdentity) {
        self.0.current.store(Arc::new(identity));
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// Shakes hands with a client; the certificate that it showed was verified and is its own.
    ///
    /// # Errors
    /// As TLS says: a certificate that is expired, or of nobody who is trusted, ends the connection.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Arc<PeerCertificate>>)> {
        // Asked before, so that a change meanwhile has the certificate judged again.
        let generation = self.generation();
        let config = Arc::clone(&self.0.current.load().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = PeerCertificate::read(self, generation, chain).map_err(io::Error::other)?;
        Ok((stream, certificate))
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.0.current.load().verifier.clone()
    }
}
