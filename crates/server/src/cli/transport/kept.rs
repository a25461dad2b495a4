//! A connection that is kept from one request to the next.

use std::{future::Future, io::Write, pin::Pin, sync::Arc};

use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use super::{Answer, Connected, Endpoint, NoAnswer, Tls, connect, name_host};
use crate::cli::output::CliError;

/// Where requests go, with what connections of the same kind share.
#[derive(Clone)]
pub struct Route {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

impl Route {
    /// The way to a server.
    ///
    /// # Errors
    /// [`CliError`] when authorities or certificates cannot be read.
    pub fn to(endpoint: Endpoint, tls: &Tls) -> Result<Self, CliError> {
        let tls = match &endpoint {
            Endpoint::Origin(origin) if origin.is_tls => Some(tls.config()?),
            Endpoint::Origin(_) | Endpoint::Socket(_) => None,
        };
        Ok(Self { endpoint, tls })
    }
}

/// One request after the other, over one connection while it lasts.
pub struct Kept {
    route: Route,
    open: Option<Open>,
}

struct Open {
    send: SendRequest<Full<Bytes>>,
    /// What moves the bytes; over when the connection is.
    driver: Pin<Box<dyn Future<Output = ()>>>,
}

impl Kept {
    /// Nothing is open yet.
    pub const fn along(route: Route) -> Self {
        Self { route, open: None }
    }

    /// Sends one request and waits for its whole answer. When this is dropped before its end, so is the connection.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let mut body = Vec::new();
        let (status, headers) = self.fetch(request, &mut body).await?;
        Ok(Answer { status, headers, body })
    }

    /// The same; the body goes to `to` as it comes.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn fetch(
        &mut self,
        mut request: Request<Full<Bytes>>,
        to: &mut impl Write,
    ) -> Result<(StatusCode, HeaderMap), NoAnswer> {
        if let Endpoint::Origin(origin) = &self.route.endpoint {
            name_host(origin, &mut request)?;
        }
        let mut open = self.opened().await?;
        let got = open.exchange(request, to).await?;
        self.open = Some(open);
        Ok(got)
    }

    async fn opened(&mut self) -> Result<Open, NoAnswer> {
        if let Some(mut open) = self.open.take()
            && open.is_usable().await
        {
            return Ok(open);
        }
        match &self.route.endpoint {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                Open::over(stream.map_err(|e| NoAnswer::Unreachable(e.to_string()))?).await
            }
            Endpoint::Origin(origin) => match connect(origin, self.route.tls.clone()).await? {
                Connected::Plain(stream) => Open::over(stream).await,
                Connected::Tls(stream) => Open::over(*stream).await,
            },
        }
    }
}

impl Open {
    async fn over<S>(stream: S) -> Result<Self, NoAnswer>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (send, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|e| NoAnswer::Unreachable(e.to_string()))?;
        // Its own error also ends the exchange, which reports it.
        let driver = Box::pin(async { drop(connection.await) });
        Ok(Self { send, driver })
    }

    /// Whether the other side has left it open.
    async fn is_usable(&mut self) -> bool {
        tokio::select! {
            biased;
            () = &mut self.driver => false,
            ready = self.send.ready() => ready.is_ok(),
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        to: &mut impl Write,
    ) -> Result<(StatusCode, HeaderMap), NoAnswer> {
        let Self { send, driver } = self;
        let exchange = async {
            let (head, body) = send.send_request(request).await.map_err(broke)?.into_parts();
            copy(body, to).await?;
            Ok((head.status, head.headers))
        };
        let driven = async {
            driver.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = exchange => done,
            () = driven => Err(NoAnswer::Broke("it ended".to_owned())),
        }
    }
}

async fn copy(mut body: Incoming, to: &mut impl Write) -> Result<(), NoAnswer> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(broke)?.data_ref() {
            to.write_all(data).map_err(|e| NoAnswer::Wrong(CliError::failed(e.to_string())))?;
        }
    }
    Ok(())
}

fn broke(error: hyper::Error) -> NoAnswer {
    NoAnswer::Broke(error.to_string())
}
