//! The other side: what a client sends. `claviger sign` and the Rust adapter sign with it, and tests.

use std::borrow::Cow;

use aws_lc_rs::{
    digest, hmac,
    signature::{Ed25519KeyPair, KeyPair},
};

use super::{
    CONTENT_DIGEST, Fields, MESSAGE_INPUT, MESSAGE_SIGNATURE, NONCE, Profile, SIGNATURE, TIMESTAMP, Target,
    VERSION,
    check::before_hash,
    digest as body_digest,
    message::{self, Component, Components},
    structured::{Bare, Item, Params, write_bare, write_list},
};

/// What signs.
pub enum Hand<'a> {
    /// The text of a signing secret, as it was printed.
    Secret(&'a [u8]),
    /// A key pair; with RFC 9421 only.
    Pair(&'a Ed25519KeyPair),
}

/// What a signature says beside what it covers.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The key's public id: the ten characters after `cvg_live_`.
    pub key_id: &'a str,
    /// The client's time, in seconds since the epoch.
    pub at_secs: i64,
    /// 32 random hex digits, never used before.
    pub nonce: &'a str,
    /// Until when it holds, in seconds since the epoch; said with RFC 9421 only.
    pub expires_secs: Option<i64>,
}

/// The body that is signed.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// All of it; may be empty.
    Whole(&'a [u8]),
    /// The SHA-256 of one that is not empty and not at hand, because it is streamed.
    Hashed(&'a [u8; 32]),
}

impl Content<'_> {
    fn sha256(self) -> [u8; 32] {
        match self {
            Self::Hashed(hash) => *hash,
            Self::Whole(body) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
                hash
            }
        }
    }

    const fn is_empty(self) -> bool {
        matches!(self, Self::Whole([]))
    }
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A key pair signs with RFC 9421 only.
    #[error("a key pair signs with the profile rfc9421 only")]
    Profile,
    /// The time has not ten digits.
    #[error("the time must have ten digits")]
    Time,
    /// The nonce has another shape.
    #[error("the nonce must be 32 lower-case hex digits")]
    Nonce,
    /// A hash is not enough.
    #[error("profile v1 signs the body itself and cannot take its hash: use v2 or rfc9421")]
    Body,
}

/// The headers that sign a request with this body.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    profile: Profile,
    hand: &Hand<'_>,
    stamp: Stamp<'_>,
    target: &Target<'_>,
    body: &[u8],
) -> Result<Vec<(&'static str, String)>, SignError> {
    sign_content(profile, hand, stamp, target, Content::Whole(body))
}

/// The headers that sign a request, by its body or by the hash of it.
///
/// # Errors
/// [`SignError`].
pub fn sign_content(
    profile: Profile,
    hand: &Hand<'_>,
    stamp: Stamp<'_>,
    target: &Target<'_>,
    content: Content<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    if !(1_000_000_000..=9_999_999_999).contains(&stamp.at_secs) {
        return Err(SignError::Time);
    }
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if stamp.nonce.len() != 32 || !stamp.nonce.bytes().all(is_hex) {
        return Err(SignError::Nonce);
    }
    match (profile, hand) {
        (Profile::V1, Hand::Secret(secret)) => match content {
            Content::Whole(body) => Ok(simple(secret, &[body], stamp, None)),
            Content::Hashed(_) => Err(SignError::Body),
        },
        (Profile::V2, Hand::Secret(secret)) => {
            let hash = hex::encode(content.sha256());
            let payload = before_hash(stamp.key_id, target);
            Ok(simple(secret, &[payload.as_bytes(), hash.as_bytes()], stamp, Some("2")))
        }
        (Profile::V1 | Profile::V2, Hand::Pair(_)) => Err(SignError::Profile),
        (Profile::Rfc9421, hand) => Ok(signed_message(hand, stamp, target, content)),
    }
}

fn simple(
    secret: &[u8],
    payload: &[&[u8]],
    stamp: Stamp<'_>,
    version: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    payload.iter().for_each(|part| context.update(part));
    context.update(format!("|{}|{}", stamp.at_secs, stamp.nonce).as_bytes());
    let mut headers = vec![
        (SIGNATURE, format!("sha256={}", hex::encode(context.sign()))),
        (TIMESTAMP, stamp.at_secs.to_string()),
        (NONCE, stamp.nonce.to_owned()),
    ];
    headers.extend(version.map(|version| (VERSION, version.to_owned())));
    headers
}

/// The only field that is covered.
struct DigestOnly(Option<String>);

impl Fields for DigestOnly {
    fn values(&self, name: &str) -> smallvec::SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|_| name == CONTENT_DIGEST).map(String::as_bytes).collect()
    }
}

fn signed_message(
    hand: &Hand<'_>,
    stamp: Stamp<'_>,
    target: &Target<'_>,
    content: Content<'_>,
) -> Vec<(&'static str, String)> {
    let digest = (!content.is_empty()).then(|| body_digest::write(&content.sha256()));
    let covered = ["@method", "@authority", "@path", "@query"].into_iter();
    let covered = covered.chain(digest.is_some().then_some(CONTENT_DIGEST));
    // All of them are known.
    let components: Components = covered.clone().filter_map(|name| Component::read(name).ok()).collect();
    let item = |name| Item { value: Bare::Text(Cow::Borrowed(name)), params: Params::new() };
    let items: Vec<Item<'_>> = covered.map(item).collect();
    let algorithm = match hand {
        Hand::Secret(_) => "hmac-sha256",
        Hand::Pair(_) => "ed25519",
    };
    let text = |text| Bare::Text(Cow::Borrowed(text));
    let mut params: Params<'_> = vec![("created", Bare::Integer(stamp.at_secs))];
    params.extend(stamp.expires_secs.map(|secs| ("expires", Bare::Integer(secs))));
    params.extend([("nonce", text(stamp.nonce)), ("keyid", text(stamp.key_id)), ("alg", text(algorithm))]);
    let mut written = String::with_capacity(256);
    write_list(&mut written, &items, &params);
    let fields = DigestOnly(digest);
    // Nothing is covered that is not there.
    let base = message::base(&components, &written, target, &fields).unwrap_or_default();
    let signature = match hand {
        Hand::Secret(secret) => {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &base).as_ref().to_vec()
        }
        Hand::Pair(pair) => pair.sign(&base).as_ref().to_vec(),
    };
    let input = format!("cvg={written}");
    let mut signed = String::from("cvg=");
    write_bare(&mut signed, &Bare::Bytes(signature));
    let mut headers = vec![(MESSAGE_INPUT, input), (MESSAGE_SIGNATURE, signed)];
    headers.extend(fields.0.map(|digest| (CONTENT_DIGEST, digest)));
    headers
}

/// The public half of a key pair, as `key update --signing-public-key` takes it: 64 hex digits.
#[must_use]
pub fn public_hex(pair: &Ed25519KeyPair) -> String {
    hex::encode(pair.public_key())
}
