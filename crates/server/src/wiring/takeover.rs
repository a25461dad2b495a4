//! What a reload may change, field by field: the compiler demands a line here for each setting that there is.

use crate::config::{Config, LogConfig, UpstreamCalls, cache::CacheBounds};

/// The settings in force after a reload, and the names of those that differ but are only read at a start: they stay as
/// they are in the running process, so that no part of it goes by another value than the rest.
#[must_use]
pub fn take_over(running: &Config, new: Config) -> (Config, Vec<&'static str>) {
    let mut waiting = Waiting(Vec::new());
    let mut files = |name, running: &Option<_>, new| match (running, new) {
        (Some(_), Some(files)) => Some(files),
        // A listener cannot change between TLS and plain text.
        (old, new) => waiting.kept(name, old, &new),
    };
    let tls = files("tls", &running.tls, new.tls);
    let control_tls = files("control_tls", &running.control_tls, new.control_tls);
    let config = Config {
        data: waiting.kept("data", &running.data, &new.data),
        file: new.file,
        listen: waiting.kept("listen", &running.listen, &new.listen),
        control: waiting.kept("control", &running.control, &new.control),
        database: waiting.kept("database", &running.database, &new.database),
        public_url: new.public_url,
        trusted_proxies: new.trusted_proxies,
        brand: waiting.kept("brand", &running.brand, &new.brand),
        workers: waiting.kept("workers", &running.workers, &new.workers),
        drain_timeout: new.drain_timeout,
        insecure_plaintext: waiting.kept(
            "insecure_plaintext",
            &running.insecure_plaintext,
            &new.insecure_plaintext,
        ),
        dpop_require_nonce: new.dpop_require_nonce,
        forward_trace_headers: new.forward_trace_headers,
        prices: new.prices,
        payments: waiting.kept("payments", &running.payments, &new.payments),
        max_staleness: waiting.kept("max_staleness", &running.max_staleness, &new.max_staleness),
        tls,
        client_ca: new.client_ca,
        client_auth: new.client_auth,
        control_tls,
        log: LogConfig {
            format: waiting.kept("log.format", &running.log.format, &new.log.format),
            level: new.log.level,
        },
        limits: waiting.kept("limits", &running.limits, &new.limits),
        upstream: upstream(&mut waiting, &running.upstream, new.upstream),
        ping_after: new.ping_after,
        early_keepalive: new.early_keepalive,
        durability: waiting.kept("ledger.durability", &running.durability, &new.durability),
        retention: waiting.kept("ledger.retention", &running.retention, &new.retention),
        checkpoint_file: waiting.kept(
            "audit.checkpoint_file",
            &running.checkpoint_file,
            &new.checkpoint_file,
        ),
        smtp: waiting.kept("smtp", &running.smtp, &new.smtp),
        jobs: waiting.kept("jobs", &running.jobs, &new.jobs),
        nonces: waiting.kept("nonces", &running.nonces, &new.nonces),
        token_algorithm: waiting.kept("tokens.algorithm", &running.token_algorithm, &new.token_algorithm),
        cache: CacheBounds {
            memory: waiting.kept("cache.memory", &running.cache.memory, &new.cache.memory),
            wait: new.cache.wait,
            keep_pace: new.cache.keep_pace,
        },
    };
    (config, waiting.0)
}

/// Times of a call are taken over; the way to the upstream and its pools were made at the start.
fn upstream(waiting: &mut Waiting, running: &UpstreamCalls, new: UpstreamCalls) -> UpstreamCalls {
    let mut kept = |name, old: &usize, new| waiting.kept(name, old, &new);
    let pool_idle = kept("upstream.pool_idle", &running.pool_idle, new.pool_idle);
    let pool_idle_per_host =
        kept("upstream.pool_idle_per_host", &running.pool_idle_per_host, new.pool_idle_per_host);
    UpstreamCalls {
        connect_timeout: waiting.kept(
            "upstream.connect_timeout",
            &running.connect_timeout,
            &new.connect_timeout,
        ),
        first_byte_timeout: new.first_byte_timeout,
        idle_timeout: new.idle_timeout,
        total_timeout: new.total_timeout,
        pool_idle,
        pool_idle_per_host,
        dns_ttl: waiting.kept("upstream.dns_ttl", &running.dns_ttl, &new.dns_ttl),
        http2: waiting.kept("upstream.http2", &running.http2, &new.http2),
        ca_file: waiting.kept("upstream.ca_file", &running.ca_file, &new.ca_file),
        proxy: waiting.kept("upstream.proxy", &running.proxy, &new.proxy),
        no_proxy: waiting.kept("upstream.no_proxy", &running.no_proxy, &new.no_proxy),
    }
}

/// Settings that wait for the next start.
struct Waiting(Vec<&'static str>);

impl Waiting {
    /// The running value; noted when the new one is another.
    fn kept<T: PartialEq + Clone>(&mut self, name: &'static str, running: &T, new: &T) -> T {
        if running != new {
            self.0.push(name);
        }
        running.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::documented::{REFERENCE, Setting, settings};

    /// What the reference says of it.
    fn is_read_at_start(setting: &Setting) -> bool {
        let row = REFERENCE.lines().find(|line| line.starts_with("| `") && setting.is_named_in(line));
        let row = row.unwrap_or_else(|| panic!("no row for {} in the reference", setting.name()));
        row.ends_with("*start* |")
    }

    #[test]
    fn every_setting_is_taken_over_or_said_to_wait_as_the_reference_has_it() {
        for setting in settings() {
            let (running, new) = (setting.resolved(), setting.changed().resolved());
            let name = setting.name();
            assert_ne!(format!("{running:?}"), format!("{new:?}"), "{name} was not changed");
            let (config, waiting) = take_over(&running, new.clone());
            if is_read_at_start(&setting) {
                assert!(waiting.iter().any(|w| name.starts_with(w)), "{name} waits in silence: {waiting:?}");
                assert_eq!(format!("{config:?}"), format!("{running:?}"), "{name} is half taken over");
            } else {
                assert!(waiting.is_empty(), "{name} is said to wait: {waiting:?}");
                assert_eq!(format!("{config:?}"), format!("{new:?}"), "{name} was not taken over");
            }
        }
    }

    #[test]
    fn switching_tls_on_or_off_waits() {
        let settings = settings();
        let with = settings.iter().find(|s| s.name() == "tls.cert").unwrap().resolved();
        let without = settings.iter().find(|s| s.name() == "brand").unwrap().resolved();
        for (running, new) in [(&with, &without), (&without, &with)] {
            let (config, waiting) = take_over(running, new.clone());
            assert_eq!((config.tls, waiting), (running.tls.clone(), vec!["tls"]));
        }
    }
}
