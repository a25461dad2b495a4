//! Counts the keys that work.

use std::{sync::Arc, time::Duration};

use crate::worker::Shared;

/// Pause between two counts.
const EVERY: Duration = Duration::from_secs(30);

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        match shared.services.keys.working(shared.clock.now()).await {
            Ok(working) => {
                shared.metrics.active_keys.set(i64::try_from(working).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::debug!(%error, "keys could not be counted"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
