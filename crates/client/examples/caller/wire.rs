//! One connection a request, by TLS where the URL says so.

use std::sync::Arc;

use claviger_client::{Body, error::BoxError};
use http::{Request, Response, header::HOST};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use tower::{Service, service_fn, util::BoxCloneSyncService};

/// How connections are made.
#[derive(Clone)]
pub struct Wire {
    tls: Option<TlsConnector>,
    /// Connections, each of which ends with its answer.
    connections: TaskTracker,
}

impl Wire {
    /// With this configuration of TLS, where a URL asks for it.
    pub fn new(tls: Option<ClientConfig>) -> Self {
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Self { tls, connections: TaskTracker::new() }
    }

    /// The service that a layer goes around.
    pub fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        let wire = self.clone();
        BoxCloneSyncService::new(service_fn(move |request| {
            let wire = wire.clone();
            async move { wire.send(request).await }
        }))
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or("no host")?;
        let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(443))).await?;
        request.headers_mut().insert(HOST, authority.as_str().parse()?);
        *request.uri_mut() = uri.path_and_query().ok_or("no path")?.as_str().parse()?;
        match &self.tls {
            Some(tls) if uri.scheme_str() == Some("https") => {
                let name = ServerName::try_from(authority.host().to_owned())?;
                self.exchange(TokioIo::new(tls.connect(name, stream).await?), request).await
            }
            Some(_) | None => self.exchange(TokioIo::new(stream), request).await,
        }
    }

    async fn exchange<I>(&self, io: I, request: Request<Body>) -> Result<Response<Incoming>, BoxError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (mut sender, connection) = http1::handshake(io).await?;
        self.connections.spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}
