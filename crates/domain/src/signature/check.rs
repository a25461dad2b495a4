//! Verifying: made of a request's head, fed with its body as it comes, and asked at the end.

use aws_lc_rs::{digest, hmac};
use smallvec::SmallVec;

use super::{
    CONTENT_DIGEST, Claim, Fields, Profile, Proof, Role, SignatureError, Signer, Signers, Target,
    body_hash::BodyHash,
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
    Macs { contexts: Vec<(By, hmac::Context)>, simple: Simple },
    /// The body's hash, what comes before it, and which of these may have signed.
    Hash { before: String, hash: BodyHash, signers: Signers, may: SmallVec<[(By, usize); 2]>, simple: Simple },
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
            State::Hash { hash, .. } => hash.update(bytes),
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
            State::Held { by, .. } => {
                let Self { profile, key, made_at_secs, nonce, .. } = *self;
                Some(Use { profile, key, made_at_secs, nonce }.proven(by.clone()))
            }
            State::Macs { .. } | State::Hash { .. } => None,
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`], [`SignatureError::DigestMismatch`], [`SignatureError::Uncovered`].
    pub fn finish(self) -> Result<Proven, SignatureError> {
        self.finish_with(b"")
    }

    /// The last bytes of the body, after which it has ended. One that comes whole with them is hashed in one go.
    ///
    /// # Errors
    /// As for [`Check::finish`].
    pub fn finish_with(self, last: &[u8]) -> Result<Proven, SignatureError> {
        let Self { profile, key, made_at_secs, nonce, state } = self;
        let of = Use { profile, key, made_at_secs, nonce };
        match state {
            State::Macs { contexts, simple } => {
                let of_these = |mut context: hmac::Context| {
                    context.update(last);
                    context.update(&simple.ending());
                    context.sign()
                };
                let found = contexts
                    .into_iter()
                    .find_map(|(by, context)| is_same(&of_these(context), &simple).then_some(by));
                found.map(|by| of.proven(by)).ok_or(SignatureError::Mismatch)
            }
            State::Hash { before, hash, signers, may, simple } => {
                let mut text = before.into_bytes();
                let hashed = text.len();
                text.resize(hashed + 64, 0);
                // The place is as long as the digits of the hash.
                let _ = hex::encode_to_slice(hash.finish(last), &mut text[hashed..]);
                text.extend_from_slice(&simple.ending());
                let signed = |at: usize| {
                    signers.mac_key(at).is_some_and(|key| is_same(&hmac::sign(key, &text), &simple))
                };
                let found = may.into_iter().find_map(|(by, at)| signed(at).then_some(by));
                found.map(|by| of.proven(by)).ok_or(SignatureError::Mismatch)
            }
            State::Held { digest: None, has_body, .. } if has_body || !last.is_empty() => {
                Err(SignatureError::Uncovered(CONTENT_DIGEST))
            }
            State::Held { by, digest, .. } => {
                if digest.is_none_or(|digest| digest.matches(last)) {
                    Ok(of.proven(by))
                } else {
                    Err(SignatureError::DigestMismatch)
                }
            }
        }
    }
}

/// What is proved once the signature holds.
struct Use {
    profile: Profile,
    key: PublicId,
    made_at_secs: i64,
    nonce: Nonce,
}

impl Use {
    fn proven(self, by: By) -> Proven {
        let Self { profile, key, made_at_secs, nonce } = self;
        let By { id, role, created_at, until } = by;
        let used = NonceUse { key, nonce, made_at_secs, signer_since: created_at };
        Proven { profile, signer: id, role, signer_until: until, used }
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Check({})", self.profile.as_str())
    }
}

/// Whether a MAC is the one that was sent, in constant time.
fn is_same(mac: &hmac::Tag, simple: &Simple) -> bool {
    bool::from(subtle::ConstantTimeEq::ct_eq(mac.as_ref(), simple.mac.as_slice()))
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
    let mut may =
        signers.mac_keys(now).map(|(at, signer, key)| (by(signer, signers, now), at, key)).peekable();
    if may.peek().is_none() {
        return Err(SignatureError::NoSigner);
    }
    Ok(match profile {
        Profile::V1 | Profile::Rfc9421 => State::Macs {
            contexts: may.map(|(by, _, key)| (by, hmac::Context::with_key(key))).collect(),
            simple,
        },
        Profile::V2 => State::Hash {
            before: before_hash(key.as_str(), target),
            hash: BodyHash::new(&digest::SHA256),
            may: may.map(|(by, at, _)| (by, at)).collect(),
            signers: (*signers).clone(),
            simple,
        },
    })
}

/// The payload of v2 up to the body's hash.
pub(super) fn before_hash(key_id: &str, target: &Target<'_>) -> String {
    let Target { method, authority, path, query, .. } = target;
    let parts = ["cvg-sig-v2", key_id, method, authority, path, query.unwrap_or_default()];
    // With room for the hash, the time and the nonce.
    let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum::<usize>() + 108);
    for part in parts {
        text.push_str(part);
        text.push('\n');
    }
    text
}

fn by_message(message: &Message, against: &Against<'_>, now: Timestamp) -> Result<State, SignatureError> {
    let Against { key, signers, target, fields } = *against;
    if message.key != Some(key) {
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
