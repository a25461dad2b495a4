//! An outbound HTTP proxy: who goes through it, and how a tunnel is asked for (RFC 9110, 9.3.6).

use std::{io, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use claviger_domain::{address::CidrList, secret::SecretBytes};
use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    config::ProxyConfig,
    credential::sensitive,
    error::{ConfigError, UpstreamError},
    target::{Address, Origin, Scheme, Target},
};

/// The longest answer to `CONNECT` that is read.
const MAX_ANSWER: usize = 8 * 1024;

/// A proxy as configured, ready for use.
#[derive(Debug)]
pub(crate) struct Proxy {
    origin: Arc<Origin>,
    authorization: Option<HeaderValue>,
    bypass: Bypass,
}

#[derive(Debug, Default)]
struct Bypass {
    all: bool,
    hosts: Vec<String>,
    suffixes: Vec<String>,
    blocks: CidrList,
}

impl Proxy {
    pub(crate) fn new(config: &ProxyConfig) -> Result<Self, ConfigError> {
        let target = Target::parse(&config.url, true)?;
        if target.origin().scheme != Scheme::Http || !target.prefix().is_empty() {
            return Err(ConfigError::ProxyForm);
        }
        let authorization =
            config.basic.as_ref().map(|(user, password)| basic(user, password)).transpose()?;
        let bypass = Bypass::new(&config.no_proxy)?;
        Ok(Self { origin: Arc::clone(target.origin()), authorization, bypass })
    }

    pub(crate) const fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(crate) const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Whether the proxy stands between us and this origin.
    pub(crate) fn serves(&self, origin: &Origin) -> bool {
        !origin.address.is_loopback() && !self.bypass.covers(&origin.address)
    }

    /// Asks for a tunnel on a fresh connection to the proxy.
    pub(crate) async fn tunnel(
        &self,
        mut tcp: TcpStream,
        origin: &Origin,
    ) -> Result<TcpStream, UpstreamError> {
        let mut ask = Vec::with_capacity(256);
        let host = origin.host_and_port();
        ask.extend_from_slice(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").as_bytes());
        if let Some(authorization) = &self.authorization {
            ask.extend_from_slice(b"Proxy-Authorization: ");
            ask.extend_from_slice(authorization.as_bytes());
            ask.extend_from_slice(b"\r\n");
        }
        ask.extend_from_slice(b"\r\n");
        // Wrapped, so that the copy with the password in it is zeroed after use.
        let ask = SecretBytes::new(ask);
        tcp.write_all(ask.expose()).await.map_err(UpstreamError::ProxyBroken)?;
        let status = read_status(&mut tcp).await.map_err(UpstreamError::ProxyBroken)?;
        if (200..300).contains(&status) { Ok(tcp) } else { Err(UpstreamError::ProxyRefused(status)) }
    }
}

fn basic(user: &str, password: &SecretBytes) -> Result<HeaderValue, ConfigError> {
    let pair = SecretBytes::new([user.as_bytes(), b":", password.expose()].concat());
    let mut value = b"Basic ".to_vec();
    value.extend_from_slice(STANDARD.encode(pair.expose()).as_bytes());
    sensitive(SecretBytes::new(value)).map_err(|_| ConfigError::ProxyForm)
}

/// Reads the head of the proxy's answer. The tunnel's other end speaks only after us, so nothing that belongs
/// to it can have been read along.
async fn read_status(tcp: &mut TcpStream) -> io::Result<u16> {
    let mut answer = Vec::with_capacity(512);
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too long"));
        }
        if tcp.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let code = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let code = code.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| text.parse().ok());
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/1 status line"))
}

impl Bypass {
    fn new(entries: &[String]) -> Result<Self, ConfigError> {
        let mut bypass = Self::default();
        let mut blocks = Vec::new();
        for entry in entries.iter().map(|e| e.trim().to_ascii_lowercase()).filter(|e| !e.is_empty()) {
            let name = entry.trim_start_matches("*.").trim_start_matches('.');
            if entry == "*" {
                bypass.all = true;
            } else if CidrList::parse(&[&entry]).is_ok() {
                blocks.push(entry);
            } else if name.is_empty() || name.contains([':', '/', '*']) {
                return Err(ConfigError::NoProxy(entry));
            } else if name.len() < entry.len() {
                bypass.suffixes.push(format!(".{name}"));
            } else {
                bypass.hosts.push(entry);
            }
        }
        bypass.blocks = CidrList::parse(&blocks).map_err(|e| ConfigError::NoProxy(e.0))?;
        Ok(bypass)
    }

    fn covers(&self, address: &Address) -> bool {
        match address {
            _ if self.all => true,
            Address::Literal(ip) => self.blocks.contains(*ip),
            Address::Name(name) => {
                self.hosts.iter().any(|h| **h == **name) || self.suffixes.iter().any(|s| name.ends_with(&**s))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, no_proxy: &[&str]) -> Result<Proxy, ConfigError> {
        let no_proxy = no_proxy.iter().map(ToString::to_string).collect();
        Proxy::new(&ProxyConfig { url: url.into(), basic: None, no_proxy })
    }

    fn serves(no_proxy: &[&str], url: &str) -> bool {
        let target = Target::parse(url, true).expect(url);
        proxy("http://proxy.corp:3128", no_proxy).expect("proxy").serves(target.origin())
    }

    #[test]
    fn no_proxy_covers_hosts_suffixes_addresses_and_blocks() {
        let list = ["gw.corp", ".internal", "*.lan", "10.0.0.0/8", "192.0.2.7"];
        for direct in [
            "https://gw.corp",
            "https://a.internal",
            "https://a.b.lan",
            "https://10.1.2.3",
            "https://192.0.2.7",
            "https://localhost",
            "https://127.0.0.1",
            "https://[::1]",
        ] {
            assert!(!serves(&list, direct), "{direct}");
        }
        for through in
            ["https://api.anthropic.com", "https://x.gw.corp", "https://internal", "https://11.0.0.1"]
        {
            assert!(serves(&list, through), "{through}");
        }
        assert!(!serves(&["*"], "https://api.anthropic.com"));
    }

    #[test]
    fn a_proxy_must_be_a_plain_http_address() {
        assert!(matches!(proxy("https://proxy", &[]), Err(ConfigError::ProxyForm)));
        assert!(matches!(proxy("http://proxy/path", &[]), Err(ConfigError::ProxyForm)));
        assert!(matches!(proxy("socks5://proxy", &[]), Err(ConfigError::Proxy(_))));
        assert!(matches!(proxy("http://proxy", &["a/b"]), Err(ConfigError::NoProxy(_))));
    }

    #[test]
    fn proxy_password_is_never_printed() {
        let basic = Some(("user".into(), SecretBytes::new(b"hunter2".to_vec())));
        let config = ProxyConfig { url: "http://proxy".into(), basic, no_proxy: vec![] };
        let shown = format!("{config:?} {:?}", Proxy::new(&config).expect("proxy"));
        assert!(!shown.contains("hunter2") && !shown.contains("dXNlcjpodW50ZXIy"), "{shown}");
    }
}
