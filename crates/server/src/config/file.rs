//! The configuration file: every field optional, every unknown name refused, errors with line and column.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use claviger_domain::{address::CidrList, jose::Algorithm, token::Brand};
use serde::{Deserialize, Deserializer};

use super::value::{ClientAuthWord, Durability, LogFormat, NonceWord, Size, Span};

/// What a configuration file may say.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Data folder.
    pub data: Option<PathBuf>,
    /// Gateway address.
    pub listen: Option<SocketAddr>,
    /// Control address.
    pub control: Option<SocketAddr>,
    /// `postgres://…`; absent: SQLite in the data folder.
    pub database: Option<String>,
    /// The origin that clients see, such as `https://claude.example.com/team`.
    pub public_url: Option<String>,
    /// Address blocks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Option<CidrList>,
    /// Three letters that keys begin with.
    #[serde(deserialize_with = "brand")]
    pub brand: Option<Brand>,
    /// Worker threads of the gateway.
    pub workers: Option<usize>,
    /// How long calls in flight may take to finish at a stop.
    pub drain_timeout: Option<Span>,
    /// Serve and call plain http beyond loopback.
    pub insecure_plaintext: Option<bool>,
    /// Pass `traceparent`, `tracestate` and `baggage` on to upstreams.
    pub forward_trace_headers: Option<bool>,
    /// A price file that overrides the built-in one.
    pub prices: Option<PathBuf>,
    /// A file of payment providers whose notices are taken.
    pub payments: Option<PathBuf>,
    /// Oldest view of the change feed that is still believed.
    pub max_staleness: Option<Span>,
    /// TLS.
    pub tls: TlsSection,
    /// TLS of the control plane.
    pub control_tls: ControlTlsSection,
    /// Proofs of possession.
    pub dpop: DpopSection,
    /// Logs.
    pub log: LogSection,
    /// Bounds on clients.
    pub limits: LimitsSection,
    /// Calls to upstreams.
    pub upstream: UpstreamSection,
    /// Streams.
    pub stream: StreamSection,
    /// The ledger.
    pub ledger: LedgerSection,
    /// The audit log.
    pub audit: AuditSection,
    /// A mail channel for notices.
    pub smtp: SmtpSection,
    /// When durable jobs are due.
    pub jobs: JobsSection,
    /// Who remembers signed requests.
    pub nonces: NoncesSection,
    /// Access tokens.
    pub tokens: TokensSection,
    /// The response cache.
    pub cache: CacheSection,
}

/// `[cache]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// What it may take in memory; 0: there is none.
    pub memory: Option<Size>,
    /// How long a request waits for another one's call that is about to make its answer.
    pub wait: Option<Span>,
    /// Replay streams at the pace at which they were made.
    pub keep_pace: Option<bool>,
}

/// `[tokens]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensSection {
    /// What access tokens are signed with: `EdDSA` or `ES256`.
    pub algorithm: Option<Algorithm>,
}

/// `[nonces]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoncesSection {
    /// `memory`, `redis` or `database`.
    pub store: Option<NonceWord>,
    /// `redis://[user:password@]host[:port][/db]`, `rediss://` over TLS.
    pub redis_url: Option<String>,
    /// Signed requests of one key that are remembered at once.
    pub per_key: Option<u32>,
}

/// `[smtp]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpSection {
    /// The mail server; absent: no mail.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// `starttls`, `implicit` or `plain`.
    pub security: Option<String>,
    /// Log in as this name,
    pub username: Option<String>,
    /// with the password in this file.
    pub password_file: Option<PathBuf>,
    /// The sender.
    pub from: Option<String>,
    /// Who gets every notice.
    pub to: Option<Vec<String>>,
    /// Whether owners get copies of what concerns their keys.
    pub to_owner: Option<bool>,
}

/// `[jobs]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSection {
    /// Cron expression.
    pub daily_check: Option<String>,
    /// Cron expression.
    pub weekly_report: Option<String>,
    /// The zone that they are meant in.
    pub time_zone: Option<String>,
}

