use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::vectors;
use crate::{
    prices::Prices,
    stats::Stats,
    usage::{StreamMeter, Usage, WireUsage},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    prices: BTreeMap<String, Value>,
    cases: Vec<Case>,
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    calls: Vec<Call>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    latency_ms: u64,
    model: String,
    status: Option<u16>,
    cache_hit: bool,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    requests: u64,
    errors: u64,
    cache_hits: u64,
    input_tokens: u64,
    output_tokens: u64,
    tokens_per_request: f64,
    latency_mean_ms: Option<f64>,
    latency_p50_ms: Option<u128>,
    latency_p95_ms: Option<u128>,
    latency_p99_ms: Option<u128>,
    estimated_cost_pico_usd: String,
    unpriced_requests: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    name: String,
    sse: String,
    ended: bool,
    usage: Option<StreamUsage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamUsage {
    model: String,
    input_tokens: u64,
    output_tokens: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
}

fn played(case: &Case, prices: &Prices) -> Stats {
    let stats = Stats::new(prices.clone());
    for call in &case.calls {
        if call.cache_hit {
            stats.hit();
            continue;
        }
        let usage = call.usage.as_ref().map(|wire| {
            let mut usage = Usage { model: call.model.clone(), ..Usage::default() };
            wire.apply(&mut usage);
            usage
        });
        let failed = call.status.is_none_or(|status| status >= 400);
        stats.finished(Duration::from_millis(call.latency_ms), failed, usage.as_ref());
    }
    stats
}

#[test]
fn statistics_are_those_of_the_vectors() {
    let file: File = vectors("statistics.json");
    let prices = serde_json::json!({ "models": file.prices }).to_string();
    let prices = Prices::parse(&prices).unwrap();
    for case in &file.cases {
        let seen = played(case, &prices).snapshot();
        let want = &case.expect;
        let name = &case.name;
        assert_eq!((seen.requests, seen.errors), (want.requests, want.errors), "{name}");
        assert_eq!(
            (seen.cache_hits, seen.unpriced_requests),
            (want.cache_hits, want.unpriced_requests),
            "{name}"
        );
        assert_eq!(
            (seen.input_tokens, seen.output_tokens),
            (want.input_tokens, want.output_tokens),
            "{name}"
        );
        assert!((seen.tokens_per_request - want.tokens_per_request).abs() < 1e-9, "{name}");
        assert_eq!(seen.estimated_cost_pico_usd.to_string(), want.estimated_cost_pico_usd, "{name}");
        let millis = |of: fn(&crate::stats::Latency) -> Duration| seen.latency.as_ref().map(of);
        assert_eq!(millis(|l| l.p50).map(|d| d.as_millis()), want.latency_p50_ms, "{name}");
        assert_eq!(millis(|l| l.p95).map(|d| d.as_millis()), want.latency_p95_ms, "{name}");
        assert_eq!(millis(|l| l.p99).map(|d| d.as_millis()), want.latency_p99_ms, "{name}");
        let mean = millis(|l| l.mean).map(|d| d.as_secs_f64() * 1e3);
        assert_eq!(mean.is_some(), want.latency_mean_ms.is_some(), "{name}");
        assert!((mean.unwrap_or(0.0) - want.latency_mean_ms.unwrap_or(0.0)).abs() < 1e-3, "{name}");
    }
}

#[test]
fn usage_is_read_from_streams_in_whatever_pieces() {
    let file: File = vectors("statistics.json");
    for case in &file.streams {
        let want = case.usage.as_ref().map(|usage| Usage {
            model: usage.model.clone(),
            input: usage.input_tokens,
            output: usage.output_tokens,
            cache_write_5m: usage.cache_write_5m,
            cache_write_1h: usage.cache_write_1h,
            cache_read: usage.cache_read,
        });
        for size in [1, 2, 3, 7, 64, 1 << 20] {
            let mut meter = StreamMeter::default();
            case.sse.as_bytes().chunks(size).for_each(|piece| meter.write(piece));
            assert_eq!(meter.read(), (want.as_ref(), case.ended), "{} in pieces of {size}", case.name);
        }
    }
}
