//! The token counter: `/v1/auth/token`, `refresh`, `revoke`, `introspect`, and the key set and metadata that belong to
//! it. The protocol is Claviger's own, towards its callers; nothing of it goes upstream.
//!
//! OAuth 2.0 as RFC 6749, 7009, 7662 and 8414 shape it, but for one thing: refusals stand in Anthropic's envelope, as all
//! of the gateway's do, with OAuth's code in `error.details.oauth_error`.

mod client;
mod exchange;
mod form;
mod refused;
mod view;

use bytes::Bytes;
use claviger_claude_wire::answers::UNAUTHENTICATED_MESSAGE;
use claviger_domain::{
    access_token::Confirmation,
    audit::Actor,
    grant::{AuthFailure, Forbidden},
    operator::verb::Verb,
    signature::Claim,
    token::side::{SideToken, SideUse},
};
use claviger_service::{
    Caller as Asker, ServiceError,
    grants::LiveGrant,
    operators::Identity,
    tokens::{BuyError, Order},
    workload::ExchangeError,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use self::form::{Form, FormError};
use crate::{
    authenticate::{AuthenticateError, Shown, shown},
    authorize::is_encoded,
    body::{BodyError, read_whole},
    headers::{REQUEST_ID, X_REQUEST_ID},
    prove::{self, ProveError},
    receive::{Head, Inbound},
    reply::ReplyBody,
    sender::SenderError,
    worker::Shared,
};

/// Forms are small.
const MAX_BODY: u64 = 64 * 1024;

/// A route of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRoute {
    /// `POST /v1/auth/token`.
    Token,
    /// `POST /v1/auth/refresh`.
    Refresh,
    /// `POST /v1/auth/revoke`.
    Revoke,
    /// `POST /v1/auth/introspect`.
    Introspect,
    /// `GET /.well-known/jwks.json`.
    Keys,
    /// `GET /.well-known/oauth-authorization-server`.
    Metadata,
    /// The path is known, the method is not one of it.
    OtherMethod(&'static str),
    /// There is nothing there.
    Nowhere,
}

/// What most of these paths begin with.
pub const PREFIX: &str = "/v1/auth";
/// Where the key set is.
pub const KEYS: &str = "/.well-known/jwks.json";
/// Where the metadata is (RFC 8414, 3).
pub const METADATA: &str = "/.well-known/oauth-authorization-server";

impl AuthRoute {
    /// Reads a path that can be read in one way only; `None`: none of these.
    #[must_use]
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let (route, fits, allowed) = match path {
            KEYS => (Self::Keys, reads, "GET, HEAD"),
            METADATA => (Self::Metadata, reads, "GET, HEAD"),
            "/v1/auth/token" => (Self::Token, method == Method::POST, "POST"),
            "/v1/auth/refresh" => (Self::Refresh, method == Method::POST, "POST"),
            "/v1/auth/revoke" => (Self::Revoke, method == Method::POST, "POST"),
            "/v1/auth/introspect" => (Self::Introspect, method == Method::POST, "POST"),
            _ => return None,
        };
        Some(if fits { route } else { Self::OtherMethod(allowed) })
    }
}

