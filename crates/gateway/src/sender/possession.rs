//! Proofs of possession (RFC 9449): one `DPoP` header, good for this request, used once.

use claviger_domain::{
    clock::Timestamp,
    dpop::{BoundToken, DpopError, Origin, Proof, Request},
    signature::nonce::{Nonce, NonceUse},
    token::PublicId,
};
use claviger_service::nonces::NonceRefusal;
use http::HeaderName;

use super::SenderError;
use crate::{receive::Head, relay::rewrite::origin, worker::Shared};

/// Where a proof stands.
pub const HEADER: HeaderName = HeaderName::from_static("dpop");

/// What a proof must be for, beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whose uses it counts among.
    pub key: PublicId,
    /// The access token that goes with it.
    pub token: Option<BoundToken<'a>>,
    /// It cannot have been used with this key before.
    pub since: Timestamp,
}

/// What was proven.
#[derive(Debug)]
pub struct Possession {
    /// RFC 7638 thumbprint of the caller's key.
    pub jkt: String,
}

/// Judges the request's proof and uses it up.
///
/// # Errors
/// [`SenderError::Dpop`], [`SenderError::Nonce`], [`SenderError::Unavailable`].
pub async fn possession(shared: &Shared, head: &Head, asked: Asked<'_>) -> Result<Possession, SenderError> {
    let refused = SenderError::Dpop;
    let mut values = head.headers.get_all(HEADER).into_iter();
    let text = values.next().ok_or(refused(DpopError::Missing))?;
    if values.next().is_some() {
        return Err(refused(DpopError::Several));
    }
    let proof = Proof::read(text.as_bytes()).map_err(refused)?;
    let now = shared.clock.now();
    let dated = match (&proof.nonce, &shared.dpop) {
        (Some(nonce), Some(maker)) => {
            Some(maker.read(nonce, now).ok_or_else(|| SenderError::Nonce(fresh(shared, now)))?)
        }
        (Some(_), None) | (None, _) => None,
    };
    if dated.is_none() && shared.config().dpop_nonce_required {
        return Err(SenderError::Nonce(fresh(shared, now)));
    }
    let origin = Origin::parse(&origin::of(&shared.config(), head)).ok_or(refused(DpopError::Uri))?;
    let request =
        Request { method: head.method.as_str(), origin: &origin, path: head.uri.path(), token: asked.token };
    proof.check(&request, now, dated.is_some()).map_err(refused)?;
    let since = dated.map_or(asked.since, |made| made.max(asked.since));
    let used = NonceUse {
        key: asked.key,
        nonce: Nonce::from_bytes(proof.nonce_of()),
        made_at_secs: dated.map_or(proof.made_at_secs, Timestamp::as_secs),
        signer_since: since,
    };
    shared.services.nonces.take(&used).await.map_err(|refusal| match refusal {
        NonceRefusal::Replayed => refused(DpopError::Replayed),
        NonceRefusal::Late(_) => refused(DpopError::Time),
        // A nonce of ours says that the proof is younger than the loss.
        NonceRefusal::Lost { .. } => SenderError::Nonce(fresh(shared, now)),
        NonceRefusal::TooMany { .. } | NonceRefusal::Unavailable => SenderError::Unavailable,
    })?;
    Ok(Possession { jkt: proof.jkt })
}

fn fresh(shared: &Shared, now: Timestamp) -> Option<String> {
    shared.dpop.as_ref().map(|maker| maker.make(now))
}
