//! Settings, each once: its name, its default and its reason. Flags win over the environment, the environment over
//! the file, the file over the default.

pub mod cache;
mod check;
pub mod file;
mod in_force;
pub mod outgoing;
mod place;
mod secrets;
pub mod value;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use claviger_domain::{address::CidrList, jose::Algorithm, token::Brand};

use cache::CacheBounds;
use file::{FileConfig, FileError, Place};
use outgoing::{JobTimes, NonceSettings, SmtpChannel};
use value::Size;
pub use value::Span;
pub use value::{ClientAuthWord, Durability, LogFormat, NonceWord};

/// What `serve` takes on the command line and from the environment.
#[derive(Debug, Default, Clone, Args)]
pub struct ServeArgs {
    /// Address of the gateway, where clients call; port 0 takes any free one [default: 127.0.0.1:8787]
    #[arg(long, env = "CLAVIGER_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of the control plane: health, metrics, administration [default: 127.0.0.1:8788]
    #[arg(long, env = "CLAVIGER_CONTROL", value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// Configuration file (TOML)
    #[arg(long, env = "CLAVIGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// On a first start, seal ANTHROPIC_API_KEY as the first credential without asking
    #[arg(long)]
    pub import_env: bool,
    /// Read the configuration, say what is wrong with it, and stop
    #[arg(long)]
    pub check_config: bool,
    /// Database: a postgres:// URL; without it SQLite in the data folder
    #[arg(long, env = "CLAVIGER_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// The origin that clients see, for links in answers
    #[arg(long, env = "CLAVIGER_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Address blocks of proxies whose X-Forwarded-For is believed
    #[arg(long, env = "CLAVIGER_TRUSTED_PROXIES", value_name = "CIDR,…", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<String>>,
    /// Certificate chain (PEM); reloaded when it changes
    #[arg(long, env = "CLAVIGER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM)
    #[arg(long, env = "CLAVIGER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificate authorities (PEM) whose certificates callers may show; reloaded when they change
    #[arg(long, env = "CLAVIGER_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether callers must show a certificate [default: optional]
    #[arg(long, env = "CLAVIGER_TLS_CLIENT_AUTH", value_name = "WHETHER")]
    pub tls_client_auth: Option<ClientAuthWord>,
    /// Certificate chain (PEM) of the control plane [default: beyond loopback, that of the gateway]
    #[arg(long, env = "CLAVIGER_CONTROL_TLS_CERT", value_name = "FILE", requires = "control_tls_key")]
    pub control_tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "CLAVIGER_CONTROL_TLS_KEY", value_name = "FILE", requires = "control_tls_cert")]
    pub control_tls_key: Option<PathBuf>,
    /// Allow plain http beyond loopback: keys and prompts can be read on the way
    #[arg(long, env = "CLAVIGER_INSECURE_PLAINTEXT")]
    pub insecure_plaintext: bool,
    /// How long calls in flight may take to finish at a stop [default: 30s]
    #[arg(long, env = "CLAVIGER_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// Worker threads of the gateway [default: one a core]
    #[arg(long, env = "CLAVIGER_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// How logs look [default: human on a terminal, else json]
    #[arg(long, env = "CLAVIGER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Level, or directives such as info,claviger_gateway=debug [default: info]
    #[arg(long, env = "CLAVIGER_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Proxy for calls to upstreams, http://[user:password@]host:port
    #[arg(long, env = "CLAVIGER_OUTBOUND_PROXY", value_name = "URL", hide_env_values = true)]
    pub outbound_proxy: Option<String>,
    /// What a committed record survives: fsync = loss of power, process = end of the process [default: fsync]
    #[arg(long, env = "CLAVIGER_DURABILITY", value_name = "WHAT")]
    pub durability: Option<Durability>,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Data folder.
    pub data: PathBuf,
    /// Where the file was read from.
    pub file: Option<PathBuf>,
    /// Gateway address.
    pub listen: SocketAddr,
    /// Control address.
    pub control: SocketAddr,
    /// `postgres://…`; `None`: SQLite.
    pub database: Option<String>,
    /// The origin that clients see.
    pub public_url: Option<String>,
    /// Proxies that are believed.
    pub trusted_proxies: CidrList,
    /// Key brand.
    pub brand: Brand,
    /// Worker threads.
    pub workers: usize,
    /// Drain at a stop.
    pub drain_timeout: Duration,
    /// Plain http beyond loopback.
    pub insecure_plaintext: bool,
    /// Whether every DPoP proof must hold a nonce of ours.
    pub dpop_require_nonce: bool,
    /// Whether trace headers go upstream.
    pub forward_trace_headers: bool,
    /// Price override.
    pub prices: Option<PathBuf>,
    /// Oldest believed view of the feed.
    pub max_staleness: Duration,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Authorities whose certificates callers may show.
    pub client_ca: Option<PathBuf>,
    /// Whether callers must show one.
    pub client_auth: ClientAuthWord,
    /// Certificate and key of the control plane; `None`: plain http.
    pub control_tls: Option<(PathBuf, PathBuf)>,
    /// Logs.
    pub log: LogConfig,
    /// Bounds on clients.
    pub limits: ClientBounds,
    /// Calls to upstreams.
    pub upstream: UpstreamCalls,
    /// Silence in a stream after which a ping is sent.
    pub ping_after: Duration,
    /// Pings before the upstream's head.
    pub early_keepalive: bool,
    /// What a committed record survives.
    pub durability: Durability,
    /// How long single ledger rows are kept.
    pub retention: Duration,
    /// A file of payment providers.
    pub payments: Option<PathBuf>,
    /// Where checkpoints go.
    pub checkpoint_file: PathBuf,
    /// A mail channel for notices.
    pub smtp: Option<SmtpChannel>,
    /// When durable jobs are due.
    pub jobs: JobTimes,
    /// Who remembers signed requests.
    pub nonces: NonceSettings,
    /// What access tokens are signed with.
    pub token_algorithm: Algorithm,
    /// The response cache.
    pub cache: CacheBounds,
}

