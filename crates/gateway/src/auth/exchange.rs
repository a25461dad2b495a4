//! Workload identity at the token counter: RFC 8693 and RFC 7523. What is bought is a key for a few minutes, a child of
//! the rule's; it is used as any key is, and can buy access tokens as any key can.

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    access_token::parse_scope,
    audit::Actor,
    clock::{MICROS_PER_SEC, Timestamp},
};
use claviger_service::{
    ServiceError,
    workload::{Bought, Credential, ExchangeError, Wish},
};
use http::{Response, StatusCode};
use serde_json::json;

use super::{AuthError, Counter, answer};
use crate::{refuse::Refusal, reply::ReplyBody, sender};

/// `grant_type` of RFC 8693.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// `grant_type` of RFC 7523.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The certificate of the connection is the subject; there is no `subject_token`.
const SVID: &str = "urn:claviger:params:oauth:token-type:x509-svid";

impl Counter<'_> {
    /// RFC 8693, 2.1.
    pub(super) async fn exchange(&self) -> Result<Response<ReplyBody>, AuthError> {
        let form = self.form;
        if form.get("actor_token").is_some() {
            return Err(AuthError::Unsupported("actor_token"));
        }
        if form.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
            return Err(AuthError::Unsupported("requested_token_type"));
        }
        let subject = form.get("subject_token");
        let kind = form.get("subject_token_type").ok_or(AuthError::Missing("subject_token_type"))?;
        let credential = match (kind, subject) {
            (ID_TOKEN | JWT, Some(token)) => Credential::Token(token.as_bytes()),
            (ID_TOKEN | JWT, None) => return Err(AuthError::Missing("subject_token")),
            (SVID, None) => Credential::Svid,
            _ => return Err(AuthError::Unsupported("subject_token_type")),
        };
        let bought = self.identified(credential).await?;
        Ok(self.lent(&bought, Some(ACCESS_TOKEN)))
    }

    /// RFC 7523, 2.1.
    pub(super) async fn assertion(&self) -> Result<Response<ReplyBody>, AuthError> {
        let token = self.form.get("assertion").ok_or(AuthError::Missing("assertion"))?;
        let bought = self.identified(Credential::Token(token.as_bytes())).await?;
        Ok(self.lent(&bought, None))
    }

    async fn identified(&self, credential: Credential<'_>) -> Result<Bought, AuthError> {
        let scope = self.form.get("scope").filter(|scope| !scope.trim().is_empty());
        let scopes = scope.map(|text| parse_scope(text).ok_or(ExchangeError::Scope)).transpose()?;
        let wish = Wish {
            rule: self.form.get("trust").map(str::to_owned),
            scopes,
            certificate: sender::good_certificate(self.head).cloned(),
            client_ip: Some(self.head.client_ip),
        };
        let workloads = &self.shared.services.workloads;
        Ok(workloads.exchange(credential, &wish, &self.asker_of(Actor::Anonymous)).await?)
    }

    fn lent(&self, bought: &Bought, kind: Option<&str>) -> Response<ReplyBody> {
        let key = &bought.key;
        let left = key.expires_at.map(|at: Timestamp| at.micros_since(key.created_at) / MICROS_PER_SEC);
        let mut body = json!({
            "access_token": String::from_utf8_lossy(bought.token.expose()),
            "token_type": "Bearer",
            "expires_in": left,
            "scope": key.policy.permissions.scopes.words().join(" "),
            "key_id": key.id,
            "trust": bought.rule,
        });
        if let Some(kind) = kind {
            body["issued_token_type"] = kind.into();
        }
        answer(self.head, StatusCode::OK, &body)
    }
}

/// One code for every identity that is not accepted; the message says what its holder may know.
pub(super) fn refused(error: ExchangeError, text: String) -> Refusal {
    let grant = |answer, reason, code| Refusal {
        error_code: Some(code),
        oauth_error: Some("invalid_grant"),
        ..Refusal::new(answer, reason, text.clone())
    };
    match error {
        ExchangeError::Refused { reason, .. } => grant(Answer::Unauthenticated, reason, "identity_refused"),
        ExchangeError::Scope => Refusal {
            oauth_error: Some("invalid_scope"),
            ..grant(Answer::InvalidRequest, "auth_scope", "scope_exceeded")
        },
        ExchangeError::Full(_) => grant(Answer::QuotaExhausted, "trust_full", "trust_full"),
        ExchangeError::Busy => Refusal::new(Answer::Overloaded, "identity_busy", text),
        ExchangeError::Service(ServiceError::Unavailable(_) | ServiceError::Conflict { .. }) => {
            Refusal::new(Answer::Unavailable, "auth_unavailable", "Identities cannot be judged now.")
        }
        ExchangeError::Service(error) => {
            tracing::error!(%error, "an identity could not be judged");
            Refusal::new(Answer::Internal, "auth_failed", "Internal error.")
        }
    }
}
