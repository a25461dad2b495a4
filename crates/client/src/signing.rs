//! Signs requests, by the one code that the gateway's own tools sign with.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::signature::Ed25519KeyPair;
use claviger_domain::{
    clock::{Entropy, Timestamp},
    signature::{
        HEADERS, Profile, Target, normal_authority,
        sign::{Content as Signed, Hand, Stamp, sign_content},
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::HOST};

use crate::{error::ClientError, key::KeySource, secret::Secret, succession::Succession};

/// How requests are signed.
#[derive(Clone)]
pub struct Signing {
    profile: Profile,
    with: With,
    /// The key's public id; read from the gateway key when `None`.
    pub key_id: Option<String>,
    /// How long an RFC 9421 signature says it holds.
    pub expires: Option<Duration>,
    on_successor: Option<OnSuccessor>,
}

#[derive(Clone)]
enum With {
    Secret(Arc<Source>),
    Pair(Arc<Ed25519KeyPair>),
}

/// Where the secret comes from, and what follows it. Clones of a [`Signing`] share it.
struct Source {
    key: Box<dyn KeySource>,
    succession: Succession,
}

/// Told of the secret that follows, and from when it counts.
type OnSuccessor = Arc<dyn Fn(&Secret, Timestamp) + Send + Sync>;

impl Signing {
    /// With a signing secret, as it was printed.
    #[must_use]
    pub fn secret(profile: Profile, source: impl KeySource) -> Self {
        let source = Source { key: Box::new(source), succession: Succession::default() };
        Self::with(profile, With::Secret(Arc::new(source)))
    }

    /// With an Ed25519 key pair, by RFC 9421.
    #[must_use]
    pub fn ed25519(pair: Ed25519KeyPair) -> Self {
        Self::with(Profile::Rfc9421, With::Pair(Arc::new(pair)))
    }

    const fn with(profile: Profile, with: With) -> Self {
        Self { profile, with, key_id: None, expires: None, on_successor: None }
    }

    /// Called once with the secret that follows, and the time from when it counts: store it, so that the next start of
    /// the program has it. This client signs with it from then on.
    #[must_use]
    pub fn on_successor(mut self, told: impl Fn(&Secret, Timestamp) + Send + Sync + 'static) -> Self {
        self.on_successor = Some(Arc::new(told));
        self
    }

    /// What follows the secret; `None` with a key pair, which is up to its holder.
    pub(crate) fn succession(&self) -> Option<&Succession> {
        match &self.with {
            With::Secret(source) => Some(&source.succession),
            With::Pair(_) => None,
        }
    }

    /// Takes the answer to the question for a successor.
    pub(crate) fn succeed(&self, headers: &HeaderMap, answer: &[u8], now: Timestamp) {
        let news = self.succession().map(|succession| succession.succeed(headers, answer, now));
        for next in news.unwrap_or_default() {
            match &self.on_successor {
                Some(told) => told(&next.secret, next.valid_from),
                None => tracing::warn!(
                    "the signing secret has a successor that only this process knows: give Signing an on_successor that stores it"
                ),
            }
        }
    }

    /// The secret may have been replaced: its source is read again. Where that says the same, a successor that was
    /// fetched stays.
    pub(crate) fn forget(&self) {
        match &self.with {
            With::Secret(source) => source.key.forget(),
            With::Pair(_) => {}
        }
    }

    /// Puts the signature's headers in place of any that are there.
    pub(crate) async fn sign(
        &self,
        headers: &mut HeaderMap,
        call: Call<'_>,
        key: &Secret,
        moment: Moment,
    ) -> Result<(), ClientError> {
        let key_id = self.key_id.as_deref().or_else(|| key.public_id()).ok_or(ClientError::NoKeyId)?;
        let target = target(headers, &call);
        let expires = self.expires.and_then(|d| i64::try_from(d.as_secs()).ok());
        let expires_secs = expires.map(|secs| moment.at.as_secs().saturating_add(secs));
        let stamp = Stamp { key_id, at_secs: moment.at.as_secs(), nonce: &moment.nonce, expires_secs };
        let signed = call.content.ok_or(ClientError::BodyTooLarge(0))?;
        let made = match &self.with {
            With::Secret(source) => {
                let secret = source.succession.current(source.key.key().await?, moment.at);
                sign_content(self.profile, &Hand::Secret(secret.reveal().as_bytes()), stamp, &target, signed)
            }
            With::Pair(pair) => sign_content(self.profile, &Hand::Pair(pair), stamp, &target, signed),
        };
        for name in HEADERS {
            headers.remove(name);
        }
        for (name, value) in made? {
            let value = HeaderValue::try_from(value).map_err(|_| ClientError::HeaderValue)?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(())
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signing({})", self.profile.as_str())
    }
}

/// What is signed of a request beside its headers.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// `None`: a stream of which nothing is known.
    pub(crate) content: Option<Signed<'a>>,
}

/// Where the request goes, as the gateway will see it.
fn target<'a>(headers: &'a HeaderMap, call: &Call<'a>) -> Target<'a> {
    let Call { method, uri, .. } = *call;
    let scheme = uri.scheme_str().unwrap_or("https");
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let authority = normal_authority(authority.unwrap_or_default(), scheme);
    Target { method: method.as_str(), scheme, authority, path, query: uri.query() }
}

/// What makes one signature unique.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) nonce: String,
}

impl Moment {
    /// The time and 16 random bytes.
    pub(crate) fn now(now: Timestamp, entropy: &dyn Entropy) -> Result<Self, ClientError> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        Ok(Self { at: now, nonce: hex::encode(bytes) })
    }
}
