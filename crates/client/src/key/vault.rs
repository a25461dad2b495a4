//! A KV engine (version 2) of Vault or OpenBao.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use http::{Method, Request, Uri};
use http_body::Body as HttpBody;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tower::{Service, ServiceExt};

use super::{KeySource, file::read_private, tidy};
use crate::{
    body::Body,
    config::is_private_way,
    error::{BoxError, KeyError},
    secret::{self, Secret},
    service::read_at_most,
};

const MOST_BYTES: usize = 64 << 10;

/// What may read the secret.
pub enum StoreToken {
    /// A token.
    Given(Box<dyn KeySource>),
    /// A file (mode 0600) with a response-wrapping token, as a delivery puts it there. It is opened once; the token in
    /// it stays in memory. If it was opened before, [`KeyError::WrappedTokenUsed`] says so: somebody else has it.
    Wrapped(PathBuf),
}

/// Reads a key from the store, through any HTTP service. Wrap it in [`super::Kept`], for an hour.
pub struct VaultKey<S> {
    service: S,
    address: String,
    path: String,
    field: String,
    token: StoreToken,
    unwrapped: Mutex<Option<Secret>>,
}

impl<S> VaultKey<S> {
    /// By the store's address (`https://vault.example:8200`), the secret's path with its mount (`secret/data/ci`) and
    /// the field.
    ///
    /// # Errors
    /// [`KeyError::Address`] when the address is not https and not on this machine.
    pub fn new(
        service: S,
        address: &str,
        path: &str,
        field: &str,
        token: StoreToken,
    ) -> Result<Self, KeyError> {
        let uri: Uri = address.parse().map_err(|_| KeyError::Address)?;
        if !is_private_way(&uri) {
            return Err(KeyError::Address);
        }
        let address = address.trim_end_matches('/').to_owned();
        let path = path.trim_matches('/').to_owned();
        let field = field.to_owned();
        Ok(Self { service, address, path, field, token, unwrapped: Mutex::new(None) })
    }
}

impl<S> std::fmt::Debug for VaultKey<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey")
    }
}

#[derive(serde::Deserialize)]
struct Read {
    data: ReadData,
}

#[derive(serde::Deserialize)]
struct ReadData {
    data: serde_json::Map<String, serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Unwrapped {
    auth: Option<UnwrappedAuth>,
    data: Option<UnwrappedData>,
}

#[derive(serde::Deserialize)]
struct UnwrappedAuth {
    client_token: String,
}

#[derive(serde::Deserialize)]
struct UnwrappedData {
    token: String,
}

impl<S, R> VaultKey<S>
where
    S: Service<Request<Body>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    async fn read(&self) -> Result<Secret, KeyError> {
        let token = self.token().await?;
        let read: Read = self.call(Method::GET, &self.path, &token).await?;
        let text = read.data.data.get(&self.field).and_then(serde_json::Value::as_str);
        tidy(text.unwrap_or_default(), &self.path)
    }

    async fn token(&self) -> Result<Secret, KeyError> {
        let file = match &self.token {
            StoreToken::Given(source) => return source.key().await,
            StoreToken::Wrapped(file) => file,
        };
        let mut unwrapped = self.unwrapped.lock().await;
        if let Some(token) = &*unwrapped {
            return Ok(token.clone());
        }
        let wrapping = read_private(file, secret::MOST_BYTES as u64)?;
        let wrapping = tidy(&wrapping, &file.to_string_lossy())?;
        let opened = self.call::<Unwrapped>(Method::POST, "sys/wrapping/unwrap", &wrapping).await;
        let opened = opened.map_err(|error| {
            if matches!(error, KeyError::Store(400 | 403)) { KeyError::WrappedTokenUsed } else { error }
        })?;
        let token = opened.auth.map(|auth| auth.client_token).or(opened.data.map(|data| data.token));
        let token = tidy(&token.unwrap_or_default(), "what was wrapped")?;
        *unwrapped = Some(token.clone());
        Ok(token)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
    ) -> Result<T, KeyError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            .header("x-vault-token", token.reveal())
            .header("x-vault-request", "true")
            .body(Body::empty())
            .map_err(|_| KeyError::Address)?;
        let answer = self.service.clone().oneshot(request).await;
        let answer = answer.map_err(|error| KeyError::Unreachable(error.into()))?;
        let status = answer.status();
        let text = read_at_most(Body::new(answer.into_body()), MOST_BYTES).await;
        let text = text.map_err(KeyError::Unreachable)?;
        let read = status.is_success().then(|| serde_json::from_slice(&text).ok()).flatten();
        read.ok_or(KeyError::Store(status.as_u16()))
    }
}

impl<S, R> KeySource for VaultKey<S>
where
    S: Service<Request<Body>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(self.read())
    }
}
