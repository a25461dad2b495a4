//! The command line's way to a gateway, as the holder of a key.

use std::{path::PathBuf, sync::Arc};

use claviger_domain::{signature::Target, token::Token};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, request::Builder};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    Context,
    holder::{HolderArgs, text},
    output::CliError,
    sender::{DPOP, Prover},
    signer::Signer,
    transport::{Answer, Endpoint, NoAnswer, Origin, Tls, exchange, kept::Route},
};

/// A gateway, and a key that opens it. It holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Gateway {
    endpoint: Endpoint,
    /// What stands between the host and `/v1`, for gateways behind another server.
    prefix: String,
    base_url: String,
    /// `None`: for what is asked without one.
    key: Option<HeaderValue>,
    /// What stands in the key's place, bound to the prover's key.
    bound: Option<Zeroizing<String>>,
    /// Whose key it is, or was bought with: what signatures name.
    key_id: String,
    signer: Option<Arc<Signer>>,
    prover: Option<Arc<Prover>>,
    tls: Tls,
}

/// Why a gateway did not do what was asked.
#[derive(Debug)]
pub enum NotDone {
    /// It answered, and refused.
    Refused {
        /// With this status.
        status: StatusCode,
        /// In these words.
        message: String,
    },
    /// It did not answer, or not in a way that could be read.
    Failed(CliError),
}

impl From<NotDone> for CliError {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Refused { message, .. } => Self::refused(message),
            NotDone::Failed(error) => error,
        }
    }
}

impl Gateway {
    /// The gateway that is meant, with the holder's key.
    ///
    /// # Errors
    /// [`CliError`] when there is no key, or the address is none.
    pub fn find(context: &Context, args: &HolderArgs) -> Result<(Self, Token), CliError> {
        let key = args.key(context)?;
        let base_url = args.base_url()?;
        let gateway = Self::without_key(base_url, context.ca_file.clone())?.opened_by(&key)?;
        let signer = args.signing.signer()?.map(Arc::new);
        let prover = args.sender.prover()?.map(Arc::new);
        let tls = Tls { shown: args.sender.certificate(), ..gateway.tls };
        Ok((Self { signer, prover, tls, ..gateway }, key))
    }

    /// The gateway at an address, for what is asked without a key.
    ///
    /// # Errors
    /// [`CliError`] when the address is none.
    pub fn without_key(base_url: String, ca_file: Option<PathBuf>) -> Result<Self, CliError> {
        let wrong = || CliError::usage(format!("`{base_url}`: not an address of a gateway"));
        let uri: Uri = base_url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let endpoint = Endpoint::Origin(Origin::parse(&format!("{scheme}://{authority}"))?);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let key_id = String::new();
        let tls = Tls::believing(ca_file);
        Ok(Self {
            endpoint,
            prefix,
            key: None,
            bound: None,
            key_id,
            signer: None,
            prover: None,
            base_url,
            tls,
        })
    }

    /// The same gateway, opened by another key.
    ///
    /// # Errors
    /// [`CliError`] when the key cannot be sent.
    pub fn opened_by(&self, key: &Token) -> Result<Self, CliError> {
        let key_id = key.public_id().as_str().to_owned();
        Ok(Self { key: Some(secret(key)?), key_id, ..self.clone() })
    }

