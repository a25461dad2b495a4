//! What the token counter answers.

use bytes::Bytes;
use claviger_domain::{access_token::AccessClaims, jose::Algorithm, permission::Scopes, refresh::Family};
use claviger_service::tokens::{Bought, Introspection, Published};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{KEYS, answer, text};
use crate::{receive::Head, reply::ReplyBody};

/// RFC 6749, 5.1.
pub(super) fn bought(head: &Head, bought: &Bought) -> Response<ReplyBody> {
    let body = json!({
        "access_token": String::from_utf8_lossy(bought.access_token.expose()),
        "token_type": bought.token_type,
        "expires_in": bought.expires_in,
        "refresh_token": String::from_utf8_lossy(bought.refresh_token.expose()),
        "scope": bought.scope,
    });
    let mut response = answer(head, StatusCode::OK, &body);
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// RFC 7517, 5.
pub(super) fn keys(head: &Head, published: &Published) -> Response<ReplyBody> {
    kept(head, Bytes::copy_from_slice(published.body.as_bytes()), published.max_age_secs)
}

/// RFC 8414, 2.
pub(super) fn metadata(head: &Head, issuer: &str) -> Response<ReplyBody> {
    let at = |path: &str| format!("{issuer}{path}");
    let algorithms: Vec<&str> =
        [Algorithm::EdDsa, Algorithm::Es256].into_iter().map(Algorithm::as_str).collect();
    let methods = ["client_secret_basic", "client_secret_post"];
    let mut scopes = vec!["read".to_owned(), "write".to_owned()];
    scopes.extend(one_by_one());
    let body = json!({
        "issuer": issuer,
        "token_endpoint": at("/v1/auth/token"),
        "revocation_endpoint": at("/v1/auth/revoke"),
        "introspection_endpoint": at("/v1/auth/introspect"),
        "jwks_uri": at(KEYS),
        "scopes_supported": scopes,
        "response_types_supported": [],
        "grant_types_supported": [
            "client_credentials", "refresh_token", super::exchange::TOKEN_EXCHANGE, super::exchange::JWT_BEARER,
        ],
        "dpop_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": true,
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "access_token_signing_alg_values_supported": algorithms,
    });
    kept(head, Bytes::from(body.to_string()), 3_600)
}

fn one_by_one() -> Vec<String> {
    use claviger_domain::permission::{Access, Endpoint};
    let both = [Access::Read, Access::Write];
    let each =
        |endpoint| both.into_iter().flat_map(move |access| Scopes::default().with(endpoint, access).words());
    Endpoint::ALL.into_iter().flat_map(each).collect()
}

fn kept(head: &Head, body: Bytes, max_age_secs: i64) -> Response<ReplyBody> {
    let mut response = text(head, StatusCode::OK, body);
    if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={max_age_secs}, must-revalidate")) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

/// RFC 7662, 2.2.
pub(super) fn introspection(found: &Introspection, issuer: &str) -> Value {
    match found {
        Introspection::Inactive => json!({ "active": false }),
        Introspection::Access(claims) => access(claims),
        Introspection::Refresh(family) => refresh(family, issuer),
    }
}

fn access(claims: &AccessClaims) -> Value {
    let mut said = claims.to_json();
    said["active"] = true.into();
    said["token_type"] = claims.confirmation.token_type().into();
    said
}

fn refresh(family: &Family, issuer: &str) -> Value {
    let mut said = json!({
        "active": true,
        "token_type": "refresh_token",
        "iss": issuer,
        "sub": family.key,
        "client_id": family.key,
        "scope": family.scopes.words().join(" "),
        "iat": family.used_at.as_secs(),
        "exp": family.idle_until.min(family.expires_at).as_secs(),
        "cvg_ws": family.workspace,
        "cvg_fam": family.id,
    });
    if !family.confirmation.is_empty() {
        said["cnf"] = json!(family.confirmation);
    }
    said
}