/// Settings of the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How they look; `None`: human on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// Level or directives.
    pub level: String,
}

/// Bounds on clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientBounds {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one address block.
    pub connections_per_address: usize,
    /// Bytes of request bodies held at once.
    pub body_budget: u64,
    /// Silence after which a request body is given up.
    pub body_idle: Duration,
    /// Bytes of a request body that must come in a second.
    pub body_least_rate: u64,
    /// The longest that a request body may take.
    pub body_timeout: Duration,
}

/// How upstreams are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCalls {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the head of an answer.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a stream.
    pub idle_timeout: Duration,
    /// A whole answer that is not a stream.
    pub total_timeout: Duration,
    /// Idle connections kept in all.
    pub pool_idle: usize,
    /// Idle connections kept for one host.
    pub pool_idle_per_host: usize,
    /// How long a resolved name is believed.
    pub dns_ttl: Duration,
    /// HTTP/2 where offered.
    pub http2: bool,
    /// Further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Outbound proxy.
    pub proxy: Option<String>,
    /// Hosts called directly.
    pub no_proxy: Vec<String>,
}

/// Why the settings cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A flag or variable.
    #[error("{name}: {why}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong and what was expected.
        why: String,
    },
    /// Listening beyond loopback without TLS.
    #[error(
        "{name} = {address} is reachable from other machines: give a certificate (--tls-cert and --tls-key, or \
         --control-tls-cert and --control-tls-key), or accept that keys \
         and prompts can be read on the way with --insecure-plaintext"
    )]
    Plaintext {
        /// Which listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
    },
    /// One of the above, and where in the file its setting stands.
    #[error("{place}: {error}")]
    At {
        /// Where.
        place: Place,
        /// What is wrong.
        error: Box<ConfigError>,
    },
    /// No home to put the data in.
    #[error("no place for the data folder: set --data, CLAVIGER_DATA, XDG_DATA_HOME or HOME")]
    NoDataFolder,
}

const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8788);

/// The data folder: `--data` or `CLAVIGER_DATA` (clap joins them), else the user's data home.
///
/// # Errors
/// [`ConfigError::NoDataFolder`] when no variable names a home.
pub fn data_folder(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given
        .or_else(|| set("XDG_DATA_HOME").filter(|p| p.is_absolute()).map(|p| p.join("claviger")))
        .or_else(|| set("HOME").map(|p| p.join(".local/share/claviger")))
        .ok_or(ConfigError::NoDataFolder)
}

