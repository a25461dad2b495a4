//! Passwords: Argon2id at 19 MiB, two passes, one lane (OWASP), two at a time and off the runtime's threads.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash as Phc},
};
use claviger_domain::{clock::Entropy, operator::record::PasswordHash, secret::SecretBytes};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::ServiceError;

/// Fewest bytes of a password (SP 800-63B: 8 beside a second factor).
const FEWEST: usize = 8;
/// Most bytes of a password.
const MOST: usize = 256;
/// Hashes at once; each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Logins that wait for their turn; more are told to come back.
const WAITING: usize = 32;

pub(super) struct Passwords {
    entropy: Arc<dyn Entropy>,
    tracker: TaskTracker,
    waiting: Semaphore,
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub fn new(entropy: Arc<dyn Entropy>, tracker: TaskTracker) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { entropy, tracker, waiting: Semaphore::new(WAITING), turns }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] when it is too short or too long.
    pub async fn hash(&self, password: SecretBytes) -> Result<PasswordHash, ServiceError> {
        let length = password.expose().len();
        if !(FEWEST..=MOST).contains(&length) {
            return Err(ServiceError::invalid("password", format!("expected {FEWEST} to {MOST} bytes")));
        }
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt)?;
        let hashed = self.run(move || {
            let hashed: Result<Phc, _> = Argon2::default().hash_password_with_salt(password.expose(), &salt);
            hashed.map(|h| PasswordHash::new(h.to_string()))
        });
        hashed.await?.map_err(|_| ServiceError::invalid("password", "it cannot be hashed"))
    }

    /// Whether it is the password. Without a hash the same work is done, so that nobody learns which names exist.
    pub async fn is_right(
        &self,
        password: SecretBytes,
        hash: Option<PasswordHash>,
    ) -> Result<bool, ServiceError> {
        self.run(move || {
            let known = hash.as_ref().map(|h| Phc::new(h.expose()));
            match known {
                Some(Ok(phc)) => Argon2::default().verify_password(password.expose(), &phc).is_ok(),
                Some(Err(_)) | None => {
                    let mut out = [0; 32];
                    let done = Argon2::default().hash_password_into(password.expose(), &[0; 16], &mut out);
                    std::hint::black_box((done.is_ok(), out));
                    false
                }
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let busy = || ServiceError::Unavailable("too many logins at once: try again in a second".to_owned());
        let waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        drop(waiting);
        let done = self.tracker.spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| busy())
    }
}
