//! What an operator can set about outgoing connections, with its defaults.

use std::{path::PathBuf, time::Duration};

use claviger_domain::secret::SecretBytes;

/// Settings of everything that goes out to providers.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Bounds of each worker's connection pool.
    pub pool: PoolLimits,
    /// The longest that DNS, TCP, a proxy's tunnel and TLS may take together (5 s).
    pub connect_timeout: Duration,
    /// How long a resolved name is believed (300 s).
    pub dns_ttl: Duration,
    /// Whether HTTP/2 is offered (no). One HTTP/2 connection shares its fate among many streams, so HTTP/1.1
    /// is the better default where long event streams are the rule.
    pub http2: bool,
    /// Silence after which the kernel starts to probe a connection (60 s).
    pub tcp_keepalive: Duration,
    /// A PEM file with certificate authorities to trust beside the system's and Mozilla's.
    pub extra_roots: Option<PathBuf>,
    /// The proxy through which providers are reached, if any.
    pub proxy: Option<ProxyConfig>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            pool: PoolLimits::default(),
            connect_timeout: Duration::from_secs(5),
            dns_ttl: Duration::from_secs(300),
            http2: false,
            tcp_keepalive: Duration::from_secs(60),
            extra_roots: None,
            proxy: None,
        }
    }
}

/// Bounds of one worker's connection pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Idle connections kept over all hosts (100); beyond it the longest idle one is closed.
    pub idle_total: usize,
    /// Idle connections kept per host (30).
    pub idle_per_host: usize,
    /// How long idle connections beyond these two bounds are kept all the same (2 s): answers end in waves, and what
    /// one wave leaves behind the next one needs.
    pub surplus: Duration,
    /// How long a connection may lie idle (90 s).
    pub idle_timeout: Duration,
    /// Connections open at once, idle ones included (2 048).
    pub max_connections: usize,
    /// Requests that may wait for a connection (1 024); one more is answered `PoolFull`.
    pub max_waiting: usize,
    /// The longest that a request waits for a connection (5 s), then `PoolFull`.
    pub wait_timeout: Duration,
    /// Streams at once on one HTTP/2 connection (100), or fewer if the peer says so.
    pub http2_streams: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            idle_total: 100,
            idle_per_host: 30,
            surplus: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(90),
            max_connections: 2_048,
            max_waiting: 1_024,
            wait_timeout: Duration::from_secs(5),
            http2_streams: 100,
        }
    }
}

/// An HTTP proxy: `CONNECT` for `https` targets, absolute-form requests for `http` ones.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// `http://host:port`.
    pub url: String,
    /// User name and password for `Proxy-Authorization: Basic`.
    pub basic: Option<(String, SecretBytes)>,
    /// Hosts reached without the proxy: `host`, `.suffix`, an address, a CIDR block, or `*` for all.
    /// Loopback never goes through it.
    pub no_proxy: Vec<String>,
}
