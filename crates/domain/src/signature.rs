//! Signed requests: Claviger's own protocol towards its callers. Whoever has read a key cannot use it without the
//! signing secret, and whoever has read a whole request cannot send it again.
//!
//! One verifier, three profiles. *v1*: `HMAC-SHA256(secret, body|timestamp|nonce)`. *v2*: the same over lines that bind
//! key, method, authority, path, query and the body's hash. *RFC 9421* with the digests of RFC 9530.
//!
//! The order is fixed: shape ([`Claim::read`]) and size, clock (there, too), key, MAC ([`Check`]), and only then the
//! nonce ([`nonce`]): strangers can neither burn nonces nor fill their memory.

mod body_hash;
mod check;
mod digest;
mod error;
mod header;
mod lower_hex;
mod message;
pub mod nonce;
pub mod secret;
pub mod sign;
mod signer;
mod structured;
mod target;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use check::{Against, Check, Proven};
pub use error::SignatureError;
pub use signer::{Role, SignedBy, Signer, Signers, public_key};
pub use target::{Target, normal_authority};

use self::{header::Simple, message::Message, nonce::Nonce};
use crate::clock::Timestamp;

/// How far a request's time may be from ours, in seconds, either way; exactly so far is not too far.
pub const SKEW_SECS: i64 = 300;

/// `sha256=<hex>`, or all of it in one string.
pub const SIGNATURE: &str = "x-request-signature";
/// `1` (when it is missing, too) or `2`.
pub const VERSION: &str = "x-request-signature-version";
/// Seconds since the epoch, ten digits.
pub const TIMESTAMP: &str = "x-request-timestamp";
/// 32 hex digits.
pub const NONCE: &str = "x-request-nonce";
/// RFC 9421: what is covered.
pub const MESSAGE_INPUT: &str = "signature-input";
/// RFC 9421: the signature.
pub const MESSAGE_SIGNATURE: &str = "signature";
/// RFC 9530.
pub const CONTENT_DIGEST: &str = "content-digest";

/// The headers that belong to the protocol and to nobody behind the gateway.
pub const HEADERS: [&str; 6] = [SIGNATURE, VERSION, TIMESTAMP, NONCE, MESSAGE_INPUT, MESSAGE_SIGNATURE];

/// Which way a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Body, time and nonce.
    V1,
    /// And key, method, authority, path and query.
    V2,
    /// HTTP message signatures.
    Rfc9421,
}

impl Profile {
    /// All.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Rfc9421];

    /// As in flags, metrics and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Rfc9421 => "rfc9421",
        }
    }

    /// The reverse of [`Profile::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text)
    }
}

/// Where a request's header fields are read from.
pub trait Fields {
    /// The values of a field, in order; `name` is lower-case.
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]>;
}

/// A field that may be there once.
fn once<'a>(fields: &'a dyn Fields, name: &'static str) -> Result<Option<&'a [u8]>, SignatureError> {
    let values = fields.values(name);
    match values.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [_, _, ..] => Err(SignatureError::Repeated(name)),
    }
}

/// What a request says of its signature: well-formed and of our time, but not yet verified.
#[derive(Debug, Clone)]
pub struct Claim {
    profile: Profile,
    made_at_secs: i64,
    nonce: Nonce,
    proof: Proof,
}

#[derive(Debug, Clone)]
enum Proof {
    Simple(Simple),
    Message(Box<Message>),
}

impl Claim {
    /// Reads what a request says of its signature and compares its time with ours. `None`: it is not signed.
    ///
    /// # Errors
    /// [`SignatureError`]: something is malformed, missing, there twice, or of another time.
    pub fn read(fields: &dyn Fields, now: Timestamp) -> Result<Option<Self>, SignatureError> {
        let simple = once(fields, SIGNATURE)?;
        let (input, signature) = (once(fields, MESSAGE_INPUT)?, once(fields, MESSAGE_SIGNATURE)?);
        let claim = match (simple, input, signature) {
            (None, None, None) => return Ok(None),
            (Some(text), None, None) => header::read(fields, text)?,
            (None, Some(input), Some(signature)) => message::read(input, signature)?,
            (None, Some(_), None) => return Err(SignatureError::Incomplete(MESSAGE_SIGNATURE)),
            (None, None, Some(_)) => return Err(SignatureError::Incomplete(MESSAGE_INPUT)),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => return Err(SignatureError::Mixed),
        };
        check_clock(claim.made_at_secs, now)?;
        if let Proof::Message(message) = &claim.proof
            && message.expires.is_some_and(|expires| expires < now.as_secs())
        {
            return Err(SignatureError::Expired);
        }
        Ok(Some(claim))
    }

    /// Which way it is signed.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }
}

/// Whole seconds on both sides, so that the edges are the same wherever they are judged.
fn check_clock(made_at_secs: i64, now: Timestamp) -> Result<(), SignatureError> {
    let ahead_secs = made_at_secs.saturating_sub(now.as_secs());
    if ahead_secs.abs() <= SKEW_SECS { Ok(()) } else { Err(SignatureError::Skew { ahead_secs }) }
}

#[cfg(test)]
mod tests;
