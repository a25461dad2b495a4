//! What a simulator is told at its start: who may call, how it paces itself, what it remembers.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where wall time comes from: milliseconds since the Unix epoch. The simulator never reads a clock itself.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// A clock that asks `read` each time; `read` answers milliseconds since the Unix epoch.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// A clock that stands still at `unix_ms`.
    #[must_use]
    pub fn fixed(unix_ms: u64) -> Self {
        Self::new(move || unix_ms)
    }

    /// Milliseconds since the Unix epoch, now.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Which API keys are accepted. Each key belongs to a workspace: caches, files and batches are seen per workspace.
#[derive(Clone, Default)]
pub enum KeyRing {
    /// Any non-empty key; each key is its own workspace.
    #[default]
    Any,
    /// Only these keys, each with the name of its workspace.
    Only(HashMap<String, String>),
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::Only(keys) => write!(f, "Only({} keys)", keys.len()),
        }
    }
}

/// Whom the texts speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voice {
    /// Filler text of a fixed length, for tests and measurements.
    #[default]
    Plain,
    /// Answers to `cvg_test_` keys: the text says that it is simulated and that no money is spent.
    TestKeys,
}

/// Upper bounds of everything the simulator holds in memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body of messages and count_tokens, in bytes; above it the answer is 413.
    pub message_bytes: usize,
    /// Largest body of a batch, in bytes; above it the answer is 413.
    pub batch_bytes: usize,
    /// Most items of a batch; above it the answer is 400.
    pub batch_items: usize,
    /// Largest upload, in bytes; above it the answer is 413.
    pub file_bytes: usize,
    /// Bytes of files, and of batches, kept in one workspace; above it creating answers 529, and items of a batch
    /// whose results would pass it are errored.
    pub workspace_bytes: usize,
    /// Workspaces remembered; above it the one that was created first is forgotten.
    pub workspaces: usize,
    /// Files, and batches, kept in one workspace; above it creating answers 529.
    pub objects: usize,
    /// Largest text a request may ask for, in characters.
    pub text_chars: usize,
    /// Longest single wait a request may ask for.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 32 << 20,
            batch_bytes: 256 << 20,
            batch_items: 100_000,
            file_bytes: 64 << 20,
            workspace_bytes: 512 << 20,
            workspaces: 10_000,
            objects: 10_000,
            text_chars: 64 << 20,
            wait: Duration::from_hours(1),
        }
    }
}

/// Whether and where requests are recorded.
#[derive(Debug, Clone, Default)]
pub struct LogConfig {
    /// Lines kept in memory for `GET /__sim/log`; the oldest are dropped (and counted) above it. 0: none.
    pub memory_lines: usize,
    /// File that each line is appended to.
    pub file: Option<PathBuf>,
}

impl LogConfig {
    /// True when a line goes anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.memory_lines > 0 || self.file.is_some()
    }
}

/// Everything a [`crate::Simulator`] is told.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Accepted keys.
    pub keys: KeyRing,
    /// Admin keys that are accepted; empty: any that looks like one.
    pub admin_keys: Vec<String>,
    /// Tone of the texts.
    pub voice: Voice,
    /// Wall time.
    pub clock: WallClock,
    /// Seed of the ids it mints; the same seed and the same order of requests give the same ids.
    pub seed: u64,
    /// Recording.
    pub log: LogConfig,
    /// Wait before each answer's head.
    pub latency: Duration,
    /// Wait between two events of a stream.
    pub event_gap: Duration,
    /// Give each event to the transport alone, as the real API does. Off: events may share a packet.
    pub flush_each_event: bool,
    /// Compress answers with gzip when the client accepts it.
    pub gzip: bool,
    /// Add the transport headers that the real edge adds (`cf-ray`, `via` …).
    pub noise_headers: bool,
    /// Answer `/__sim/*`. Off for test keys: the log shows all callers.
    pub diagnostics: bool,
    /// Time a batch takes from creation to its end.
    pub batch_delay: Duration,
    /// Origin of `results_url`, such as `https://api.anthropic.com`; without it `http://` and the request's Host.
    pub public_url: Option<String>,
    /// Model ids that exist beside the catalogue.
    pub extra_models: Vec<String>,
    /// Requests a minute and workspace, above which the answer is 429. `None`: never.
    pub requests_per_minute: Option<u64>,
    /// Text deltas of an answer that was not steered.
    pub deltas: usize,
    /// Characters in each of them.
    pub delta_chars: usize,
    /// Bounds.
    pub limits: Limits,
}

impl SimConfig {
    /// A stand-alone upstream for tests: any key, log in memory, diagnostics on.
    #[must_use]
    pub fn stand_alone(clock: WallClock) -> Self {
        Self {
            keys: KeyRing::Any,
            admin_keys: Vec::new(),
            voice: Voice::Plain,
            clock,
            seed: 0,
            log: LogConfig { memory_lines: 10_000, file: None },
            latency: Duration::ZERO,
            event_gap: Duration::ZERO,
            flush_each_event: true,
            gzip: false,
            noise_headers: true,
            diagnostics: true,
            batch_delay: Duration::from_secs(2),
            public_url: None,
            extra_models: Vec::new(),
            requests_per_minute: None,
            deltas: 20,
            delta_chars: 16,
            limits: Limits::default(),
        }
    }

    /// The part that answers `cvg_test_` keys inside the gateway: nothing recorded, smaller bounds.
    #[must_use]
    pub fn for_test_keys(clock: WallClock) -> Self {
        Self {
            voice: Voice::TestKeys,
            log: LogConfig::default(),
            noise_headers: false,
            diagnostics: false,
            limits: Limits {
                batch_bytes: 4 << 20,
                batch_items: 1_000,
                file_bytes: 4 << 20,
                workspace_bytes: 8 << 20,
                workspaces: 64,
                objects: 100,
                text_chars: 4 << 20,
                wait: Duration::from_mins(1),
                ..Limits::default()
            },
            ..Self::stand_alone(clock)
        }
    }
}
