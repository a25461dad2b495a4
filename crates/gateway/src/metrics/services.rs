//! What the services know of themselves, asked when the registry is read.

use claviger_service::Services;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Asks the services.
pub(super) struct ServiceState(pub Services);

impl std::fmt::Debug for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceState")
    }
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
const fn float(count: u64) -> f64 {
    count as f64
}

impl Collector for ServiceState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0.recorder.stats();
        let cache = self.0.recall.stats();
        let micros = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
        let gauges = [
            (
                "claviger_feed_view_age_seconds",
                "Age of this node's view of keys; beyond its bound the store is asked for each request",
                micros(self.0.grants.view_age_us()),
            ),
            (
                "claviger_recorder_slots",
                "Requests between admission and settlement",
                f64::from(u32::try_from(stats.slots).unwrap_or(u32::MAX)),
            ),
            (
                "claviger_recorder_healthy",
                "Whether the store takes records: 1 or 0",
                f64::from(u8::from(self.0.recorder.is_healthy())),
            ),
            ("claviger_cache_answers", "Answers in the response cache", float(cache.answers)),
            ("claviger_cache_bytes", "What they take, in bytes", float(cache.bytes)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("claviger_recorder_groups", "Group commits", stats.groups),
            ("claviger_recorder_rows", "Ledger rows committed", stats.rows),
            (
                "claviger_recorder_rows_set_aside",
                "Ledger rows that the store refused for good and that are set aside",
                stats.rows_set_aside,
            ),
            ("claviger_recorder_commit_microseconds", "Time spent in group commits", stats.commit_us),
            ("claviger_cache_hits", "Requests answered out of the response cache", cache.hits),
            (
                "claviger_cache_misses",
                "Requests that the response cache could have answered, and did not",
                cache.misses,
            ),
            (
                "claviger_cache_evictions",
                "Answers that went from the response cache for want of room",
                cache.evictions,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let help = "What became of access and refresh tokens";
        let mut tokens =
            encoder.encode_descriptor("claviger_auth_tokens", help, None, MetricType::Counter)?;
        for (event, count) in self.0.tokens.counts() {
            ConstCounter::new(count).encode(tokens.encode_family(&[("event", event.as_str())])?)?;
        }
        Ok(())
    }
}
