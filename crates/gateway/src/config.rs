//! What an operator can set about the gateway, with its defaults and units.

use std::{path::PathBuf, time::Duration};

use claviger_domain::{address::CidrList, token::Brand};

/// Settings of the data plane.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The three letters that keys begin with.
    pub brand: Brand,
    /// Bounds of connections and their heads.
    pub connection: ConnectionLimits,
    /// Bounds of request bodies.
    pub body: BodyLimits,
    /// How long upstreams may take.
    pub upstream: UpstreamTimeouts,
    /// How streams are kept alive.
    pub stream: StreamSettings,
    /// How answers come out of the response cache.
    pub cache: CacheSettings,
    /// Proxies whose `X-Forwarded-*` are believed.
    pub trusted_proxies: CidrList,
    /// The origin that callers use, such as `https://claude.example.com`, without a trailing slash. Where it
    /// is not set, URLs in answers are built from the request's `Host`.
    pub public_url: Option<String>,
    /// Whether every proof of possession must hold a nonce of ours (RFC 9449, 8; no).
    pub dpop_nonce_required: bool,
    /// Whether `traceparent`, `tracestate` and `baggage` go upstream (no: they may carry internal names).
    pub forward_trace_headers: bool,
    /// The longest that an answer waits for its record (2 s).
    pub record_wait: Duration,
    /// Whether plain `http` upstreams beyond this machine are allowed (no).
    pub insecure_plaintext: bool,
    /// Where large batch bodies are spooled while they are read; the system's folder unless set.
    pub spool_dir: Option<PathBuf>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            brand: Brand::DEFAULT,
            connection: ConnectionLimits::default(),
            body: BodyLimits::default(),
            upstream: UpstreamTimeouts::default(),
            stream: StreamSettings::default(),
            cache: CacheSettings::default(),
            trusted_proxies: CidrList::default(),
            public_url: None,
            dpop_nonce_required: false,
            forward_trace_headers: false,
            record_wait: Duration::from_secs(2),
            insecure_plaintext: false,
            spool_dir: None,
        }
    }
}

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections open at once (1 024); one more is closed at once.
    pub total: usize,
    /// Connections open at once from one address (256).
    pub per_address: usize,
    /// Requests in flight at once (4 096); one more is answered 529.
    pub in_flight: usize,
    /// The longest TLS handshake (10 s).
    pub handshake: Duration,
    /// The longest time from a request's first byte to the end of its head (10 s).
    pub head: Duration,
    /// The largest request head (64 KiB).
    pub head_bytes: usize,
    /// How long a connection may lie idle between requests (75 s).
    pub keep_alive: Duration,
    /// How long a client may take no byte of an answer that waits for it (120 s).
    pub write_stall: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 1_024,
            per_address: 256,
            in_flight: 4_096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            keep_alive: Duration::from_secs(75),
            write_stall: Duration::from_secs(120),
        }
    }
}

/// Bounds of request bodies, in bytes: the API's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Messages and `count_tokens` (32 MB), and everything that has no limit of its own.
    pub messages: u64,
    /// Batches (256 MB).
    pub batches: u64,
    /// Files, with the multipart envelope around them (500 MB + 1 MB).
    pub files: u64,
    /// Memory for all bodies held at once (512 MB); beyond it: 529 before reading.
    pub memory: usize,
    /// How slowly they may come.
    pub pace: PaceLimits,
}

/// How slowly a body may come. All three bounds hold: the whole of a body, and its memory, is held for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimits {
    /// The longest silence, and what a body may fall behind its least rate (30 s).
    pub idle: Duration,
    /// Bytes a second that must come in the long run (1 KiB); a quick start earns no more than `idle` ahead.
    pub least_rate: u32,
    /// The longest time in all (1 h).
    pub total: Duration,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), least_rate: 1024, total: Duration::from_secs(3_600) }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            messages: 32 * 1024 * 1024,
            batches: 256 * 1024 * 1024,
            files: 501 * 1024 * 1024,
            memory: 512 * 1024 * 1024,
            pace: PaceLimits::default(),
        }
    }
}

/// How long upstreams may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// From sending to the answer's head (11 minutes: clients give up after 10).
    pub first_byte: Duration,
    /// Silence inside a stream (5 minutes).
    pub stream_idle: Duration,
    /// From the head to the last byte of what is not a stream (15 minutes).
    pub total: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(660),
            stream_idle: Duration::from_secs(300),
            total: Duration::from_secs(900),
        }
    }
}

/// How streams are kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// Silence after which a `ping` event of ours is sent (15 s).
    pub ping_after: Duration,
    /// Whether a stream is opened, and pinged, before the upstream has answered (no). It fixes the status at 200.
    pub early_keepalive: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { ping_after: Duration::from_secs(15), early_keepalive: false }
    }
}

/// How answers come out of the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a request waits for another one's call that is about to make its answer (2 minutes).
    pub wait: Duration,
    /// Whether streams come at the pace at which they were made (no: at once).
    pub keep_pace: bool,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { wait: Duration::from_secs(120), keep_pace: false }
    }
}
