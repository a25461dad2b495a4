//! The client as `reqwest` has it: its requests in, its answers out.

use std::sync::Arc;

use ::reqwest as upstream;
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, Entry},
};
use http_body::Body as HttpBody;
use http_body_util::BodyDataStream;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    body::{Body, ContentDigest},
    clock::SystemClock,
    config::Config,
    error::{BoxError, ClientError, Unsent},
    service::{Claviger, ClavigerLayer},
};

/// A `reqwest` client whose requests go to the gateway. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    http: upstream::Client,
    claviger: Claviger,
}

impl Client {
    /// From a builder, whose redirects are turned off: `reqwest` would let the key follow one.
    ///
    /// # Errors
    /// What the builder says.
    pub fn new(builder: upstream::ClientBuilder, config: Config) -> upstream::Result<Self> {
        Ok(Self::over(bare(builder)?, config))
    }

    /// The same with [`Config::from_env_through`] this client: a sealed key is opened, too. With the feature `reqwest-rustls`
    /// the certificate of `CLAVIGER_CLIENT_CERT` is shown, in place of any TLS that the builder was given; without it, one
    /// that is set is refused.
    ///
    /// # Errors
    /// [`ClientError`] for what is missing or not understood, [`ClientError::Http`] for what the builder says.
    pub fn from_env(builder: upstream::ClientBuilder) -> Result<Self, ClientError> {
        let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        #[cfg(feature = "reqwest-rustls")]
        let (builder, read) = (shown(builder)?, crate::config::without_certificate(read));
        let http = bare(builder).map_err(|error| ClientError::Http(error.without_url().into()))?;
        let inner = http.clone();
        let service = service_fn(move |request| send(inner.clone(), request));
        let config = Config::from_variables_through(read, service, Arc::new(SystemClock))?;
        Ok(Self::over(http, config))
    }

    fn over(http: upstream::Client, config: Config) -> Self {
        let inner = http.clone();
        let service = service_fn(move |request: Request<Body>| send(inner.clone(), request));
        Self { http, claviger: ClavigerLayer::new(config).layer(service) }
    }

    /// Begins a request; [`Client::execute`] sends it.
    pub fn request(&self, method: http::Method, url: &str) -> upstream::RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn execute(&self, request: upstream::Request) -> Result<upstream::Response, ClientError> {
        self.serve(request, None).await
    }

    /// Sends a request whose body is a stream of this digest.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn execute_announced(
        &self,
        request: upstream::Request,
        digest: ContentDigest,
    ) -> Result<upstream::Response, ClientError> {
        self.serve(request, Some(digest)).await
    }

    async fn serve(
        &self,
        request: upstream::Request,
        digest: Option<ContentDigest>,
    ) -> Result<upstream::Response, ClientError> {
        let request = Request::<upstream::Body>::try_from(request);
        let request = request.map_err(|_| ClientError::Config("the request's URL cannot be sent"))?;
        let mut request = request.map(taken);
        if let Some(digest) = digest {
            request.extensions_mut().insert(digest);
        }
        let answer = self.claviger.clone().oneshot(request).await?;
        Ok(upstream::Response::from(answer.map(given)))
    }

    /// The service below, for its health check and for giving tokens back.
    #[must_use]
    pub fn claviger(&self) -> &Claviger {
        &self.claviger
    }
}

/// With the certificate that the environment names.
#[cfg(feature = "reqwest-rustls")]
fn shown(builder: upstream::ClientBuilder) -> Result<upstream::ClientBuilder, ClientError> {
    let Some(certificate) = crate::ClientCertificate::from_env() else { return Ok(builder) };
    Ok(builder.tls_backend_preconfigured(certificate.config()?))
}

fn bare(builder: upstream::ClientBuilder) -> upstream::Result<upstream::Client> {
    builder.redirect(upstream::redirect::Policy::none()).referer(false).build()
}

async fn send(
    client: upstream::Client,
    request: Request<Body>,
) -> Result<Response<upstream::Body>, BoxError> {
    let (mut parts, body) = request.into_parts();
    // A stream of known length is not sent in chunks.
    if let (Some(length), Entry::Vacant(place)) =
        (body.size_hint().exact(), parts.headers.entry(CONTENT_LENGTH))
        && length > 0
    {
        place.insert(HeaderValue::from(length));
    }
    let request = upstream::Request::try_from(Request::from_parts(parts, given(body)))?;
    match client.execute(request).await {
        Ok(answer) => Ok(answer.into()),
        Err(error) if error.is_connect() => Err(Unsent(error.without_url().into()).into()),
        Err(error) => Err(error.without_url().into()),
    }
}

fn taken(body: upstream::Body) -> Body {
    match body.as_bytes() {
        Some(bytes) => Body::whole(bytes.to_vec()),
        None => Body::new(body),
    }
}

fn given(body: Body) -> upstream::Body {
    match body.into_whole() {
        Ok(bytes) => bytes.into(),
        Err(stream) => upstream::Body::wrap_stream(BodyDataStream::new(stream)),
    }
}
