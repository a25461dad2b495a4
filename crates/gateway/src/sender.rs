//! Stage 3, prove, the sender's part: is it who the key or the access token is bound to?
//!
//! | bound by | what proves it |
//! |---|---|
//! | the key's `bind_mtls`, the token's `cnf.x5t#S256` (RFC 8705) | the certificate of the connection |
//! | the token's `cnf.jkt` (RFC 9449) | the request's `DPoP` header |

mod possession;

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    access_token::Confirmation,
    binding::ShownCertificate,
    clock::Timestamp,
    dpop::{BoundToken, DpopError},
    proof::{Proof, Proofs},
    token::PublicId,
};
use claviger_service::grants::LiveGrant;
use subtle::ConstantTimeEq;

pub use self::possession::HEADER as PROOF;
use self::possession::{Asked, possession};
use crate::{
    authenticate::{Caller, Scheme, shown},
    receive::Head,
    refuse::Refusal,
    worker::Shared,
};

/// Why the one who holds a key or a token is not the one that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No certificate, or none that is still good.
    #[error("This key or token is bound to a client certificate: call by TLS with one.")]
    CertificateRequired,
    /// Another certificate.
    #[error("This key or token is bound to another client certificate than the one that was shown.")]
    CertificateMismatch,
    /// The access token is bound to nothing that a proof could prove.
    #[error("This access token is bound to no key: show it as a Bearer token.")]
    NotBound,
    /// The proof of possession is not accepted.
    #[error("The request needs a DPoP proof that is good for it: {0}.")]
    Dpop(DpopError),
    /// It must hold a nonce of ours: this one.
    #[error("The DPoP proof must hold the nonce that stands in this answer's DPoP-Nonce header.")]
    Nonce(Option<String>),
    /// Nobody can tell whether the proof was used.
    #[error("DPoP proofs cannot be judged now.")]
    Unavailable,
}

impl SenderError {
    /// `error.details.error_code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CertificateRequired => "certificate_required",
            Self::CertificateMismatch => "certificate_mismatch",
            Self::NotBound => "token_invalid",
            Self::Dpop(DpopError::Missing) => "dpop_missing",
            Self::Dpop(_) => "dpop_invalid",
            Self::Nonce(_) => "use_dpop_nonce",
            Self::Unavailable => "dpop_unavailable",
        }
    }

    /// The reason in metrics and audit records.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Dpop(error) => error.as_str(),
            Self::CertificateRequired
            | Self::CertificateMismatch
            | Self::NotBound
            | Self::Nonce(_)
            | Self::Unavailable => self.code(),
        }
    }

    const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::CertificateRequired | Self::CertificateMismatch => {
                Some("Bearer error=\"invalid_token\", error_description=\"bound to a certificate\"")
            }
            Self::NotBound => Some("Bearer error=\"invalid_token\", error_description=\"bound to no key\""),
            Self::Dpop(_) => Some("DPoP error=\"invalid_dpop_proof\", algs=\"EdDSA ES256\""),
            Self::Nonce(_) => Some("DPoP error=\"use_dpop_nonce\", algs=\"EdDSA ES256\""),
            Self::Unavailable => None,
        }
    }

    /// OAuth's word for it, at the token counter.
    #[must_use]
    pub const fn oauth(&self) -> Option<&'static str> {
        match self {
            Self::CertificateRequired | Self::CertificateMismatch | Self::NotBound => Some("invalid_client"),
            Self::Dpop(_) => Some("invalid_dpop_proof"),
            Self::Nonce(_) => Some("use_dpop_nonce"),
            Self::Unavailable => None,
        }
    }
}

