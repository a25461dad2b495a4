//! What happens to a request: origin, cache, limiter, credential, proof, signature, sending, repetition, figures.

mod exchange;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH},
    request::Parts,
};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

use crate::{
    body::Body,
    config::{Auth, BEARER, Config},
    content::Content,
    dpop::{self, Once, Prover, Subject},
    error::{BoxError, ClientError, Unsent},
    health::{self, Health},
    retry::{self, Decision, Ended, Seen},
    secret::Secret,
    signing::{Call, Moment},
    token::{self, Buyer, Exchange as _, Outcome, Tokens},
    watch::{Figures, Watched},
};

const X_API_KEY: &str = "x-api-key";

type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Makes [`Claviger`] of any HTTP service. Clones share tokens.
#[derive(Clone)]
pub struct ClavigerLayer(Arc<Shared>);

struct Shared {
    config: Config,
    tokens: Tokens,
    prover: Option<Prover>,
}

impl ClavigerLayer {
    /// From its configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let prover = config.proof_key.clone().map(Prover::new);
        Self(Arc::new(Shared { config, tokens: Tokens::default(), prover }))
    }
}

impl fmt::Debug for ClavigerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClavigerLayer").field(&self.0.config).finish()
    }
}

impl<S, R> Layer<S> for ClavigerLayer
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    type Service = Claviger;

    fn layer(&self, inner: S) -> Claviger {
        let plain = inner.map_response(|answer| answer.map(Body::new)).map_err(Into::into);
        Claviger { inner: BoxCloneSyncService::new(plain), shared: Arc::clone(&self.0) }
    }
}

/// The service. Clones share tokens, limits, cache and figures.
#[derive(Clone)]
pub struct Claviger {
    inner: Inner,
    shared: Arc<Shared>,
}

impl fmt::Debug for Claviger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claviger").field(&self.shared.config).finish()
    }
}

impl<B> Service<Request<B>> for Claviger
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Response<Body>, ClientError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        // Each sending waits for the inner service by itself: there may be several.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.serve(request.map(Body::new)).await })
    }
}

impl Claviger {
    /// Asks the gateway's `/readyz`, without the key, and then `/v1/claviger/me` with it; without repetition.
    pub async fn health(&self) -> Health {
        let base = &self.config().origin.base;
        health::ask(self.inner.clone(), base, &*self.config().clock, self.is_accepted()).await
    }

    /// Gives the access and refresh tokens back, as a program may do at its end. `false`: the gateway did not take
    /// them back; they end by themselves.
    ///
    /// # Errors
    /// [`ClientError`] when there was no answer.
    pub async fn revoke(&self) -> Result<bool, ClientError> {
        let Some((token, hint)) = self.shared.tokens.surrender().await else { return Ok(true) };
        let key = self.config().key.key().await?;
        let form = format!("token={}&token_type_hint={hint}", token::encode(token.reveal()));
        let answer = self.post(token::REVOKE_PATH, form, Some(&key)).await?;
        Ok(answer.status() == StatusCode::OK)
    }

    fn config(&self) -> &Config {
        &self.shared.config
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let mut figures = Figures::begin(self.config());
        let served = self.answer(request, &mut figures).await;
        if served.is_err() {
            figures.unanswered();
        }
        served
    }

    async fn answer(
        &self,
        request: Request<Body>,
        figures: &mut Figures,
    ) -> Result<Response<Body>, ClientError> {
        let config = self.config();
        if !config.origin.covers(request.uri()) {
            let host = request.uri().host().unwrap_or("no host");
            return Err(ClientError::ForeignOrigin(host.to_owned()));
        }
        let hold = config.signing.is_some() || config.cache.is_some();
        let (parts, mut content) = Content::of(request, config.max_buffer, hold).await?;
        let place = match &config.cache {
            Some(cache) => cache.place(&parts, content.bytes(), &*config.key, &*config.clock).await,
            None => None,
        };
        if let Some(answer) = place.as_ref().and_then(|place| place.answer()) {
            figures.hit();
            return Ok(answer);
        }
        let turn = match &config.limiter {
            Some(limiter) => Some(limiter.turn().await?),
            None => None,
        };
        self.succeed().await;
        let answer = self.persist(&parts, &mut content, figures).await?;
        Ok(Watched::over(answer, parts.uri.path(), figures.take(), turn, place))
    }

