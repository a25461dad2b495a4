//! Documents with keys that other issuers publish: fetched by the same guarded way as everything that leaves the house.
//! Redirects are not followed, names that lead into private networks are refused.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use claviger_domain::{
    ports::workload::{FetchError, FetchedKeys, KeyFetcher},
    workload::jwks::MAX_BYTES,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::{
    client::UpstreamClient,
    target::{Address, Target, reach::is_public},
    transport::Transport,
};

/// The longest wait for an answer's head, and again for its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fetches issuers' keys.
pub struct Documents {
    transport: Arc<Transport>,
}

impl Documents {
    /// Over this transport.
    #[must_use]
    pub const fn new(transport: Arc<Transport>) -> Self {
        Self { transport }
    }
}

#[async_trait]
impl KeyFetcher for Documents {
    async fn fetch(&self, url: &str, private_network: bool) -> Result<FetchedKeys, FetchError> {
        let refused = |why: &dyn std::fmt::Display| FetchError::Refused(why.to_string());
        let uri: Uri = url.parse().map_err(|e| refused(&e))?;
        let origin = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |authority| authority.as_str())
        );
        let target = Target::parse(&origin, private_network).map_err(|e| refused(&e))?;
        check_reach(&target, private_network)?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.into();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("claviger/", env!("CARGO_PKG_VERSION"))),
        );
        let client = UpstreamClient::new(Arc::clone(&self.transport), TaskTracker::new());
        let sent = client.send(&target, request, PATIENCE).await;
        let response = sent.map_err(|failure| FetchError::Unreachable(failure.error.chain()))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let max_age_secs = max_age(response.headers());
        let body = timeout(PATIENCE, Limited::new(response.into_body(), MAX_BYTES).collect()).await;
        let body = body.ok().and_then(Result::ok).ok_or(FetchError::Body)?;
        Ok(FetchedKeys { body: body.to_bytes().to_vec(), max_age_secs })
    }
}

/// An address that was typed is dialled as it is, so it is judged here; names are judged where they are resolved.
fn check_reach(target: &Target, private_network: bool) -> Result<(), FetchError> {
    let inside = match &target.origin().address {
        Address::Literal(ip) => !is_public(*ip),
        Address::Name(_) => target.origin().address.is_loopback(),
    };
    if inside && !private_network {
        return Err(FetchError::Refused("it leads into a private network, which was not allowed".to_owned()));
    }
    Ok(())
}

/// `max-age` of `Cache-Control` (RFC 9111, 5.2.2.1); nothing may be kept: 0.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|v| v.to_str().ok());
    let mut age = None;
    for directive in values.flat_map(|v| v.split(',')).map(str::trim) {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
            return Some(0);
        }
        if let Some((name, value)) = directive.split_once('=')
            && name.eq_ignore_ascii_case("max-age")
        {
            age = value.trim_matches('"').parse().ok().or(age);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use claviger_testkit::{Answer, RawServer};

    use super::*;
    use crate::UpstreamConfig;

    fn documents() -> Documents {
        Documents::new(Transport::new(&UpstreamConfig::default()).unwrap())
    }

    #[tokio::test]
    async fn a_document_is_fetched_with_its_age_and_from_inside_only_when_that_is_allowed() {
        let server = RawServer::start(|_| {
            let body = r#"{"keys":[]}"#;
            Answer::bytes(format!(
                "HTTP/1.1 200 OK\r\ncache-control: public, max-age=77\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
        });
        let url = format!("{}/.well-known/jwks?x=1", server.url());
        let fetched = documents().fetch(&url, true).await.unwrap();
        assert_eq!((fetched.body.as_slice(), fetched.max_age_secs), (&b"{\"keys\":[]}"[..], Some(77)));
        assert_eq!(server.take(1)[0].target(), "/.well-known/jwks?x=1");
        for inside in [
            url.as_str(),
            "https://10.0.0.1/k",
            "https://169.254.169.254/k",
            "https://[::1]/k",
            "https://localhost/k",
        ] {
            let refused = documents().fetch(inside, false).await.unwrap_err();
            assert!(matches!(refused, FetchError::Refused(_)), "{inside}: {refused}");
        }
    }

    #[tokio::test]
    async fn redirects_errors_and_endless_answers_bring_nothing() {
        let status = |line: &'static str| {
            RawServer::start(move |_| {
                Answer::bytes(format!(
                    "HTTP/1.1 {line}\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                ))
            })
        };
        let redirect = documents().fetch(&status("302 Found").url(), true).await.unwrap_err();
        assert!(matches!(redirect, FetchError::Unreachable(_) | FetchError::Status(302)), "{redirect}");
        let failing = documents().fetch(&status("503 No").url(), true).await.unwrap_err();
        assert_eq!(failing, FetchError::Status(503));
        let endless = RawServer::start(|_| {
            Answer::bytes(format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(MAX_BYTES + 1)))
        });
        assert_eq!(documents().fetch(&endless.url(), true).await.unwrap_err(), FetchError::Body);
    }

    #[test]
    fn ages_are_read_as_servers_write_them() {
        let age = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(text));
            max_age(&headers)
        };
        assert_eq!(age("max-age=3600"), Some(3_600));
        assert_eq!(age("public, MAX-AGE=\"60\""), Some(60));
        assert_eq!(age("max-age=60, no-store"), Some(0));
        assert_eq!((age("public"), age("max-age=x")), (None, None));
    }
}
