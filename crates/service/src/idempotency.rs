//! Requests with an `Idempotency-Key`: carried out once, however often they come within a day.
//!
//! A row is reserved before anything is done. What is done marks the row in its own transaction, and fails if the row
//! is another request's by then. So after a crash at any point a repetition either finds the row marked, and is told
//! what was made, or takes the row over, and the request before can make nothing any more. Answers are kept sealed;
//! those that hold a secret are not kept at all: a repetition is told what was made.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use claviger_domain::{
    clock::Clock,
    ports::{
        SealContext, Sealer, Store,
        idempotency::{KeptAnswer, Known, Reservation},
    },
};

use crate::{ServiceError, lock::lock};

/// How long a key is remembered: 24 hours, in microseconds.
const KEPT_US: i64 = 24 * 3_600 * 1_000_000;
/// How often what is older is forgotten.
const SWEEP_US: i64 = 600 * 1_000_000;
/// Rows that are forgotten at a time.
const SWEEP_ROWS: u32 = 1_000;
/// A larger answer is not kept.
const MAX_ANSWER: usize = 256 << 10;
/// How often a row that changes hands is looked at anew.
const TRIES: u32 = 5;

/// What a request with a key finds.
pub enum Begun {
    /// It is the first, or the one before made nothing: it shall be carried out.
    Run(Running),
    /// It was answered so.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// It was carried out, and the answer is not kept.
    Done {
        /// What it made or changed, when something was.
        made: Option<String>,
    },
    /// One with the same key is under way.
    UnderWay,
    /// The key was used for another request.
    OtherRequest,
}

/// Requests with a key.
#[derive(Clone)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    /// Ids of requests that are being carried out.
    running: Mutex<HashSet<String>>,
    swept_us: AtomicI64,
}

impl Idempotency {
    pub(crate) fn new(store: Arc<dyn Store>, sealer: Arc<dyn Sealer>, clock: Arc<dyn Clock>) -> Self {
        let running = Mutex::default();
        Self(Arc::new(Inner { store, sealer, clock, running, swept_us: AtomicI64::new(i64::MIN) }))
    }

    /// Begins a request, or says why it needs not or must not be carried out.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; nothing was begun.
    pub async fn begin(&self, wanted: Reservation) -> Result<Begun, ServiceError> {
        self.sweep().await?;
        let running = Running { inner: Arc::clone(&self.0), request_id: wanted.request_id.clone() };
        lock(&self.0.running).insert(wanted.request_id.clone());
        for _ in 0..TRIES {
            let Some(known) = self.0.store.reserve(&wanted).await? else { return Ok(Begun::Run(running)) };
            if wanted.at.micros_since(known.at) > KEPT_US {
                let before = wanted.at.plus_micros(-KEPT_US);
                self.0.store.forget_requests(before, SWEEP_ROWS).await?;
                continue;
            }
            if known.request != wanted.request {
                return Ok(Begun::OtherRequest);
            }
            if let Some(begun) = self.known(known.clone())? {
                return Ok(begun);
            }
            if self.0.store.take_over(&known.request_id, &wanted).await? {
                return Ok(Begun::Run(running));
            }
        }
        Ok(Begun::UnderWay)
    }

    /// What became of a request; `None`: it died before it made anything.
    fn known(&self, known: Known) -> Result<Option<Begun>, ServiceError> {
        Ok(match known.answer {
            Some(KeptAnswer { status, sealed: Some(sealed) }) => {
                let body = self.0.sealer.open(context(&known.request_id), &sealed)?.expose().to_vec();
                Some(Begun::Answered { status, body })
            }
            Some(KeptAnswer { sealed: None, .. }) => Some(Begun::Done { made: known.made }),
            None if lock(&self.0.running).contains(&known.request_id) => Some(Begun::UnderWay),
            None => known.made.map(|made| Begun::Done { made: Some(made) }),
        })
    }

    /// Forgets what is older than a day, now and then.
    async fn sweep(&self) -> Result<(), ServiceError> {
        let now = self.0.clock.now();
        let last = self.0.swept_us.load(Ordering::Relaxed);
        if now.as_micros().saturating_sub(last) < SWEEP_US {
            return Ok(());
        }
        self.0.swept_us.store(now.as_micros(), Ordering::Relaxed);
        self.0.store.forget_requests(now.plus_micros(-KEPT_US), SWEEP_ROWS).await?;
        Ok(())
    }
}

fn context(request_id: &str) -> SealContext<'_> {
    SealContext { table: "idempotency", column: "sealed", row: request_id }
}

/// A request that is being carried out. Dropped without an end, its row stays for a repetition to take over.
pub struct Running {
    inner: Arc<Inner>,
    request_id: String,
}

impl Running {
    /// Keeps the answer; `None`: it holds a secret.
    ///
    /// # Errors
    /// [`ServiceError`]; a repetition is told what was made.
    pub async fn done(self, status: u16, body: Option<&[u8]>) -> Result<(), ServiceError> {
        let body = body.filter(|b| b.len() <= MAX_ANSWER);
        let sealed = body.map(|b| self.inner.sealer.seal(context(&self.request_id), b)).transpose()?;
        let answer = KeptAnswer { status, sealed };
        Ok(self.inner.store.keep_answer(&self.request_id, &answer).await?)
    }

    /// The request was refused, or failed: unless something was made all the same, a repetition is carried out.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; a repetition finds out.
    pub async fn failed(self) -> Result<(), ServiceError> {
        Ok(self.inner.store.release(&self.request_id).await?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.inner.running).remove(&self.request_id);
    }
}

#[cfg(test)]
mod tests;
