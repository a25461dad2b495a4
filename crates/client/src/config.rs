//! What can be set.

use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};

use claviger_domain::{
    clock::{Clock, Entropy},
    jose::Algorithm,
    signature::{Profile, normal_authority},
};
use http::{Request, Response, Uri};
use http_body::Body as HttpBody;
use tower::Service;

use crate::{
    body::Body,
    cache::Cache,
    clock::{SystemClock, SystemEntropy},
    dpop::ProofKey,
    error::{BoxError, ClientError},
    key::{CommandKey, EnvKey, FileKey, Kept, KeySource, KmsOpener, SealedKey, read_private},
    limiter::Limiter,
    retry::Retry,
    secret::MOST_BYTES,
    signing::Signing,
    stats::Stats,
};

/// How much of a body is held in memory to sign it: as much as a Messages call may be.
pub const MAX_BUFFER: usize = 32 << 20;
/// Types of access tokens.
pub(crate) const BEARER: &str = "Bearer";
const DPOP: &str = "DPoP";
/// How long what a command printed is kept.
const COMMAND_TTL: Duration = Duration::from_secs(300);
/// How long what was unsealed is kept.
const SEALED_TTL: Duration = Duration::from_secs(3_600);
const SEALED: &str = "CLAVIGER_SEALED_KEY_FILE";
const CERTIFICATE: &str = "CLAVIGER_CLIENT_CERT";

/// What a request proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// The gateway key, with every request.
    #[default]
    Key,
    /// A short-lived access token that is bought with the key, and renewed.
    Token,
}

