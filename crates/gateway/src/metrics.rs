//! What is counted, under the names that dashboards and alert rules use.

mod services;
mod window;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use claviger_domain::{
    ledger::{Outcome, UsageCounts},
    permission::Endpoint,
    signature::{Profile, Role},
};
use claviger_service::Services;
use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::services::ServiceState;
use self::window::{ErrorRate, ErrorWindow};

/// Labels of `claude_api_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
    model: Arc<str>,
}

/// Labels of `claude_api_tokens_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    r#type: &'static str,
    model: Arc<str>,
}

/// A label of refusals, outcomes and stages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// A group of routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: &'static str,
}

/// A stage of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

/// Signed requests that were accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignedLabels {
    profile: &'static str,
    secret: &'static str,
}

/// The stages whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Who is this?
    Authenticate,
    /// May it? The client's sending of the body is in it.
    Authorize,
    /// Limits.
    Admit,
    /// The response cache, and the wait for somebody else's call; of keys that ask for it only.
    Recall,
    /// The worst case, and the choice of a credential.
    Route,
    /// The upstream's time to its head.
    Forward,
    /// From the upstream's head to ours: the wait for the intent is in it.
    Relay,
}

impl Stage {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Authenticate, "authenticate"),
        (Self::Authorize, "authorize"),
        (Self::Admit, "admit"),
        (Self::Recall, "recall"),
        (Self::Route, "route"),
        (Self::Forward, "forward"),
        (Self::Relay, "relay"),
    ];
}

/// An answer that was relayed.
#[derive(Debug)]
pub struct Answered<'a> {
    /// Which group of routes.
    pub endpoint: Endpoint,
    /// The method.
    pub method: &'static str,
    /// The model's label: a name of the price file, or `other`.
    pub model: &'a str,
    /// The status.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// What was used.
    pub usage: &'a UsageCounts,
    /// From arrival to the end, in microseconds.
    pub duration_us: i64,
}

/// One model's counters, looked up once a request.
#[derive(Debug)]
struct ModelCounters {
    name: Arc<str>,
    tokens: [Counter; 5],
}

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<EndpointLabel, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
    models: RwLock<HashMap<Box<str>, Arc<ModelCounters>>>,
    stages: [Histogram; 7],
    stage_family: Family<StageLabel, Histogram, fn() -> Histogram>,
    refusals: Family<ReasonLabel, Counter>,
    outcomes: Family<ReasonLabel, Counter>,
    signed: Family<SignedLabels, Counter>,
    /// Those of the family that were asked for, by profile and role.
    signed_known: [[OnceLock<Counter>; 3]; 3],
    unsigned: Family<ReasonLabel, Counter>,
    errors: Arc<ErrorWindow>,
    /// `claude_api_active_keys`: set by whoever counts keys.
    pub active_keys: Gauge,
    /// Requests being served.
    pub in_flight: Gauge<i64, AtomicI64>,
    /// Client connections that are open.
    pub connections: Gauge<i64, AtomicI64>,
    /// Connections refused because there were too many.
    pub connections_refused: Counter<u64, AtomicU64>,
    /// TLS handshakes that failed, those for a certificate of the client's among them.
    pub handshakes_failed: Counter<u64, AtomicU64>,
}

fn durations() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0])
}

fn overheads() -> Histogram {
    Histogram::new([
        0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25,
        1.0, 10.0, 60.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let stage_family: Family<StageLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(overheads);
        let stages = Stage::ALL.map(|(_, stage)| stage_family.get_or_create(&StageLabel { stage }).clone());
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(durations),
            tokens: Family::default(),
            models: RwLock::default(),
            stages,
            stage_family,
            refusals: Family::default(),
            outcomes: Family::default(),
            signed: Family::default(),
            signed_known: Default::default(),
            unsigned: Family::default(),
            errors: Arc::default(),
            active_keys: Gauge::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
        }
    }
}

impl Metrics {
    /// Enters everything into a registry.
    pub fn register(&self, registry: &mut Registry, services: &Services) {
        registry.register_collector(Box::new(ServiceState(services.clone())));
        self.register_own(registry);
    }

