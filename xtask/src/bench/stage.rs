//! The upstream, bare and behind each proxy.

use std::net::SocketAddr;
use std::path::Path;

use super::case::Case;
use super::process_usage::Usage;
use super::server::claviger::Claviger;
use super::server::nginx::Nginx;

/// Whom the load generator talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The upstream itself.
    Bare,
    Nginx,
    Claviger,
}

impl Side {
    pub const ALL: [Self; 3] = [Self::Bare, Self::Nginx, Self::Claviger];

    /// The sides in another order each run, so that none always comes after the same other.
    pub fn order(run: usize) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().cycle().skip(run % Self::ALL.len()).take(Self::ALL.len())
    }
}

/// Both proxies before one upstream.
pub struct Stage {
    upstream: SocketAddr,
    nginx: Nginx,
    claviger: Option<Claviger>,
}

/// One side with the request that it understands.
pub struct Target {
    pub address: SocketAddr,
    pub requests: Vec<Vec<u8>>,
}

impl Stage {
    /// Starts both proxies on the cores of the caller; without a binary there is no Claviger.
    pub fn start(folder: &Path, binary: Option<&Path>, upstream: SocketAddr) -> anyhow::Result<Self> {
        let nginx = Nginx::start(&folder.join("nginx"), upstream)?;
        let claviger = match binary {
            Some(binary) => Some(Claviger::start(binary, &folder.join("claviger"), upstream)?),
            None => None,
        };
        Ok(Self { upstream, nginx, claviger })
    }

    /// `None` when this side does not take part.
    pub fn target(&self, side: Side, case: &Case) -> Option<Target> {
        const ANY_KEY: &str = "sk-ant-api03-bench";
        let (address, key) = match side {
            Side::Bare => (self.upstream, ANY_KEY),
            Side::Nginx if case.is_stream => (self.nginx.unbuffered, ANY_KEY),
            Side::Nginx => (self.nginx.buffered, ANY_KEY),
            Side::Claviger => {
                let claviger = self.claviger.as_ref()?;
                (claviger.address, claviger.key.as_str())
            }
        };
        Some(Target { address, requests: vec![case.request(&format!("x-api-key: {key}\r\n"))] })
    }

    /// What the proxy of a side has used; nothing for the bare upstream.
    pub fn usage(&self, side: Side) -> anyhow::Result<Usage> {
        match side {
            Side::Bare => Ok(Usage::default()),
            Side::Nginx => self.nginx.server.usage(),
            Side::Claviger => match &self.claviger {
                Some(claviger) => claviger.server.usage(),
                None => Ok(Usage::default()),
            },
        }
    }
}