impl Config {
    /// Puts flags, environment, file and defaults together and checks them.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong, with its place.
    pub fn resolve(data: Option<PathBuf>, args: &ServeArgs) -> Result<Self, ConfigError> {
        Self::put_together(data, args).map_err(|error| place::located(error, args))
    }

    /// What is wrong with a setting, found by whoever tried to use it.
    #[must_use]
    pub fn unusable(name: &'static str, why: String, args: &ServeArgs) -> ConfigError {
        place::located(ConfigError::Setting { name, why }, args)
    }

    fn put_together(data: Option<PathBuf>, args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(FileConfig::read).transpose()?.unwrap_or_default();
        let data = data_folder(data.or_else(|| file.data.clone()))?;
        let mut config = Self {
            checkpoint_file: file
                .audit
                .checkpoint_file
                .clone()
                .unwrap_or_else(|| data.join("checkpoints.jsonl")),
            data,
            file: args.config.clone(),
            listen: args.listen.or(file.listen).unwrap_or(GATEWAY),
            control: args.control.or(file.control).unwrap_or(CONTROL),
            database: args.database.clone().or_else(|| file.database.clone()),
            public_url: args.public_url.clone().or_else(|| file.public_url.clone()),
            trusted_proxies: proxies(args, &file)?,
            brand: file.brand.unwrap_or_default(),
            workers: args.workers.or(file.workers).unwrap_or_else(cores),
            drain_timeout: span(args.drain_timeout.or(file.drain_timeout), 30),
            insecure_plaintext: args.insecure_plaintext || file.insecure_plaintext.unwrap_or(false),
            dpop_require_nonce: file.dpop.require_nonce.unwrap_or(false),
            forward_trace_headers: file.forward_trace_headers.unwrap_or(false),
            prices: file.prices.clone(),
            payments: file.payments.clone(),
            max_staleness: span(file.max_staleness, 10),
            tls: pair("tls", [&args.tls_cert, &args.tls_key], [&file.tls.cert, &file.tls.key])?,
            client_ca: args.tls_client_ca.clone().or_else(|| file.tls.client_ca.clone()),
            client_auth: args.tls_client_auth.or(file.tls.client_auth).unwrap_or_default(),
            control_tls: pair(
                "control_tls",
                [&args.control_tls_cert, &args.control_tls_key],
                [&file.control_tls.cert, &file.control_tls.key],
            )?,
            log: log(args, &file),
            limits: bounds(&file),
            upstream: upstream(args, &file),
            ping_after: span(file.stream.ping_after, 15),
            early_keepalive: file.stream.early_keepalive.unwrap_or(false),
            durability: args.durability.or(file.ledger.durability).unwrap_or(Durability::Fsync),
            retention: span(file.ledger.retention, 90 * 86_400),
            smtp: file.smtp.resolve()?,
            jobs: file.jobs.resolve()?,
            nonces: file.nonces.resolve()?,
            token_algorithm: file.tokens.algorithm.unwrap_or(Algorithm::EdDsa),
            cache: file.cache.resolve()?,
        };
        if !config.control.ip().is_loopback() {
            config.control_tls = config.control_tls.or_else(|| config.tls.clone());
        }
        config.check()?;
        Ok(config)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn span(value: Option<Span>, default_secs: u64) -> Duration {
    value.map_or(Duration::from_secs(default_secs), |s| s.0)
}

fn proxies(args: &ServeArgs, file: &FileConfig) -> Result<CidrList, ConfigError> {
    match &args.trusted_proxies {
        Some(list) => CidrList::parse(list)
            .map_err(|e| ConfigError::Setting { name: "trusted_proxies", why: e.to_string() }),
        None => Ok(file.trusted_proxies.clone().unwrap_or_default()),
    }
}

/// Two files that come together, from the flags or the file.
fn pair(
    name: &'static str,
    given: [&Option<PathBuf>; 2],
    written: [&Option<PathBuf>; 2],
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    let [cert, key] = [0, 1].map(|i| given[i].clone().or_else(|| written[i].clone()));
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            Err(ConfigError::Setting { name, why: "expected both `cert` and `key`".to_owned() })
        }
    }
}