    fn register_own(&self, registry: &mut Registry) {
        // The registry adds `_total` to counters.
        registry.register("claude_api_requests", "Requests answered", self.requests.clone());
        registry.register(
            "claude_api_request_duration_seconds",
            "From a request's arrival to the end of its answer",
            self.duration.clone(),
        );
        registry.register("claude_api_tokens", "Tokens used", self.tokens.clone());
        registry.register("claude_api_active_keys", "Keys that work", self.active_keys.clone());
        registry.register_collector(Box::new(ErrorRate(Arc::clone(&self.errors))));
        registry.register(
            "claviger_stage_duration_seconds",
            "Time spent in each stage of a request",
            self.stage_family.clone(),
        );
        registry.register("claviger_refusals", "Requests refused, by reason", self.refusals.clone());
        registry.register("claviger_outcomes", "Requests sent, by how they ended", self.outcomes.clone());
        registry.register(
            "claviger_signed_requests",
            "Signed requests accepted, by profile and by which secret had signed",
            self.signed.clone(),
        );
        registry.register(
            "claviger_signatures_refused",
            "Requests refused for their signature, or for want of one, by reason",
            self.unsigned.clone(),
        );
        registry.register("claviger_in_flight_requests", "Requests being served", self.in_flight.clone());
        registry.register("claviger_connections", "Client connections open", self.connections.clone());
        registry.register(
            "claviger_connections_refused",
            "Client connections refused because there were too many",
            self.connections_refused.clone(),
        );
        registry.register(
            "claviger_tls_handshakes_failed",
            "TLS handshakes that failed, those for a certificate of the client's among them",
            self.handshakes_failed.clone(),
        );
    }

    /// Counts a relayed answer.
    pub fn answered(&self, answer: &Answered<'_>) {
        let counters = self.model(answer.model);
        let labels =
            RequestLabels { method: answer.method, status: answer.status, model: Arc::clone(&counters.name) };
        self.requests.get_or_create(&labels).inc();
        let seconds = Duration::from_micros(u64::try_from(answer.duration_us).unwrap_or(0)).as_secs_f64();
        let endpoint = EndpointLabel { endpoint: answer.endpoint.as_str() };
        self.duration.get_or_create(&endpoint).observe(seconds);
        self.outcomes.get_or_create(&ReasonLabel { reason: answer.outcome.as_str() }).inc();
        let usage = answer.usage;
        let counts = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
        ];
        for (counter, count) in counters.tokens.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        let failed =
            answer.status >= 500 || !matches!(answer.outcome, Outcome::Completed | Outcome::ClientGone);
        self.errors.count(failed);
    }

    /// Counts a refusal. Refusals of strangers are no requests of the API's users, so they raise no error rate.
    pub fn refused(&self, reason: &'static str, method: &Method, status: u16) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
        let model = Arc::clone(&self.model("none").name);
        self.requests.get_or_create(&RequestLabels { method: method_label(method), status, model }).inc();
        if status >= 500 {
            self.errors.count(true);
        }
    }

    /// Counts a signed request that was accepted.
    pub fn signed(&self, profile: Profile, role: Role) {
        let labels = SignedLabels { profile: profile.as_str(), secret: role.as_str() };
        let made = || self.signed.get_or_create(&labels).clone();
        self.signed_known[profile as usize][role as usize].get_or_init(made).inc();
    }

    /// Counts a request that was refused for its signature.
    pub fn unsigned(&self, reason: &'static str) {
        self.unsigned.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Notes the time of a stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    fn model(&self, label: &str) -> Arc<ModelCounters> {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = known.get(label) {
            return Arc::clone(counters);
        }
        drop(known);
        let name: Arc<str> = label.into();
        let kinds = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"];
        let tokens = kinds.map(|kind| {
            self.tokens.get_or_create(&TokenLabels { r#type: kind, model: Arc::clone(&name) }).clone()
        });
        let counters = Arc::new(ModelCounters { name, tokens });
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(label.into()).or_insert(counters))
    }
}

/// A method as a label: unknown ones share one.
#[must_use]
pub fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_dashboards_use() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register_own(&mut registry);
        let usage = UsageCounts { input_tokens: 3, ..UsageCounts::default() };
        metrics.answered(&Answered {
            endpoint: Endpoint::Messages,
            method: "POST",
            model: "claude-opus-5-5",
            status: 200,
            outcome: Outcome::Completed,
            usage: &usage,
            duration_us: 1_500,
        });
        metrics.refused("missing", &Method::GET, 401);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "claude_api_requests_total{method=\"POST\",status=\"200\",model=\"claude-opus-5-5\"} 1",
            "claude_api_tokens_total{type=\"input\",model=\"claude-opus-5-5\"} 3",
            "claude_api_request_duration_seconds_count{endpoint=\"messages\"} 1",
            "claude_api_error_rate 0",
            "claude_api_active_keys 0",
            "claviger_refusals_total{reason=\"missing\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
