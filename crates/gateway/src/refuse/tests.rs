use std::{fmt::Write, time::Duration};

use claviger_domain::{
    clock::{EntropyError, Timestamp},
    grant::{AuthFailure, Forbidden},
    limit::{Exceeded, Headroom, LimitKind, LimitSubject},
    permission::{Access, Endpoint},
    proof::Proof,
    signature::SignatureError,
};
use claviger_service::{
    nonces::NonceRefusal,
    recorder::{RecordError, RecorderFull},
};
use claviger_upstream::UpstreamError;

use super::*;
use crate::{
    admit::{AdmitError, LimitReached},
    authenticate::AuthenticateError,
    authorize::AuthorizeError,
    body::BodyError,
    forward::ForwardError,
    prove::ProveError,
    receive::ReceiveError,
    relay::RelayError,
    route::RouteError,
};

fn exceeded(retry_at: Option<i64>) -> AdmitError {
    let reset = Timestamp::from_secs(60);
    let (subject, kind) = (LimitSubject::Key, LimitKind::RequestsPerDay);
    let headroom = Headroom { subject, kind, limit: 10, remaining: 0, reset };
    let exceeded = Exceeded { headroom, retry_at: retry_at.map(Timestamp::from_secs) };
    LimitReached { exceeded, at: Timestamp::from_secs(0), headrooms: Box::default() }.into()
}

fn all() -> Vec<Refusal> {
    let failed = AuthenticateError::Failed { failure: AuthFailure::Revoked, named: None };
    let not_found = AuthorizeError::NotFound { kind: "File", id: "file_1".into() };
    vec![
        ReceiveError::HeadTooLarge { limit: 65_536 }.into(),
        failed.into(),
        AuthenticateError::Unavailable.into(),
        AuthenticateError::Busy.into(),
        AuthorizeError::from(Forbidden::Address([192, 0, 2, 7].into())).into(),
        AuthorizeError::from(Forbidden::Hours).into(),
        AuthorizeError::from(Forbidden::Endpoint(Endpoint::Files, Access::Write)).into(),
        AuthorizeError::NotSupported.into(),
        AuthorizeError::ModelsUnchecked.into(),
        AuthorizeError::Model("claude-x".into()).into(),
        AuthorizeError::ModelHidden("claude-x".into()).into(),
        AuthorizeError::Encoded.into(),
        ProveError::Missing(Proof::Signature).into(),
        ProveError::Missing(Proof::Token).into(),
        ProveError::from(SignatureError::Mismatch).into(),
        ProveError::from(SignatureError::Skew { ahead_secs: -301 }).into(),
        ProveError::from(NonceRefusal::Replayed).into(),
        ProveError::from(NonceRefusal::Lost { retry_after_secs: 299 }).into(),
        ProveError::from(NonceRefusal::TooMany { most: 9 }).into(),
        ProveError::from(NonceRefusal::Unavailable).into(),
        AuthorizeError::from(BodyError::TooLarge { limit: 33_554_432 }).into(),
        Refusal::from(&BodyError::NoMemory),
        Refusal::from(&BodyError::TooSlow),
        Refusal::from(&BodyError::Spool(std::io::ErrorKind::StorageFull.into())),
        not_found.into(),
        AuthorizeError::Scattered.into(),
        exceeded(Some(2)).into(),
        exceeded(Some(7_200)).into(),
        exceeded(None).into(),
        AdmitError::from(RecorderFull::Slots).into(),
        AdmitError::from(RecorderFull::Disk).into(),
        AdmitError::from(RecorderFull::Stopped).into(),
        RouteError::NotConfigured.into(),
        RouteError::CredentialGone.into(),
        ForwardError::Upstream(UpstreamError::HeadTimeout(Duration::from_secs(660))).into(),
        ForwardError::Upstream(UpstreamError::PoolFull { open: 9, waiting: 9 }).into(),
        ForwardError::Upstream(UpstreamError::Redirected(StatusCode::FOUND)).into(),
        ForwardError::Upstream(UpstreamError::SwitchedProtocols).into(),
        ForwardError::Upstream(UpstreamError::ProxyRefused(403)).into(),
        ForwardError::Revoked.into(),
        ForwardError::Entropy(EntropyError).into(),
        RelayError::Record(RecordError::Timeout).into(),
        RelayError::TooLarge(1).into(),
        RelayError::ListTooLong.into(),
    ]
}

#[test]
fn every_refusal_is_answered_as_the_table_says() {
    let mut list = String::new();
    for refusal in all() {
        let answer = refuse(&refusal, Refused { request_id: "req_1", client_request_id: None });
        let header =
            |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        writeln!(
            list,
            "{} {:<20} {:<22} retry {:<5} after {:<4} {}{}",
            answer.status().as_u16(),
            refusal.reason,
            refusal.answer.row().kind.as_str(),
            header("x-should-retry"),
            header("retry-after"),
            refusal.message,
            if refusal.close { " [close]" } else { "" },
        )
        .unwrap();
    }
    insta::assert_snapshot!(list);
}

#[test]
fn a_refusal_is_the_envelope_with_our_id_in_it() {
    let refusal = Refusal::from(AuthorizeError::Encoded);
    let mine = HeaderValue::from_static("mine");
    let answer = refuse(&refusal, Refused { request_id: "req_1", client_request_id: Some(&mine) });
    assert_eq!(answer.headers()["x-request-id"], "mine");
    assert_eq!(answer.headers()["request-id"], "req_1");
}
