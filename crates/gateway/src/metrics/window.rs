//! The share of failed requests over the last five minutes, worked out when it is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::time::{Duration, Instant};

const SLICES: usize = 30;
const SLICE: Duration = Duration::from_secs(10);

/// Counts of the last five minutes, by ten seconds.
#[derive(Debug, Default)]
pub(super) struct ErrorWindow(Mutex<Counts>);

/// Asked by the registry.
#[derive(Debug)]
pub(super) struct ErrorRate(pub Arc<ErrorWindow>);

#[derive(Debug, Default)]
struct Counts {
    /// When the newest slice began.
    newest: Option<Instant>,
    at: usize,
    slices: [(u64, u64); SLICES],
}

impl Counts {
    /// Moves on to the present.
    fn turn(&mut self, now: Instant) {
        let newest = *self.newest.get_or_insert(now);
        let passed = now.saturating_duration_since(newest).as_secs() / SLICE.as_secs();
        let steps = usize::try_from(passed).unwrap_or(SLICES).min(SLICES);
        for _ in 0..steps {
            self.at = (self.at + 1) % SLICES;
            self.slices[self.at] = (0, 0);
        }
        if steps > 0 {
            self.newest = Some(newest + SLICE * u32::try_from(passed).unwrap_or(u32::MAX));
        }
    }
}

impl ErrorWindow {
    pub(super) fn count(&self, failed: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.turn(Instant::now());
        let at = counts.at;
        let slice = &mut counts.slices[at];
        slice.0 += 1;
        slice.1 += u64::from(failed);
    }

    /// In percent.
    fn rate(&self) -> f64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.turn(Instant::now());
        let (all, failed) = counts.slices.iter().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
        if all == 0 { 0.0 } else { 100.0 * to_f64(failed) / to_f64(all) }
    }
}

fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Collector for ErrorRate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.0.rate());
        let help = "Share of requests of the last five minutes that failed, in percent";
        let metric = encoder.encode_descriptor("claude_api_error_rate", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn old_failures_are_forgotten() {
        let window = ErrorWindow::default();
        window.count(true);
        window.count(false);
        assert!((window.rate() - 50.0).abs() < 1e-9);
        tokio::time::advance(Duration::from_secs(200)).await;
        window.count(false);
        window.count(false);
        assert!((window.rate() - 25.0).abs() < 1e-9);
        tokio::time::advance(Duration::from_secs(150)).await;
        assert!(window.rate().abs() < 1e-9);
        tokio::time::advance(Duration::from_secs(100_000)).await;
        window.count(true);
        assert!((window.rate() - 100.0).abs() < 1e-9);
    }
}
