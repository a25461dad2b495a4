//! Counts the keys that work.

use std::{sync::Arc, time::Duration};

use claviger_domain::{key::KeyStatus, ports::KeyFilter};
use claviger_service::ServiceError;

use crate::worker::Shared;

/// Pause between two counts.
const EVERY: Duration = Duration::from_secs(30);
/// Keys read at a time.
const PAGE: u32 = 1_000;

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        match count(&shared).await {
            Ok(active) => {
                shared.metrics.active_keys.set(active);
            }
            Err(error) => tracing::debug!(%error, "keys could not be counted"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn count(shared: &Shared) -> Result<i64, ServiceError> {
    let now = shared.clock.now();
    let mut filter = KeyFilter { limit: PAGE, ..KeyFilter::default() };
    let mut active = 0;
    loop {
        let page = shared.services.keys.list(&filter).await?;
        active += page
            .iter()
            .filter(|(key, _)| matches!(key.status(now), KeyStatus::Active | KeyStatus::Deprecated))
            .count();
        let full = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        match page.last() {
            Some((last, _)) if full => filter.after = Some(last.id.clone()),
            Some(_) | None => return Ok(i64::try_from(active).unwrap_or(i64::MAX)),
        }
    }
}