    /// Its address, as programs are told.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How the key stands.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn me(&self) -> Result<Value, NotDone> {
        self.call(Method::GET, "/me", None)
    }

    /// Has the provider count the tokens of a prompt.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn count_tokens(&self, prompt: &Value) -> Result<Value, NotDone> {
        self.ask(Method::POST, "/v1/messages/count_tokens", Some(prompt))
    }

    /// Mints a child.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn mint(&self, wish: &Value) -> Result<Value, NotDone> {
        self.call(Method::POST, "/children", Some(wish))
    }

    /// Keeps a child alive.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn beat(&self, id: &str) -> Result<Value, NotDone> {
        self.call(Method::POST, &format!("/children/{id}/heartbeat"), None)
    }

    /// Ends a child.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn end(&self, id: &str) -> Result<Value, NotDone> {
        self.call(Method::DELETE, &format!("/children/{id}"), None)
    }

    /// Opens a wrapped key.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn unwrap(&self, body: &impl Serialize) -> Result<Value, NotDone> {
        let body = serde_json::to_value(body).map_err(|e| NotDone::Failed(CliError::usage(e.to_string())))?;
        self.call(Method::POST, "/unwrap", Some(&body))
    }

    /// The same gateway, opened by an access token that stands for the key. Where there is a key to prove, it is bound to
    /// that.
    ///
    /// # Errors
    /// [`CliError`] when it cannot be sent.
    pub fn opened_by_text(&self, token: &str) -> Result<Self, CliError> {
        if self.prover.is_some() {
            return Ok(Self { key: None, bound: Some(Zeroizing::new(token.to_owned())), ..self.clone() });
        }
        Ok(Self { key: Some(secret_text(token)?), ..self.clone() })
    }

    /// What access tokens are bound to; `None`: to nothing, or to the certificate only.
    #[must_use]
    pub fn thumbprint(&self) -> Option<&str> {
        self.prover.as_deref().map(Prover::thumbprint)
    }

    /// Asks at the token counter, below `/v1/auth`.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn auth(&self, path: &str, form: &Value) -> Result<Value, NotDone> {
        self.ask(Method::POST, &format!("/v1/auth{path}"), Some(form))
    }

    /// The way to it, for connections that are kept.
    ///
    /// # Errors
    /// [`CliError`] when authorities or certificates cannot be read.
    pub fn route(&self) -> Result<Route, CliError> {
        Route::to(self.endpoint.clone(), &self.tls)
    }

    /// The head of a request to the API, opened by the key and signed with this body if there is a signing secret; `path`
    /// begins with `/v1`.
    ///
    /// # Errors
    /// [`CliError`] when it cannot be signed.
    pub fn api(&self, method: Method, path: &str, body: &[u8]) -> Result<Builder, CliError> {
        let mut request = self
            .signed(Request::builder(), (&method, path), body)?
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("claviger-cli/", env!("CARGO_PKG_VERSION")))
            .header("anthropic-version", "2023-06-01");
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.clone());
        }
        Ok(request)
    }

    fn signed(
        &self,
        request: Builder,
        (method, path): (&Method, &str),
        body: &[u8],
    ) -> Result<Builder, CliError> {
        let Some(signer) = self.signer.as_deref().filter(|_| self.key.is_some() || self.bound.is_some())
        else {
            return Ok(request);
        };
        let url = format!("{}{path}", self.base_url);
        let headers = signer.headers(&self.key_id, (method.as_str(), &url), body)?;
        Ok(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, NotDone> {
        self.ask(method, &format!("/v1/claviger{path}"), body)
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, NotDone> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut answer = self.send((&method, path), &body)?;
        // RFC 9449, section 8: a proof that lacked the nonce which the answer gives is made anew, once.
        let gives_one = self.prover.as_deref().is_some_and(|prover| prover.notice(&answer.headers));
        if gives_one && code_of(&answer).as_deref() == Some("use_dpop_nonce") {
            answer = self.send((&method, path), &body)?;
        }
        if !answer.status.is_success() {
            let message = self.refusal(&answer);
            return Err(NotDone::Refused { status: answer.status, message });
        }
        let read = serde_json::from_slice(&answer.body).ok();
        let unreadable = || CliError::failed(format!("{}: the answer is not a gateway's", self.base_url));
        read.ok_or_else(|| NotDone::Failed(unreadable()))
    }

    fn send(&self, (method, path): (&Method, &str), body: &str) -> Result<Answer, NotDone> {
        let request = self.proven(Request::builder(), (method, path), body);
        let mut request =
            request.map_err(NotDone::Failed)?.method(method).uri(format!("{}{path}", self.prefix));
        if self.key.is_some() || self.bound.is_some() {
            request = request.header("anthropic-version", "2023-06-01");
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("claviger-cli/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|e| NotDone::Failed(CliError::usage(e.to_string())))?;
        exchange(&self.endpoint, &self.tls, request).map_err(|e| self.silent(e))
    }

    /// With the key or what stands in its place, the signature, and the proof that goes with an access token: the one
    /// that is shown, or the one that is to be had.
    fn proven(
        &self,
        request: Builder,
        (method, path): (&Method, &str),
        body: &str,
    ) -> Result<Builder, CliError> {
        let mut request = self.signed(request, (method, path), body.as_bytes())?;
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.clone());
        }
        let Some(prover) = &self.prover else { return Ok(request) };
        let access = self.bound.as_deref().map(String::as_str);
        if access.is_none() && !path.starts_with("/v1/auth/") {
            return Ok(request);
        }
        let url = format!("{}{path}", self.base_url);
        let target = Target::of_url(method.as_str(), &url);
        let target = target.ok_or_else(|| CliError::usage(format!("`{}`: not a URL", self.base_url)))?;
        let url = format!("{}://{}{}", target.scheme, target.authority, target.path);
        let proof = prover.proof((method.as_str(), &url), access)?;
        if let Some(access) = access {
            request = request.header(header::AUTHORIZATION, secret_text(&format!("DPoP {access}"))?);
        }
        Ok(request.header(DPOP, proof))
    }

    fn refusal(&self, answer: &Answer) -> String {
        let read: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let code = code_of(answer);
        let said = read.as_ref().and_then(|v| v["error"]["message"].as_str().map(str::to_owned));
        match (answer.status, said) {
            // Who reads a code of ours is no stranger: what is missing beside the key is said.
            (StatusCode::UNAUTHORIZED, Some(said)) if code.is_some() => {
                let hint = self.hint(code.as_deref().unwrap_or_default());
                hint.map_or_else(|| said.clone(), |hint| format!("{said}; {hint}"))
            }
            (StatusCode::UNAUTHORIZED, _) => {
                format!(
                    "{} does not take the key: it is unknown there, expired, suspended or revoked",
                    self.base_url
                )
            }
            (_, Some(said)) => said,
            (status, None) => format!("{}: refused with status {status}", self.base_url),
        }
    }

    /// What would help.
    fn hint(&self, code: &str) -> Option<&'static str> {
        Some(match code {
            "signature_missing" => {
                "give its signing secret: --signing-secret-file, or CLAVIGER_SIGNING_SECRET"
            }
            "certificate_required" => {
                "give the certificate: --client-cert and --client-key, or CLAVIGER_CLIENT_CERT and CLAVIGER_CLIENT_KEY"
            }
            "dpop_missing" if self.prover.is_none() => {
                "give the key to prove: --dpop-key-file, or CLAVIGER_DPOP_KEY_FILE"
            }
            "dpop_missing" => {
                "a key that demands it has no children: `claviger token --access` buys a token that is bound to yours, and \
                 programs prove by a client adapter"
            }
            _ => return None,
        })
    }

    fn silent(&self, why: NoAnswer) -> NotDone {
        NotDone::Failed(match why {
            NoAnswer::Unreachable(why) => CliError::unreachable(format!(
                "no gateway answers on {} ({why}): name it with --base-url or CLAVIGER_BASE_URL",
                self.base_url
            )),
            NoAnswer::Broke(why) => {
                CliError::failed(format!("{}: the connection broke: {why}", self.base_url))
            }
            NoAnswer::Wrong(error) => error,
        })
    }
}

/// `error.details.error_code` of an answer.
fn code_of(answer: &Answer) -> Option<String> {
    let read: Value = serde_json::from_slice(&answer.body).ok()?;
    read["error"]["details"]["error_code"].as_str().map(str::to_owned)
}

fn secret(key: &Token) -> Result<HeaderValue, CliError> {
    secret_text(text(key))
}

fn secret_text(text: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(text).map_err(|e| CliError::failed(e.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A field of an answer that must be there.
///
/// # Errors
/// [`CliError`] when it is not.
pub fn field<'a>(answer: &'a Value, name: &str) -> Result<&'a str, CliError> {
    answer[name].as_str().ok_or_else(|| CliError::failed(format!("the gateway's answer has no `{name}`")))
}