/// `[tls]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
    /// Authorities whose certificates callers may show, PEM.
    pub client_ca: Option<PathBuf>,
    /// `optional` or `required`.
    pub client_auth: Option<ClientAuthWord>,
}

/// `[dpop]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpopSection {
    /// Whether every proof must hold a nonce of ours.
    pub require_nonce: Option<bool>,
}

/// `[control_tls]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlTlsSection {
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `human` or `json`.
    pub format: Option<LogFormat>,
    /// A level, or directives such as `info,claviger_gateway=debug`.
    pub level: Option<String>,
}

/// `[limits]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Open connections in all.
    pub connections: Option<usize>,
    /// Open connections of one address block.
    pub connections_per_address: Option<usize>,
    /// Memory for request bodies in all.
    pub body_budget: Option<Size>,
    /// Silence after which a request body is given up.
    pub body_idle: Option<Span>,
    /// Bytes of a request body that must come in a second, in the long run.
    pub body_least_rate: Option<Size>,
    /// The longest that a request body may take in all.
    pub body_timeout: Option<Span>,
}

/// `[upstream]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSection {
    /// Until a connection stands.
    pub connect_timeout: Option<Span>,
    /// Until the head of an answer.
    pub first_byte_timeout: Option<Span>,
    /// Between two pieces of a stream.
    pub idle_timeout: Option<Span>,
    /// A whole answer that is not a stream.
    pub total_timeout: Option<Span>,
    /// Idle connections kept in all.
    pub pool_idle: Option<usize>,
    /// Idle connections kept for one host.
    pub pool_idle_per_host: Option<usize>,
    /// How long a resolved name is believed.
    pub dns_ttl: Option<Span>,
    /// Speak HTTP/2 where the upstream offers it.
    pub http2: Option<bool>,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// `http://[user:password@]host:port`.
    pub proxy: Option<String>,
    /// Hosts that are called directly.
    pub no_proxy: Option<Vec<String>>,
}

/// `[stream]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSection {
    /// Silence after which a ping is sent.
    pub ping_after: Option<Span>,
    /// Send the head and pings before the upstream answered; fixes status 200.
    pub early_keepalive: Option<bool>,
}

/// `[ledger]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSection {
    /// `fsync` or `process`.
    pub durability: Option<Durability>,
    /// How long single rows are kept.
    pub retention: Option<Span>,
}

/// `[audit]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSection {
    /// Where signed checkpoints are appended; best on another disk.
    pub checkpoint_file: Option<PathBuf>,
}

fn brand<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Brand>, D::Error> {
    let text = String::deserialize(d)?;
    Brand::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

/// A configuration file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{place}: {message}")]
    Parse {
        /// File, line and column.
        place: Place,
        /// What was found and what was expected.
        message: String,
    },
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] with file, line, column and what was expected.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`FileConfig::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        toml::from_str(text).map_err(|e| FileError::Parse {
            place: place(path, text, e.span().map_or(0, |s| s.start)),
            message: e.message().trim().to_owned(),
        })
    }
}

/// Where a byte of a file stands.
#[must_use]
pub fn place(path: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { path: path.to_owned(), line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        FileConfig::parse(Path::new("claviger.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_column_and_what_was_expected() {
        for (text, place, expected) in [
            (
                "listen = \"127.0.0.1:0\"\nlisen = 1\n",
                "claviger.toml:2:1: ",
                "unknown field `lisen`, expected one of",
            ),
            ("listen = 5\n", "claviger.toml:1:10: ", "expected socket address"),
            ("[stream]\nping_after = \"15\"\n", "claviger.toml:2:14: ", "such as 500ms, 30s"),
            ("brand = \"CVG\"\n", "claviger.toml:1:9: ", "exactly three lower-case letters"),
            ("listen = \n", "claviger.toml:1:10: ", "value"),
            (
                "trusted_proxies = [\"10.0.0.0/99\"]\n",
                "claviger.toml:1:19: ",
                "`10.0.0.0/99` is not an address block",
            ),
        ] {
            let got = error(text);
            assert!(got.starts_with(place) && got.contains(expected), "{text:?}: {got}");
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert!(FileConfig::parse(Path::new("x"), "").unwrap().listen.is_none());
    }
}
