//! Verifying: made of a request's head, fed with its body as it comes, and asked at the end.

use aws_lc_rs::{digest, hmac};
use smallvec::SmallVec;

use super::{
    CONTENT_DIGEST, Claim, Fields, Profile, Proof, Role, SignatureError, Signer, Signers, Target,
    digest::Digest,
    header::Simple,
    message::{Algorithm, Message},
    nonce::{Nonce, NonceUse},
    once,
};
use crate::{clock::Timestamp, id::SigningId, token::PublicId};

/// A signature that is being verified.
pub struct Check {
    profile: Profile,
    key: PublicId,
    made_at_secs: i64,
    nonce: Nonce,
    state: State,
}

/// A signature that holds. Its nonce is still to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Which way it is signed.
    pub profile: Profile,
    /// Which secret or public key signed.
    pub signer: SigningId,
    /// What part that one plays.
    pub role: Role,
    /// From when on that one is not accepted any more.
    pub signer_until: Option<Timestamp>,
    /// Its nonce.
    pub used: NonceUse,
}

/// Which signer, and what is to be known of it.
#[derive(Debug, Clone)]
struct By {
    id: SigningId,
    role: Role,
    created_at: Timestamp,
    until: Option<Timestamp>,
}

enum State {
    /// A MAC over the body under each secret that may have signed.
    Macs { contexts: SmallVec<[(By, hmac::Context); 2]>, simple: Simple },
    /// The body's hash, and what comes before it.
    Hash { before: String, context: digest::Context, keys: SmallVec<[(By, hmac::Key); 2]>, simple: Simple },
    /// The signature holds; the body must have this digest, or there must be none.
    Held { by: By, digest: Option<Digest>, has_body: bool },
}

/// What a signature is verified against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// The key that the request is made with.
    pub key: PublicId,
    /// Its secrets and public keys.
    pub signers: &'a Signers,
    /// What the request is aimed at.
    pub target: &'a Target<'a>,
    /// The request's headers.
    pub fields: &'a dyn Fields,
}

