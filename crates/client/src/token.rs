//! One access token, bought and renewed by whoever needs it first; all others wait for that answer.

use std::time::Duration;

use bytes::Bytes;
use claviger_domain::clock::Clock;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response, StatusCode, header::CONTENT_LENGTH};
use tokio::sync::Mutex;

use crate::{body::Body, error::ClientError, key::KeySource, secret::Secret};

pub(crate) const TOKEN_PATH: &str = "/v1/auth/token";
pub(crate) const REFRESH_PATH: &str = "/v1/auth/refresh";
pub(crate) const REVOKE_PATH: &str = "/v1/auth/revoke";
/// The most that an answer of these paths may be, in bytes.
pub(crate) const MOST_BYTES: usize = 64 << 10;

const SECOND: u64 = 1_000_000;
const RENEW_MARGIN: u64 = 60 * SECOND;
const RENEW_FRACTION: u64 = 10;
/// How long a renewal that failed is left alone while the token still holds.
const RENEW_PAUSE: u64 = 10 * SECOND;
/// The gateway repeats a lost answer for so long; a later repetition it takes for theft.
const REPEATED_FOR: u64 = 8 * SECOND;

/// Sends a form to the token endpoints.
pub(crate) trait Exchange: Send + Sync {
    /// Its status, headers and text.
    fn post<'a>(
        &'a self,
        path: &'static str,
        form: String,
        key: Option<&'a Secret>,
    ) -> BoxFuture<'a, Result<Response<Bytes>, ClientError>>;
}

/// What a call gets.
pub(crate) enum Outcome {
    Granted(Secret),
    /// The token endpoint's answer is the answer to the call.
    Refused(Response<Body>),
}

#[derive(Default)]
pub(crate) struct Tokens(Mutex<State>);

/// Moments are microseconds on the boot clock.
#[derive(Default)]
struct State {
    access: Option<Secret>,
    refresh: Option<Secret>,
    renew_from: u64,
    end: u64,
    /// When a refresh was sent whose answer is still to come, or was lost.
    unanswered: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Grant {
    access_token: String,
    token_type: String,
    expires_in: u64,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// How a fetch failed.
enum Failed {
    Refused(Response<Bytes>),
    Error(ClientError),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

/// What a fetch needs.
pub(crate) struct Buyer<'a> {
    pub(crate) exchange: &'a dyn Exchange,
    pub(crate) key: &'a dyn KeySource,
    pub(crate) scope: Option<&'a str>,
    /// What a token must be: `Bearer`, or `DPoP`.
    pub(crate) token_type: &'static str,
    pub(crate) clock: &'a dyn Clock,
}

impl Buyer<'_> {
    fn now(&self) -> u64 {
        self.clock.boot().as_micros()
    }

    async fn ask(&self, path: &'static str, form: String, key: Option<&Secret>) -> Result<Grant, Failed> {
        let answer = self.exchange.post(path, form, key).await?;
        if answer.status().as_u16() >= 300 {
            return Err(Failed::Refused(answer));
        }
        let grant = serde_json::from_slice::<Grant>(answer.body())
            .ok()
            .filter(|grant| grant.is_usable(self.token_type));
        Ok(grant.ok_or(ClientError::NoToken)?)
    }

    async fn refresh(&self, refresh: &Secret) -> Result<Grant, Failed> {
        let form = format!("grant_type=refresh_token&refresh_token={}", encode(refresh.reveal()));
        self.ask(REFRESH_PATH, form, None).await
    }

    async fn buy(&self) -> Result<Grant, Failed> {
        let key = self.key.key().await.map_err(ClientError::from)?;
        let scope = self.scope.map_or_else(String::new, |scope| format!("&scope={}", encode(scope)));
        let bought = self.ask(TOKEN_PATH, format!("grant_type=client_credentials{scope}"), Some(&key)).await;
        if let Err(Failed::Refused(answer)) = &bought
            && answer.status() == StatusCode::UNAUTHORIZED
        {
            self.key.forget();
        }
        bought
    }
}

impl Grant {
    fn is_usable(&self, token_type: &str) -> bool {
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        self.token_type.eq_ignore_ascii_case(token_type)
            && self.expires_in > 0
            && printable(&self.access_token)
            && self.refresh_token.as_deref().is_none_or(printable)
    }
}

impl Tokens {
    /// A token that holds now, or what the endpoint said in place of one.
    pub(crate) async fn get(&self, buyer: &Buyer<'_>) -> Result<Outcome, ClientError> {
        let mut state = self.0.lock().await;
        let now = buyer.now();
        if let Some(access) = &state.access
            && now < state.renew_from
        {
            return Ok(Outcome::Granted(access.clone()));
        }
        match state.fetch(buyer).await {
            Ok(grant) => Ok(Outcome::Granted(state.take(grant, buyer.now())?)),
            Err(failed) => state.bear(failed, buyer.now()),
        }
    }

