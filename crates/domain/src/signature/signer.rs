//! What signatures are verified with: the unsealed signing secrets of a key, or its public keys.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    hmac,
    signature::{ED25519, UnparsedPublicKey},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    Profile,
    secret::{SigningKind, SigningRecord},
};
use crate::{clock::Timestamp, id::SigningId};

/// One secret or public key, ready to verify.
pub struct Signer {
    /// Its record's id.
    pub id: SigningId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is the one to be used.
    pub valid_from: Timestamp,
    /// From when on it is not accepted; `None`: no successor was made yet.
    pub until: Option<Timestamp>,
    key: Key,
}

enum Key {
    Hmac(Box<hmac::Key>),
    Ed25519([u8; 32]),
}

/// Which of a key's secrets signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The one whose time it is.
    Current,
    /// The one that was made ahead.
    Next,
    /// The one before, in its grace.
    Previous,
}

impl Role {
    /// As in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Previous => "previous",
        }
    }

    /// The reverse of [`Role::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Current, Self::Next, Self::Previous].into_iter().find(|role| role.as_str() == text)
    }
}

/// What a request's signature was found to be made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// Which way it is signed.
    pub profile: Profile,
    /// Which secret or public key: the id of its record.
    pub secret: SigningId,
    /// What part that one played.
    pub role: Role,
}

impl Signer {
    /// From a record and what it holds, unsealed: the text of a secret, or the 32 bytes of a public key. `None`: it
    /// is no key.
    #[must_use]
    pub fn new(record: &SigningRecord, material: &[u8]) -> Option<Self> {
        let key = match record.kind {
            SigningKind::Hmac if material.is_empty() => return None,
            SigningKind::Hmac => Key::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, material))),
            SigningKind::Ed25519 => Key::Ed25519(material.try_into().ok()?),
        };
        Some(Self {
            id: record.id.clone(),
            created_at: record.created_at,
            valid_from: record.valid_from,
            until: record.until,
            key,
        })
    }

    /// Whether it is accepted at `now`.
    #[must_use]
    pub fn is_accepted(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Its key for MACs.
    pub(super) const fn mac_key(&self) -> Option<&hmac::Key> {
        match &self.key {
            Key::Hmac(key) => Some(key),
            Key::Ed25519(_) => None,
        }
    }

    /// Whether a signature by this public key is of this text.
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Hmac(key) => hmac::verify(key, text, signature).is_ok(),
            Key::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok(),
        }
    }
}

/// An Ed25519 public key: 64 hex digits, or the text of a PEM file (RFC 8410).
#[must_use]
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    /// What stands before the key in its `SubjectPublicKeyInfo`.
    const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let text = text.trim();
    let mut key = [0; 32];
    if hex::decode_to_slice(text, &mut key).is_ok() {
        return Some(key);
    }
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    der.strip_prefix(&HEAD)?.try_into().ok()
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

/// All of one key. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Signers(Arc<[Signer]>);

impl Signers {
    /// From any number of them.
    #[must_use]
    pub fn new(signers: Vec<Signer>) -> Self {
        Self(signers.into())
    }

    /// Whether there are none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are accepted at `now`.
    pub(super) fn accepted(&self, now: Timestamp) -> impl Iterator<Item = &Signer> {
        self.0.iter().filter(move |signer| signer.is_accepted(now))
    }

    /// Those with a key for MACs that are accepted at `now`, and at which place each is.
    pub(super) fn mac_keys(&self, now: Timestamp) -> impl Iterator<Item = (usize, &Signer, &hmac::Key)> {
        let accepted = self.0.iter().enumerate().filter(move |(_, signer)| signer.is_accepted(now));
        accepted.filter_map(|(at, signer)| Some((at, signer, signer.mac_key()?)))
    }

    /// The key for MACs of the one at a place.
    pub(super) fn mac_key(&self, at: usize) -> Option<&hmac::Key> {
        self.0.get(at)?.mac_key()
    }

    /// What part one of them plays at `now`.
    #[must_use]
    pub fn role(&self, signer: &Signer, now: Timestamp) -> Role {
        if now < signer.valid_from {
            return Role::Next;
        }
        let kind = signer.mac_key().is_some();
        let newer = |other: &Signer| {
            other.mac_key().is_some() == kind
                && other.valid_from > signer.valid_from
                && other.valid_from <= now
        };
        if self.0.iter().any(newer) { Role::Previous } else { Role::Current }
    }

    /// What whoever signed like this must be told at `now`: when the current secret gives way to the one that was made
    /// ahead, or gave way to the one that is current, if the caller still signs with the one before. `None`: nothing.
    #[must_use]
    pub fn rotates_at(&self, role: Option<Role>, now: Timestamp) -> Option<Timestamp> {
        let times = self.0.iter().filter(|s| s.mac_key().is_some()).map(|s| s.valid_from);
        match role {
            // It was fetched already.
            Some(Role::Next) => None,
            Some(Role::Previous) => times.filter(|from| *from <= now).max(),
            Some(Role::Current) | None => times.filter(|from| *from > now).min(),
        }
    }
}
