//! The origin under which a client knows us.

use http::header;

use crate::{config::GatewayConfig, receive::Head};

/// `scheme://host[:port]`: what the operator set, else what the client asked for. `X-Forwarded-*` count only from
/// trusted proxies.
#[must_use]
pub fn of(config: &GatewayConfig, head: &Head) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let Place { scheme, host } = place(head);
    format!("{scheme}://{host}")
}

/// Where a client believes itself to be.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port, as they were sent.
    pub host: &'a str,
}

/// What the client asked for. `X-Forwarded-*` count only from trusted proxies.
#[must_use]
pub fn place(head: &Head) -> Place<'_> {
    let forwarded = |name: &str| {
        let value = head.headers.get(name).filter(|_| head.proxied)?.to_str().ok()?;
        // Each proxy adds its own view behind a comma; the last one is the trusted peer's.
        value.rsplit(',').next().map(str::trim).filter(|v| is_host(v))
    };
    let host = forwarded("x-forwarded-host")
        .or_else(|| head.headers.get(header::HOST).and_then(|h| h.to_str().ok()).filter(|h| is_host(h)))
        .or_else(|| head.uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or("localhost");
    let scheme = match forwarded("x-forwarded-proto") {
        Some("https") => "https",
        Some("http") => "http",
        Some(_) | None if head.tls => "https",
        Some(_) | None => "http",
    };
    Place { scheme, host }
}

/// Whether a text can stand where a host stands in a URL.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}