impl Check {
    /// Begins. A signature that covers the body by its digest alone (RFC 9421) is verified here already.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn begin(claim: Claim, against: Against<'_>, now: Timestamp) -> Result<Self, SignatureError> {
        let Claim { profile, made_at_secs, nonce, proof } = claim;
        let state = match proof {
            Proof::Simple(simple) => by_mac(profile, simple, &against, now)?,
            Proof::Message(message) => by_message(&message, &against, now)?,
        };
        Ok(Self { profile, key: against.key, made_at_secs, nonce, state })
    }

    /// The next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Macs { contexts, .. } => {
                contexts.iter_mut().for_each(|(_, context)| context.update(bytes))
            }
            State::Hash { context, .. } => context.update(bytes),
            State::Held { digest, has_body, .. } => {
                *has_body |= !bytes.is_empty();
                if let Some(digest) = digest {
                    digest.update(bytes);
                }
            }
        }
    }

    /// What holds already, whatever the body is: its nonce may be asked for before the body has come.
    #[must_use]
    pub fn held(&self) -> Option<Proven> {
        match &self.state {
            State::Held { by, .. } => Some(self.proven(by.clone())),
            State::Macs { .. } | State::Hash { .. } => None,
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`], [`SignatureError::DigestMismatch`], [`SignatureError::Uncovered`].
    pub fn finish(mut self) -> Result<Proven, SignatureError> {
        let nothing = State::Macs { contexts: SmallVec::new(), simple: Simple::NOTHING };
        match std::mem::replace(&mut self.state, nothing) {
            State::Macs { contexts, simple } => {
                let found =
                    contexts.into_iter().find_map(|(by, context)| ends(context, &simple).then_some(by));
                found.map(|by| self.proven(by)).ok_or(SignatureError::Mismatch)
            }
            State::Hash { mut before, context, keys, simple } => {
                before.push_str(&hex::encode(context.finish()));
                let of = |key: &hmac::Key| {
                    let mut context = hmac::Context::with_key(key);
                    context.update(before.as_bytes());
                    ends(context, &simple)
                };
                let found = keys.into_iter().find_map(|(by, key)| of(&key).then_some(by));
                found.map(|by| self.proven(by)).ok_or(SignatureError::Mismatch)
            }
            State::Held { digest: None, has_body: true, .. } => {
                Err(SignatureError::Uncovered(CONTENT_DIGEST))
            }
            State::Held { by, digest, .. } => {
                if digest.is_none_or(Digest::matches) {
                    Ok(self.proven(by))
                } else {
                    Err(SignatureError::DigestMismatch)
                }
            }
        }
    }

    fn proven(&self, by: By) -> Proven {
        let By { id, role, created_at, until } = by;
        let used = NonceUse {
            key: self.key,
            nonce: self.nonce,
            made_at_secs: self.made_at_secs,
            signer_since: created_at,
        };
        Proven { profile: self.profile, signer: id, role, signer_until: until, used }
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Check({})", self.profile.as_str())
    }
}

/// Ends a MAC with time and nonce and compares it, in constant time.
fn ends(mut context: hmac::Context, simple: &Simple) -> bool {
    context.update(b"|");
    context.update(&simple.timestamp);
    context.update(b"|");
    context.update(&simple.nonce);
    bool::from(subtle::ConstantTimeEq::ct_eq(context.sign().as_ref(), simple.mac.as_slice()))
}

fn by(signer: &Signer, signers: &Signers, now: Timestamp) -> By {
    By {
        id: signer.id.clone(),
        role: signers.role(signer, now),
        created_at: signer.created_at,
        until: signer.until,
    }
}

fn by_mac(
    profile: Profile,
    simple: Simple,
    against: &Against<'_>,
    now: Timestamp,
) -> Result<State, SignatureError> {
    let Against { key, signers, target, .. } = against;
    let keyed =
        || signers.accepted(now).filter_map(|s| s.mac_key().map(|mac_key| (by(s, signers, now), mac_key)));
    if keyed().next().is_none() {
        return Err(SignatureError::NoSigner);
    }
    Ok(match profile {
        Profile::V1 | Profile::Rfc9421 => State::Macs {
            contexts: keyed().map(|(by, key)| (by, hmac::Context::with_key(key))).collect(),
            simple,
        },
        Profile::V2 => State::Hash {
            before: before_hash(key.as_str(), target),
            context: digest::Context::new(&digest::SHA256),
            keys: keyed().map(|(by, key)| (by, key.clone())).collect(),
            simple,
        },
    })
}

/// The payload of v2 up to the body's hash.
pub(super) fn before_hash(key_id: &str, target: &Target<'_>) -> String {
    let Target { method, authority, path, query, .. } = target;
    format!("cvg-sig-v2\n{key_id}\n{method}\n{authority}\n{path}\n{}\n", query.unwrap_or_default())
}

fn by_message(message: &Message, against: &Against<'_>, now: Timestamp) -> Result<State, SignatureError> {
    let Against { key, signers, target, fields } = *against;
    if message.key_id != key.as_str() {
        return Err(SignatureError::OtherKey);
    }
    let digest = if message.covers_digest() {
        let text = once(fields, CONTENT_DIGEST)?
            .ok_or_else(|| SignatureError::FieldAbsent(CONTENT_DIGEST.into()))?;
        Some(Digest::read(text)?)
    } else {
        None
    };
    let base = message.base(target, fields)?;
    let fits = |signer: &&Signer| match message.algorithm {
        None => true,
        Some(Algorithm::HmacSha256) => signer.mac_key().is_some(),
        Some(Algorithm::Ed25519) => signer.mac_key().is_none(),
    };
    let mut any = false;
    let found = signers.accepted(now).filter(fits).find(|signer| {
        any = true;
        signer.verifies(&base, &message.signature)
    });
    match found {
        Some(signer) => Ok(State::Held { by: by(signer, signers, now), digest, has_body: false }),
        None if any => Err(SignatureError::Mismatch),
        None => Err(SignatureError::NoSigner),
    }
}
