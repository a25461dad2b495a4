//! HTTP/1.1 from the command line: over a socket of this machine, or to an address with TLS.

pub mod kept;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::output::CliError;

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Socket(PathBuf),
    /// An address.
    Origin(Origin),
}

/// `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `https://host[:port]`. Plain http is for this machine only: whatever proves who asks could be read on the
    /// way.
    ///
    /// # Errors
    /// [`CliError`] with what is expected.
    pub fn parse(url: &str) -> Result<Self, CliError> {
        let bad = || {
            CliError::usage(format!("`{url}`: expected an address such as https://claviger.example.com:8788"))
        };
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| bad())?;
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(bad)?.to_owned();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(bad()),
        };
        let has_more = uri.path_and_query().is_some_and(|p| !matches!(p.as_str(), "" | "/"));
        if has_more || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad());
        }
        let origin = Self { is_tls, host, port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) };
        if !is_tls && !origin.is_this_machine() {
            let why =
                "plain http beyond this machine would show to others what proves who asks; use https://";
            return Err(CliError::usage(format!("`{url}`: {why}")));
        }
        Ok(origin)
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn is_this_machine(&self) -> bool {
        let host = self.bare_host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// As in `Host`: without the scheme's own port, for some services sign what is usual there.
    fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Whom TLS believes, and who it says that we are.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// An authority to be believed, too (PEM).
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown, and its private key (PEM).
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Nothing is shown.
    #[must_use]
    pub const fn believing(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, shown: None }
    }
}

/// An answer, whole.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody is there; nothing was sent.
    Unreachable(String),
    /// The connection broke; what was asked may have been done.
    Broke(String),
    /// It could not be tried.
    Wrong(CliError),
}

/// Sends one request and waits for its answer.
///
/// # Errors
/// [`NoAnswer`].
pub fn exchange(endpoint: &Endpoint, tls: &Tls, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| NoAnswer::Wrong(CliError::failed(e.to_string())))?;
    runtime.block_on(async {
        match endpoint {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                send(stream.map_err(|e| NoAnswer::Unreachable(e.to_string()))?, request).await
            }
            Endpoint::Origin(origin) => to_origin(origin, tls, request).await,
        }
    })
}

async fn to_origin(
    origin: &Origin,
    tls: &Tls,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, NoAnswer> {
    name_host(origin, &mut request)?;
    let tls = if origin.is_tls { Some(tls.config().map_err(NoAnswer::Wrong)?) } else { None };
    match connect(origin, tls).await? {
        Connected::Plain(stream) => send(stream, request).await,
        Connected::Tls(stream) => send(*stream, request).await,
    }
}

fn name_host(origin: &Origin, request: &mut Request<Full<Bytes>>) -> Result<(), NoAnswer> {
    let host = http::HeaderValue::try_from(origin.authority());
    let host = host.map_err(|e| NoAnswer::Wrong(CliError::usage(e.to_string())))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

async fn connect(origin: &Origin, tls: Option<Arc<ClientConfig>>) -> Result<Connected, NoAnswer> {
    let unreachable = |e: &dyn std::fmt::Display| NoAnswer::Unreachable(e.to_string());
    let connecting = async {
        let stream =
            TcpStream::connect((origin.bare_host(), origin.port)).await.map_err(|e| unreachable(&e))?;
        let Some(tls) = tls else { return Ok(Connected::Plain(stream)) };
        let name = ServerName::try_from(origin.bare_host().to_owned()).map_err(|e| unreachable(&e))?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|e| unreachable(&e))?;
        Ok(Connected::Tls(Box::new(stream)))
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    connected.map_err(|_| NoAnswer::Unreachable("it took too long".to_owned()))?
}

enum Connected {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tls {
    /// Believes the system's and Mozilla's authorities, and those of the file.
    fn config(&self) -> Result<Arc<ClientConfig>, CliError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.ca_file {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, &e))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| CliError::failed(e.to_string()))?.with_root_certificates(roots);
        let mut config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
                let shown = builder.with_client_auth_cert(certificates(chain)?, private);
                shown.map_err(|e| unusable(chain, &e))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|e| unusable(path, &e))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> CliError {
    CliError::usage(format!("{}: {why}", path.display()))
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |e: hyper::Error| NoAnswer::Broke(e.to_string());
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let exchange = async {
        let response = send.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let driven = async {
        // The connection's own error also ends the exchange, which reports it.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = exchange => done.map_err(broke),
        () = driven => Err(NoAnswer::Broke("it ended".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_and_plain_http_is_for_this_machine() {
        for (url, shown) in [
            ("https://claviger.example.com", "https://claviger.example.com:443"),
            ("https://claviger.example.com:8788/", "https://claviger.example.com:8788"),
            ("http://127.0.0.1:8788", "http://127.0.0.1:8788"),
            ("http://[::1]:8788", "http://[::1]:8788"),
            ("http://localhost", "http://localhost:80"),
        ] {
            assert_eq!(Origin::parse(url).unwrap().to_string(), shown);
        }
        for (url, host) in [("https://a.example", "a.example"), ("http://[::1]:8788", "[::1]:8788")] {
            assert_eq!(Origin::parse(url).unwrap().authority(), host);
        }
        for bad in [
            "",
            "claviger",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u:p@a",
            "http://claviger.example.com",
        ] {
            assert_eq!(Origin::parse(bad).unwrap_err().code, 2, "{bad}");
        }
    }
}
