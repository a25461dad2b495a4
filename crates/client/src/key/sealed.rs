//! What `claviger seal-key` sealed for a key management service.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use claviger_domain::{
    clock::Clock,
    kms::{Call, Kms, Variables},
    secret::SecretBytes,
};
use futures_util::future::BoxFuture;
use http::Request;
use http_body::Body as HttpBody;
use tower::{Service, ServiceExt};

pub use claviger_domain::sealed_key::{Blob, Purpose};

use super::{KeySource, tidy};
use crate::{
    body::Body,
    error::{BoxError, KeyError},
    secret::Secret,
    service::read_at_most,
};

const MOST_BYTES: usize = claviger_domain::sealed_key::MAX_BLOB_LEN;

/// Has a key management service unwrap a blob's data key. [`KmsOpener`] is one.
pub trait BlobOpener: Send + Sync + 'static {
    /// The data key.
    fn data_key<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<SecretBytes, KeyError>>;
}

/// Reads a blob from a file and has it opened. Wrap it in [`super::Kept`], for an hour; the key stays in memory. What
/// is not opened is an error: a plain key in the file, an older key or another source is never used.
pub struct SealedKey<O> {
    path: PathBuf,
    opener: O,
    purpose: Purpose,
}

impl<O: BlobOpener> SealedKey<O> {
    /// By the blob's path. The file needs no private mode, for only the service can open it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, opener: O) -> Self {
        Self { path: path.into(), opener, purpose: Purpose::ApiKey }
    }

    /// A blob of something else than a key.
    #[must_use]
    pub fn holding(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }
}

impl<O> std::fmt::Debug for SealedKey<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedKey")
    }
}

impl<O: BlobOpener> KeySource for SealedKey<O> {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(async {
            let blob = Blob::parse(&read(&self.path)?, self.purpose)?;
            let opened = blob.open(&self.opener.data_key(&blob).await?)?;
            tidy(std::str::from_utf8(opened.expose()).unwrap_or_default(), "the sealed key")
        })
    }
}

/// One byte more than a blob may have, so that what is longer is seen to be.
fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::File { path: path.to_string_lossy().into_owned(), source };
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// AWS KMS, or the transit engine of Vault or OpenBao, through any HTTP service. It must not follow redirects.
pub struct KmsOpener<S> {
    service: S,
    kms: Kms,
    clock: Arc<dyn Clock>,
}

impl<S> KmsOpener<S> {
    /// By the URI that `claviger seal-key --kms` was given: `awskms://[HOST]/KEY[?region=NAME]` takes `AWS_REGION`,
    /// `AWS_ENDPOINT_URL_KMS`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` from the
    /// environment, `hashivault://KEY[?mount=PATH]` takes `VAULT_ADDR`, `VAULT_TOKEN` and `VAULT_NAMESPACE` (or
    /// `BAO_…`).
    ///
    /// # Errors
    /// [`KeyError::Kms`] says what is missing.
    pub fn new(service: S, uri: &str, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::with_variables(service, uri, clock, &set)
    }

    /// The same, with something else than the environment of this process.
    ///
    /// # Errors
    /// As [`KmsOpener::new`].
    pub fn with_variables(
        service: S,
        uri: &str,
        clock: Arc<dyn Clock>,
        variables: Variables<'_>,
    ) -> Result<Self, KeyError> {
        Ok(Self { service, kms: Kms::from_uri(uri, variables)?, clock })
    }
}

impl<S> std::fmt::Debug for KmsOpener<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KmsOpener")
    }
}

impl<S, R> KmsOpener<S>
where
    S: Service<Request<Body>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    async fn ask(&self, call: Call) -> Result<Vec<u8>, KeyError> {
        let mut request = Request::post(&call.url);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if !request.headers_ref().is_some_and(|headers| headers.contains_key("content-type")) {
            request = request.header("content-type", "application/json");
        }
        let body = Body::from(call.body.expose().to_vec());
        let request = request.body(body).map_err(|_| KeyError::Address)?;
        let answer = self.service.clone().oneshot(request).await;
        let answer = answer.map_err(|error| KeyError::Unreachable(error.into()))?;
        let status = answer.status();
        // Nothing of the answer is repeated.
        if status != http::StatusCode::OK {
            return Err(KeyError::Refused(status.as_u16()));
        }
        let text = read_at_most(Body::new(answer.into_body()), MOST_BYTES).await;
        Ok(text.map_err(KeyError::Unreachable)?.to_vec())
    }
}

impl<S, R> BlobOpener for KmsOpener<S>
where
    S: Service<Request<Body>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn data_key<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<SecretBytes, KeyError>> {
        Box::pin(async move {
            let answer = self.ask(self.kms.unwrap(blob, self.clock.now())?).await?;
            Ok(self.kms.read_data_key(&answer)?)
        })
    }
}