/// How the client works. Everything but the base URL and the key is off or at its default.
#[derive(Clone)]
pub struct Config {
    pub(crate) origin: Origin,
    pub(crate) key: Arc<dyn KeySource>,
    pub(crate) auth: Auth,
    pub(crate) scope: Option<String>,
    pub(crate) proof_key: Option<ProofKey>,
    pub(crate) signing: Option<Signing>,
    pub(crate) max_buffer: usize,
    pub(crate) retry: Retry,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) cache: Option<Cache>,
    pub(crate) stats: Option<Stats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Config {
    /// For a gateway, such as `https://gateway.example` or `https://gateway.example/team-a`. Requests to any other
    /// origin are refused, so that no credential follows a redirect.
    ///
    /// # Errors
    /// [`ClientError::BaseUrl`], or [`ClientError::Insecure`] for plain http beyond this machine.
    pub fn new(base_url: &str, key: impl KeySource) -> Result<Self, ClientError> {
        Ok(Self {
            origin: Origin::parse(base_url)?,
            key: Arc::new(key),
            auth: Auth::Key,
            scope: None,
            proof_key: None,
            signing: None,
            max_buffer: MAX_BUFFER,
            retry: Retry::default(),
            limiter: None,
            cache: None,
            stats: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        })
    }

    /// From `ANTHROPIC_BASE_URL`, the key, `CLAVIGER_AUTH` (`key` or `token`) and, to sign, `CLAVIGER_SIGNING_SECRET`
    /// and `CLAVIGER_SIGNING_PROFILE` (`v1`, `v2`, `rfc9421`, which it is when not set). The key is the first that is
    /// set of `ANTHROPIC_API_KEY`, `CLAVIGER_KEY_FILE` and `CLAVIGER_KEY_COMMAND` (words parted by blanks).
    /// `CLAVIGER_DPOP_KEY_FILE` is a proof key in PEM form, `CLAVIGER_DPOP` (`ES256`, `EdDSA`) has one made here. A sealed
    /// key (`CLAVIGER_SEALED_KEY_FILE`) takes [`Config::from_env_through`], or `reqwest::Client::from_env`.
    ///
    /// # Errors
    /// [`ClientError`] for what is missing or not understood.
    pub fn from_env() -> Result<Self, ClientError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
    }

    /// The same, and the TLS configuration that shows the certificate of `CLAVIGER_CLIENT_CERT`, for your HTTP client; `None`:
    /// it is not set. See [`ClientCertificate`](crate::ClientCertificate).
    ///
    /// # Errors
    /// [`ClientError`] for what is missing or not understood.
    #[cfg(feature = "rustls")]
    pub fn from_env_with_tls() -> Result<(Self, Option<rustls::ClientConfig>), ClientError> {
        let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let shown =
            crate::ClientCertificate::from_env().map(|certificate| certificate.config()).transpose()?;
        Ok((Self::from_variables(without_certificate(read))?, shown))
    }

    /// The same, and before every other key the one that `CLAVIGER_SEALED_KEY_FILE` holds: `claviger seal-key` sealed it,
    /// and the service that `CLAVIGER_KMS` names opens it, asked through this HTTP service, which must not follow
    /// redirects. It is kept for an hour, in memory only. Where it cannot be opened, there is no key.
    ///
    /// # Errors
    /// [`ClientError`] for what is missing or not understood.
    pub fn from_env_through<S, R>(service: S) -> Result<Self, ClientError>
    where
        S: Service<Request<Body>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        R: HttpBody + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::from_variables_through(read, service, Arc::new(SystemClock))
    }

    pub(crate) fn from_variables_through<S, R>(
        read: impl Fn(&str) -> Option<String>,
        service: S,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError>
    where
        S: Service<Request<Body>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        R: HttpBody + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let Some(path) = read(SEALED) else { return Self::from_variables(read) };
        let unset = "CLAVIGER_KMS is not set: what `claviger seal-key --kms` was given";
        let uri = read("CLAVIGER_KMS").ok_or(ClientError::Config(unset))?;
        let opener = KmsOpener::with_variables(service, &uri, Arc::clone(&clock), &read)?;
        let key = Kept::new(SealedKey::new(path, opener), SEALED_TTL, Arc::clone(&clock));
        Self::with_key(&read, Arc::new(key))
    }

    pub(crate) fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, ClientError> {
        // Another key must not be what is used in its place.
        if read(SEALED).is_some() {
            return Err(ClientError::Config(
                "CLAVIGER_SEALED_KEY_FILE: it is opened over HTTP; use `Config::from_env_through` or `reqwest::Client::from_env`",
            ));
        }
        let key = key_from(&read);
        Self::with_key(&read, key)
    }

    fn with_key(
        read: &impl Fn(&str) -> Option<String>,
        key: Arc<dyn KeySource>,
    ) -> Result<Self, ClientError> {
        let base = read("ANTHROPIC_BASE_URL").ok_or(ClientError::BaseUrl)?;
        let mut config = Self::new(&base, key)?;
        config.auth = match read("CLAVIGER_AUTH").as_deref() {
            None | Some("key") => Auth::Key,
            Some("token") => Auth::Token,
            Some(_) => return Err(ClientError::Config("CLAVIGER_AUTH must be `key` or `token`")),
        };
        if let Some(key) = proof_key_from(read)? {
            if config.auth == Auth::Key {
                return Err(ClientError::Config(
                    "CLAVIGER_DPOP binds access tokens: set CLAVIGER_AUTH=token",
                ));
            }
            config = config.proof_key(key);
        }
        // Without it, calls would be made that prove less than was asked for.
        if read(CERTIFICATE).is_some() {
            return Err(ClientError::Config(
                "CLAVIGER_CLIENT_CERT: this client brings no TLS of its own; use `Config::from_env_with_tls` or `reqwest::Client::from_env` with the feature `reqwest-rustls`",
            ));
        }
        if read("CLAVIGER_SIGNING_SECRET").is_some() {
            let profile = read("CLAVIGER_SIGNING_PROFILE");
            let profile = profile.map_or(Some(Profile::Rfc9421), |text| Profile::parse(&text));
            let unknown = ClientError::Config("CLAVIGER_SIGNING_PROFILE must be v1, v2 or rfc9421");
            let secret = EnvKey::new("CLAVIGER_SIGNING_SECRET");
            config.signing = Some(Signing::secret(profile.ok_or(unknown)?, secret));
        }
        Ok(config)
    }

    /// What is sent.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Narrows access tokens (space-separated).
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Binds access tokens to a key that is never sent, and proves that with each request (DPoP). Buys tokens:
    /// [`Auth::Token`] is set with it.
    #[must_use]
    pub fn proof_key(mut self, key: ProofKey) -> Self {
        self.proof_key = Some(key);
        self.auth(Auth::Token)
    }

    /// The type of access tokens, which is the scheme that they are shown with.
    pub(crate) const fn token_type(&self) -> &'static str {
        if self.proof_key.is_some() { DPOP } else { BEARER }
    }

    /// Signs requests.
    #[must_use]
    pub fn signing(mut self, signing: Signing) -> Self {
        self.signing = Some(signing);
        self
    }

    /// How much of a body is held in memory, in bytes.
    #[must_use]
    pub fn max_buffer(mut self, bytes: usize) -> Self {
        self.max_buffer = bytes;
        self
    }

    /// What is repeated.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Holds requests back.
    #[must_use]
    pub fn limiter(mut self, limiter: Limiter) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Answers equal requests.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Counts.
    #[must_use]
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where randomness comes from.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }
}

/// `CLAVIGER_DPOP_KEY_FILE`, a PEM file of mode 0600, or `CLAVIGER_DPOP`, the algorithm of a key that is made here.
fn proof_key_from(read: &impl Fn(&str) -> Option<String>) -> Result<Option<ProofKey>, ClientError> {
    if let Some(path) = read("CLAVIGER_DPOP_KEY_FILE") {
        let text = read_private(Path::new(&path), MOST_BYTES as u64)?;
        return ProofKey::from_pem(&text).map(Some);
    }
    let Some(named) = read("CLAVIGER_DPOP") else { return Ok(None) };
    let algorithm = Algorithm::parse(&named).filter(|algorithm| *algorithm != Algorithm::Rs256);
    let unknown = ClientError::Config("CLAVIGER_DPOP must be ES256 or EdDSA");
    ProofKey::generate_for(algorithm.ok_or(unknown)?, &SystemEntropy).map(Some)
}

