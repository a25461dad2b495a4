//! Where a webhook goes, taken apart, and whether that may be spoken to: the operator's typing decides, not what a name
//! server answers.

use std::net::IpAddr;

use crate::address::reach::is_public;

/// Longest URL taken.
const MAX_URL: usize = 2_048;

/// The host of an URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name. It may lead to public addresses only.
    Name(String),
    /// An address that the operator typed; `localhost` is one.
    Literal(IpAddr),
}

/// An URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// `host[:port]`, as typed.
    pub authority: String,
    /// From the first slash on, `/` at least.
    pub path: String,
}

/// Why an URL is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an absolute URL of printable ASCII.
    #[error("not a URL such as https://hooks.example/claviger")]
    NotAUrl,
    /// `user:password@` would end up in logs.
    #[error("a URL with user information is refused")]
    UserInfo,
    /// Plain HTTP to another machine.
    #[error("plain http is for this machine only; use https")]
    PlainHttp,
    /// An address inside, without the word that it is meant.
    #[error("{0} is not a public address; add it with --allow-private if it is meant")]
    Private(IpAddr),
    /// An address that nobody answers on.
    #[error("{0} is not the address of a host")]
    NotAHost(IpAddr),
}

impl Endpoint {
    /// Reads `https://host[:port]/path`. `allow_private`: the operator said that an address inside is meant.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong.
    pub fn parse(url: &str, allow_private: bool) -> Result<Self, EndpointError> {
        if url.len() > MAX_URL || !url.bytes().all(|b| b.is_ascii_graphic()) || url.contains(['#', '\\']) {
            return Err(EndpointError::NotAUrl);
        }
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::NotAUrl)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::NotAUrl),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let (host, port) = read_authority(authority, tls)?;
        if let Host::Literal(ip) = host {
            judge_literal(ip, allow_private)?;
        }
        let is_here = matches!(host, Host::Literal(ip) if ip.is_loopback());
        if !tls && !is_here {
            return Err(EndpointError::PlainHttp);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host, port, authority: authority.to_ascii_lowercase(), path })
    }

    /// Whether a connection may go to an address that the host led to.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        match &self.host {
            Host::Literal(typed) => *typed == address.to_canonical(),
            Host::Name(_) => is_public(address),
        }
    }
}

fn judge_literal(ip: IpAddr, allow_private: bool) -> Result<(), EndpointError> {
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(EndpointError::NotAHost(ip));
    }
    if allow_private || is_public(ip) { Ok(()) } else { Err(EndpointError::Private(ip)) }
}

fn read_authority(authority: &str, tls: bool) -> Result<(Host, u16), EndpointError> {
    let bare = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bare {
        Some((host, port)) => (host, port),
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let port = match port {
        "" => Ok(if tls { 443 } else { 80 }),
        text => text.strip_prefix(':').and_then(|t| t.parse().ok()).ok_or(EndpointError::NotAUrl),
    }?;
    if port == 0 {
        return Err(EndpointError::NotAUrl);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((Host::Literal(ip.to_canonical()), port));
    }
    if bare.is_some() {
        return Err(EndpointError::NotAUrl);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" {
        return Ok((Host::Literal(std::net::Ipv4Addr::LOCALHOST.into()), port));
    }
    let ok = is_host_name(&name);
    if ok { Ok((Host::Name(name), port)) } else { Err(EndpointError::NotAUrl) }
}

/// Labels of letters, digits and hyphens (RFC 1123, 2.1), and underscores, which some use.
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url, false)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let e = read("https://Hooks.Example:8443?x=1").unwrap();
        assert_eq!(
            (e.host, e.port, e.path.as_str()),
            (Host::Name("hooks.example".to_owned()), 8443, "/?x=1")
        );
        let e = Endpoint::parse("http://[::1]:9/a", true).unwrap();
        assert_eq!((e.tls, e.port, e.authority.as_str()), (false, 9, "[::1]:9"));
    }

    #[test]
    fn what_is_no_webhook_address_is_refused() {
        for bad in [
            "",
            "hooks.example",
            "ftp://h/",
            "https://",
            "https:///x",
            "https://a b/",
            "https://h/#f",
            "https://h:0/",
            "https://h:x/",
            "https://-h/",
            "https://h\\@x/",
        ] {
            assert_eq!(read(bad), Err(EndpointError::NotAUrl), "{bad}");
        }
        assert_eq!(read("https://u:p@h/"), Err(EndpointError::UserInfo));
        assert_eq!(read("http://hooks.example/"), Err(EndpointError::PlainHttp));
        assert!(matches!(read("https://0.0.0.0/"), Err(EndpointError::NotAHost(_))));
    }

    #[test]
    fn an_address_inside_takes_the_operators_word_and_a_name_never_leads_there() {
        for inside in
            ["https://10.0.0.7/", "http://localhost/", "https://[fd00::1]/", "https://169.254.169.254/"]
        {
            assert!(matches!(read(inside), Err(EndpointError::Private(_))), "{inside}");
            assert!(Endpoint::parse(inside, true).is_ok(), "{inside}");
        }
        let named = Endpoint::parse("https://hooks.example/", true).unwrap();
        assert!(!named.admits("10.0.0.7".parse().unwrap()));
        assert!(named.admits("1.1.1.1".parse().unwrap()));
        let typed = Endpoint::parse("https://10.0.0.7/", true).unwrap();
        assert!(typed.admits("10.0.0.7".parse().unwrap()) && !typed.admits("10.0.0.8".parse().unwrap()));
    }
}
