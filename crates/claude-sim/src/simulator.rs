//! The simulator: one value that answers requests, shared by every connection and thread.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;

use crate::admin::books::{Bill, Books};
use crate::body::SimBody;
use crate::call::Call;
use crate::config::SimConfig;
use crate::directive::{DirectiveError, Directives};
use crate::headers::Dresser;
use crate::log::RequestLog;
use crate::seed::{Rng, combine, hash};
use crate::series::Series;
use crate::workspace::{Workspace, Workspaces};

/// A simulated Claude API. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Simulator {
    core: Arc<Core>,
}

/// A simulator could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The log file cannot be opened.
    #[error("the simulator's log file cannot be opened")]
    Log(#[source] io::Error),
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: SimConfig,
    pub(crate) log: Arc<RequestLog>,
    pub(crate) dresser: Dresser,
    pub(crate) series: Series,
    pub(crate) standing: Standing,
    workspaces: Mutex<Workspaces>,
    books: Mutex<Books>,
    next: AtomicU64,
}

/// Directives that hold for every request until they are replaced: for all callers, or for one key.
#[derive(Debug, Default)]
pub(crate) struct Standing(RwLock<Vec<(Option<String>, String)>>);

impl Simulator {
    /// Sets a simulator up.
    ///
    /// # Errors
    /// [`SetupError::Log`] when the log file cannot be opened.
    pub fn new(config: SimConfig) -> Result<Self, SetupError> {
        let log = Arc::new(RequestLog::open(&config.log).map_err(SetupError::Log)?);
        let dresser = Dresser::new(config.noise_headers, config.requests_per_minute);
        let core = Core {
            log,
            dresser,
            series: Series::default(),
            standing: Standing::default(),
            workspaces: Mutex::default(),
            books: Mutex::default(),
            next: AtomicU64::new(0),
            config,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// Answers one request. The body streams; dropping it counts as the client going away.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<SimBody>
    where
        B: Body,
        B::Data: Buf,
    {
        let (head, body) = request.into_parts();
        let mut call = Call::begin(Arc::clone(&self.core), head);
        let result = call.run(body).await;
        call.respond(result)
    }

    /// Sets the directives that hold for every request: of one key, or of all. An empty list ends them.
    ///
    /// # Errors
    /// [`DirectiveError`] when the list cannot be read; nothing changes then.
    pub fn set_standing(&self, key: Option<&str>, list: &str) -> Result<(), DirectiveError> {
        self.core.standing.set(key, list)
    }

    /// The request log in memory: JSON lines, without the first `skip` that were ever written.
    #[must_use]
    pub fn log_lines(&self, skip: u64) -> String {
        self.core.settle_batches();
        self.core.log.lines(skip)
    }
}

impl Core {
    /// Number of the next request, from 1.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Generator of the ids of request `seq`.
    pub(crate) fn ids(&self, seq: u64) -> Rng {
        Rng::new(combine(self.config.seed, seq))
    }

    /// What was billed.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what the Admin API tells later.
    pub(crate) fn bill(&self, bill: &Bill<'_>) {
        if self.config.diagnostics {
            self.books().bill(bill);
        }
    }

    pub(crate) fn workspace(&self, name: &str) -> Arc<Workspace> {
        let mut all = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        all.open(name, self.config.limits.workspaces)
    }

    /// Ends the batches that are due, so that their items are in the log.
    pub(crate) fn settle_batches(&self) {
        let all = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).all();
        for workspace in all {
            self.settle(&workspace);
        }
    }

    pub(crate) fn settle(&self, workspace: &Workspace) {
        let now_ms = self.config.clock.now_ms();
        workspace.batches().settle(self, now_ms);
    }
}

impl Standing {
    pub(crate) fn set(&self, key: Option<&str>, list: &str) -> Result<(), DirectiveError> {
        Directives::default().add(list)?;
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(held, _)| held.as_deref() != key);
        if !list.trim().is_empty() && all.len() < 1000 {
            all.push((key.map(str::to_owned), list.to_owned()));
        }
        Ok(())
    }

    /// Adds what stands for `key` to `directives`.
    pub(crate) fn apply(&self, key: Option<&str>, directives: &mut Directives) -> Result<(), DirectiveError> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let holds = |held: Option<&str>| held.is_none() || held == key;
        for (_, list) in all.iter().filter(|(held, _)| holds(held.as_deref())) {
            directives.add(list)?;
        }
        Ok(())
    }
}

/// Which series a request belongs to. Without a token: requests of one path with the same subject.
pub(crate) fn series_token(token: Option<&str>, path: &str, subject: &[u8]) -> u64 {
    token.map_or_else(|| combine(hash(path.as_bytes()), hash(subject)), |token| hash(token.as_bytes()))
}
