//! Settings as each part takes them.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use claviger_claude_wire::price::PriceTable;
use claviger_domain::secret::SecretBytes;
use claviger_gateway::{
    GatewayConfig, PaceLimits,
    config::CacheSettings,
    tls::{ClientAuth, ClientAuthorities, TlsIdentity},
};
use claviger_upstream::{PoolLimits, ProxyConfig, Transport, UpstreamConfig};
use rustls::{
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};

use crate::config::{ClientAuthWord, Config};

/// The folder in the data folder where large request bodies wait while they are read.
pub const BODIES: &str = "bodies";

/// The price table: the built-in one, with the operator's rows put over it.
///
/// # Errors
/// With file, line and column.
pub fn prices(config: &Config) -> anyhow::Result<Arc<PriceTable>> {
    let table = PriceTable::builtin();
    let Some(path) = &config.prices else { return Ok(Arc::new(table)) };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let table = table.with_override(&text).with_context(|| path.display().to_string())?;
    Ok(Arc::new(table))
}

/// How upstreams are called.
///
/// # Errors
/// When the proxy's address cannot be read.
pub fn upstream(config: &Config) -> anyhow::Result<UpstreamConfig> {
    let u = &config.upstream;
    let proxy = u.proxy.as_deref().map(|url| proxy(url, &u.no_proxy)).transpose()?;
    Ok(UpstreamConfig {
        pool: PoolLimits {
            idle_total: u.pool_idle,
            idle_per_host: u.pool_idle_per_host,
            ..PoolLimits::default()
        },
        connect_timeout: u.connect_timeout,
        dns_ttl: u.dns_ttl,
        http2: u.http2,
        extra_roots: u.ca_file.clone(),
        proxy,
        ..UpstreamConfig::default()
    })
}

/// The way to upstreams.
///
/// # Errors
/// When certificates cannot be read.
pub fn transport(config: &Config) -> anyhow::Result<Arc<Transport>> {
    Transport::new(&upstream(config)?).context("preparing calls to upstreams")
}

/// `http://[user:password@]host:port` taken apart.
fn proxy(url: &str, no_proxy: &[String]) -> anyhow::Result<ProxyConfig> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("upstream proxy: expected http://[user:password@]host:port");
    };
    let (basic, host) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((user, host)) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (Some((name.to_owned(), SecretBytes::new(password.as_bytes().to_vec()))), host)
        }
    };
    Ok(ProxyConfig { url: format!("http://{host}"), basic, no_proxy: no_proxy.to_vec() })
}

/// The listener's certificate, and whose certificates callers may show, if TLS is on.
///
/// # Errors
/// When a file cannot be read, or the key does not fit.
pub fn tls(config: &Config) -> anyhow::Result<Option<TlsIdentity>> {
    let Some((cert, key)) = &config.tls else { return Ok(None) };
    let auth = match config.client_auth {
        ClientAuthWord::Optional => ClientAuth::Optional,
        ClientAuthWord::Required => ClientAuth::Required,
    };
    let callers = config.client_ca.as_deref().map(|path| {
        let roots = certificates(path)?;
        anyhow::Ok(ClientAuthorities { roots, auth })
    });
    let callers = callers.transpose()?;
    let at = || config.client_ca.as_deref().unwrap_or(cert).display().to_string();
    TlsIdentity::new(certified(cert, key)?, callers.as_ref()).map(Some).with_context(at)
}

/// The control listener's certificate, if TLS is on there.
///
/// # Errors
/// As [`tls`].
pub fn control_tls(config: &Config) -> anyhow::Result<Option<Arc<CertifiedKey>>> {
    config.control_tls.as_ref().map(|(cert, key)| certified(cert, key)).transpose()
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = |e: pem::Error| anyhow::anyhow!("{}: {e}", path.display());
    let chain = CertificateDer::pem_file_iter(path).map_err(read)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(read)?;
    if chain.is_empty() {
        bail!("{}: no certificate in it", path.display());
    }
    Ok(chain)
}

fn certified(cert: &Path, key: &Path) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| anyhow::anyhow!("{}: {e}", key.display()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, private, &provider)
        .with_context(|| format!("{} and {}", cert.display(), key.display()))?;
    Ok(Arc::new(certified))
}

/// The data plane's settings.
#[must_use]
pub fn gateway(config: &Config) -> GatewayConfig {
    let mut g = GatewayConfig {
        brand: config.brand,
        trusted_proxies: config.trusted_proxies.clone(),
        public_url: config.public_url.as_deref().map(|u| u.trim_end_matches('/').to_owned()),
        dpop_nonce_required: config.dpop_require_nonce,
        forward_trace_headers: config.forward_trace_headers,
        insecure_plaintext: config.insecure_plaintext,
        spool_dir: Some(config.data.join(BODIES)),
        ..GatewayConfig::default()
    };
    g.connection.total = config.limits.connections;
    g.connection.per_address = config.limits.connections_per_address;
    g.body.memory = usize::try_from(config.limits.body_budget).unwrap_or(usize::MAX);
    g.body.pace = PaceLimits {
        idle: config.limits.body_idle,
        least_rate: u32::try_from(config.limits.body_least_rate).unwrap_or(u32::MAX),
        total: config.limits.body_timeout,
    };
    g.upstream.first_byte = config.upstream.first_byte_timeout;
    g.upstream.stream_idle = config.upstream.idle_timeout;
    g.upstream.total = config.upstream.total_timeout;
    g.stream.ping_after = config.ping_after;
    g.stream.early_keepalive = config.early_keepalive;
    g.cache = CacheSettings { wait: config.cache.wait, keep_pace: config.cache.keep_pace };
    g
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::documented::settings;

    #[test]
    fn what_the_file_says_of_the_data_plane_reaches_it() {
        let with = |name: &str| {
            let all = settings();
            gateway(&all.iter().find(|s| s.name() == name).unwrap().changed().resolved())
        };
        let default = GatewayConfig::default();
        assert!(!default.forward_trace_headers && with("forward_trace_headers").forward_trace_headers);
        assert_ne!(with("limits.body_idle").body.pace.idle, default.body.pace.idle);
        assert_ne!(with("limits.body_least_rate").body.pace.least_rate, default.body.pace.least_rate);
        assert_ne!(with("limits.body_timeout").body.pace.total, default.body.pace.total);
        assert_eq!(with("upstream.dns_ttl").body, default.body);
        assert_ne!(with("cache.wait").cache.wait, default.cache.wait);
        assert_ne!(with("cache.keep_pace").cache.keep_pace, default.cache.keep_pace);
    }
}
