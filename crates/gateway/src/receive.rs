//! Stage 1, receive: what came in, from whom, under which id.

use std::{net::IpAddr, sync::Arc};

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    address::client_address,
    clock::{Entropy, EntropyError, Timestamp},
    id::RequestId,
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    config::GatewayConfig, headers::X_REQUEST_ID, path::Operation, refuse::Refusal, tls::PeerCertificate,
};

/// A request as it came in. Its body has not been touched.
#[derive(Debug)]
pub struct Inbound {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Incoming,
}

/// A request's head, with what was made of it.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target, as it was sent.
    pub uri: Uri,
    /// The headers, as they were sent.
    pub headers: HeaderMap,
    /// What it asks for.
    pub operation: Operation,
    /// The client's address, as judged.
    pub client_ip: IpAddr,
    /// Whether the socket's peer is a proxy whose `X-Forwarded-*` are believed.
    pub proxied: bool,
    /// Our id of the request.
    pub request_id: RequestId,
    /// When it arrived.
    pub at: Timestamp,
    /// The same moment, for measuring.
    pub began: Instant,
    /// Whether the connection is one of TLS.
    pub tls: bool,
    /// The certificate that the caller showed.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Where a request came in.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The socket's peer.
    pub peer: IpAddr,
    /// When.
    pub at: Timestamp,
    /// The same moment, for measuring.
    pub began: Instant,
    /// Whether over TLS.
    pub tls: bool,
    /// The certificate that the caller showed.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The head is too large.
    #[error("the request head is larger than {limit} bytes")]
    HeadTooLarge {
        /// The limit.
        limit: usize,
    },
}

/// Makes our id of a request.
///
/// # Errors
/// [`EntropyError`].
pub fn new_request_id(entropy: &dyn Entropy) -> Result<RequestId, EntropyError> {
    RequestId::generate(entropy)
}

/// Takes a request in.
///
/// # Errors
/// [`ReceiveError`].
pub fn receive(
    config: &GatewayConfig,
    request: Request<Incoming>,
    arrival: Arrival,
    request_id: RequestId,
) -> Result<Inbound, ReceiveError> {
    let (parts, body) = request.into_parts();
    let limit = config.connection.head_bytes;
    if head_size(&parts.uri, &parts.headers) > limit {
        return Err(ReceiveError::HeadTooLarge { limit });
    }
    let operation = Operation::of(&parts.method, parts.uri.path());
    let client_ip = judged_address(config, arrival.peer, &parts.headers);
    let head = Head {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        operation,
        client_ip,
        proxied: config.trusted_proxies.contains(arrival.peer),
        request_id,
        at: arrival.at,
        began: arrival.began,
        tls: arrival.tls,
        certificate: arrival.certificate,
    };
    Ok(Inbound { head, body })
}

fn head_size(uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path_and_query().map_or(0, |p| p.as_str().len());
    // Each line has a colon, a space and a line break.
    headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum::<usize>() + target
}

fn judged_address(config: &GatewayConfig, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if config.trusted_proxies.is_empty() {
        return peer.to_canonical();
    }
    // An entry that is not text ends the walk like any other nonsense.
    let hops = headers.get_all("x-forwarded-for").into_iter().map(|v| v.to_str().unwrap_or("?"));
    client_address(peer, &config.trusted_proxies, hops).ip
}

impl Head {
    /// The client's own id of the request, given back to it.
    #[must_use]
    pub fn client_request_id(&self) -> Option<&HeaderValue> {
        self.headers.get(X_REQUEST_ID).filter(|id| id.len() <= 128)
    }

    /// Method and path without its query, at most 200 bytes: what records say.
    #[must_use]
    pub fn api_endpoint(&self) -> String {
        let mut text = String::with_capacity(48);
        text.push_str(self.method.as_str());
        text.push(' ');
        text.push_str(self.uri.path());
        cut(&mut text, 200);
        text
    }

    /// The client's program, at most 200 bytes.
    #[must_use]
    pub fn user_agent(&self) -> String {
        let value = self.headers.get(http::header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let mut text = String::from_utf8_lossy(value).into_owned();
        cut(&mut text, 200);
        text
    }
}

/// Shortens a text to at most `most` bytes, at a character.
pub fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::HeadTooLarge { .. } => {
                Self::new(Answer::HeadTooLarge, "head_too_large", error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut text = "é".repeat(150);
        cut(&mut text, 199);
        assert_eq!(text.len(), 198);
    }
}