/// What the environment says for whoever shows its certificate by other means.
#[cfg(feature = "rustls")]
pub(crate) fn without_certificate(read: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    move |name| if name == CERTIFICATE { None } else { read(name) }
}

/// The first that is set.
fn key_from(read: &impl Fn(&str) -> Option<String>) -> Arc<dyn KeySource> {
    const KEY: &str = "ANTHROPIC_API_KEY";
    let command = read("CLAVIGER_KEY_COMMAND").unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().collect();
    match (read(KEY), read("CLAVIGER_KEY_FILE"), words.as_slice()) {
        (None, Some(path), _) => Arc::new(FileKey::new(path)),
        (None, None, [program, arguments @ ..]) => {
            Arc::new(Kept::new(CommandKey::new(*program, arguments), COMMAND_TTL, Arc::new(SystemClock)))
        }
        (Some(_), _, _) | (None, None, []) => Arc::new(EnvKey::new(KEY)),
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.origin.base)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// The gateway's address.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Without a slash at its end.
    pub(crate) base: String,
    scheme: String,
    authority: String,
    prefix: String,
}

impl Origin {
    fn parse(text: &str) -> Result<Self, ClientError> {
        let base = text.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| ClientError::BaseUrl)?;
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let usable =
            (scheme == "https" || scheme == "http") && !authority.contains('@') && uri.query().is_none();
        if !usable || authority.is_empty() {
            return Err(ClientError::BaseUrl);
        }
        if !is_private_way(&uri) {
            return Err(ClientError::Insecure(authority.to_owned()));
        }
        let authority = normal_authority(authority, &scheme).into_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { base, scheme, authority, prefix })
    }

    /// Whether a request goes to the gateway, and under its path.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let below = uri.path().strip_prefix(self.prefix.as_str());
        scheme == self.scheme
            && normal_authority(authority, scheme) == self.authority.as_str()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether nobody on the way can read along: https, or this machine.
pub(crate) fn is_private_way(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    uri.scheme_str() == Some("https") || host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::StaticKey;

    fn config(base: &str) -> Result<Config, ClientError> {
        Config::new(base, StaticKey::new("cvg_live_x").unwrap())
    }

    #[test]
    fn addresses_that_would_leak_are_refused() {
        for base in ["", "gw.example", "ftp://gw.example", "https://u:p@gw.example", "https://gw.example?x"] {
            assert!(matches!(config(base), Err(ClientError::BaseUrl)), "{base}");
        }
        for base in ["http://gw.example", "http://10.0.0.1:8787", "http://localhost.example"] {
            assert!(matches!(config(base), Err(ClientError::Insecure(_))), "{base}");
        }
        for base in ["https://gw.example/team-a/", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
        {
            assert!(config(base).is_ok(), "{base}");
        }
    }

    #[test]
    fn only_the_gateways_origin_and_path_are_covered() {
        let origin = config("https://gw.example/team-a").unwrap().origin;
        let covers = |uri: &str| origin.covers(&uri.parse().unwrap());
        for ours in ["https://gw.example/team-a", "https://GW.example:443/team-a/v1/models?x"] {
            assert!(covers(ours), "{ours}");
        }
        for foreign in [
            "https://gw.example/v1/models",
            "https://gw.example/team-ab",
            "http://gw.example/team-a/v1",
            "https://gw.example:8443/team-a/v1",
            "https://gw.example.evil/team-a/v1",
            "https://u@gw.example/team-a/v1",
            "/team-a/v1",
        ] {
            assert!(!covers(foreign), "{foreign}");
        }
    }

    #[tokio::test]
    async fn the_environment_makes_a_configuration() {
        let with = |name: &'static str, value: &'static str| {
            Config::from_variables(move |asked| match asked {
                _ if asked == name => Some(value.to_owned()),
                "ANTHROPIC_BASE_URL" => Some("https://gw.example".to_owned()),
                "CLAVIGER_SIGNING_SECRET" => Some("cvg_sign_x".to_owned()),
                _ => None,
            })
        };
        assert_eq!(with("CLAVIGER_AUTH", "token").unwrap().auth, Auth::Token);
        let command = with("CLAVIGER_KEY_COMMAND", "printf cvg_live_x").unwrap().key;
        assert_eq!(command.key().await.unwrap().reveal(), "cvg_live_x");
        assert!(with("CLAVIGER_KEY_FILE", "/nowhere").unwrap().key.key().await.is_err());
        assert!(with("CLAVIGER_SIGNING_PROFILE", "rfc9421").unwrap().signing.is_some());
        for (name, value) in [
            ("CLAVIGER_AUTH", "both"),
            ("CLAVIGER_SIGNING_PROFILE", "v3"),
            ("CLAVIGER_SEALED_KEY_FILE", "/nowhere"),
            ("CLAVIGER_DPOP", "ES256"),
            ("CLAVIGER_DPOP", "RS256"),
            ("CLAVIGER_CLIENT_CERT", "/nowhere"),
        ] {
            assert!(matches!(with(name, value), Err(ClientError::Config(_))), "{name}");
        }
    }
}