/// Why nothing is given.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is nothing at that path.
    #[error("not found")]
    Nowhere,
    /// Not by that method.
    #[error("method not allowed: use {0}")]
    OtherMethod(&'static str),
    /// The body has a content coding.
    #[error("request bodies with a Content-Encoding are not supported")]
    Encoded,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is no form.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A parameter is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Another grant.
    #[error(
        "`grant_type` must be one of: client_credentials, refresh_token, {}, {}",
        exchange::TOKEN_EXCHANGE,
        exchange::JWT_BEARER
    )]
    Grant,
    /// A parameter, or this value of it, is not offered.
    #[error("`{0}` is not supported, or not with this value")]
    Unsupported(&'static str),
    /// The sender is not the one that the key is bound to, or its proof is not good.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// The request is not signed as the key demands, or its signature is not good.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The identity buys nothing.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// No working key was shown.
    #[error("{}", UNAUTHENTICATED_MESSAGE)]
    Client(#[from] AuthenticateError),
    /// Not from here, or not now.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The rest.
    #[error(transparent)]
    Buy(#[from] BuyError),
}

impl From<ServiceError> for AuthError {
    fn from(error: ServiceError) -> Self {
        Self::Buy(error.into())
    }
}

/// Answers one request.
///
/// # Errors
/// [`AuthError`].
pub async fn serve(
    shared: &Shared,
    inbound: Inbound,
    route: AuthRoute,
) -> Result<Response<ReplyBody>, AuthError> {
    let Inbound { head, body } = inbound;
    match route {
        AuthRoute::Keys => return Ok(view::keys(&head, &shared.services.tokens.published())),
        AuthRoute::Metadata => return Ok(view::metadata(&head, &shared.issuer())),
        AuthRoute::OtherMethod(allowed) => return Err(AuthError::OtherMethod(allowed)),
        AuthRoute::Nowhere => return Err(AuthError::Nowhere),
        AuthRoute::Token | AuthRoute::Refresh | AuthRoute::Revoke | AuthRoute::Introspect => {}
    }
    if is_encoded(&head) {
        return Err(AuthError::Encoded);
    }
    // Whoever holds a token may end it: nothing else is proved there.
    let claim = if route == AuthRoute::Revoke { None } else { prove::claim(shared, &head)? };
    let pace = shared.config().body.pace;
    let body = read_whole(body, MAX_BODY, &shared.budget, pace).await?;
    let form = Form::parse(&head.headers, &body.bytes)?;
    let mut counter = Counter { shared, head: &head, form: &form, body: &body.bytes, claim, yields: false };
    match route {
        AuthRoute::Token => counter.token().await,
        AuthRoute::Refresh => counter.refresh().await,
        AuthRoute::Revoke => counter.revoke().await,
        AuthRoute::Introspect => counter.introspect().await,
        AuthRoute::Keys | AuthRoute::Metadata | AuthRoute::OtherMethod(_) | AuthRoute::Nowhere => {
            Err(AuthError::Nowhere)
        }
    }
}

/// One request at the counter.
struct Counter<'a> {
    shared: &'a Shared,
    head: &'a Head,
    form: &'a Form,
    /// What the form was read from.
    body: &'a [u8],
    /// What the request says of its signature, until that is judged.
    claim: Option<Claim>,
    /// Whoever asks has not signed, though the key demands it: nobody else's token gives way.
    yields: bool,
}

impl Counter<'_> {
    async fn token(&mut self) -> Result<Response<ReplyBody>, AuthError> {
        match self.form.get("grant_type") {
            None | Some("client_credentials") => {}
            Some("refresh_token") => return self.refresh().await,
            Some(exchange::TOKEN_EXCHANGE) => return self.exchange().await,
            Some(exchange::JWT_BEARER) => return self.assertion().await,
            Some(_) => return Err(AuthError::Grant),
        }
        let (live, confirmation) = self.client().await?;
        let issuer = self.shared.issuer();
        let order = self.order(&issuer, confirmation);
        let bought = self.shared.services.tokens.buy(&live, &order, &self.asker(&live)).await?;
        Ok(view::bought(self.head, &bought))
    }

    async fn refresh(&mut self) -> Result<Response<ReplyBody>, AuthError> {
        if self.form.get("grant_type").is_some_and(|grant| grant != "refresh_token") {
            return Err(AuthError::Grant);
        }
        let shown = match self.form.get("refresh_token") {
            Some(token) => token.as_bytes(),
            // As the seed of this protocol had it.
            None => match shown(&self.head.headers) {
                Ok(Shown { text, .. }) => text,
                Err(_) => return Err(AuthError::Missing("refresh_token")),
            },
        };
        let issuer = self.shared.issuer();
        let asker = self.asker_of(Actor::Anonymous);
        let confirmation = self.holder(shown, &asker).await?;
        let order = self.order(&issuer, confirmation);
        let bought = self.shared.services.tokens.refresh(shown, &order, &asker).await?;
        Ok(view::bought(self.head, &bought))
    }

    /// Whoever holds a token may revoke it: the token is the proof.
    async fn revoke(&self) -> Result<Response<ReplyBody>, AuthError> {
        let token = self.form.get("token").ok_or(AuthError::Missing("token"))?;
        let asker = self.asker_of(Actor::Anonymous);
        self.shared.services.tokens.revoke(token.as_bytes(), &self.shared.issuer(), &asker).await?;
        Ok(answer(self.head, StatusCode::OK, &serde_json::json!({})))
    }

    async fn introspect(&mut self) -> Result<Response<ReplyBody>, AuthError> {
        // A key sees its own workspace's tokens; an operator those that they see.
        let workspace = match self.operator().await? {
            Some(operator) => operator.workspace().cloned(),
            None => Some(self.client().await?.0.grant.key.workspace.clone()),
        };
        let token = self.form.get("token").ok_or(AuthError::Missing("token"))?;
        let issuer = self.shared.issuer();
        let tokens = &self.shared.services.tokens;
        let found = tokens.introspect(token.as_bytes(), &issuer, workspace.as_ref()).await?;
        Ok(answer(self.head, StatusCode::OK, &view::introspection(&found, &issuer)))
    }

    /// The operator whose token is shown, if one is, who may look at tokens.
    async fn operator(&self) -> Result<Option<Identity>, AuthError> {
        let brand = self.shared.config().brand;
        let Ok(Shown { text, .. }) = shown(&self.head.headers) else { return Ok(None) };
        if SideToken::use_of(brand, text) != Some(SideUse::Operator) {
            return Ok(None);
        }
        let unknown = || AuthError::from(AuthenticateError::from(AuthFailure::Unknown));
        let identity = match self.shared.services.operators.authenticate(text).await {
            Err(ServiceError::Unauthenticated(_)) => return Err(unknown()),
            found => found?,
        };
        identity.may(Verb::TokenList, Verb::TokenList.effect()).map_err(|_| unknown())?;
        Ok(Some(identity))
    }

    fn order<'a>(&'a self, issuer: &'a str, confirmation: Confirmation) -> Order<'a> {
        let (scope, ip) = (self.form.get("scope"), Some(self.head.client_ip));
        Order { scope, confirmation, issuer, ip, yields: self.yields }
    }

    fn asker(&self, live: &LiveGrant) -> Asker {
        self.asker_of(Actor::Key { id: live.grant.key.id.to_string() })
    }

    fn asker_of(&self, actor: Actor) -> Asker {
        Asker {
            actor,
            request_id: self.head.request_id.to_string(),
            client_ip: self.head.client_ip.to_string(),
            user_agent: self.head.user_agent(),
            api_endpoint: self.head.api_endpoint(),
            ..Asker::system()
        }
    }
}

