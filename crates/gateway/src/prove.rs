//! Stage 3, prove: what does the caller show beside its key? A signature is read before the key is looked up, and
//! verified over the client's own bytes as the body comes; whether all that is demanded was shown is judged before
//! the body is waited for.

pub mod guard;

use std::sync::{Arc, OnceLock};

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    proof::{Proof, Proofs},
    signature::{
        self, Against, Check, Claim, Fields, Proven, Role, SignatureError, SignedBy, Target,
        normal_authority, secret::is_late,
    },
};
use claviger_service::{grants::LiveGrant, nonces::NonceRefusal};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::{
    authenticate::Caller,
    receive::Head,
    refuse::Refusal,
    relay::rewrite::origin::{self, Place},
    worker::Shared,
};

/// Why a request does not prove what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// Something that is demanded was not shown.
    #[error("{}", missing(*.0))]
    Missing(Proof),
    /// The signature is not accepted.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its nonce is not accepted.
    #[error(transparent)]
    Nonce(#[from] NonceRefusal),
    /// The upstream answered before the whole body had been seen.
    #[error("the upstream answered before the signed body had ended")]
    Unfinished,
}

impl ProveError {
    /// The reason of what was refused for its signature; `None`: something else was missing.
    const fn of_signature(&self) -> Option<&'static str> {
        match self {
            Self::Missing(Proof::Signature) => Some("signature_missing"),
            // Beside the last, which an answer of the upstream cut short, another proof is lacking.
            Self::Missing(Proof::Token | Proof::Mtls | Proof::Dpop) | Self::Unfinished => None,
            Self::Signature(error) | Self::Nonce(NonceRefusal::Late(error)) => Some(error.reason()),
            Self::Nonce(NonceRefusal::Replayed) => Some("nonce_replayed"),
            Self::Nonce(NonceRefusal::Lost { .. }) => Some("nonce_memory_lost"),
            Self::Nonce(NonceRefusal::TooMany { .. }) => Some("nonce_quota"),
            Self::Nonce(NonceRefusal::Unavailable) => Some("nonce_unavailable"),
        }
    }
}

/// Counts what is refused for its signature.
fn counted<T>(shared: &Shared, judged: Result<T, ProveError>) -> Result<T, ProveError> {
    judged.inspect_err(|error| {
        if let Some(reason) = error.of_signature() {
            shared.metrics.unsigned(reason);
        }
    })
}

const fn missing(proof: Proof) -> &'static str {
    match proof {
        Proof::Token => "this key is used with an access token: buy one at POST /v1/auth/token",
        Proof::Signature => {
            "requests with this key must be signed: see “Signed requests” in the documentation"
        }
        Proof::Mtls => "this key is used with a client certificate",
        Proof::Dpop => "requests with this key need a DPoP proof",
    }
}

/// A request's headers, for the rules.
struct HeadFields<'a>(&'a HeaderMap);

/// The headers of which every request is asked, so that their names need not be read each time.
static NAMES: [HeaderName; 7] = [
    HeaderName::from_static(signature::SIGNATURE),
    HeaderName::from_static(signature::VERSION),
    HeaderName::from_static(signature::TIMESTAMP),
    HeaderName::from_static(signature::NONCE),
    HeaderName::from_static(signature::MESSAGE_INPUT),
    HeaderName::from_static(signature::MESSAGE_SIGNATURE),
    HeaderName::from_static(signature::CONTENT_DIGEST),
];

impl Fields for HeadFields<'_> {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        let values = match NAMES.iter().find(|known| known.as_str() == name) {
            Some(known) => self.0.get_all(known),
            None => self.0.get_all(name),
        };
        values.iter().map(HeaderValue::as_bytes).collect()
    }
}

/// What a request says of its signature. Asked before the key is looked up: shape and clock cost no store.
///
/// # Errors
/// [`ProveError::Signature`].
pub fn claim(shared: &Shared, head: &Head) -> Result<Option<Claim>, ProveError> {
    counted(shared, Claim::read(&HeadFields(&head.headers), head.at).map_err(ProveError::from))
}

/// What is still to be proved while the body comes: nothing, or a signature.
#[must_use]
pub struct Proving(Option<Box<UnderWay>>);

struct UnderWay {
    check: Check,
    live: Arc<LiveGrant>,
    signed: Signed,
}

/// What a request's signature is found to be made with: known once its body has ended, which for a streamed one is
/// while the call is being made.
#[derive(Debug, Clone, Default)]
pub struct Signed(Option<Arc<OnceLock<SignedBy>>>);

impl Signed {
    /// Of a request that is signed.
    fn awaited() -> Self {
        Self(Some(Arc::default()))
    }

    /// What it was; `None`: there is no signature, or none that holds so far.
    #[must_use]
    pub fn by(&self) -> Option<&SignedBy> {
        self.0.as_ref()?.get()
    }
}

/// Judges what was shown, and begins to verify the signature. `excused` is what this route does not demand.
///
/// # Errors
/// [`ProveError::Missing`]; [`ProveError::Signature`] for what can be told without the body.
pub fn begin(
    shared: &Shared,
    head: &Head,
    caller: &mut Caller,
    claim: Option<Claim>,
    excused: Proofs,
) -> Result<Proving, ProveError> {
    counted(shared, started(shared, head, caller, (claim, excused)))
}

