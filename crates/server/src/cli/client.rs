//! The command line's way to the running process: HTTP over the socket in the data folder.

use std::path::{Path, PathBuf};

use claviger_control::problem::Problem;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;

use super::output::CliError;

/// Rows that are asked for at a time.
const PAGE: u32 = 1_000;

/// Talks to the process that owns a data folder.
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for the process that owns this folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { socket: data.join("control.sock") }
    }

    /// GET.
    ///
    /// # Errors
    /// [`CliError`]: not running, refused, or unreadable.
    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, None)
    }

    /// All rows of a list, page after page.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn list(&self, path: &str) -> Result<Value, CliError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let whole = format!("{path}{joint}limit={PAGE}");
        let mut rows = Vec::new();
        let mut from = whole.clone();
        loop {
            let mut page = self.get(&from)?;
            if let Some(data) = page["data"].as_array_mut() {
                rows.append(data);
            }
            match page["next"].as_str() {
                Some(next) => from = format!("{whole}&after={}", segment(next)),
                None => return Ok(Value::Array(rows)),
            }
        }
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.call(Method::POST, path, Some(encode(body)?))
    }

    /// PATCH with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.call(Method::PATCH, path, Some(encode(body)?))
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::DELETE, path, None)
    }

    /// The answer's text as it is, for exports.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn text(&self, path: &str) -> Result<String, CliError> {
        let (status, bytes) = self.exchange(Method::GET, path, None)?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        String::from_utf8(bytes).map_err(|_| CliError::failed("the answer is not text"))
    }

    fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Value, CliError> {
        let (status, bytes) = self.exchange(method, path, body)?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| CliError::failed(format!("the answer is not JSON: {e}")))
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed(e.to_string()))?;
        runtime.block_on(self.exchange_async(method, path, body))
    }

    async fn exchange_async(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), CliError> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|e| self.not_running(&e))?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| CliError::failed(e.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "claviger")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("claviger-cli/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| CliError::usage(e.to_string()))?;
        let exchange = async {
            let response = send.send_request(request).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes().to_vec();
            Ok::<_, hyper::Error>((status, bytes))
        };
        let driven = async {
            // The connection's own error also ends the exchange, which reports it.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = exchange => done.map_err(|e| CliError::failed(format!("the connection broke: {e}"))),
            () = driven => Err(CliError::failed("the connection broke")),
        }
    }

    fn not_running(&self, error: &std::io::Error) -> CliError {
        CliError::unreachable(format!(
            "no claviger answers on {} ({error}): start it with `claviger serve`, or name its data folder with --data \
             or CLAVIGER_DATA",
            self.socket.display()
        ))
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(body).map_err(|e| CliError::usage(e.to_string()))
}

fn refusal(status: StatusCode, bytes: &[u8]) -> CliError {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => CliError::refused(problem.detail),
        Err(_) => CliError::refused(format!("refused with status {status}")),
    }
}

/// A path segment, percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string from the fields that are set.
#[must_use]
pub fn query(fields: &[(&str, Option<String>)]) -> String {
    let set = fields.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", segment(v))));
    let joined = set.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}
