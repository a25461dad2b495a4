//! What can go wrong between this process and a provider's answer head.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::StatusCode;

use crate::target::Address;

/// The part of making a connection that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectPhase {
    /// Looking up the name.
    Resolve,
    /// TCP.
    Tcp,
    /// The proxy's tunnel.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// HTTP/2 settings.
    Http,
}

impl ConnectPhase {
    /// The word for logs and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// Why there is no answer head from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name has no address, or the resolver failed.
    #[error("cannot resolve `{host}`")]
    Resolve {
        /// The name.
        host: Arc<str>,
        /// What the resolver said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A name led to none but addresses inside our own network.
    #[error(
        "`{host}` resolves to {address}, which is not a public address; type the address itself to allow it"
    )]
    NotPublic {
        /// The name.
        host: Arc<str>,
        /// The address that it led to.
        address: std::net::IpAddr,
    },
    /// TCP failed on every address; this is the last one's error.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// The connection was not made in time.
    #[error("no connection within {} ms (while at `{}`)", after.as_millis(), phase.as_str())]
    ConnectTimeout {
        /// What was under way.
        phase: ConnectPhase,
        /// The limit.
        after: Duration,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The proxy answered `CONNECT` with something else than 2xx.
    #[error("the proxy answered {0}")]
    ProxyRefused(u16),
    /// The proxy did not speak HTTP or cut the connection.
    #[error("the proxy's answer cannot be used")]
    ProxyBroken(#[source] io::Error),
    /// The HTTP/2 connection could not be set up.
    #[error("HTTP/2 set-up failed")]
    Handshake(#[source] hyper::Error),
    /// All connections are in use and so are all places to wait, or the wait was too long.
    #[error("no free connection: {open} open, {waiting} requests waiting")]
    PoolFull {
        /// Connections open.
        open: usize,
        /// Requests waiting.
        waiting: usize,
    },
    /// The request's path cannot be joined with the upstream's prefix.
    #[error("the request path cannot be sent")]
    Unsendable(#[source] http::Error),
    /// The connection ended before the answer's head was there.
    #[error("the upstream closed the connection before it answered")]
    ClosedBeforeHead {
        /// Whether the connection had carried an earlier request: then the likely cause is an idle limit.
        reused: bool,
        /// Whether any of the request may have left.
        sent: bool,
        /// What the connection said.
        #[source]
        source: hyper::Error,
    },
    /// The answer's head is not HTTP.
    #[error("the upstream's answer is not valid HTTP")]
    Malformed(#[source] hyper::Error),
    /// No answer head in time.
    #[error("no answer within {} ms", .0.as_millis())]
    HeadTimeout(Duration),
    /// The request's own body failed while it was sent (its sender went away).
    #[error("the request body ended early")]
    RequestBody(#[source] hyper::Error),
    /// The upstream wanted to send us elsewhere. It is never followed: a redirect could carry the key away.
    #[error("the upstream answered with a redirect ({0}), which is not followed")]
    Redirected(StatusCode),
    /// The upstream answered 101: what follows is no HTTP any more. No request asks for that (`Upgrade` is never
    /// sent), so there is no answer to pass on.
    #[error("the upstream switched to another protocol, which was not asked for")]
    SwitchedProtocols,
}

impl UpstreamError {
    /// Whether any byte of the request may have reached the upstream, so that it may have been billed.
    #[must_use]
    pub const fn sent(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::NotPublic { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls(_)
            | Self::ProxyRefused(_)
            | Self::ProxyBroken(_)
            | Self::Handshake(_)
            | Self::PoolFull { .. }
            | Self::Unsendable(_) => false,
            Self::ClosedBeforeHead { sent, .. } => *sent,
            Self::Malformed(_)
            | Self::HeadTimeout(_)
            | Self::RequestBody(_)
            | Self::Redirected(_)
            | Self::SwitchedProtocols => true,
        }
    }

    /// Whether another try could end better: the fault lies on the way, not in the settings or the request.
    #[must_use]
    pub const fn transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls(_)
            | Self::ProxyBroken(_)
            | Self::Handshake(_)
            | Self::ClosedBeforeHead { .. } => true,
            Self::NotPublic { .. }
            | Self::ProxyRefused(_)
            | Self::PoolFull { .. }
            | Self::Unsendable(_)
            | Self::Malformed(_)
            | Self::HeadTimeout(_)
            | Self::RequestBody(_)
            | Self::Redirected(_)
            | Self::SwitchedProtocols => false,
        }
    }

    /// A fixed word for metrics and records.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "resolve",
            Self::NotPublic { .. } => "not_public",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Tls(_) => "tls",
            Self::ProxyRefused(_) => "proxy_refused",
            Self::ProxyBroken(_) => "proxy_broken",
            Self::Handshake(_) => "handshake",
            Self::PoolFull { .. } => "pool_full",
            Self::Unsendable(_) => "unsendable",
            Self::ClosedBeforeHead { .. } => "closed_before_head",
            Self::Malformed(_) => "malformed",
            Self::HeadTimeout(_) => "head_timeout",
            Self::RequestBody(_) => "request_body",
            Self::Redirected(_) => "redirected",
            Self::SwitchedProtocols => "switched_protocols",
        }
    }

    /// The error with all its causes in one line, for a log or a report.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file with extra certificate authorities cannot be read.
    #[error("cannot read certificate authorities from {path}")]
    Roots {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate")]
    NoRoots {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A certificate in it, or the TLS set-up, was refused.
    #[error("TLS settings refused")]
    Tls(#[from] rustls::Error),
    /// The proxy's address is not `http://host:port`.
    #[error("the proxy address is not usable")]
    Proxy(#[from] crate::target::TargetError),
    /// A proxy must be addressed by `http://`.
    #[error("a proxy must be given as http://host:port, without a path")]
    ProxyForm,
    /// An entry of the `no_proxy` list cannot be understood.
    #[error("`{0}` in no_proxy is neither a host, a .suffix, an address nor a block")]
    NoProxy(String),
}

impl From<&Address> for Arc<str> {
    fn from(address: &Address) -> Self {
        match address {
            Address::Name(name) => Self::clone(name),
            Address::Literal(ip) => Self::from(ip.to_string()),
        }
    }
}