    /// Repeats what may be repeated.
    async fn persist(
        &self,
        parts: &Parts,
        content: &mut Content,
        figures: &Figures,
    ) -> Result<Response<Body>, ClientError> {
        let config = self.config();
        let left = config.retry.is_left_to_caller(&parts.headers);
        let mut attempt = 0;
        loop {
            let mut sent = self.attempt(parts, content).await;
            let ended = match &sent {
                Ok(answer) => Ended::Answer(answer.status(), answer.headers()),
                Err(ClientError::Transport { sent: true, .. }) => Ended::Lost,
                Err(ClientError::Transport { sent: false, .. }) => Ended::Unsent,
                Err(_) => return sent,
            };
            let seen = Seen {
                attempt,
                method: &parts.method,
                repeatable: content.is_repeatable(),
                ended,
                now: config.clock.now(),
                chance: self.chance()?,
            };
            match (config.retry.decide(&seen, left), &mut sent) {
                (Decision::After(wait), _) => {
                    drop(sent);
                    figures.repeated();
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                (Decision::Forbid, Ok(answer)) => {
                    retry::forbid(answer.headers_mut());
                    return sent;
                }
                (Decision::Forbid | Decision::HandOn, _) => return sent,
            }
        }
    }

    /// From 0 to 1.
    fn chance(&self) -> Result<f64, ClientError> {
        let mut bytes = [0; 4];
        self.config().entropy.fill(&mut bytes)?;
        Ok(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }

    /// Sends once, and again when the gateway says that the access token is over, when it refuses a key that has another
    /// value at its source by now, and when it gives a nonce that the proof lacked: once for either reason.
    async fn attempt(&self, parts: &Parts, content: &mut Content) -> Result<Response<Body>, ClientError> {
        let (mut is_renewed, mut has_nonce) = (false, false);
        loop {
            let (shown, answer) = self.send(parts, content).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            let (code, answer) = peek_code(answer).await?;
            let again = if self.shared.prover.is_some() && dpop::is_about_nonces(&code) {
                let gives_one = dpop::demands_nonce(answer.status(), answer.headers(), &code);
                gives_one && !std::mem::replace(&mut has_nonce, true)
            } else {
                !std::mem::replace(&mut is_renewed, true) && self.may_repeat(&shown, &code).await
            };
            if !again || !content.is_repeatable() {
                return Ok(answer);
            }
        }
    }

    /// Whether another credential is at hand after a refusal.
    async fn may_repeat(&self, shown: &Shown, code: &str) -> bool {
        if code == "signature_invalid"
            && let Some(signing) = &self.config().signing
        {
            signing.forget();
        }
        match shown {
            Shown::Access(token) => self.shared.tokens.refused(token, code).await,
            Shown::Key(key) => self.has_changed(key).await,
            Shown::Nothing => false,
        }
    }

    /// Asks the source of a refused key again.
    async fn has_changed(&self, refused: &Secret) -> bool {
        self.config().key.forget();
        self.config().key.key().await.is_ok_and(|key| !key.is(refused))
    }

    /// Sends once; gives what was shown.
    async fn send(
        &self,
        parts: &Parts,
        content: &mut Content,
    ) -> Result<(Shown, Response<Body>), ClientError> {
        let config = self.config();
        let key = config.key.key().await?;
        let mut headers = parts.headers.clone();
        headers.remove(X_API_KEY);
        headers.remove(AUTHORIZATION);
        dpop::strip(&mut headers);
        let shown = match self.credential(&key).await? {
            Ok(shown) => shown,
            Err(refusal) => return Ok((Shown::Nothing, refusal)),
        };
        match &shown {
            Shown::Access(token) => {
                self.prove(&mut headers, (&parts.method, &parts.uri), Some(token))?;
                headers.insert(AUTHORIZATION, schemed(config.token_type(), token)?)
            }
            Shown::Key(key) if key.is_jwt() => headers.insert(AUTHORIZATION, schemed(BEARER, key)?),
            Shown::Key(key) => headers.insert(X_API_KEY, sensitive(key.reveal())?),
            Shown::Nothing => None,
        };
        if let Some(signing) = &config.signing {
            let moment = Moment::now(config.clock.now(), &*config.entropy)?;
            let call = Call { method: &parts.method, uri: &parts.uri, content: content.signed() };
            signing.sign(&mut headers, call, &key, moment).await?;
        }
        let mut request = Request::new(content.attach());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = headers;
        *request.extensions_mut() = parts.extensions.clone();
        Ok((shown, self.carry(request).await?))
    }

    /// The key, or an access token in its place; or what the token endpoint said.
    async fn credential(&self, key: &Secret) -> Result<Result<Shown, Response<Body>>, ClientError> {
        let config = self.config();
        if config.auth == Auth::Key || key.is_jwt() {
            return Ok(Ok(Shown::Key(key.clone())));
        }
        let buyer = Buyer {
            exchange: self,
            key: &*config.key,
            scope: config.scope.as_deref(),
            token_type: config.token_type(),
            clock: &*config.clock,
        };
        Ok(match self.shared.tokens.get(&buyer).await? {
            Outcome::Granted(token) => Ok(Shown::Access(token)),
            Outcome::Refused(answer) => Err(answer),
        })
    }

    /// Puts a proof of possession into the headers, where there is a key for it.
    fn prove(
        &self,
        headers: &mut HeaderMap,
        (method, uri): (&Method, &Uri),
        access: Option<&Secret>,
    ) -> Result<(), ClientError> {
        let Some(prover) = &self.shared.prover else { return Ok(()) };
        let config = self.config();
        let once = Once::now(config.clock.now(), &*config.entropy)?;
        prover.prove(headers, Subject { method, uri, access, nonce: None }, &once)
    }

    async fn carry(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let sent = self.inner.clone().oneshot(request).await;
        if let Ok(answer) = &sent {
            self.notice(answer.headers());
        }
        sent.map_err(|source| match find::<ClientError>(&*source) {
            Some(ClientError::DigestMismatch) => ClientError::DigestMismatch,
            _ => ClientError::Transport { sent: !was_unsent(&*source), source },
        })
    }
}

/// What a request proved itself with.
enum Shown {
    Key(Secret),
    Access(Secret),
    /// It was not sent: there was no token to be had.
    Nothing,
}

/// Looks for one of ours in an error's chain.
fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether nothing reached the gateway, as far as an error shows.
fn was_unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    if find::<Unsent>(error).is_some() {
        return true;
    }
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let kind = find::<std::io::Error>(error).map(std::io::Error::kind);
    matches!(kind, Some(ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable))
}

fn sensitive(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::HeaderValue)?;
    value.set_sensitive(true);
    Ok(value)
}

fn schemed(scheme: &str, token: &Secret) -> Result<HeaderValue, ClientError> {
    sensitive(&format!("{scheme} {}", token.reveal()))
}

/// Reads a refusal's code; the answer is whole again afterwards.
async fn peek_code(answer: Response<Body>) -> Result<(String, Response<Body>), ClientError> {
    let (mut parts, body) = answer.into_parts();
    let text = read_at_most(body, token::MOST_BYTES).await;
    let text = text.map_err(|source| ClientError::Transport { sent: true, source })?;
    parts.headers.remove(CONTENT_LENGTH);
    Ok((token::error_code(&text), Response::from_parts(parts, Body::whole(text))))
}

/// Reads a short answer whole.
pub(crate) async fn read_at_most(body: Body, most: usize) -> Result<Bytes, BoxError> {
    Ok(Limited::new(body, most).collect().await?.to_bytes())
}

#[cfg(test)]
mod tests;