fn started(
    shared: &Shared,
    head: &Head,
    caller: &mut Caller,
    (claim, excused): (Option<Claim>, Proofs),
) -> Result<Proving, ProveError> {
    if claim.is_some() {
        // Shown, and the request fails unless it holds.
        caller.proofs = caller.proofs.with(Proof::Signature);
    }
    let live = &caller.live;
    let lacking = live.demanded().without(caller.proofs).without(excused);
    if let Some(proof) = lacking.iter().next() {
        return Err(ProveError::Missing(proof));
    }
    let Some(claim) = claim else { return Ok(Proving(None)) };
    let place = origin::place(head);
    let target = target(head, &place);
    let against = Against {
        key: live.grant.key.public_id,
        signers: live.signers(),
        target: &target,
        fields: &HeadFields(&head.headers),
    };
    let check = Check::begin(claim, against, shared.clock.now())?;
    let under_way = UnderWay { check, live: Arc::clone(live), signed: Signed::awaited() };
    caller.signed = under_way.signed.clone();
    Ok(Proving(Some(Box::new(under_way))))
}

fn target<'a>(head: &'a Head, place: &Place<'a>) -> Target<'a> {
    Target {
        method: head.method.as_str(),
        scheme: place.scheme,
        authority: normal_authority(place.host, place.scheme),
        path: head.uri.path(),
        query: head.uri.query(),
    }
}

impl Proving {
    /// Whether anything is still to be proved.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// The next bytes of the body, as the client sent them.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(under_way) = &mut self.0 {
            under_way.check.update(bytes);
        }
    }

    /// The body has ended: the signature must hold, and its nonce be new.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn finish(self, shared: &Shared) -> Result<(), ProveError> {
        self.whole(shared, b"").await
    }

    /// The rest of the body, which may be all of it, and what [`Proving::finish`] says then.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn whole(self, shared: &Shared, rest: &[u8]) -> Result<(), ProveError> {
        let Some(under_way) = self.0 else { return Ok(()) };
        let UnderWay { check, live, signed } = *under_way;
        let proven = counted(shared, check.finish_with(rest).map_err(ProveError::from))?;
        counted(shared, accept(shared, &live, &proven).await)?;
        if let Some(place) = &signed.0 {
            let Proven { profile, signer, role, .. } = proven;
            // Set once: a request has one signature.
            let _ = place.set(SignedBy { profile, secret: signer, role });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Proving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proving({})", self.is_needed())
    }
}

/// Uses the nonce up, and notes which secret signed.
async fn accept(shared: &Shared, live: &LiveGrant, proven: &Proven) -> Result<(), ProveError> {
    shared.services.nonces.take(&proven.used).await?;
    shared.metrics.signed(proven.profile, proven.role);
    if proven.role == Role::Previous
        && let Some(until) = proven.signer_until.filter(|until| is_late(*until, shared.clock.now()))
    {
        shared.services.signing.note_late(&live.grant.key.id, until);
    }
    Ok(())
}

impl From<ProveError> for Refusal {
    fn from(error: ProveError) -> Self {
        let text = error.to_string();
        let refused = |reason, code| Self {
            error_code: Some(code),
            ..Self::new(Answer::Unauthenticated, reason, text.clone())
        };
        match error {
            ProveError::Missing(Proof::Token) => refused("token_required", "token_required"),
            ProveError::Missing(Proof::Signature) => refused("signature_missing", "signature_missing"),
            ProveError::Missing(Proof::Mtls) => refused("certificate_required", "certificate_required"),
            ProveError::Missing(Proof::Dpop) => refused("dpop_missing", "dpop_missing"),
            ProveError::Signature(error) | ProveError::Nonce(NonceRefusal::Late(error)) => {
                refused(error.reason(), error.error_code())
            }
            ProveError::Nonce(NonceRefusal::Replayed) => refused("nonce_replayed", "nonce_replayed"),
            ProveError::Nonce(NonceRefusal::Lost { retry_after_secs }) => Self {
                error_code: Some("nonce_memory_lost"),
                retry_after_secs: Some(retry_after_secs),
                ..Self::new(Answer::ProofUnavailable, "nonce_memory_lost", text)
            },
            ProveError::Nonce(NonceRefusal::TooMany { .. }) => Self {
                error_code: Some("nonce_quota"),
                retry_after_secs: Some(60),
                ..Self::new(Answer::RateLimited, "nonce_quota", text)
            },
            ProveError::Nonce(NonceRefusal::Unavailable) => {
                let refusal = Self::new(Answer::Unavailable, "nonce_unavailable", text);
                Self { error_code: Some("nonce_unavailable"), ..refusal }
            }
            ProveError::Unfinished => {
                let refusal = Self::new(Answer::UpstreamUnreachable, "signature_unfinished", text);
                Self { error_code: Some("signature_invalid"), close: true, ..refusal }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use claviger_claude_wire::answers::UNAUTHENTICATED_MESSAGE;

    use super::*;

    #[test]
    fn strangers_read_nothing_of_secrets_in_what_is_missing() {
        for proof in Proof::ALL {
            let refusal = Refusal::from(ProveError::Missing(proof));
            assert_eq!(refusal.status(), 401);
            assert_ne!(refusal.message, UNAUTHENTICATED_MESSAGE);
        }
    }
}