fn answer(head: &Head, status: StatusCode, body: &serde_json::Value) -> Response<ReplyBody> {
    let mut response = text(head, status, Bytes::from(body.to_string()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(head: &Head, status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(id) = HeaderValue::from_str(head.request_id.as_str()) {
        headers.insert(X_REQUEST_ID, head.client_request_id().cloned().unwrap_or_else(|| id.clone()));
        headers.insert(REQUEST_ID, id);
    }
    let mut response = Response::new(ReplyBody::once(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Option<AuthRoute> {
        AuthRoute::of(&method.parse().unwrap(), path)
    }

    #[test]
    fn routes_are_told_by_method_and_path() {
        assert_eq!(of("POST", "/v1/auth/token"), Some(AuthRoute::Token));
        assert_eq!(of("POST", "/v1/auth/refresh"), Some(AuthRoute::Refresh));
        assert_eq!(of("POST", "/v1/auth/revoke"), Some(AuthRoute::Revoke));
        assert_eq!(of("POST", "/v1/auth/introspect"), Some(AuthRoute::Introspect));
        assert_eq!(of("GET", KEYS), Some(AuthRoute::Keys));
        assert_eq!(of("HEAD", METADATA), Some(AuthRoute::Metadata));
        assert_eq!(of("GET", "/v1/auth/token"), Some(AuthRoute::OtherMethod("POST")));
        assert_eq!(of("POST", KEYS), Some(AuthRoute::OtherMethod("GET, HEAD")));
        for path in ["/v1/auth", "/v1/auth/", "/v1/auth/tokens", "/v1/auth/token/", "/.well-known/jwks"] {
            assert_eq!(of("POST", path), None, "{path}");
        }
    }
}
