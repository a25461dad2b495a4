//! Where credentials come from. Each source stands for itself: one that fails is a failure, never a reason to take
//! an older key or one from somewhere else.

mod command;
mod file;
mod sealed;
mod vault;

use std::{fmt, sync::Arc, time::Duration};

use claviger_domain::clock::Clock;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

pub(crate) use file::read_private;

pub use command::CommandKey;
pub use file::{DotenvKey, FileKey};
pub use sealed::{Blob, BlobOpener, KmsOpener, Purpose, SealedKey};
pub use vault::{StoreToken, VaultKey};

use crate::{error::KeyError, secret::Secret};

/// Gives a credential: a gateway key, an access token, or a signing secret. Asked for every call; wrap it in
/// [`Kept`] where asking is dear.
pub trait KeySource: Send + Sync + 'static {
    /// The credential of now.
    ///
    /// # Errors
    /// [`KeyError`] when there is none.
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>>;

    /// The gateway refused what this gave: the next call asks anew.
    fn forget(&self) {}
}

impl<K: KeySource + ?Sized> KeySource for Arc<K> {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        (**self).key()
    }

    fn forget(&self) {
        (**self).forget();
    }
}

/// Always the same text.
#[derive(Debug, Clone)]
pub struct StaticKey(Secret);

impl StaticKey {
    /// From the text.
    ///
    /// # Errors
    /// [`KeyError::NoKey`] when it is empty or has more than one line.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        Ok(Self(tidy(text, "the given key")?))
    }
}

impl KeySource for StaticKey {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

/// An environment variable, read at each call.
#[derive(Debug, Clone)]
pub struct EnvKey(String);

impl EnvKey {
    /// By its name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl KeySource for EnvKey {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        let read = std::env::var(&self.0).unwrap_or_default();
        Box::pin(async move { tidy(&read, &self.0) })
    }
}

pub(crate) fn tidy(text: &str, from: &str) -> Result<Secret, KeyError> {
    Secret::new(text).ok_or_else(|| KeyError::NoKey(from.to_owned()))
}

/// Remembers for a while what another source gave. Callers that come while it is asked wait for its answer.
pub struct Kept<K> {
    source: K,
    ttl: Duration,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<(Secret, u64)>>,
    forgotten: std::sync::atomic::AtomicBool,
}

impl<K: KeySource> Kept<K> {
    /// Keeps for `ttl`.
    #[must_use]
    pub fn new(source: K, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { source, ttl, clock, kept: Mutex::new(None), forgotten: false.into() }
    }
}

impl<K> fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<K: KeySource> KeySource for Kept<K> {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(async {
            let mut kept = self.kept.lock().await;
            let now = self.clock.boot().as_micros();
            let stale = self.forgotten.swap(false, std::sync::atomic::Ordering::Relaxed);
            if let Some((secret, until)) = &*kept
                && !stale
                && now < *until
            {
                return Ok(secret.clone());
            }
            *kept = None;
            let secret = self.source.key().await?;
            let ttl = u64::try_from(self.ttl.as_micros()).unwrap_or(u64::MAX);
            *kept = Some((secret.clone(), now.saturating_add(ttl)));
            Ok(secret)
        })
    }

    fn forget(&self) {
        self.forgotten.store(true, std::sync::atomic::Ordering::Relaxed);
        self.source.forget();
    }
}

#[cfg(test)]
mod tests;
