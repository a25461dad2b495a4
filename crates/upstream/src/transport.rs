//! Making a connection: name, address, TCP, proxy, TLS, all within one limit of time.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{PoolLimits, UpstreamConfig},
    dns::{Dns, Lookup, SystemLookup},
    error::{ConfigError, ConnectPhase, UpstreamError},
    proxy::Proxy,
    stream::Stream,
    target::{Address, Origin, Scheme, reach::is_public},
    tls,
};

/// What all workers share: settings, resolver, TLS state.
pub struct Transport {
    dns: Dns,
    tls: TlsConnector,
    proxy: Option<Proxy>,
    pub(crate) pool: PoolLimits,
    connect_timeout: Duration,
    tcp_keepalive: Duration,
}

/// How long each part of making a connection took, for probes. `None`: the part was not needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) resolve: Option<Duration>,
    pub(crate) tcp: Option<Duration>,
    pub(crate) proxy: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) tls_version: Option<String>,
}

impl Transport {
    /// With the operating system's resolver.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot be used.
    pub fn new(config: &UpstreamConfig) -> Result<Arc<Self>, ConfigError> {
        Self::with_lookup(config, Arc::new(SystemLookup))
    }

    /// With another resolver.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot be used.
    pub fn with_lookup(config: &UpstreamConfig, lookup: Arc<dyn Lookup>) -> Result<Arc<Self>, ConfigError> {
        Ok(Arc::new(Self {
            dns: Dns::new(lookup, config.dns_ttl),
            tls: TlsConnector::from(tls::client_config(config)?),
            proxy: config.proxy.as_ref().map(Proxy::new).transpose()?,
            pool: config.pool,
            connect_timeout: config.connect_timeout,
            tcp_keepalive: config.tcp_keepalive,
        }))
    }

    /// The proxy to which plain requests for this origin are handed in absolute form.
    pub(crate) fn absolute_form_proxy(&self, origin: &Origin) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|p| origin.scheme == Scheme::Http && p.serves(origin))
    }

    /// A fresh connection to the origin; the timeline says what took how long.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        timeline: &mut Timeline,
    ) -> Result<Stream, UpstreamError> {
        let mut limit = Limit::new(self.connect_timeout);
        let proxy = self.proxy.as_ref().filter(|p| p.serves(origin));
        let peer = proxy.map_or(origin, |p| p.origin());
        let addresses = limit.run(ConnectPhase::Resolve, self.addresses(peer, proxy.is_some())).await??;
        timeline.resolve = Some(limit.lap());
        timeline.addresses.clone_from(&addresses);
        let mut tcp = self.dial(peer, &addresses, &limit).await?;
        timeline.tcp = Some(limit.lap());
        if origin.scheme == Scheme::Http {
            return Ok(Stream::Plain(tcp));
        }
        if let Some(proxy) = proxy {
            tcp = limit.run(ConnectPhase::Proxy, proxy.tunnel(tcp, origin)).await??;
            timeline.proxy = Some(limit.lap());
        }
        let name = tls::server_name(origin).map_err(UpstreamError::Tls)?;
        let handshake = self.tls.connect(name, tcp);
        let tls = limit.run(ConnectPhase::Tls, handshake).await?.map_err(UpstreamError::Tls)?;
        timeline.tls = Some(limit.lap());
        let stream = Stream::Tls(Box::new(tls));
        timeline.tls_version = stream.tls_version();
        Ok(stream)
    }

    /// The addresses of a peer. A typed address, `localhost` and the operator's proxy may lie anywhere; any
    /// other name only on the public internet.
    async fn addresses(&self, peer: &Origin, trusted: bool) -> Result<Vec<IpAddr>, UpstreamError> {
        let name = match &peer.address {
            Address::Literal(ip) => return Ok(vec![*ip]),
            Address::Name(name) => name,
        };
        let unresolved = |source| UpstreamError::Resolve { host: Arc::clone(name), source };
        let found = self.dns.resolve(name).await.map_err(unresolved)?;
        if trusted || peer.address.is_loopback() {
            return Ok(found.to_vec());
        }
        let public: Vec<IpAddr> = found.iter().copied().filter(|ip| is_public(*ip)).collect();
        match (public.is_empty(), found.first()) {
            (true, Some(address)) => {
                Err(UpstreamError::NotPublic { host: Arc::clone(name), address: *address })
            }
            _ => Ok(public),
        }
    }

    /// Tries the addresses in order; each gets an equal share of the time that is left.
    async fn dial(
        &self,
        peer: &Origin,
        addresses: &[IpAddr],
        limit: &Limit,
    ) -> Result<TcpStream, UpstreamError> {
        let mut failure = limit.exceeded(ConnectPhase::Tcp);
        for (tried, ip) in addresses.iter().enumerate() {
            let address = SocketAddr::new(*ip, peer.port);
            match timeout_at(limit.share(addresses.len() - tried), TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    self.tune(&tcp);
                    return Ok(tcp);
                }
                Ok(Err(source)) => failure = UpstreamError::Connect { address, source },
                Err(_) => failure = limit.exceeded(ConnectPhase::Tcp),
            }
        }
        if let Address::Name(name) = &peer.address {
            self.dns.forget(name);
        }
        Err(failure)
    }

    /// Small writes leave at once, and a peer that vanished is noticed. Neither is worth failing for.
    fn tune(&self, tcp: &TcpStream) {
        let keepalive =
            TcpKeepalive::new().with_time(self.tcp_keepalive).with_interval(Duration::from_secs(15));
        let tuned: io::Result<()> =
            tcp.set_nodelay(true).and_then(|()| SockRef::from(tcp).set_tcp_keepalive(&keepalive));
        if let Err(error) = tuned {
            tracing::debug!(%error, "socket options were not set");
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("dns", &self.dns).finish_non_exhaustive()
    }
}

/// One deadline over several phases, and a stop-watch for each.
struct Limit {
    after: Duration,
    deadline: Instant,
    lap: Instant,
}

impl Limit {
    fn new(after: Duration) -> Self {
        let now = Instant::now();
        Self { after, deadline: now + after, lap: now }
    }

    async fn run<F: Future>(&self, phase: ConnectPhase, work: F) -> Result<F::Output, UpstreamError> {
        timeout_at(self.deadline, work).await.map_err(|_| self.exceeded(phase))
    }

    const fn exceeded(&self, phase: ConnectPhase) -> UpstreamError {
        UpstreamError::ConnectTimeout { phase, after: self.after }
    }

    fn share(&self, parts: usize) -> Instant {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        now + left / u32::try_from(parts.max(1)).unwrap_or(1)
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.lap;
        self.lap = now;
        took
    }
}