fn log(args: &ServeArgs, file: &FileConfig) -> LogConfig {
    LogConfig {
        format: args.log_format.or(file.log.format),
        level: args.log_level.clone().or_else(|| file.log.level.clone()).unwrap_or_else(|| "info".to_owned()),
    }
}

fn bounds(file: &FileConfig) -> ClientBounds {
    let limits = &file.limits;
    ClientBounds {
        connections: limits.connections.unwrap_or(1_024),
        connections_per_address: limits.connections_per_address.unwrap_or(256),
        body_budget: limits.body_budget.unwrap_or(Size(512 << 20)).0,
        body_idle: span(limits.body_idle, 30),
        body_least_rate: limits.body_least_rate.unwrap_or(Size(1 << 10)).0,
        body_timeout: span(limits.body_timeout, 3_600),
    }
}

fn upstream(args: &ServeArgs, file: &FileConfig) -> UpstreamCalls {
    let u = &file.upstream;
    UpstreamCalls {
        connect_timeout: span(u.connect_timeout, 5),
        first_byte_timeout: span(u.first_byte_timeout, 660),
        idle_timeout: span(u.idle_timeout, 300),
        total_timeout: span(u.total_timeout, 900),
        pool_idle: u.pool_idle.unwrap_or(100),
        pool_idle_per_host: u.pool_idle_per_host.unwrap_or(30),
        dns_ttl: span(u.dns_ttl, 300),
        http2: u.http2.unwrap_or(false),
        ca_file: u.ca_file.clone(),
        proxy: args.outbound_proxy.clone().or_else(|| u.proxy.clone()),
        no_proxy: u.no_proxy.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
pub mod documented;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &ServeArgs) -> Result<Config, ConfigError> {
        Config::resolve(Some(PathBuf::from("d")), args)
    }

    #[test]
    fn nothing_is_open_by_default() {
        let c = resolve(&ServeArgs::default()).unwrap();
        assert!(c.listen.ip().is_loopback() && c.control.ip().is_loopback() && !c.insecure_plaintext);
        assert!(c.trusted_proxies.is_empty());
        assert_eq!(c.durability, Durability::Fsync);
    }

    #[test]
    fn listening_beyond_loopback_demands_tls_or_a_word() {
        let mut args = ServeArgs { listen: Some("0.0.0.0:1".parse().unwrap()), ..ServeArgs::default() };
        assert!(matches!(resolve(&args), Err(ConfigError::Plaintext { name: "listen", .. })));
        args.insecure_plaintext = true;
        assert!(resolve(&args).is_ok());
    }

    #[test]
    fn the_control_plane_beyond_loopback_takes_a_certificate_of_its_own_or_the_gateways() {
        let open = |args: ServeArgs| ServeArgs { control: Some("0.0.0.0:1".parse().unwrap()), ..args };
        assert!(matches!(
            resolve(&open(ServeArgs::default())),
            Err(ConfigError::Plaintext { name: "control", .. })
        ));
        let file = |name: &str| Some(PathBuf::from(name));
        let gateways = ServeArgs { tls_cert: file("g"), tls_key: file("gk"), ..ServeArgs::default() };
        let pair = |c: &str, k: &str| Some((PathBuf::from(c), PathBuf::from(k)));
        assert_eq!(resolve(&gateways).unwrap().control_tls, None, "loopback stays plain");
        assert_eq!(resolve(&open(gateways.clone())).unwrap().control_tls, pair("g", "gk"));
        let own = ServeArgs { control_tls_cert: file("c"), control_tls_key: file("ck"), ..gateways };
        assert_eq!(resolve(&own).unwrap().control_tls, pair("c", "ck"));
        assert_eq!(resolve(&open(own)).unwrap().control_tls, pair("c", "ck"));
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\ndrain_timeout = \"5s\"\n").unwrap();
        let mut args = ServeArgs { config: Some(path), ..ServeArgs::default() };
        assert_eq!(resolve(&args).unwrap().listen.port(), 1);
        assert_eq!(resolve(&args).unwrap().drain_timeout, Duration::from_secs(5));
        args.listen = Some("127.0.0.1:2".parse().unwrap());
        assert_eq!(resolve(&args).unwrap().listen.port(), 2);
    }
}
