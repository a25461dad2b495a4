//! Stage 3, prove, the sender's part: is it who the key or the token is bound to?

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    binding::ShownCertificate,
    proof::{Proof, Proofs},
};
use claviger_service::grants::LiveGrant;

use crate::{receive::Head, refuse::Refusal};

/// Why the one who holds a key is not the one that it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No certificate, or none that is still good.
    #[error("This key is bound to a client certificate: call by TLS with one.")]
    CertificateRequired,
    /// Another certificate.
    #[error("This key is bound to another client certificate than the one that was shown.")]
    CertificateMismatch,
}

impl SenderError {
    /// `error.details.error_code`, and the reason in metrics and audit records.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CertificateRequired => "certificate_required",
            Self::CertificateMismatch => "certificate_mismatch",
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

impl From<SenderError> for Refusal {
    fn from(error: SenderError) -> Self {
        let refusal = Self::new(Answer::Unauthenticated, error.code(), error.to_string());
        Self { error_code: Some(error.code()), ..refusal }
    }
}