/// What the connection's certificate proves for this key; a child is bound as its parent is, too.
///
/// # Errors
/// [`SenderError`] when the key is bound, and not to it.
pub fn certificate(live: &LiveGrant, head: &Head) -> Result<Proofs, SenderError> {
    let shown = good_certificate(head);
    for grant in [Some(live), live.parent.as_deref()].into_iter().flatten() {
        let bound = &grant.grant.key.policy.bind_mtls;
        match shown {
            _ if bound.is_empty() => {}
            None => return Err(SenderError::CertificateRequired),
            Some(shown) if bound.admit(shown) => {}
            Some(_) => return Err(SenderError::CertificateMismatch),
        }
    }
    Ok(if shown.is_some() { Proofs::NONE.with(Proof::Mtls) } else { Proofs::NONE })
}

/// The certificate that the caller showed, if it is good now.
#[must_use]
pub fn good_certificate(head: &Head) -> Option<&ShownCertificate> {
    head.certificate.as_ref()?.good(head.at)
}

/// What proves that the caller is the one that its key and its access token are bound to.
///
/// # Errors
/// [`SenderError`].
pub async fn prove(shared: &Shared, head: &Head, caller: &Caller) -> Result<Proofs, SenderError> {
    let mut proofs = certificate(&caller.live, head)?;
    let Some(claims) = &caller.token else { return Ok(proofs) };
    if let Some(bound) = &claims.confirmation.x5t_s256 {
        let shown = good_certificate(head).ok_or(SenderError::CertificateRequired)?;
        if !bool::from(shown.x5t_s256().as_bytes().ct_eq(bound.as_bytes())) {
            return Err(SenderError::CertificateMismatch);
        }
    }
    let Ok(token) = shown(&head.headers) else { return Ok(proofs) };
    match (&claims.confirmation.jkt, token.scheme) {
        (None, Scheme::Bearer) => {}
        (None, Scheme::Dpop) => return Err(SenderError::NotBound),
        // Whoever stole it would leave the proof out (RFC 9449, 7.2).
        (Some(_), Scheme::Bearer) => return Err(SenderError::Dpop(DpopError::Missing)),
        (Some(jkt), Scheme::Dpop) => {
            let asked = Asked {
                key: caller.live.grant.key.public_id,
                token: Some(BoundToken { text: token.text, jkt }),
                // Its own time is of whole seconds: in the second of a start the key's may say more.
                since: claims.issued_at.max(caller.live.grant.key.created_at),
            };
            possession(shared, head, asked).await?;
            proofs = proofs.with(Proof::Dpop);
        }
    }
    Ok(proofs)
}

/// What of the sender a token is bound to that is bought now: the certificate of the connection, and the key of the
/// proof, if there is one. `key` is what is shown beside it, which there is since a moment: no proof was used with it
/// before.
///
/// # Errors
/// [`SenderError`] for a proof that is not good.
pub async fn confirmation(
    shared: &Shared,
    head: &Head,
    (key, since): (PublicId, Timestamp),
) -> Result<Confirmation, SenderError> {
    let x5t_s256 = good_certificate(head).map(ShownCertificate::x5t_s256);
    if !head.headers.contains_key(possession::HEADER) {
        return Ok(Confirmation { x5t_s256, jkt: None });
    }
    let shown = possession(shared, head, Asked { key, token: None, since }).await?;
    Ok(Confirmation { x5t_s256, jkt: Some(shown.jkt) })
}

impl From<SenderError> for Refusal {
    fn from(error: SenderError) -> Self {
        let answer = match error {
            SenderError::Unavailable => Answer::Unavailable,
            SenderError::CertificateRequired
            | SenderError::CertificateMismatch
            | SenderError::NotBound
            | SenderError::Dpop(_)
            | SenderError::Nonce(_) => Answer::Unauthenticated,
        };
        let refusal = Self::new(answer, error.reason(), error.to_string());
        let (code, challenge) = (error.code(), error.challenge());
        let dpop_nonce = match error {
            SenderError::Nonce(nonce) => nonce,
            SenderError::CertificateRequired
            | SenderError::CertificateMismatch
            | SenderError::NotBound
            | SenderError::Dpop(_)
            | SenderError::Unavailable => None,
        };
        Self { error_code: Some(code), challenge, dpop_nonce, ..refusal }
    }
}
