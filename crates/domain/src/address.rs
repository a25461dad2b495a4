//! Client addresses: which one a request really came from, and whether a key may be used from there.
//!
//! One function decides for gateway and control plane alike. The socket's peer counts unless it is a trusted
//! proxy; then `X-Forwarded-For` is walked from the right to the first address that is not one.

pub mod reach;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A list of address blocks. IPv4-mapped IPv6 addresses count as the IPv4 address inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CidrList(Vec<IpNet>);

/// Not an address block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address block such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7")]
pub struct CidrError(pub String);

impl CidrList {
    /// Reads blocks and single addresses, v4 and v6.
    ///
    /// # Errors
    /// [`CidrError`] names the first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, CidrError> {
        let read = |text: &str| {
            let block = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            block.and_then(canonical_block).ok_or_else(|| CidrError(text.to_owned()))
        };
        entries.iter().map(|e| read(e.as_ref().trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the list has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address lies in one of the blocks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.contains(&address))
    }

    /// Whether every block of `other` lies within one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|inner| self.0.iter().any(|outer| outer.contains(inner)))
    }

    /// The blocks as text.
    #[must_use]
    pub fn entries(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// A v4-mapped v6 block becomes the v4 block; host bits are cut off.
fn canonical_block(block: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = block else { return Some(block.trunc()) };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len()) {
        (Some(v4), len @ 96..) => ipnet::Ipv4Net::new(v4, len - 96).ok().map(|n| IpNet::V4(n.trunc())),
        (Some(_), _) => None,
        (None, _) => Some(IpNet::V6(v6.trunc())),
    }
}

impl TryFrom<Vec<String>> for CidrList {
    type Error = CidrError;
    fn try_from(entries: Vec<String>) -> Result<Self, CidrError> {
        Self::parse(&entries)
    }
}

impl From<CidrList> for Vec<String> {
    fn from(list: CidrList) -> Self {
        list.entries()
    }
}

/// The address that a request is judged by, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The address.
    pub ip: IpAddr,
    /// Where it came from.
    pub source: AddressSource,
}

/// How a client address was derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressSource {
    /// The peer of the socket.
    Socket,
    /// `X-Forwarded-For`, believed because the peer is a trusted proxy.
    ForwardedFor,
}

/// Finds the client's address. `forwarded_for` holds the values of all `X-Forwarded-For` headers in order; they
/// are read only when `peer` is a trusted proxy. An entry that cannot be read ends the walk at the last address
/// known: the proxy that wrote nonsense is itself the client.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &CidrList,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
) -> ClientAddress {
    let mut at = ClientAddress { ip: peer.to_canonical(), source: AddressSource::Socket };
    for hop in forwarded_for.rev().flat_map(|value| value.rsplit(',')) {
        if !trusted.contains(at.ip) {
            break;
        }
        let Some(ip) = forwarded_hop(hop) else { break };
        at = ClientAddress { ip: ip.to_canonical(), source: AddressSource::ForwardedFor };
    }
    at
}

/// One hop: an address, a bracketed v6 address, or either with a port.
fn forwarded_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// The block under which refusals of one address are counted: a v4 address, or a v6 /64.
#[must_use]
pub fn counting_block(ip: IpAddr) -> IpNet {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpNet::from(IpAddr::V4(v4)),
        IpAddr::V6(v6) => {
            ipnet::Ipv6Net::new(v6, 64).map_or_else(|_| IpNet::from(IpAddr::V6(v6)), |n| n.trunc().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(entries: &[&str]) -> CidrList {
        CidrList::parse(entries).unwrap()
    }

    fn seen(peer: &str, trusted: &[&str], xff: &[&str]) -> String {
        client_address(peer.parse().unwrap(), &list(trusted), xff.iter().copied()).ip.to_string()
    }

    #[test]
    fn blocks_hold_v4_v6_and_mapped_addresses() {
        let l = list(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "::ffff:172.16.0.0/108"]);
        for inside in ["10.255.0.1", "::ffff:10.1.1.1", "2001:db8::1", "192.0.2.7", "172.16.9.9"] {
            assert!(l.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "2001:db9::1", "192.0.2.8"] {
            assert!(!l.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(CidrList::parse(&["10.0.0.0/33"]).is_err());
    }

    #[test]
    fn forwarded_for_is_believed_from_trusted_proxies_only_and_from_the_right() {
        assert_eq!(seen("198.51.100.1", &["10.0.0.0/8"], &["1.2.3.4"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["6.6.6.6, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["6.6.6.6", "1.2.3.4:5555"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["1.2.3.4, junk"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["[2001:db8::5]:80"]), "2001:db8::5");
        assert_eq!(seen("::ffff:10.0.0.1", &["10.0.0.0/8"], &[]), "10.0.0.1");
    }

    proptest! {
        #[test]
        fn a_client_cannot_choose_its_address(spoof in "[0-9., ]{0,40}", last in any::<[u8; 4]>()) {
            let real = IpAddr::from(last);
            prop_assume!(!list(&["10.0.0.0/8"]).contains(real));
            let value = format!("{spoof},{real}");
            let got = client_address("10.0.0.1".parse().unwrap(), &list(&["10.0.0.0/8"]), [value.as_str()].into_iter());
            prop_assert_eq!(got.ip, real);
        }
    }
}
