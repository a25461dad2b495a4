//! Where an upstream is: its address as the operator typed it, and whether that may be spoken to.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme as UriScheme},
};

pub mod reach;

#[cfg(test)]
mod tests;

/// Why a base URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an absolute URL.
    #[error("not a URL such as https://api.anthropic.com")]
    NotAUrl,
    /// Another scheme than `http` or `https`.
    #[error("the scheme must be https (or http with insecure_plaintext)")]
    Scheme,
    /// `user:password@`, which would end up in logs.
    #[error("a URL with user information is refused; add the key as a credential")]
    UserInfo,
    /// A query or fragment.
    #[error("the URL must not have a query or fragment")]
    Query,
    /// Plain HTTP to another machine without consent.
    #[error("plain http beyond this machine needs insecure_plaintext")]
    PlainHttp,
    /// An address that nothing can answer on (0.0.0.0, multicast).
    #[error("{0} is not the address of a host")]
    NotAHost(IpAddr),
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What the operator typed as host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A name, lower-case, without a trailing dot. It may lead to public addresses only (but `localhost`).
    Name(Arc<str>),
    /// An address. Typing it is consent, so private ones are allowed.
    Literal(IpAddr),
}

impl Address {
    /// Whether this is the machine itself: `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => &**name == "localhost",
            Self::Literal(ip) => ip.to_canonical().is_loopback(),
        }
    }
}

/// Scheme, host and port: what a connection can be shared for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub address: Address,
    /// The port, the scheme's own if none was typed.
    pub port: u16,
}

impl Origin {
    /// `host:port`, as `CONNECT` wants it.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        match &self.address {
            Address::Name(name) => format!("{name}:{}", self.port),
            Address::Literal(ip) => std::net::SocketAddr::new(*ip, self.port).to_string(),
        }
    }
}

/// An upstream's base URL, taken apart once.
#[derive(Debug, Clone)]
pub struct Target {
    origin: Arc<Origin>,
    authority: Authority,
    host: HeaderValue,
    prefix: Arc<str>,
}

impl Target {
    /// Reads `https://host[:port][/prefix]`; a trailing slash is dropped.
    ///
    /// # Errors
    /// [`TargetError`] when it is no such URL, or plain `http` leaves this machine without
    /// `insecure_plaintext`.
    pub fn parse(base_url: &str, insecure_plaintext: bool) -> Result<Self, TargetError> {
        let text = base_url.trim();
        if text.contains(['#', '?']) {
            return Err(TargetError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::NotAUrl)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) => return Err(TargetError::Scheme),
            None => return Err(TargetError::NotAUrl),
        };
        let typed = uri.authority().ok_or(TargetError::NotAUrl)?;
        if typed.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let address = read_address(typed.host())?;
        if scheme == Scheme::Http && !insecure_plaintext && !address.is_loopback() {
            return Err(TargetError::PlainHttp);
        }
        let port = read_port(typed, scheme)?;
        let origin = Origin { scheme, address, port };
        let authority = write_authority(&origin)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| TargetError::NotAUrl)?;
        let prefix = Arc::from(uri.path().trim_end_matches('/'));
        Ok(Self { origin: Arc::new(origin), authority, host, prefix })
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The path before `/v1/…`, without a trailing slash; mostly empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL again, in its normal form.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = match self.origin.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}{}", self.authority, self.prefix)
    }

    /// The `Host` header.
    pub(crate) const fn host_header(&self) -> &HeaderValue {
        &self.host
    }

    /// The client's path and query behind the prefix. Without a prefix nothing is copied.
    pub(crate) fn path(&self, asked: &Uri) -> Result<PathAndQuery, http::Error> {
        let asked = asked.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if self.prefix.is_empty() {
            return Ok(asked);
        }
        let joined = Bytes::from([self.prefix.as_bytes(), asked.as_str().as_bytes()].concat());
        PathAndQuery::from_maybe_shared(joined).map_err(http::Error::from)
    }

    /// The absolute form, for HTTP/2 and for plain requests through a proxy.
    pub(crate) fn absolute(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        let scheme = match self.origin.scheme {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(http::Error::from)
    }
}

fn read_address(host: &str) -> Result<Address, TargetError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        let nobody = ip.is_unspecified() || ip.is_multicast();
        return if nobody { Err(TargetError::NotAHost(ip)) } else { Ok(Address::Literal(ip)) };
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err(TargetError::NotAUrl);
    }
    Ok(Address::Name(name.into()))
}

fn read_port(typed: &Authority, scheme: Scheme) -> Result<u16, TargetError> {
    let behind_host = typed.as_str().get(typed.host().len()..).unwrap_or_default();
    match (typed.port_u16(), behind_host) {
        (Some(0), _) => Err(TargetError::NotAUrl),
        (Some(port), _) => Ok(port),
        (None, "") => Ok(scheme.default_port()),
        (None, _) => Err(TargetError::NotAUrl),
    }
}

fn write_authority(origin: &Origin) -> Result<Authority, TargetError> {
    let host = match &origin.address {
        Address::Name(name) => name.to_string(),
        Address::Literal(IpAddr::V4(ip)) => ip.to_string(),
        Address::Literal(IpAddr::V6(ip)) => format!("[{ip}]"),
    };
    let text =
        if origin.port == origin.scheme.default_port() { host } else { format!("{host}:{}", origin.port) };
    text.parse().map_err(|_| TargetError::NotAUrl)
}
