//! Nonces of signed requests: each once, within what one key may use up, and never accepted when nobody can tell.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use claviger_domain::{
    clock::{Clock, Timestamp},
    ports::signing::NonceStore,
    signature::{
        SignatureError,
        nonce::{KEPT_SECS, NonceUse, NonceVerdict},
    },
    token::PublicId,
};

use crate::lock::lock;

/// How long whoever remembers may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Minutes in which a nonce can be remembered: it may be as much ahead of us as behind.
const MINUTES: usize = (KEPT_SECS as usize + 300) / 60 + 2;
const SHARDS: usize = 16;

/// Why a nonce does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NonceRefusal {
    /// It was used.
    #[error("this request was accepted before: sign every request anew, with a nonce of its own")]
    Replayed,
    /// It came so late that nobody can tell.
    #[error(transparent)]
    Late(#[from] SignatureError),
    /// What was remembered was lost.
    #[error(
        "what this gateway remembered of signed requests was lost; requests that are signed {retry_after_secs} s from now are accepted again"
    )]
    Lost {
        /// When the next try makes sense.
        retry_after_secs: u64,
    },
    /// The key used up more than it may.
    #[error("this key signed more requests within {} minutes than it may: {most}", MINUTES)]
    TooMany {
        /// How many it may.
        most: u32,
    },
    /// Nobody can tell.
    #[error("signed requests cannot be judged now")]
    Unavailable,
}

/// Nonces. Cheap to clone.
#[derive(Clone)]
pub struct Nonces(Arc<Inner>);

struct Inner {
    store: Arc<dyn NonceStore>,
    clock: Arc<dyn Clock>,
    /// What each key used up on this node, by the minute.
    used: [Mutex<HashMap<PublicId, Used>>; SHARDS],
    per_key: u32,
}

#[derive(Default)]
struct Used {
    minute: i64,
    counts: [u32; MINUTES],
    sum: u32,
}

impl Used {
    /// Moves on to a minute and counts one more, if there is room.
    fn count(&mut self, minute: i64, most: u32) -> bool {
        let passed =
            usize::try_from(minute.saturating_sub(self.minute).clamp(0, MINUTES as i64)).unwrap_or(0);
        for step in 1..=passed {
            let at = place(self.minute + step as i64);
            self.sum -= std::mem::take(&mut self.counts[at]);
        }
        self.minute = self.minute.max(minute);
        if passed == MINUTES {
            self.counts = [0; MINUTES];
            self.sum = 0;
        }
        if self.sum >= most {
            return false;
        }
        self.counts[place(self.minute)] += 1;
        self.sum += 1;
        true
    }
}

/// Ids are random, and ours: their own digits spread them.
fn shard(key: PublicId) -> usize {
    key.as_str().bytes().map(usize::from).sum::<usize>() % SHARDS
}

fn place(minute: i64) -> usize {
    usize::try_from(minute.rem_euclid(MINUTES as i64)).unwrap_or(0)
}

impl Nonces {
    /// Asks `store`; one key may use up `per_key` within the window.
    #[must_use]
    pub fn new(store: Arc<dyn NonceStore>, clock: Arc<dyn Clock>, per_key: u32) -> Self {
        let used = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Inner { store, clock, used, per_key: per_key.max(1) }))
    }

    /// Uses a nonce up. Its signature must hold.
    ///
    /// # Errors
    /// [`NonceRefusal`].
    pub async fn take(&self, used: &NonceUse) -> Result<(), NonceRefusal> {
        let inner = &self.0;
        let now = inner.clock.now();
        used.check(now)?;
        let minute = now.as_secs().div_euclid(60);
        if !lock(&inner.used[shard(used.key)]).entry(used.key).or_default().count(minute, inner.per_key) {
            return Err(NonceRefusal::TooMany { most: inner.per_key });
        }
        let answer = match inner.store.take_at_once(used, now) {
            Some(answer) => answer,
            None => tokio::time::timeout(TIMEOUT, inner.store.take(used, now)).await.map_err(|_| {
                tracing::warn!(store = inner.store.name(), "the nonce store did not answer in time");
                NonceRefusal::Unavailable
            })?,
        };
        match answer {
            Ok(NonceVerdict::Fresh) => Ok(()),
            Ok(NonceVerdict::Replayed) => Err(NonceRefusal::Replayed),
            Ok(NonceVerdict::Lost(loss)) => {
                let left = loss.over_at_secs().saturating_sub(now.as_secs()).max(1);
                Err(NonceRefusal::Lost { retry_after_secs: left.unsigned_abs() })
            }
            Err(error) => {
                tracing::warn!(%error, store = inner.store.name(), "a nonce could not be judged");
                Err(NonceRefusal::Unavailable)
            }
        }
    }

    /// Forgets what need not be remembered. To be called every few seconds.
    pub(crate) async fn forget(&self) {
        let now = self.0.clock.now();
        if let Err(error) = self.0.store.forget(now).await {
            tracing::warn!(%error, store = self.0.store.name(), "old nonces could not be forgotten");
        }
        self.prune(now);
    }

    fn prune(&self, now: Timestamp) {
        let oldest = now.as_secs().div_euclid(60) - MINUTES as i64;
        for shard in &self.0.used {
            lock(shard).retain(|_, used| used.minute >= oldest);
        }
    }

    /// Which store remembers.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.0.store.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_uses_up_so_many_in_its_window_and_gets_them_back_after_it() {
        let mut used = Used::default();
        for minute in 100..104 {
            assert!(used.count(minute, 4));
        }
        assert!(!used.count(104, 4));
        let back = 100 + MINUTES as i64;
        assert!(!used.count(back - 1, 4));
        assert!(used.count(back, 4));
        assert!(!used.count(back, 4), "one minute's worth came back");
        assert!(used.count(back + 1_000, 4));
        assert_eq!(used.sum, 1);
        // A clock that is set back gives nothing back.
        assert!(used.count(50, 2));
        assert!(!used.count(50, 2));
    }
}