    /// The gateway did not take a token. Whether another may be tried now.
    pub(crate) async fn refused(&self, token: &Secret, code: &str) -> bool {
        if !matches!(code, "token_expired" | "token_revoked" | "token_invalid") {
            return false;
        }
        let mut state = self.0.lock().await;
        // Another call may have renewed it meanwhile.
        if state.access.as_ref().is_some_and(|access| access.is(token)) {
            state.access = None;
            if code != "token_expired" {
                state.refresh = None;
            }
        }
        code != "token_invalid"
    }

    /// Takes what there is to give back: a token and its kind.
    pub(crate) async fn surrender(&self) -> Option<(Secret, &'static str)> {
        let State { access, refresh, .. } = std::mem::take(&mut *self.0.lock().await);
        refresh.map(|token| (token, "refresh_token")).or(access.map(|token| (token, "access_token")))
    }
}

impl State {
    /// Refreshes where it can, and else buys with the key.
    async fn fetch(&mut self, buyer: &Buyer<'_>) -> Result<Grant, Failed> {
        // An earlier caller may have gone away before its answer came.
        if self.unanswered.is_some_and(|sent| buyer.now() > sent + REPEATED_FOR) {
            (self.refresh, self.unanswered) = (None, None);
        }
        let Some(refresh) = self.refresh.clone() else { return buyer.buy().await };
        self.unanswered.get_or_insert(buyer.now());
        let mut asked = buyer.refresh(&refresh).await;
        if matches!(asked, Err(Failed::Error(ClientError::Transport { sent: true, .. }))) {
            asked = buyer.refresh(&refresh).await;
        }
        match &asked {
            Err(Failed::Error(ClientError::Transport { sent: true, .. })) => return asked,
            Ok(_) | Err(Failed::Refused(_) | Failed::Error(_)) => self.unanswered = None,
        }
        match asked {
            Err(Failed::Refused(answer)) if !is_passing(answer.status()) => {
                self.refresh = None;
                buyer.buy().await
            }
            other => other,
        }
    }

    fn take(&mut self, grant: Grant, now: u64) -> Result<Secret, ClientError> {
        let access = Secret::new(&grant.access_token).ok_or(ClientError::NoToken)?;
        let life = grant.expires_in.saturating_mul(SECOND);
        self.end = now.saturating_add(life);
        self.renew_from = self.end - RENEW_MARGIN.min(life / RENEW_FRACTION);
        self.refresh = grant.refresh_token.as_deref().and_then(Secret::new);
        self.access = Some(access.clone());
        Ok(access)
    }

    /// A token that still holds is used on; the next renewal is tried after a pause.
    fn bear(&mut self, failed: Failed, now: u64) -> Result<Outcome, ClientError> {
        if let Some(access) = &self.access
            && now < self.end
        {
            self.renew_from = now.saturating_add(RENEW_PAUSE);
            return Ok(Outcome::Granted(access.clone()));
        }
        match failed {
            Failed::Refused(answer) => Ok(Outcome::Refused(handed_on(answer))),
            // However far the token's request came: the call itself was not sent.
            Failed::Error(ClientError::Transport { source, .. }) => {
                Err(ClientError::Transport { sent: false, source })
            }
            Failed::Error(error) => Err(error),
        }
    }
}

/// The same may succeed later, so that the refresh token is worth keeping.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

fn handed_on(answer: Response<Bytes>) -> Response<Body> {
    let (mut parts, text) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::whole(text))
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// `error.details.error_code` of an answer in Anthropic's envelope; empty when there is none.
pub(crate) fn error_code(text: &[u8]) -> String {
    let envelope: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let code = envelope.as_ref().and_then(|e| e.pointer("/error/details/error_code"));
    code.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// A wait of a token request.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The headers that a token request has beside its credential.
pub(crate) fn form_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let form = http::HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(http::header::CONTENT_TYPE, form);
    headers.insert(http::header::ACCEPT, http::HeaderValue::from_static("application/json"));
    headers
}
