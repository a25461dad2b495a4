//! Connections to webhooks: every address that a name leads to is judged before it is dialled, so that whoever owns the
//! name cannot point it into the network that claviger stands in.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use claviger_domain::notice::{
    delivery::DeliveryError,
    endpoint::{Endpoint, Host},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// For each address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses that are tried.
const MAX_ADDRESSES: usize = 4;

/// Asks for a name's addresses.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of the name, in the order in which they should be tried.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect())
    }
}

/// A byte stream, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to an endpoint.
pub(crate) struct Dialler {
    lookup: Arc<dyn Lookup>,
    tls: TlsConnector,
}

impl Dialler {
    pub fn new(lookup: Arc<dyn Lookup>, tls: Arc<ClientConfig>) -> Self {
        Self { lookup, tls: TlsConnector::from(tls) }
    }

    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, DeliveryError> {
        let addresses = self.addresses(endpoint).await?;
        let mut last = DeliveryError::Transient("the name has no address".to_owned());
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            let socket = SocketAddr::new(address, endpoint.port);
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(socket)).await {
                Ok(Ok(stream)) => return self.wrap(endpoint, stream).await,
                Ok(Err(error)) => last = DeliveryError::Transient(format!("{socket}: {}", error.kind())),
                Err(_) => last = DeliveryError::Transient(format!("{socket}: no connection in time")),
            }
        }
        Err(last)
    }

    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<IpAddr>, DeliveryError> {
        let name = match &endpoint.host {
            Host::Literal(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let found = self.lookup.lookup(name).await;
        let found = found.map_err(|e| DeliveryError::Transient(format!("{name}: {}", e.kind())))?;
        let public: Vec<IpAddr> = found.iter().copied().filter(|a| endpoint.admits(*a)).collect();
        if public.is_empty() && !found.is_empty() {
            return Err(DeliveryError::Permanent(format!(
                "{name} leads to private addresses, which is refused"
            )));
        }
        Ok(public)
    }

    async fn wrap(&self, endpoint: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, DeliveryError> {
        if !endpoint.tls {
            return Ok(Box::new(stream));
        }
        let name = match &endpoint.host {
            Host::Literal(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| DeliveryError::Permanent(format!("{name} is not a name that TLS knows")))?,
        };
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| DeliveryError::Transient(format!("TLS failed: {error}")))?;
        Ok(Box::new(stream))
    }
}
