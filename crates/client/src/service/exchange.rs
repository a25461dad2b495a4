//! Requests of the client's own: to the token endpoints.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header::ACCEPT};

use super::{Claviger, X_API_KEY, read_at_most, sensitive};
use crate::{
    content::Content,
    dpop,
    error::{BoxError, ClientError},
    health::{self, Refused},
    secret::Secret,
    signing::{Call, Moment, Signing},
    succession,
    token::{self, Exchange},
};

const ME_PATH: &str = "/v1/claviger/me";

impl Exchange for Claviger {
    fn post<'a>(
        &'a self,
        path: &'static str,
        form: String,
        key: Option<&'a Secret>,
    ) -> BoxFuture<'a, Result<Response<Bytes>, ClientError>> {
        Box::pin(async move {
            let form = Bytes::from(form);
            let answer = self.post_once(path, form.clone(), key).await?;
            let code = token::error_code(answer.body());
            if self.shared.prover.is_some() && dpop::demands_nonce(answer.status(), answer.headers(), &code) {
                return self.post_once(path, form, key).await;
            }
            Ok(answer)
        })
    }
}

impl Claviger {
    /// Learns from any answer: a nonce for proofs, the announcement of another signing secret.
    pub(super) fn notice(&self, headers: &HeaderMap) {
        if let Some(prover) = &self.shared.prover {
            prover.notice(headers);
        }
        if let Some(succession) = self.config().signing.as_ref().and_then(Signing::succession) {
            succession.notice(headers);
        }
    }

    /// Fetches the successor of the signing secret, if an earlier answer announced one. The call goes on without it
    /// where that fails.
    pub(super) async fn succeed(&self) {
        let config = self.config();
        let Some(signing) = &config.signing else { return };
        if !signing.succession().is_some_and(|succession| succession.wants(config.clock.now())) {
            return;
        }
        let asked = tokio::time::timeout(succession::LIMIT, self.get(succession::PATH)).await;
        if let Ok(Ok(answer)) = asked
            && answer.status() == StatusCode::OK
        {
            signing.succeed(answer.headers(), answer.body(), config.clock.now());
        }
    }

    /// Whether the gateway takes this client's credential.
    pub(super) async fn is_accepted(&self) -> Result<(), Refused> {
        let answer = self.get(ME_PATH).await?;
        health::judge(answer.status(), answer.body())
    }

    /// A request of the client's own, with its credential.
    async fn get(&self, path: &str) -> Result<Response<Bytes>, BoxError> {
        let uri = format!("{}{path}", self.config().origin.base);
        let (parts, ()) = Request::get(uri).header(ACCEPT, "application/json").body(())?.into_parts();
        let answer = self.attempt(&parts, &mut Content::Whole(Bytes::new())).await?;
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, read_at_most(body, token::MOST_BYTES).await?))
    }

    async fn post_once(
        &self,
        path: &'static str,
        form: Bytes,
        key: Option<&Secret>,
    ) -> Result<Response<Bytes>, ClientError> {
        let config = self.config();
        let uri: Uri = format!("{}{path}", config.origin.base).parse().map_err(|_| ClientError::BaseUrl)?;
        let mut headers = token::form_headers();
        if let Some(key) = key {
            headers.insert(X_API_KEY, sensitive(key.reveal())?);
        }
        self.prove(&mut headers, (&Method::POST, &uri), None)?;
        let mut content = Content::Whole(form);
        if let Some(signing) = &config.signing {
            let key = config.key.key().await?;
            let moment = Moment::now(config.clock.now(), &*config.entropy)?;
            let call = Call { method: &Method::POST, uri: &uri, content: content.signed() };
            signing.sign(&mut headers, call, &key, moment).await?;
        }
        let mut request = Request::new(content.attach());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let exchange = async {
            let (parts, body) = self.carry(request).await?.into_parts();
            let text = read_at_most(body, token::MOST_BYTES).await;
            let text = text.map_err(|source| ClientError::Transport { sent: true, source })?;
            Ok(Response::from_parts(parts, text))
        };
        let late = |source| ClientError::Transport { sent: true, source: BoxError::from(source) };
        tokio::time::timeout(token::LIMIT, exchange).await.map_err(late)?
    }
}
