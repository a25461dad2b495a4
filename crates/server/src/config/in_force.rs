//! The settings in force as `claviger settings show` gives them: names and values as the file has them, and no secret.

use std::{path::Path, time::Duration};

use claviger_domain::notice::channel::SmtpSecurity;
use serde_json::{Map, Value, json};

use super::{ClientAuthWord, Config, Durability, LogFormat, outgoing::SmtpChannel, value::NonceWord};

/// Spans in the largest unit that leaves nothing over.
const UNITS: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];

impl Config {
    /// Every setting by its name in the file. `null`: not set. Addresses are without their passwords.
    #[must_use]
    pub fn in_force(&self) -> Value {
        let mut all = self.of_the_process();
        let sections = [
            ("tls", self.of_tls()),
            ("dpop", json!({"require_nonce": self.dpop_require_nonce})),
            ("control_tls", files(self.control_tls.as_ref().map(|(cert, key)| (&**cert, &**key)))),
            ("log", json!({"format": self.log.format.map(log_format), "level": self.log.level})),
            ("limits", self.of_limits()),
            ("upstream", self.of_upstreams()),
            ("stream", json!({"ping_after": span(self.ping_after), "early_keepalive": self.early_keepalive})),
            ("ledger", json!({"durability": durability(self.durability), "retention": span(self.retention)})),
            ("audit", json!({"checkpoint_file": self.checkpoint_file})),
            ("smtp", smtp(self.smtp.as_ref())),
            ("jobs", self.of_jobs()),
            ("nonces", self.of_nonces()),
            ("tokens", json!({"algorithm": self.token_algorithm.as_str()})),
            ("cache", self.of_cache()),
        ];
        all.extend(sections.map(|(name, section)| (name.to_owned(), section)));
        Value::Object(all)
    }

    fn of_the_process(&self) -> Map<String, Value> {
        let settings = json!({
            "listen": self.listen,
            "control": self.control,
            "data": self.data,
            "database": self.database.as_deref().map(without_password),
            "public_url": self.public_url,
            "trusted_proxies": self.trusted_proxies.entries(),
            "brand": self.brand.as_str(),
            "workers": self.workers,
            "drain_timeout": span(self.drain_timeout),
            "insecure_plaintext": self.insecure_plaintext,
            "forward_trace_headers": self.forward_trace_headers,
            "prices": self.prices,
            "payments": self.payments,
            "max_staleness": span(self.max_staleness),
        });
        match settings {
            Value::Object(settings) => settings,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        }
    }

    fn of_tls(&self) -> Value {
        let mut section = files(self.tls.as_ref().map(|(cert, key)| (&**cert, &**key)));
        section["client_ca"] = json!(self.client_ca);
        section["client_auth"] = match self.client_auth {
            ClientAuthWord::Optional => "optional",
            ClientAuthWord::Required => "required",
        }
        .into();
        section
    }

    fn of_limits(&self) -> Value {
        let limits = &self.limits;
        json!({
            "connections": limits.connections,
            "connections_per_address": limits.connections_per_address,
            "body_budget": size(limits.body_budget),
            "body_idle": span(limits.body_idle),
            "body_least_rate": size(limits.body_least_rate),
            "body_timeout": span(limits.body_timeout),
        })
    }

    fn of_upstreams(&self) -> Value {
        let upstream = &self.upstream;
        json!({
            "connect_timeout": span(upstream.connect_timeout),
            "first_byte_timeout": span(upstream.first_byte_timeout),
            "idle_timeout": span(upstream.idle_timeout),
            "total_timeout": span(upstream.total_timeout),
            "pool_idle": upstream.pool_idle,
            "pool_idle_per_host": upstream.pool_idle_per_host,
            "dns_ttl": span(upstream.dns_ttl),
            "http2": upstream.http2,
            "ca_file": upstream.ca_file,
            "proxy": upstream.proxy.as_deref().map(without_password),
            "no_proxy": upstream.no_proxy,
        })
    }

