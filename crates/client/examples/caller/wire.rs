//! One connection a request, by TLS where the URL says so.

use std::{env, path::Path, sync::Arc};

use claviger_client::{Body, error::BoxError};
use http::{Request, Response, header::HOST};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
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
    /// With the certificate of `CALLER_CERT`, if it is set.
    pub fn from_env() -> Result<Self, BoxError> {
        let (Ok(certificate), Ok(key), Ok(authority)) =
            (env::var("CALLER_CERT"), env::var("CALLER_KEY"), env::var("CALLER_CA"))
        else {
            return Ok(Self { tls: None, connections: TaskTracker::new() });
        };
        let mut roots = RootCertStore::empty();
        for trusted in certificates(&authority)? {
            roots.add(trusted)?;
        }
        let key = PrivateKeyDer::from_pem_file(Path::new(&key))?;
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(certificates(&certificate)?, key)?;
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))), connections: TaskTracker::new() })
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

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, BoxError> {
    Ok(CertificateDer::pem_file_iter(Path::new(file))?.collect::<Result<_, _>>()?)
}