    fn of_jobs(&self) -> Value {
        json!({
            "daily_check": self.jobs.daily_check,
            "weekly_report": self.jobs.weekly_report,
            "time_zone": self.jobs.time_zone,
        })
    }

    fn of_cache(&self) -> Value {
        let cache = &self.cache;
        json!({"memory": size(cache.memory), "wait": span(cache.wait), "keep_pace": cache.keep_pace})
    }

    fn of_nonces(&self) -> Value {
        let store = match self.nonces.store {
            NonceWord::Memory => "memory",
            NonceWord::Redis => "redis",
            NonceWord::Database => "database",
        };
        let redis_url = self.nonces.redis_url.as_deref().map(without_password);
        json!({"store": store, "redis_url": redis_url, "per_key": self.nonces.per_key})
    }
}

fn files(pair: Option<(&Path, &Path)>) -> Value {
    json!({"cert": pair.map(|(cert, _)| cert), "key": pair.map(|(_, key)| key)})
}

const fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    }
}

const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::Process => "process",
    }
}

fn smtp(channel: Option<&SmtpChannel>) -> Value {
    let target = channel.map(|channel| &channel.target);
    json!({
        "host": target.map(|t| &t.host),
        "port": target.map(|t| t.port),
        "security": target.map(|t| SmtpSecurity::as_str(t.security)),
        "username": target.and_then(|t| t.username.as_deref()),
        "password_file": channel.and_then(|channel| channel.password_file.as_deref()),
        "from": target.map(|t| &t.from),
        "to": target.map(|t| &t.to),
        "to_owner": target.map(|t| t.to_owner),
    })
}

/// `30s`, `12h`, `1500ms`.
fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let whole = UNITS.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// `512MB`, `1KB`, `100B`.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let whole = units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// An address with its password and its query left out, for both may hold secrets. What is no address is not shown at
/// all.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return "(set)".to_owned() };
    let shown = rest.split(['?', '#']).next().unwrap_or_default();
    match shown.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{place}"),
            None => format!("{scheme}://{user}@{place}"),
        },
        None if rest.contains('@') => "(set)".to_owned(),
        None => format!("{scheme}://{shown}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{ServeArgs, documented};

    fn names(value: &Value) -> BTreeSet<String> {
        let sections = value.as_object().unwrap().iter().flat_map(|(name, value)| match value.as_object() {
            Some(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
            None => vec![name.clone()],
        });
        sections.collect()
    }

    #[test]
    fn every_setting_is_shown_and_no_other() {
        let documented: BTreeSet<String> =
            documented::settings().iter().map(documented::Setting::name).collect();
        let config = Config::resolve(Some("data".into()), &ServeArgs::default()).unwrap();
        assert_eq!(names(&config.in_force()), documented);
    }

    #[test]
    fn spans_and_sizes_are_shown_as_the_file_takes_them() {
        let millis = |ms| span(Duration::from_millis(ms));
        assert_eq!(
            [millis(0), millis(1_500), millis(30_000), millis(660_000)],
            ["0ms", "1500ms", "30s", "11m"]
        );
        assert_eq!(millis(90 * 86_400_000), "90d");
        assert_eq!([size(512 << 20), size(1 << 10), size(1_500)], ["512MB", "1KB", "1500B"]);
    }

    #[test]
    fn passwords_are_never_shown() {
        let shown = [
            "postgres://claviger:hunter2@db.internal:5432/claviger?password=hunter2",
            "redis://:hunter2@127.0.0.1:6379",
            "http://user:hunter2@proxy:3128",
            "host=db password=hunter2",
            "postgres://us:er@name:hunter2@db/x",
            "postgres://user:hunter2/@db/x",
            "postgres://user:hunter2?@db/x",
            "postgres://user:a/hunter2@db/x?y@z",
        ]
        .map(without_password);
        assert!(shown.iter().all(|text| !text.contains("hunter2")), "{shown:?}");
        assert_eq!(shown[0], "postgres://claviger:***@db.internal:5432/claviger");
        assert_eq!(without_password("postgres://claviger@db/claviger"), "postgres://claviger@db/claviger");
    }
}
